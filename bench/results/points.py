"""From a trade-off to the typed numbers of a record: what a cut gives, the points that rules choose, the curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.measure.rules import Rule, Unreachable, pareto
from bench.measure.stats import bootstrap_ratio
from bench.results.measures import ChosenOn, CurveRow, OperatingPoint, Performance, SplitResult, UnreachedPoint
from bench.results.part import Estimate

if TYPE_CHECKING:
    from bench.measure.trade_off import TradeOff

MOST_ROWS = 100
"""Rows of a curve kept in a record; all of them follow from the stored logits."""


def make_split_result(report: TradeOff, points: Sequence[OperatingPoint | UnreachedPoint]) -> SplitResult:
    """Return what is recorded of a split: the full model, every exit by itself, the curve, and these points."""
    return SplitResult(
        samples=len(report.exits.ids),
        full=measure_performance(report, -math.inf),
        per_exit={name: tuple(values) for name, values in report.per_exit().items()},
        points=tuple(points),
        curve_rows=len(report.curve),
        curve=thin_curve(report),
    )


def measure_performance(curve: TradeOff, cut: float) -> Performance:
    """Return what ``cut`` gives on the trade-off's split; -inf, at which nobody leaves early, is the full model."""
    if curve.costs.unit == "nanoseconds":
        raise ValueError("Predicted times are no costs of a record.")
    layers = curve.layers_at(cut)
    spent = curve.spent_at(layers)
    return Performance(
        metrics={name: Estimate.of(found) for name, found in curve.estimate_metrics(layers).items()},
        samples=len(layers),
        mean_layer=float(layers.mean()),
        layer_fraction=float(layers.mean() / curve.curve.exits),
        cost_unit=curve.costs.unit,
        cost_speedup=Estimate.of(bootstrap_ratio(curve.costs.plain, spent)),
        cost_mean=float(spent.mean()),
        exit_counts=tuple(np.bincount(layers, minlength=curve.curve.exits + 1)[1:].tolist()),
    )


def choose_points(
    select: TradeOff, report: TradeOff, rules: Sequence[Rule], void: str = ""
) -> list[OperatingPoint | UnreachedPoint]:
    """Return each rule's point: its cut chosen on ``select`` and reported on ``report``, or why there is none.

    ``void`` says why nothing can be certified on ``select``, where that is so.
    """
    points: list[OperatingPoint | UnreachedPoint] = []
    for rule in rules:
        refused = Unreachable(f"{rule.format()} cannot be certified: {void}.")
        found = refused if void and rule.is_certified else select.choose(rule)
        if isinstance(found, Unreachable):
            points.append(UnreachedPoint(rule=rule.format(), chosen_on="select", reason=found.reason))
            continue
        quality, speedup = float(select.quality[found.index]), float(select.speedup[found.index])
        chosen = ChosenOn(quality=quality, cost_speedup=speedup)
        threshold = _find_threshold(select, found.cut)
        points.append(_make_point(report, found.cut, threshold, rule=rule.format(), chosen_on="select", select=chosen))
    return points


def measure_default(report: TradeOff) -> list[OperatingPoint]:
    """Return the point of the criterion's default threshold; nothing for one that never leaves early."""
    threshold = report.criterion.default_threshold
    if not report.criterion.uses_early_exits:
        return []
    return [_make_point(report, report.criterion.cut_at(threshold), threshold, rule="default", chosen_on="default")]


def measure_given(report: TradeOff, thresholds: Sequence[float]) -> list[OperatingPoint]:
    """Return the points of the user's own thresholds."""
    cut_at = report.criterion.cut_at
    return [_make_point(report, cut_at(t), t, rule=name_threshold(t), chosen_on="given") for t in thresholds]


def name_threshold(threshold: float) -> str:
    """Return the name of a threshold's point: its number in as many digits as it has; no two have the same one.

    ``threshold=-0.5`` where the number alone is the name of a rule: -0.5 is half a point of loss.
    """
    short = f"{threshold:g}"
    name = short if float(short) == threshold else repr(float(threshold))
    return f"threshold={name}" if name.startswith("-") else name


def thin_curve(curve: TradeOff) -> tuple[CurveRow, ...]:
    """Return at most 100 rows of the curve, evenly spread over its cost, its two ends among them."""
    quality, speedup, midpoints = curve.quality, curve.speedup, curve.curve.midpoints
    settings = np.flatnonzero(~np.isnan(quality))
    front = pareto(quality, 1 / speedup)
    return tuple(
        CurveRow(
            threshold=_find_threshold(curve, float(midpoints[k])),
            quality=round(float(quality[k]), 6),
            mean_layer=round(float(curve.curve.mean_layer[k]), 6),
            cost_speedup=round(float(speedup[k]), 6),
            pareto=bool(front[k]),
        )
        for k in settings[_spread(1 / speedup[settings], MOST_ROWS)]
    )


def _make_point(report: TradeOff, cut: float, threshold: float | None, **asked: Any) -> OperatingPoint:
    return OperatingPoint(**asked, cut=cut, threshold=threshold, **dict(measure_performance(report, cut)))


def _find_threshold(curve: TradeOff, cut: float) -> float | None:
    """Return the cut in the criterion's own terms; None where that is no number: nobody leaves early."""
    threshold = curve.criterion.threshold(cut)
    return threshold if math.isfinite(threshold) else None


def _spread(cost: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return at most ``most`` row numbers, evenly spread over the cost."""
    if len(cost) <= most:
        return np.arange(len(cost))
    order = np.argsort(cost, kind="stable")
    wanted = np.linspace(cost[order[0]], cost[order[-1]], most)
    near = order[np.clip(np.searchsorted(cost[order], wanted), 0, len(cost) - 1)]
    return np.unique(np.append(near, [0, len(cost) - 1]))
