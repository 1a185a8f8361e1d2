"""Where the rest goes: what was counted stands beside the clock, in every format."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from bench.inference.counting import count_work
from bench.progress import Progress
from bench.report.counts import build_counts_table
from bench.report.series import make_panels
from bench.report.write import write_report
from bench.results.measures import Counts
from bench.results.store import Store
from bench.selfcheck.tiny import make_tiny_model
from strategies.controls import NeverLeave
from strategies.elbert import MonotoneWindow, SharedHead
from strategies.entropy import NormalisedEntropy
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.report_store import edit_cell, make_cell


def count(criterion: Any, model: Any = None) -> Counts:
    return Counts.of(count_work(model or make_tiny_model("albert", SharedHead), criterion), "cpu", "float32")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems that were counted, one of them on two tasks, one from before that, and one that never leaves."""
    made = tmp_path_factory.mktemp("counted")
    for strategy, task, criterion in (
        ("elbert-mono", "demo", MonotoneWindow(window=2)),
        ("elbert-mono", "sst2", MonotoneWindow(window=2)),
        (HOSTILE["script"].replace("/", "∕"), "demo", NormalisedEntropy()),
        ("full", "demo", NeverLeave()),
    ):
        folder = make_cell(
            made, strategy, task, early=strategy != "full", place=f"{task}/b/{len(list(made.rglob('*')))}"
        )
        edit_cell(folder, lambda record, criterion=criterion: record.update(counts=count(criterion).to_plain()))
    make_cell(made, "deebert", "demo", place="demo/b/old")
    return made


def test_a_row_a_system_says_what_a_layer_a_head_and_a_check_take(store: Path) -> None:
    table = build_counts_table(make_panels(Store(store).runs()[0]))
    assert len(table.rows) == 2
    [elbert] = [row for row in table.rows if row[0].startswith("elbert-mono")]
    run = count(MonotoneWindow(window=2)).never
    assert elbert[2].startswith(f"{run.layers.operations[0]}, ")
    assert elbert[4] == f"{min(run.checks.operations[:-1])} to {max(run.checks.operations[:-1])}"
    assert elbert[5] == "1"


def test_it_stands_in_every_format(store: Path, tmp_path: Path) -> None:
    write_report(store, tmp_path, ["html", "md", "latex", "csv"], Progress(quiet=True))
    reader = Reader()
    reader.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Where the rest goes" in "".join(reader.text)
    assert reader.tags.count("script") == 1
    assert "### Where the rest goes" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "tab:counts" in (tmp_path / "tables.tex").read_text(encoding="utf-8")
    rows = list(csv.DictReader((tmp_path / "counts.csv").open(encoding="utf-8", newline="")))
    heads = [row for row in rows if row["at"] == "heads" and row["series"].startswith("elbert-mono")]
    assert [int(row["operations"]) for row in heads] == list(count(MonotoneWindow(window=2)).never.heads.operations)


def test_nothing_is_said_where_nothing_was_counted(tmp_path: Path) -> None:
    make_cell(tmp_path / "store", "deebert")
    written = write_report(tmp_path / "store", tmp_path / "out", ["html", "md", "csv"], Progress(quiet=True))
    assert not any(name.endswith("counts.csv") for name in written["files"])
    assert "Where the rest goes" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("criterion", "said"), [(MonotoneWindow(window=2), "and 1 host synchronisation;"), (NeverLeave(), "")]
)
def test_a_sentence_says_what_looking_at_an_exit_takes(criterion: Any, said: str) -> None:
    found = count(criterion).describe()
    assert said in found
    assert bool(found) == bool(said)
