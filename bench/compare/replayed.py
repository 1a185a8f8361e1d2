"""What a recorded run says under any weights of its samples: its replayed answers, ready for intervals.

Costs are layers here, as the papers' own cost is (the mean exit layer over all layers); heads are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.compare.quality import REPLICATES
from bench.measure import metrics as m
from bench.measure.areas import GRID, QualityArea
from bench.measure.curve import Float
from bench.measure.seeds import interval_over_seeds
from bench.measure.stats import Interval, draw_counts
from bench.measure.trade_off import TradeOff
from bench.results.run import Run

Layers = NDArray[np.int64]
Weighted = Callable[[Float], Float]
"""A quantity of one run under sample weights [B, N] -> [B]; the weights are how often each sample was drawn."""


class NotRun(Exception):
    """Why something cannot be judged from what was recorded."""


class NotReached(Exception):
    """Why a method has no setting that is asked for, which is judged: a claim that needs one is not reproduced."""


@dataclass(frozen=True, eq=False)
class ReplayedRun:
    """What one run (one seed of a cell) says about its reported split, with costs in layers.

    ``cuts`` are those of its operating points by rule; ``unreached`` says why others have none; ``depth`` is the layers
    of the whole backbone, of which a truncated run has fewer.
    """

    trade_off: TradeOff
    depth: int
    cuts: Mapping[str, float]
    unreached: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_run(cls, run: Run) -> ReplayedRun:
        """Replay a recorded run. Raises NotRun for one that travels without its logits."""
        if not run.has_exits():
            raise NotRun(f"{run.folder.name} has no recorded logits")
        result = run.result()
        cuts = {rule: point.cut for rule, point in result.reached.items()}
        unreached = {rule: point.reason for rule, point in result.unreached.items()}
        return cls(run.trade_off(), run.record.backbone.whole_depth, cuts, unreached)

    @property
    def metric(self) -> str:
        """The task's first metric."""
        return self.trade_off.metrics[0]

    @property
    def exits(self) -> int:
        """Layers that this run has."""
        return self.trade_off.curve.exits

    @cached_property
    def last(self) -> Layers:
        """Everybody at the last exit, [N]."""
        return np.full(len(self.trade_off.exits.ids), self.exits)

    def at_cost(self, layers: float) -> Layers:
        """Return the exit layers [N] at the first cut whose mean is at most ``layers``.

        Cost alone picks it, which looks at no label, so it may be picked on the reported split. Raises NotRun for a
        budget that the backbone cannot have, and NotReached where no setting of the method is that cheap.
        """
        if layers < 1:
            raise NotRun(f"{self.exits} layers are at most {self.exits}x as fast")
        curve = self.trade_off.curve
        settings = curve.midpoints <= self.trade_off.criterion.loosest
        rows = np.flatnonzero((curve.mean_layer <= layers * (1 + 1e-9)) & settings)
        if not len(rows):
            raise NotReached(f"no threshold gets below {curve.mean_layer[settings].min():.2f} layers")
        return self.trade_off.layers_at(float(curve.midpoints[rows[0]]))

    def at_point(self, rule: str) -> Layers:
        """Return the exit layers [N] of a recorded operating point, whose threshold was chosen on held-out data."""
        if rule not in self.cuts:
            raise NotRun(self.unreached.get(rule, f"the record has no point {rule}"))
        return self.trade_off.layers_at(self.cuts[rule])

    def at_threshold(self, threshold: float) -> Layers:
        """Return the exit layers [N] at a threshold in the paper's own terms."""
        return self.trade_off.layers_at(self.trade_off.criterion.cut_at(threshold))

    def quality(self, layers: Layers, metric: str | None = None) -> Weighted:
        """Return the metric (by default the task's first) with exits ``layers``. Raises NotRun where it is no sum."""
        name = metric or self.metric
        if not m.is_additive(name):
            raise NotRun(f"{name} has no interval over samples here")
        sums = m.statistics(name, self.trade_off.answers_at(layers)[:, None], self.trade_off.exits.labels)[:, 0]
        return lambda weights: np.asarray(m.from_statistics(name, weights @ sums.astype(np.float64)))

    def mean_layer(self, layers: Layers) -> Weighted:
        """Return the mean exit layer."""
        return lambda weights: weights @ layers / weights.sum(axis=1)


def estimate_mean(quantities: Sequence[Weighted], samples: int, level: float, seed: int = 0) -> Interval:
    """Return the mean of a quantity over runs (seeds), with its bootstrap interval over samples and seeds.

    ``quantities`` has one entry a run; all runs answered the same ``samples``, which are drawn for all alike.
    """
    drawn = [np.stack([q(w) for q in quantities], axis=1) for w in draw_counts(samples, REPLICATES, seed)]
    return interval_over_seeds(measure_sample(quantities, samples), np.concatenate(drawn), level, seed)


def measure_sample(quantities: Sequence[Weighted], samples: int) -> Float:
    """Return each of the quantities on the samples as they are."""
    return np.array([float(quantity(np.ones((1, samples)))[0]) for quantity in quantities])


def subtract(one: Weighted, other: Weighted) -> Weighted:
    """Return the difference of two quantities under the same draws."""
    return lambda weights: one(weights) - other(weights)


def subtract_curves(pairs: Sequence[tuple[ReplayedRun, ReplayedRun]], lowest: float, highest: float) -> list[Weighted]:
    """Return, for each pair, the mean difference of quality over budgets from ``lowest`` to ``highest`` layers."""
    grid = np.linspace(lowest, highest, GRID)

    def area(of: ReplayedRun) -> Weighted:
        found = QualityArea(of.trade_off, of.metric)
        return lambda weights: found.of_weights(weights, grid)

    return [subtract(area(one), area(other)) for one, other in pairs]
