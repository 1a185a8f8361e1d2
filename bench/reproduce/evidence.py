"""What a plan's records say, cell by cell, ready for the checks: every sample's answer at every exit, replayed.

Costs are layers here, as the papers' own cost is (the mean exit layer over all layers); heads are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.cell.fitting import recorded_criterion
from bench.compare.quality import cut_of
from bench.measure import metrics as m
from bench.measure.seeds import interval_over_seeds
from bench.measure.stats import Interval, draw_counts
from bench.measure.trade_off import Costs, TradeOff
from bench.results.exits import read_exits
from bench.results.store import Cell

Float = NDArray[np.float64]
Layers = NDArray[np.int64]
Weighted = Callable[[Float], Float]
"""A quantity of one run under sample weights [B, N] -> [B]; the weights are how often each sample was drawn."""

REPLICATES = 2000


class NotRun(Exception):
    """Why a claim cannot be judged at some place."""


@dataclass(frozen=True, eq=False)
class Run:
    """One seed of a cell: its record, and its trade-off over the reported split with costs in layers."""

    record: Mapping[str, Any]
    tradeoff: TradeOff

    @classmethod
    def load(cls, folder: Path) -> Run:
        """From a recorded cell's folder. Raises NotRun for one that travels without its logits."""
        cell = Cell(folder)
        record: Any = cell.read()
        split = record["task"]["evaluation"][0]
        if not cell.exits_file(split).exists():
            raise NotRun(f"{folder.name} has no recorded logits")
        exits = read_exits(cell.exits_file(split))
        criterion = recorded_criterion(folder, record)
        return cls(record, TradeOff(criterion, exits, Costs.layers(*exits.logits.shape[:2]), record["task"]["metrics"]))

    @property
    def metric(self) -> str:
        """The task's first metric."""
        return self.tradeoff.metrics[0]

    @property
    def exits(self) -> int:
        """Layers that this run has."""
        return self.tradeoff.curve.exits

    @property
    def depth(self) -> int:
        """Layers of the whole backbone, of which a truncated run has fewer."""
        return int(self.record["backbone"].get("depth", self.exits))

    @cached_property
    def last(self) -> Layers:
        """Everybody at the last exit, [N]."""
        return np.full(len(self.tradeoff.exits.ids), self.exits)

    def at_cost(self, layers: float) -> Layers:
        """Exit layers [N] at the first cut whose mean is at most ``layers``.

        Cost alone picks it, which looks at no label, so it may be picked on the reported split. Raises NotRun for a
        budget that the backbone cannot have, and ValueError where no setting of the method is that cheap.
        """
        if layers < 1:
            raise NotRun(f"{self.exits} layers are at most {self.exits}x as fast")
        curve = self.tradeoff.curve
        settings = curve.midpoints <= self.tradeoff.criterion.loosest
        rows = np.flatnonzero((curve.mean_layer <= layers * (1 + 1e-9)) & settings)
        if not len(rows):
            raise ValueError(f"no threshold gets below {curve.mean_layer[settings].min():.2f} layers")
        return self.tradeoff.layers_at(float(curve.midpoints[rows[0]]))

    def at_point(self, rule: str) -> Layers:
        """Exit layers [N] of a recorded operating point (its threshold was chosen on held-out data), or the default."""
        split = self.record["task"]["evaluation"][0]
        points = {p["rule"]: p for p in self.record["evaluation"][split]["points"]}
        if rule not in points or "cut" not in points[rule]:
            raise NotRun(points.get(rule, {}).get("reason", f"the record has no point {rule}"))
        return self.tradeoff.layers_at(cut_of(points[rule]))

    def at_threshold(self, threshold: float) -> Layers:
        """Exit layers [N] at a threshold in the paper's own terms."""
        return self.tradeoff.layers_at(self.tradeoff.criterion.cut_at(threshold))

    def answers(self, layers: Layers) -> Any:
        """What every sample is told when it leaves there, [N]."""
        return self.tradeoff.predictions[np.arange(len(layers)), layers - 1]

    def right(self, layers: Layers) -> NDArray[np.bool_]:
        """Whether that is right, [N]."""
        found: NDArray[np.bool_] = self.answers(layers) == self.tradeoff.exits.labels
        return found

    def quality(self, layers: Layers, metric: str | None = None) -> Weighted:
        """The metric (the task's first by default) with exits ``layers``. Raises NotRun for one that is no sum."""
        name = metric or self.metric
        if not m.is_additive(name):
            raise NotRun(f"{name} has no interval over samples here")
        sums = m.statistics(name, self.answers(layers)[:, None], self.tradeoff.exits.labels)[:, 0]
        return lambda weights: np.asarray(m.from_statistics(name, weights @ sums.astype(np.float64)))

    def mean_layer(self, layers: Layers) -> Weighted:
        """The mean exit layer."""
        return lambda weights: weights @ layers / weights.sum(axis=1)


@dataclass(frozen=True)
class Place:
    """A task of a block: the runs of every strategy there, by name, and why others have none."""

    block: str
    task: str
    runs: Mapping[str, Sequence[Run]]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For tables."""
        return f"{self.task}, {self.block}"

    def plans(self, strategy: str) -> bool:
        """Whether ``strategy`` was to run here, whatever came of it."""
        return strategy in self.runs or strategy in self.missing

    def of(self, strategy: str) -> Sequence[Run]:
        """The runs of ``strategy``, one a seed. Raises NotRun where there are none."""
        if strategy in self.runs:
            return self.runs[strategy]
        raise NotRun(self.missing.get(strategy, f"the plan has no {strategy} here"))

    def pairs(self, strategy: str, other: str) -> list[tuple[Run, Run]]:
        """The runs of two strategies seed by seed. Raises NotRun where one lacks or they answered other samples."""
        both = list(zip(self.of(strategy), self.of(other), strict=False))
        if any(a.tradeoff.exits.ids != b.tradeoff.exits.ids for a, b in both):
            raise NotRun(f"{strategy} and {other} answered different samples")
        return both


def measured(quantities: Sequence[Weighted], samples: int, level: float, seed: int = 0) -> Interval:
    """The mean over runs (seeds) of a quantity, with its bootstrap interval over samples, and over seeds if several.

    ``quantities`` has one entry a run; all runs answered the same ``samples``, which are drawn for all alike.
    """
    whole = np.ones((1, samples))
    values = np.array([float(q(whole)[0]) for q in quantities])
    drawn = [np.stack([q(w) for q in quantities], axis=1) for w in draw_counts(samples, REPLICATES, seed)]
    return interval_over_seeds(values, np.concatenate(drawn), level, seed)


def minus(one: Weighted, other: Weighted) -> Weighted:
    """The difference of two quantities under the same draws."""
    return lambda weights: one(weights) - other(weights)
