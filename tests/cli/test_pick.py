"""`bench pick`, and the ends of `bench table` and `bench run`: the sentence first a person sees, at every width."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from bench.cli.process import main
from bench.text import escape_markdown
from tests.helpers.report_store import make_cell, varied_store
from tests.helpers.small_runs import TINY, write_task
from tests.helpers.sweeps import sweep, write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_store(tmp_path_factory.mktemp("pick") / "results")


def tell(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main([*words]) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", ["60", "80", "140"])
@pytest.mark.parametrize("verb", ["pick", "table"])
def test_the_last_words_say_which_is_best(
    verb: str, columns: str, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = tell(capsys, verb, "--task", "demo", "--results-dir", str(store))
    last = " ".join(out.rpartition("\n\n")[2].split())
    assert last.startswith("At 2x or more on demo (albert-demo, scratch, 6 layers), ")
    assert "the best accuracy: 0." in last
    assert "plain layers" not in last  # they are as slow as all in this store
    assert max(map(len, out.splitlines())) <= int(columns)
    for interval in re.findall(r"\[[^\]]*", out):
        assert not interval.rstrip().endswith("…"), interval


def test_no_number_of_a_ranking_is_cut(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers of a narrow terminal are those of a wide one."""

    def list_numbers(columns: str) -> set[str]:
        monkeypatch.setenv("COLUMNS", columns)
        return set(re.findall(r"\d\.\d{2,3}(?!\d)", tell(capsys, "pick", "--results-dir", str(store), "--all")))

    assert list_numbers("140") == list_numbers("80") == list_numbers("60") == list_numbers("30")


def test_markdown_has_the_answers_the_table_and_its_note(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pick.md"
    found = json.loads(tell(capsys, "pick", "--results-dir", str(store), "--json", "--all", "-o", str(file)))
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("- ")] == [f"- {escape_markdown(one['said'])}" for one in found]
    standing = sum(len(found[0][part]) for part in ("ranked", "plain", "bounds"))
    assert sum(line.startswith("| ") for line in lines) == standing + 2  # and the header with its rule
    assert lines[-1].startswith("Thresholds: ")


def test_json_has_every_panel_its_best_and_the_sentence(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(tell(capsys, "pick", "--results-dir", str(store), "--json"))
    assert [len(one["ranked"]) for one in found] == sorted((len(one["ranked"]) for one in found), reverse=True)
    first = found[0]
    assert first["goal"] == "2x"
    assert first["best"][0] in first["said"]
    assert first["ranked"][0]["within_noise"]
    assert first["ranked"][0]["difference"] is None
    assert [one["strategy"] for one in first["bounds"]] == ["oracle-correct"]
    assert {name for one in first["plain"] for name in (one["name"], *one["same"])} == {"full", "truncated"}
    [second] = json.loads(tell(capsys, "pick", "--results-dir", str(store), "--json", "--panel", "2"))
    assert second == found[1]


def test_other_panels_are_said_too_and_can_be_seen(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tell(capsys, "pick", "--results-dir", str(store))
    assert "2. At 2x or more on rte" in " ".join(out.split())
    assert tell(capsys, "pick", "--results-dir", str(store), "--panel", "2").startswith("rte | ")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--speedup", "2", "--max-loss", "0.01"], 2, "not both"),
        (["--panel", "9"], 2, "--panel takes a number from 1 to 3, not 9"),
        (["--speedup", "0"], 2, "must be positive"),
        (["--max-loss", "-1"], 2, "must be positive"),
        (["--task", "mnli"], 4, "No finished runs"),
        (["--task", "mnli"], 4, "Recorded are demo (albert-demo) and rte ("),
    ],
)
def test_what_cannot_be_picked_is_one_line(
    words: list[str], code: int, said: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pick", "--results-dir", str(store), *words]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_a_speedup_that_nobody_has_names_the_fastest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(tell(capsys, "pick", "--results-dir", str(store), "--task", "demo", "--speedup", "1e9").split())
    assert re.search(r"there is none: the fastest is .+, [\d.]+x fewer FLOPs with accuracy 0\.\d+ \[", out)


@pytest.mark.parametrize("verb", ["pick", "table", "criteria", "report"])
def test_an_empty_folder_says_what_to_run(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r").mkdir()
    more = ["--out", str(tmp_path / "o")] if verb == "report" else []
    main([verb, "--results-dir", str(tmp_path / "r"), *more])
    printed = capsys.readouterr()
    assert "yet: `bench run --strategy elbert-mono --task demo` makes a first one." in printed.out + printed.err


def test_at_a_loss(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tell(capsys, "pick", "--results-dir", str(store), "--task", "demo", "--max-loss", "0.5")
    assert "With at most 50 points lost on demo" in " ".join(out.split())


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_table_of_few_and_of_many(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(count):
        make_cell(tmp_path, f"rule-{number}", exits=False)
    out = tell(capsys, "table", "--results-dir", str(tmp_path))
    assert all(f"rule-{number}" in out for number in range(count))
    assert out.count("At 2x or more on demo") == 1
    assert ("ithin noise of it" in " ".join(out.split())) == (count > 1)


def test_a_run_of_several_ends_side_by_side_and_what_to_try_next_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two that share a checkpoint, and so every sample's answer."""
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "reviews", validation=60)
    asked = ["run", "--task", "./reviews", "--backbone", "bert-demo", *TINY, "--results-dir", "kept"]
    out = tell(capsys, *asked, "--strategy", "entropy,deebert", "--recipe", "joint", "--head", "linear")
    assert "against the best" in out
    assert "entropy and deebert" in out or "deebert and entropy" in out  # the same answers: one row
    commands = re.findall(r"^  (bench .*)$", out, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["pick", "criteria", "report"]
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command


def test_a_single_run_ends_with_its_sentence_and_what_to_try_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "reviews", validation=60)
    asked = ["run", "--task", "./reviews", "--backbone", "bert-demo", *TINY, "--strategy", "entropy"]
    out = tell(capsys, *asked)
    assert re.search(r"^entropy on reviews has accuracy 0\.", out, re.MULTILINE)
    commands = re.findall(r"^  (bench .*)$", out, re.MULTILINE)
    assert commands
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    capsys.readouterr()
    assert len(json.loads(tell(capsys, *asked, "--json"))) == 1


def test_a_sweep_in_which_one_fails_ends_with_the_others_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate of 1e18 leaves no finite weight."""
    task = write_task(tmp_path / "reviews", validation=60)
    cells = sweep(task, tmp_path / "log")
    cells["include"] = [{"strategy": "full", "task": str(task), "seed": 0, "settings": {"train.lr": 1e18}}]
    words = ["run", "--config", str(write(tmp_path / "sweep.yaml", cells)), "--results-dir", str(tmp_path / "kept")]
    out = " ".join(tell(capsys, *words, "--offline", "--quiet", "--workers", "1", code=5).split())
    assert "against the best" in out
    assert "Not in it, because it failed: full, reviews, bert-demo, seed 0, train.lr=1e+18." in out
    assert "What to try next: bench pick --task reviews" in out


def test_a_speed_up_may_be_written_with_an_x(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["pick", "--task", "demo", "--results-dir", str(store), "--json", "--speedup"]
    assert tell(capsys, *asked, "2x") == tell(capsys, *asked, "2")
    assert main([*asked, "two"]) == 2
    assert "'two' is no speed-up: give a number such as 2 or 2x." in capsys.readouterr().err
