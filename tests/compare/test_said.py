"""What a comparison says beside its numbers: doubts with the rows that they are about, and which rows are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.compare.compare import CellDoubt, Comparison
from bench.compare.output import make_table, write_markdown
from bench.compare.sources import read_results
from bench.compare.verdict import Margins, Row
from bench.errors import Damaged
from bench.results.doubts import Doubt
from bench.results.series_doubts import SeriesDoubt
from tests.helpers.compare_records import Made

NO_SKILL = Doubt("no-skill", "no skill", "0.5 against 0.5", "the speed-ups mean nothing", True)
FEW = Doubt("few-held-out", "16 held out", "16 samples", "it says nothing of others", True, ("2x", "3x"))


def doubted(doubt: Doubt, *sides: str, cell: str = "one", split: str = "validation") -> CellDoubt:
    return CellDoubt(cell, split, sides or ("base", "candidate"), SeriesDoubt(doubt, (0,), 1))


def comparison(*doubts: CellDoubt, rows: tuple[Row, ...] = ()) -> Comparison:
    return Comparison("before", "after", list(rows), Margins(), doubts=doubts)


def row(cell: str = "one", point: str = "", split: str = "validation") -> Row:
    return Row(cell, "accuracy", "same", "", point, split)


@pytest.mark.parametrize(
    ("sides", "name"), [((), "one"), (("base",), "one (base)"), (("candidate",), "one (candidate)")]
)
def test_a_doubt_about_one_side_names_it(sides: tuple[str, ...], name: str) -> None:
    found = doubted(NO_SKILL, *sides)
    assert found.name == name
    assert comparison(found).describe_doubts() == [f"No skill: {NO_SKILL.why}. {name}: {NO_SKILL.found}."]


def test_a_row_is_marked_by_doubts_of_its_own_cell_and_split() -> None:
    found = comparison(doubted(NO_SKILL))
    assert found.mark_cell(row()) == "one (no skill)"
    assert found.mark_cell(row(split="")) == "one (no skill)"  # a row about all splits
    assert found.mark_cell(row(split="test")) == "one"
    assert found.mark_cell(row("another")) == found.mark_cell(row("another", split="")) == "another"


def test_a_doubt_about_operating_points_marks_these_and_one_about_none_marks_all() -> None:
    found = comparison(doubted(NO_SKILL), doubted(FEW))
    assert found.mark_cell(row(point="2x")) == "one (no skill, 16 held out)"
    assert found.mark_cell(row(point="all layers")) == "one (no skill)"
    assert comparison(doubted(FEW)).mark_cell(row(point="4x")) == "one"


def test_the_rows_that_are_the_same_are_shown_on_request_and_folded_away_in_a_summary() -> None:
    rows = Row("moved", "accuracy", "worse", "why"), Row("stayed", "accuracy", "same", "equal")
    found = comparison(rows=rows)
    assert [cells[1] for cells in make_table(found).cells] == ["moved"]
    assert [cells[1] for cells in make_table(found, everything=True).cells] == ["moved", "stayed"]
    shown, _, folded = write_markdown(found).partition("<details><summary>1 the same</summary>")
    assert ("| moved |" in shown, "| stayed |" in shown) == (True, False)
    assert ("| moved |" in folded, "| stayed |" in folded) == (False, True)


def test_damaged_logits_of_the_run_that_was_named_are_an_error_and_of_one_among_others_left_out(tmp_path: Path) -> None:
    for seed in (0, 1):
        Made(seed=seed).write(tmp_path)
    [logits] = tmp_path.glob("*/*/*-s0-*/exits-evaluation.parquet")
    logits.write_bytes(logits.read_bytes()[:-9])
    with pytest.raises(Damaged):
        read_results(logits.parent).leave_out_damaged()
    found = read_results(tmp_path).leave_out_damaged()
    assert [run.seed for run in found.runs] == [1]
    assert len(found.left_out) == 1
