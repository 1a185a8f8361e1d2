"""The card of an exported folder says beside its numbers what they are worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.advise.export.card import describe_point, describe_timing, write_card
from bench.advise.export.chosen import choose_exported
from bench.results.run import Run
from tests.helpers.report_store import make_cell


@pytest.mark.parametrize("latency", ["valid", "invalid", None])
def test_a_clock_that_is_not_valid_is_said_beside_it(latency: str | None, tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path, latency=latency))
    chosen = choose_exported(run, "2x")
    headline, card = describe_point(run, chosen), write_card(run, chosen, [10] * run.layers, {})
    assert ("faster where it was timed" in headline) == (latency is not None)
    assert headline.endswith("timed (INVALID).") == (latency == "invalid")
    assert "] INVALID |\n" in card if latency == "invalid" else "INVALID" not in card
    assert [said in card for said in describe_timing(run)] == [True] * (latency == "invalid")


def test_what_is_doubted_is_said_in_short_beside_the_speedup(tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path, samples=20))
    marks = [doubt.mark for doubt in run.find_doubts(rules=["2x"])]
    assert marks
    assert f"fewer FLOPs ({', '.join(marks)}); " in describe_point(run, choose_exported(run, "2x"))
