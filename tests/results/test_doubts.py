"""What could make a run's numbers void is said, and only where it is so."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.measure.exits import AllExits
from bench.measure.metrics import from_statistics, statistics
from bench.results.exits import write_exits
from bench.results.run import Run
from bench.results.series_doubts import add_marks, describe_doubts, find_series_doubts, name_rows
from bench.results.store import Store
from tests.helpers.report_store import edit_cell, make_cell, record_exits

Record = dict[str, Any]


def put(
    root: Path,
    right: Callable[[int], bool] = lambda i: True,
    *,
    held_out: int = 500,
    constant: tuple[int, ...] = (),
    strategy: str = "entropy",
    change: Callable[[Record], None] = lambda record: None,
    **cell: Any,
) -> Run:
    """A cell of 80 samples, half of each class, whose last exit is right where ``right`` says."""
    folder = make_cell(root, strategy, samples=80, layers=3, exits=False, **cell)

    labels = np.arange(80) % 2
    last = np.array([label if right(i) else 1 - label for i, label in enumerate(labels)])
    answers = np.stack([np.zeros(80, dtype=int) if exit_ in constant else last for exit_ in (1, 2, 3)], axis=1)
    logits = np.eye(2)[answers].astype(np.float32)

    def edit(record: Record) -> None:
        record["task"]["rows"]["select"] = {"used": held_out, "available": held_out}
        per_exit = record["evaluation"]["evaluation"]["per_exit"]
        for name in per_exit:
            found = from_statistics(name, statistics(name, answers, labels).sum(axis=0))
            per_exit[name] = [round(float(value), 6) for value in found]
        change(record)

    edit_cell(folder, edit)
    write_exits(
        AllExits(tuple(map(str, range(80))), labels, logits, np.full(80, 5)), folder / "exits-evaluation.parquet"
    )
    return Run.load(folder)


def kinds(run: Run) -> list[str]:
    return [doubt.kind for doubt in run.doubts]


def test_a_good_model_with_many_held_out_samples_is_not_doubted(tmp_path: Path) -> None:
    assert put(tmp_path).doubts == ()


def test_a_model_no_better_than_the_commonest_class_is_void(tmp_path: Path) -> None:
    [doubt] = put(tmp_path, lambda i: i % 4 < 2).doubts
    assert (doubt.kind, doubt.mark, doubt.void) == ("no-skill", "no skill", True)
    half = 1.959964 * ((42 / 82) / 82) ** 0.5  # 20 won and 20 lost, one more of each
    assert doubt.found == (
        f"accuracy 0.500 against 0.500 of the commonest class (negative), gain +0.000 [{-half:+.3f}, {half:+.3f}]"
    )
    assert doubt.said.endswith("so the speed-ups mean nothing")


def test_exits_of_one_answer(tmp_path: Path) -> None:
    assert kinds(put(tmp_path / "all", constant=(1, 2, 3))) == ["no-skill", "one-answer"]
    [some] = put(tmp_path / "some", constant=(1,)).doubts
    assert (some.kind, some.void, some.found) == ("one-answer", False, "exit 1 of 3 answers the same for every sample")
    assert set(some.rules) == {"2x", "3x"}  # where samples leave at exit 1; at the others nobody does
    unused = put(tmp_path / "unused", constant=(1,), early=False)  # a model that never leaves early
    assert unused.doubts == ()


@pytest.mark.parametrize(
    ("held_out", "rules", "share", "void"),
    [
        (16, {"no-loss", "-0.5", "-1", "2x", "3x"}, "6.2", True),
        (29, {"no-loss", "-0.5", "-1", "2x", "3x"}, "3.4", True),
        (30, {"no-loss", "-0.5", "-1", "2x", "3x"}, "3.3", False),
        (99, {"no-loss", "-0.5", "-1", "2x", "3x"}, "1.0", False),
        (100, {"-0.5"}, "1.0", False),
        (199, {"-0.5"}, "0.5", False),
        (200, set(), "", False),
    ],
)
def test_points_chosen_on_few_samples(held_out: int, rules: set[str], share: str, void: bool, tmp_path: Path) -> None:
    doubts = put(tmp_path, held_out=held_out).doubts
    assert [set(doubt.rules) for doubt in doubts] == ([rules] if rules else [])
    for doubt in doubts:
        assert (doubt.kind, doubt.mark, doubt.void) == ("few-held-out", f"{held_out} held out", void)
        assert doubt.found.endswith(f"chosen on {held_out} held-out samples, of which one is {share} points")


def test_a_default_or_given_or_certified_point_was_not_chosen_on_few_samples(tmp_path: Path) -> None:
    def change(record: Record) -> None:
        for point, rule, origin in zip(
            record["evaluation"]["evaluation"]["points"],
            ("default", "0.5", "risk=0.1@0.9", "gap=0.1", "0.7", "0.8"),
            ("default", "given", "select", "select", "given", "given"),
            strict=True,
        ):
            point |= {"rule": rule, "chosen_on": origin}

    assert put(tmp_path, held_out=16, change=change).doubts == ()


def test_of_a_fitted_criterion_the_samples_count_that_points_were_chosen_on(tmp_path: Path) -> None:
    def change(record: Record) -> None:
        shared = {"fitted_on": 20, "chosen_on": 20, "apart": True}
        record["criterion"] = {"probe": None, "fitted": {"a": [1.0]}, "held_out": shared}

    [doubt] = put(tmp_path, held_out=40, change=change).doubts
    assert (doubt.mark, doubt.void) == ("20 held out", True)


def test_of_other_metrics_one_sample_is_no_number_of_points(tmp_path: Path) -> None:
    assert put(tmp_path / "many", held_out=150, metric="f1").doubts == ()
    [few] = put(tmp_path / "few", held_out=40, metric="f1").doubts
    assert few.found.endswith("chosen on 40 held-out samples")


def test_a_recorded_skill_is_believed_and_an_old_record_is_looked_into(tmp_path: Path) -> None:
    gain = {"value": 0.0, "low": -0.1, "high": 0.1}
    skill = {"measure": "accuracy", "model": 0.5, "baseline": 0.5, "answer": 1, "gain": gain, "constant_exits": []}
    recorded = put(tmp_path / "new", change=lambda record: record.update(skill={"evaluation": skill}))
    assert kinds(recorded) == ["no-skill"]
    assert "(positive)" in recorded.doubts[0].found

    old = put(tmp_path / "old", lambda i: i % 4 < 2)
    assert old.record.skill is None
    assert kinds(old) == ["no-skill"]


def test_without_logits_nothing_is_said_and_damaged_ones_are(tmp_path: Path) -> None:
    run = put(tmp_path, lambda i: i % 4 < 2)
    run.exits_file().write_bytes(b"PAR1")
    [doubt] = Run.load(run.folder).doubts
    assert (doubt.kind, doubt.void) == ("unchecked", False)
    assert "exits-evaluation.parquet is damaged" in doubt.said
    run.exits_file().unlink()
    assert Run.load(run.folder).doubts == ()


def test_the_foot_of_a_table_says_the_same_once_and_names_seeds(tmp_path: Path) -> None:
    coin = [put(tmp_path, lambda i: i % 4 < 2, strategy=name) for name in ("entropy", "margin", "energy")]
    rows = [(run.strategy, find_series_doubts([run], run.primary)) for run in coin]
    [sentence] = describe_doubts(rows)
    assert sentence.startswith("No skill: the full model is not shown")
    assert sentence.count("accuracy 0.500") == 1
    assert "entropy, margin, energy: accuracy" in sentence
    seeds = [put(tmp_path, lambda i, seed=seed: seed or i % 4 < 2, strategy="voting", seed=seed) for seed in (0, 1)]
    doubts = find_series_doubts(seeds, "evaluation")
    assert add_marks("voting", doubts) == "voting (no skill: seed 0)"
    assert "voting seed 0: accuracy" in describe_doubts([("voting", doubts)])[0]
    assert add_marks("voting", find_series_doubts(seeds[1:], "evaluation")) == "voting"


def test_doubts_about_points_that_are_not_shown_are_not_shown(tmp_path: Path) -> None:
    run = put(tmp_path, held_out=150)
    assert kinds(run) == ["few-held-out"]
    assert find_series_doubts([run], run.primary, ["no-loss", "2x"]) == []
    assert len(find_series_doubts([run], run.primary, ["-0.5"])) == 1


def test_rows_are_named_by_their_arguments_where_a_name_is_there_twice() -> None:
    assert name_rows([("a", "w=1"), ("a", "w=2"), ("b", "w=1"), ("c", "")]) == ["a (w=1)", "a (w=2)", "b", "c"]


# --------------------------------------------------------------------------- every output


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    for name in ("entropy", "margin", "energy"):
        made = put(tmp_path / "results", lambda i: i % 4 < 2, strategy=name, held_out=16, checkpoint="one")
        record_exits(made.folder)
    return tmp_path / "results"


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_table_marks_the_rows_and_says_why_once(
    doubtful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.md"
    text = out_of(capsys, "table", "--results-dir", str(doubtful), "--at", "no-loss,2x", "--markdown", str(file))
    assert text.count("No skill: ") == text.count("Few held out: ") == 1
    assert "entropy (no skill, 16 held out)" in file.read_text(encoding="utf-8")
    assert file.read_text(encoding="utf-8").count("so the speed-ups mean nothing") == 1
    rows = json.loads(out_of(capsys, "table", "--results-dir", str(doubtful), "--json"))
    assert [[doubt["kind"] for doubt in row["doubts"]] for row in rows] == [["no-skill", "few-held-out"]] * 3
    assert rows[0]["doubts"][0]["void"] is True
    assert rows[0]["doubts"][0]["seeds"] == [0]


def test_show_says_it_beside_the_number(doubtful: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(Store(doubtful).folders()[0])
    text = out_of(capsys, "show", folder)
    assert "all layers (no skill)" in text
    assert "no-loss (16 held out)" in text
    assert "of which one is 6.2 points; a threshold from so few samples says nothing of others." in text
    found = json.loads(out_of(capsys, "show", folder, "--json"))["doubts"]
    assert [(doubt["split"], doubt["kind"]) for doubt in found] == [
        ("evaluation", "no-skill"),
        ("evaluation", "few-held-out"),
    ]


def test_criteria_say_that_the_model_has_no_skill_and_nothing_of_points(
    doubtful: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = out_of(capsys, "criteria", "--results-dir", str(doubtful))
    assert text.count("No skill: ") == 1
    assert "held out" not in text
    [table] = json.loads(out_of(capsys, "criteria", "--results-dir", str(doubtful), "--json"))
    assert [[doubt["kind"] for doubt in row["doubts"]] for row in table["rows"]] == [["no-skill"]] * 3


def test_report_says_it_on_the_page_and_in_every_table(
    doubtful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_of(capsys, "report", "--results-dir", str(doubtful), "--out", str(tmp_path), "--format", "html,md,latex,csv")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no skill (3 series)" in page
    for strategy in ("entropy", "margin", "energy"):  # beside each line of the first table
        assert re.search(rf"<bdi>{strategy}</bdi><small>[^<]*no skill, 16 held out</small>", page)
    for name in ("report.md", "tables.tex"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "entropy (no skill, 16 held out)" in text
        assert "so the speed-ups mean nothing" in text
    for name in ("points.csv", "curves.csv", "cells.csv"):
        rows = list(csv.DictReader((tmp_path / name).open(encoding="utf-8")))
        assert rows
        assert all("No skill: accuracy 0.500 against 0.500" in row["doubts"] for row in rows), name
