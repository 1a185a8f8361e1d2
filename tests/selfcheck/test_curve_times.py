"""The exact curve is timed against the grid and the re-run that it replaces."""

from __future__ import annotations

import pytest

from bench.selfcheck.sweep import describe_curves, time_curves


def test_what_was_timed_is_what_is_reported() -> None:
    result = time_curves(repeats=1, replicates=2)
    assert result["curve_points"] > 10_000
    assert result["exact_vs_grid"] == pytest.approx(result["grid_s"] / result["exact_curve_s"])
    assert "2 bootstrap replicates" in describe_curves(result)
