"""A criterion's trade-off on one split: scores, exact curve, and the numbers of any cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.measure import metrics as m
from bench.measure.curve import Curve, exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.risk import choose_certified
from bench.measure.rules import Choice, Rule, Unreachable, choose_cut
from bench.measure.stats import Interval, bootstrap, wilson

if TYPE_CHECKING:
    from strategies.base import Criterion


@dataclass(frozen=True)
class Costs:
    """FLOPs of each sample leaving at each exit, [N, L], and of the plain model, [N]; layers without a model."""

    early: NDArray[np.int64]
    plain: NDArray[np.int64]
    unit: Literal["flops", "layers", "nanoseconds"] = "flops"

    @classmethod
    def layers(cls, samples: int, exits: int) -> Costs:
        """Return costs counted in layers, for logits without a model."""
        early = np.broadcast_to(np.arange(1, exits + 1, dtype=np.int64), (samples, exits))
        return cls(early, np.full(samples, exits, dtype=np.int64), "layers")


class TradeOff:
    """A criterion on one split: its scores [N, L] there, its exact curve, and the numbers of any cut."""

    def __init__(
        self,
        criterion: Criterion,
        exits: AllExits,
        costs: Costs,
        metrics: Sequence[str],
        scores: NDArray[np.float32] | NDArray[np.float64] | None = None,
    ) -> None:
        self.criterion, self.exits, self.costs, self.metrics = criterion, exits, costs, metrics
        if scores is None:
            from bench.measure.scores import score_recorded  # torch, which readers of recorded numbers do without

            scores = score_recorded(criterion, exits)
        self.scores = scores
        self.predictions = exits.predictions
        self._additive = metrics[0] if m.is_additive(metrics[0]) else None
        statistic = [m.statistics(self._additive, self.predictions, exits.labels)] if self._additive else []
        self.curve: Curve = exact_curve(self.scores, [*statistic, costs.early], strict=criterion.strict)

    @cached_property
    def quality(self) -> NDArray[np.float64]:
        """The primary metric at every row of the curve, [K]; NaN where the cut is no setting of the method."""
        if self._additive:
            found = m.from_statistics(self._additive, self.curve.sums[0])
        else:
            found = np.array([self.compute_metrics(self.layers_at(cut))[self.metrics[0]] for cut in self.curve.cuts])
        return np.where(self.curve.midpoints <= self.criterion.loosest, found, np.nan)

    @cached_property
    def speedup(self) -> NDArray[np.float64]:
        """Cost of the plain model over cost with early exits at every row, [K]."""
        ratio: NDArray[np.float64] = float(self.costs.plain.sum()) / self.curve.sums[-1][:, 0].astype(np.float64)
        return ratio

    def layers_at(self, cut: float) -> NDArray[np.int64]:
        """Return exit layers, 1-based [N]; the cut is rounded to the scores' precision, as in a live comparison."""
        return exit_layers(self.scores, float(self.scores.dtype.type(cut)), strict=self.criterion.strict)

    def answers_at(self, layers: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return the answers [N] of samples that leave at exits ``layers`` [N]."""
        return self.predictions[np.arange(len(layers)), layers - 1]

    def compute_metrics(self, layers: NDArray[np.int64]) -> dict[str, float]:
        """Return every metric of samples that leave at exits ``layers`` [N]."""
        return m.compute_metrics(self.metrics, self.answers_at(layers), self.exits.labels)

    @cached_property
    def full(self) -> float:
        """The primary metric of the last exit."""
        return self.compute_metrics(self.layers_at(-np.inf))[self.metrics[0]]

    def per_exit(self) -> dict[str, list[float]]:
        """Return every metric with all samples forced to leave at exit 1..L, to six digits."""
        samples, exits = self.scores.shape
        rows = [self.compute_metrics(np.full(samples, layer)) for layer in range(1, exits + 1)]
        return {name: [round(row[name], 6) for row in rows] for name in self.metrics}

    def choose(self, rule: Rule) -> Choice | Unreachable:
        """Choose the cut that ``rule`` asks for, on this split."""
        if rule.is_certified:
            held_out = self.scores, self.predictions, self.exits.labels
            return choose_certified(self.curve, *held_out, rule, self.quality, self.criterion.loosest)
        return choose_cut(self.curve, self.quality, self.speedup, self.full, rule)

    def estimate_metrics(self, layers: NDArray[np.int64]) -> dict[str, Interval]:
        """Return every metric of samples that leave at exits ``layers`` [N], with its interval over samples."""
        answers = self.answers_at(layers)
        return {name: estimate_metric(name, answers, self.exits.labels) for name in self.metrics}

    def spent_at(self, layers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cost [N] of samples that leave at exits ``layers`` [N]."""
        return self.costs.early[np.arange(len(layers)), layers - 1]


def estimate_metric(
    name: str, answers: NDArray[np.int64] | NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.float32]
) -> Interval:
    """Return a metric of answers [N] to samples with labels [N], with its 95 % interval over samples."""
    value = m.compute_metrics([name], answers, labels)[name]
    if name == "accuracy":
        found = wilson(int((answers == labels).sum()), len(labels))
    elif m.is_additive(name):
        statistics = m.statistics(name, answers[:, None], labels)[:, 0]
        found = bootstrap(statistics, lambda sums: m.from_statistics(name, sums))
    else:
        random = np.random.default_rng(0)
        draws = (random.integers(0, len(labels), len(labels)) for _ in range(500))
        values = [m.compute_metrics([name], answers[rows], labels[rows])[name] for rows in draws]
        return Interval(value, float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
    return Interval(value, found.low, found.high)
