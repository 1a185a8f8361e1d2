"""From recorded logits to a trade-off curve and operating points: what `bench run` and `bench replay` share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.measure import metrics as m
from bench.measure.curve import Curve, exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.points import Rule, choose_cut, pareto
from bench.measure.risk import choose_certified
from bench.measure.scores import score_recorded
from bench.measure.stats import Interval, bootstrap, bootstrap_ratio, wilson
from strategies.base import Criterion

CURVE_ROWS = 200  # rows of a curve kept in the record; all of them follow from the stored logits


@dataclass(frozen=True)
class Costs:
    """FLOPs of each sample leaving at each exit, [N, L], and of the plain model, [N]; layers without a model."""

    early: NDArray[np.int64]
    plain: NDArray[np.int64]
    unit: str = "flops"

    @classmethod
    def layers(cls, samples: int, exits: int) -> Costs:
        """Costs counted in layers, for logits without a model."""
        early = np.broadcast_to(np.arange(1, exits + 1, dtype=np.int64), (samples, exits))
        return cls(early, np.full(samples, exits, dtype=np.int64), "layers")


class TradeOff:
    """A criterion on one split: its scores, its exact curve, and the numbers of any cut."""

    def __init__(self, criterion: Criterion, exits: AllExits, costs: Costs, metrics: Sequence[str]) -> None:
        self.criterion, self.exits, self.costs, self.metrics = criterion, exits, costs, metrics
        self.scores = score_recorded(criterion, exits)
        self.predictions = exits.predictions
        primary = metrics[0] if m.is_additive(metrics[0]) else None
        self._additive = primary
        statistic = [m.statistics(primary, self.predictions, exits.labels)] if primary else []
        self.curve: Curve = exact_curve(self.scores, [*statistic, costs.early], strict=criterion.strict)

    @property
    def quality(self) -> NDArray[np.float64]:
        """The primary metric at every row of the curve, [K]; NaN where the cut is no setting of the method."""
        if self._additive:
            found = m.from_statistics(self._additive, self.curve.sums[0])
        else:
            found = np.array([self.metric_at(cut) for cut in self.curve.cuts])
        return np.where(self.curve.midpoints <= self.criterion.loosest, found, np.nan)

    @property
    def speedup(self) -> NDArray[np.float64]:
        """Cost of the plain model over cost with early exits at every row, [K]."""
        ratio: NDArray[np.float64] = float(self.costs.plain.sum()) / self.curve.sums[-1][:, 0].astype(np.float64)
        return ratio

    def layers_at(self, cut: float) -> NDArray[np.int64]:
        """Exit layers, 1-based [N]; the cut is rounded to the scores' precision, as a live comparison rounds it."""
        return exit_layers(self.scores, float(self.scores.dtype.type(cut)), strict=self.criterion.strict)

    def metric_at(self, cut: float) -> float:
        """The primary metric at ``cut``."""
        return self._compute(self.layers_at(cut))[self.metrics[0]]

    def _compute(self, layers: NDArray[np.int64]) -> dict[str, float]:
        return m.compute(self.metrics, self._answers(layers), self.exits.labels)

    def _answers(self, layers: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.float32]:
        return self.predictions[np.arange(len(layers)), layers - 1]

    @property
    def full(self) -> float:
        """The primary metric of the last exit."""
        return self._compute(np.full(len(self.exits.ids), self.curve.exits))[self.metrics[0]]

    def per_exit(self) -> dict[str, list[float]]:
        """Every metric with all samples forced to leave at exit 1..L."""
        rows = [self._compute(np.full(len(self.exits.ids), layer)) for layer in range(1, self.curve.exits + 1)]
        return {name: [round(row[name], 6) for row in rows] for name in self.metrics}

    def at(self, cut: float) -> dict[str, object]:
        """Everything about one cut: metrics with 95 % intervals, layers, cost, exit histogram."""
        layers = self.layers_at(cut)
        answers = self._answers(layers)
        values = self._compute(layers)
        intervals = {name: self._interval(name, answers, values[name]) for name in self.metrics}
        rows = np.arange(len(layers))
        spent = self.costs.early[rows, layers - 1]
        speedup = bootstrap_ratio(self.costs.plain, spent)
        return {
            "metrics": {k: {"value": values[k], "low": i.low, "high": i.high} for k, i in intervals.items()},
            "samples": len(layers),
            "mean_layer": float(layers.mean()),
            "layer_fraction": float(layers.mean() / self.curve.exits),
            "cost_unit": self.costs.unit,
            "cost_speedup": {"value": speedup.estimate, "low": speedup.low, "high": speedup.high},
            "cost_mean": float(spent.mean()),
            "exit_counts": np.bincount(layers, minlength=self.curve.exits + 1)[1:].tolist(),
        }

    def _interval(self, name: str, answers: NDArray[np.int64] | NDArray[np.float32], value: float) -> Interval:
        labels = self.exits.labels
        if name == "accuracy":
            return wilson(int((answers == labels).sum()), len(labels))
        if m.is_additive(name):
            statistics = m.statistics(name, answers[:, None], labels)[:, 0]
            return bootstrap(statistics, lambda sums: m.from_statistics(name, sums))
        random = np.random.default_rng(0)
        draws = (random.integers(0, len(labels), len(labels)) for _ in range(500))
        found = [m.compute([name], answers[rows], labels[rows])[name] for rows in draws]
        return Interval(value, float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975)))

    def curve_rows(self) -> list[dict[str, float | None]]:
        """At most 200 rows of the curve, evenly spread over its cost, the ends and the Pareto front's among them."""
        quality, speedup = self.quality, self.speedup
        settings = np.flatnonzero(~np.isnan(quality))
        chosen = settings[_spread(1 / speedup[settings], CURVE_ROWS)]
        front = pareto(quality, 1 / speedup)
        return [
            {
                "threshold": _finite(self.criterion.threshold(float(self.curve.midpoints[k]))),
                "quality": round(float(quality[k]), 6),
                "mean_layer": round(float(self.curve.mean_layer[k]), 6),
                "cost_speedup": round(float(speedup[k]), 6),
                "pareto": bool(front[k]),
            }
            for k in chosen
        ]


def operating_points(select: TradeOff, report: TradeOff, rules: Sequence[Rule]) -> list[dict[str, object]]:
    """Each rule's threshold, chosen on ``select`` and reported on ``report``. Unreachable ones keep their reason."""
    quality, speedup, full = select.quality, select.speedup, select.full
    points = []
    for rule in rules:
        point: dict[str, object] = {"rule": rule.format(), "chosen_on": "select"}
        if rule.certified:
            found = choose_certified(select.curve, select.scores, select.predictions, select.exits.labels, rule)
        else:
            found = choose_cut(select.curve, quality, speedup, full, rule)
        if found.index is None or found.cut is None:
            points.append({**point, "reason": found.reason})
            continue
        chosen = {"quality": float(quality[found.index]), "cost_speedup": float(speedup[found.index])}
        point |= {"cut": _finite(found.cut), "threshold": _finite(select.criterion.threshold(found.cut))}
        points.append({**point, "select": chosen, **report.at(found.cut)})
    return points


def default_point(report: TradeOff) -> list[dict[str, object]]:
    """The criterion's default threshold on the reported split; nothing for one that never leaves early."""
    if not report.criterion.uses_early_exits:
        return []
    [point] = given_points(report, [report.criterion.default_threshold])
    return [{**point, "rule": "default", "chosen_on": "default"}]


def given_points(report: TradeOff, thresholds: Sequence[float]) -> list[dict[str, object]]:
    """The user's own thresholds on the reported split."""
    rows = []
    for threshold in thresholds:
        cut = report.criterion.cut_at(threshold)
        rows.append(
            {
                "rule": f"{threshold:g}",
                "chosen_on": "given",
                "cut": _finite(cut),
                "threshold": threshold,
                **report.at(cut),
            }
        )
    return rows


def _spread(cost: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """At most ``most`` row numbers, evenly spread over the cost."""
    if len(cost) <= most:
        return np.arange(len(cost))
    order = np.argsort(cost, kind="stable")
    wanted = np.linspace(cost[order[0]], cost[order[-1]], most)
    near = order[np.clip(np.searchsorted(cost[order], wanted), 0, len(cost) - 1)]
    return np.unique(np.append(near, [0, len(cost) - 1]))


def _finite(value: float) -> float | None:
    """JSON has no infinity: None stands for the cut that lets nobody leave early."""
    return value if math.isfinite(value) else None
