"""Mistakes of a user's that once were silent, ended in a traceback, or were told at a length that nobody reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.cases import Case, describe_cases
from bench.cli.process import main
from bench.errors import UsageError
from bench.results.exits import read_exits
from bench.results.run import Run
from bench.tasks.base import Split, TaskData
from bench.text import shorten_quotes
from tests.helpers.report_store import make_cell


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that is refused says on stderr: one line."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("Error: "), printed.err
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    "words",
    [
        ["show", "a" * 5000],
        ["show", "a b" * 2000],
        ["run", "--strategy", "entropy", "--task", "demo", "--set", "train.lr=" + "[" * 5000],
        ["run", "--strategy", "x" * 5000, "--task", "demo"],
        ["table", "--at", "y" * 5000],
        ["x" * 5000],
    ],
    ids=lambda words: words[0][:9],
)
def test_a_long_text_of_the_users_is_not_said_whole(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(said(capsys, *words)) < 1000


def test_what_is_cut_says_how_long_it_was() -> None:
    assert shorten_quotes(f"No run '{'a ' * 600}' here.") == f"No run '{'a ' * 39}a… (1,202 letters) here."
    assert shorten_quotes("x" * 499) == "x" * 499


def test_a_results_folder_that_is_not_there_has_no_runs_to_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no results folder nope" in said(capsys, "list", "runs", "--results-dir", "nope")
    assert main(["list", "runs"]) == 0  # nothing was run here yet
    (tmp_path / "empty").mkdir()
    assert main(["list", "runs", "--results-dir", "empty"]) == 0


def test_a_wrong_point_of_a_table_is_told_that_there_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'2y'. Known: default, thresholds, no-loss, " in said(capsys, "table", "--at", "2y")


@pytest.mark.parametrize(
    ("columns", "widest"),
    [
        ("100", 100),
        ("70", 70),
        (None, 140),
        ("none", 140),
        ("0", 140),
        ("-1", 140),
        ("1e9", 140),
        ("²", 140),
        ("9" * 20, 140),
    ],
)
def test_tables_that_are_piped_are_as_wide_as_was_asked(
    columns: str | None, widest: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert main(["list", "strategies"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "elbert-mono" in printed.out
    assert max(map(len, printed.out.splitlines())) <= widest


@pytest.mark.parametrize("text", ["0", "²", "-1", "abc"])
def test_a_height_that_is_none_is_no_error(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINES", text)
    assert main(["list", "strategies"]) == 0


@pytest.mark.parametrize(("option", "variable"), [(["--hub-root", "gone"], "hub"), ([], "gone")])
def test_a_mirror_that_is_none_is_named_after_where_it_was_given(
    option: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXITBENCH_HUB", variable)
    where = "--hub-root" if option else "EXITBENCH_HUB"
    line = said(capsys, *run_on(Path("demo"), "--quiet", *option))
    assert line.startswith(f"Error: The hub mirror gone of {where} is not a folder.")


def test_a_line_feed_in_a_name_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'no\\nsuch'" in said(capsys, "show", "no\nsuch")


def test_cases_of_a_record_whose_logits_are_of_other_samples(tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path, "entropy"))
    labels = np.zeros(2, dtype=np.int64)
    split = Split(run.primary, ("one", "two"), ("a", "b"), None, labels, 2)
    data = TaskData(run.task, "classification", ("x", "y"), ("accuracy",), split, split, {run.primary: split}, "v", "g")
    with pytest.raises(UsageError, match=r"sample '.*' is not in the data of task .* one, two"):
        describe_cases(run, [Case("simple", 0, read_exits(run.exits_file()).ids[0], 1, 0.9)], data)


def write_rows(folder: Path, *rows: str) -> Path:
    folder.mkdir()
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def run_on(task: Path, *more: str) -> list[str]:
    return ["run", "--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", "--offline", *more]


def test_a_key_that_is_twice_in_a_row_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"text": "a", "label": "x"}', '{"text": "b", "label": "y", "label": "x"}']
    task = write_rows(tmp_path / "task", *rows)
    assert "train.jsonl, row 2: key 'label' is there twice" in said(capsys, *run_on(task, "--quiet"))


def test_numbers_beyond_what_floats_tell_apart_stay_two_classes(tmp_path: Path) -> None:
    from bench.tasks.readers import read_columns

    rows = [
        json.dumps({"text": f"t{i}"})[:-1] + f', "label": 900719925474099{2 + i % 2}.0, "more": 1e999}}'
        for i in range(4)
    ]
    path = write_rows(tmp_path / "task", *rows) / "train.jsonl"
    labels = read_columns(path, "train", ["text", "label"]).column("label")
    assert len(set(map(str, labels))) == 2


@pytest.mark.parametrize("words", [["pick", "--speedup", "x"], ["pick", "--bs", "3"], ["pick", "--speedup"]])
def test_where_to_look_is_a_sentence_of_its_own(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before, found, _ = said(capsys, *words).partition(" See `bench")
    assert found
    assert before.endswith(".")
