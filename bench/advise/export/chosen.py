"""The point at which an exported model decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.errors import UsageError
from bench.results.measures import OperatingPoint, Performance
from bench.results.points import measure_performance, name_threshold
from bench.results.run import Run


@dataclass(frozen=True)
class ChosenPoint:
    """The point at which an exported model decides: its name, the cut, the threshold, what was measured there.

    ``point`` is the recorded one, None for a threshold that the run has no point of.
    """

    rule: str
    cut: float
    threshold: float
    measured: Performance
    point: OperatingPoint | None


def choose_exported(run: Run, asked: str) -> ChosenPoint:
    """Return the operating point that ``asked`` names, or the threshold that it is.

    Raises UsageError for a point that was not reached, and for one at which nobody leaves early.
    """
    reached = run.result().reached
    if (point := run.point(asked)) is not None:
        if point.threshold is None:
            raise UsageError(f"At operating point '{asked}' nobody leaves early: take another one with --point.")
        return ChosenPoint(point.rule, point.cut, point.threshold, point, point)
    try:
        threshold = float(asked.removeprefix("threshold="))
    except ValueError:
        unreached = run.result().unreached.get(asked)
        why = f"did not reach '{asked}': {unreached.reason}" if unreached else f"has no operating point '{asked}'."
        raise UsageError(
            f"{run.folder.name} {why} Give --point one of {', '.join(reached) or 'none'}, or a threshold."
        ) from None
    cut = run.criterion.cut_at(threshold)
    if not np.isfinite(cut):
        raise UsageError(
            f"At threshold {threshold:g} nobody leaves early, or everybody does: give --point another one."
        )
    return ChosenPoint(name_threshold(threshold), cut, threshold, measure_performance(run.trade_off(), cut), None)
