"""What a check is: it asks one thing of every place (task and backbone) that it is about.

A check measures a number with an interval and compares it with a bound or a published number
(:mod:`bench.reproduce.verdict` says how). Qualities of two settings are compared on the same samples. Several seeds
count by their mean, with an interval over seeds and samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.compare.evidence import Evidence, NotRun, estimate_mean, subtract
from bench.reproduce.verdict import LEVEL, ClaimResult, Over, Trial, combine_trials, compute_joint_level


@dataclass(frozen=True)
class Place:
    """A task of a block: the runs of every strategy there, by name, and why others have none."""

    block: str
    task: str
    runs: Mapping[str, Sequence[Evidence]]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The place's name in tables."""
        return f"{self.task}, {self.block}"

    def plans(self, strategy: str) -> bool:
        """Return whether ``strategy`` was to run here, whatever came of it."""
        return strategy in self.runs or strategy in self.missing

    def of(self, strategy: str) -> Sequence[Evidence]:
        """Return the runs of ``strategy``, one a seed. Raises NotRun where there are none."""
        if strategy in self.runs:
            return self.runs[strategy]
        raise NotRun(self.missing.get(strategy, f"the plan has no {strategy} here"))

    def pairs(self, strategy: str, other: str) -> list[tuple[Evidence, Evidence]]:
        """Return the runs of two strategies, seed by seed.

        Raises NotRun where one lacks, they answered other samples, or the first have learned nothing.
        """
        both = list(zip(self.of(strategy), self.of(other), strict=False))
        if any(a.trade_off.exits.ids != b.trade_off.exits.ids for a, b in both):
            raise NotRun(f"{strategy} and {other} answered different samples")
        refuse_unlearned([run for run, _ in both])
        return both


class Check(ABC):
    """One way to put a claim to the test."""

    @abstractmethod
    def judge(self, places: Sequence[Place]) -> ClaimResult:
        """Return the verdict over all places that the check is about; their intervals hold jointly with 95 %."""


class StrategyCheck(Check):
    """A check of one strategy, maybe against another, task by task."""

    strategy: str
    over: Over = "every"

    def judge(self, places: Sequence[Place]) -> ClaimResult:
        concerned = self.find_places(places)
        ran = sum(all(name in place.runs for name in self.needs()) for place in concerned)
        level = compute_joint_level(ran * self.count_intervals())
        return combine_trials([trial for place in concerned for trial in self.judge_place(place, level)], self.over)

    def needs(self) -> list[str]:
        """Return the strategies that must be there."""
        return [self.strategy]

    def find_places(self, places: Sequence[Place]) -> list[Place]:
        """Return the places that are planned to have what the check needs, whether or not it ran."""
        return [place for place in places if all(map(place.plans, self.needs()))]

    def count_intervals(self) -> int:
        """Return how many intervals are taken at one place."""
        return 1

    def judge_place(self, place: Place, level: float) -> list[Trial]:
        """Return what is found at one place, with intervals of ``level``."""
        try:
            return [self.compare(place, level)]
        except NotRun as reason:
            return [Trial(place.where, "not run", detail=str(reason))]

    def compare(self, place: Place, level: float) -> Trial:
        """Make the one comparison at a place. Raises NotRun."""
        raise NotImplementedError


def refuse_unlearned(runs: Sequence[Evidence]) -> None:
    """Raise NotRun where the last exit is not better than always giving the commonest answer, with 95 %.

    A model that has learned nothing loses nothing by leaving early, which is evidence of nothing.
    """
    labels = runs[0].trade_off.exits.labels
    if not np.issubdtype(labels.dtype, np.integer):
        return
    common = labels == np.bincount(labels).argmax()
    gains = [subtract(r.quality(r.last, "accuracy"), lambda w: w @ common / w.sum(axis=1)) for r in runs]
    ours = estimate_mean(gains, len(labels), LEVEL)
    if ours.low <= 0:
        accuracy = ours.estimate + common.mean()
        raise NotRun(f"no evidence: accuracy {accuracy:.3f} of all layers, {common.mean():.3f} of the commonest answer")
