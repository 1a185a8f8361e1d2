"""What a check is: it asks one thing of every place (task and backbone) that it is about.

A check measures a number with an interval and compares it with a bound or a published number
(:mod:`bench.reproduce.verdict` says how). Qualities of two settings are compared on the same samples. Several seeds
count by their mean, with an interval over seeds and samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from bench.compare.evidence import Evidence, NotRun, Weighted, estimate_mean, subtract
from bench.reproduce.places import Place
from bench.reproduce.verdict import LEVEL, Finding, Over, Part, joint_level, together


class Check(ABC):
    """One way to put a claim to the test."""

    @abstractmethod
    def judge(self, places: Sequence[Place]) -> Finding:
        """The verdict over all places that the check is about; their intervals hold jointly with 95 %."""


class OfStrategy(Check):
    """A check of one strategy, maybe against another, task by task."""

    strategy: str
    over: Over = "every"

    def judge(self, places: Sequence[Place]) -> Finding:
        concerned = self.concerned(places)
        ran = sum(all(name in place.runs for name in self.needs()) for place in concerned)
        level = joint_level(ran * self.comparisons())
        return together([part for place in concerned for part in self.parts(place, level)], self.over)

    def needs(self) -> list[str]:
        """The strategies that must be there."""
        return [self.strategy]

    def concerned(self, places: Sequence[Place]) -> list[Place]:
        """The places that are planned to have what the check needs, whether or not it ran."""
        return [place for place in places if all(map(place.plans, self.needs()))]

    def comparisons(self) -> int:
        """Intervals taken at one place."""
        return 1

    def parts(self, place: Place, level: float) -> list[Part]:
        """What is found at one place, with intervals of ``level``."""
        try:
            return [self.part(place, level)]
        except NotRun as reason:
            return [Part(place.where, "not run", detail=str(reason))]

    def part(self, place: Place, level: float) -> Part:
        """The one comparison at a place. Raises NotRun."""
        raise NotImplementedError


def refuse_unlearned(runs: Sequence[Evidence]) -> None:
    """Raise NotRun where the last exit is not better than always giving the commonest answer, with 95 %.

    A model that has learned nothing loses nothing by leaving early, which is evidence of nothing.
    """
    labels = runs[0].trade_off.exits.labels
    if not np.issubdtype(labels.dtype, np.integer):
        return
    common = labels == np.bincount(labels).argmax()
    ours = estimate_mean(
        [subtract(run.quality(run.last, "accuracy"), _share(common)) for run in runs], len(labels), LEVEL
    )
    if ours.low <= 0:
        accuracy = ours.estimate + common.mean()
        raise NotRun(f"no evidence: accuracy {accuracy:.3f} of all layers, {common.mean():.3f} of the commonest answer")


def value_of(quantity: Weighted, samples: int) -> float:
    """The quantity on so many samples as they are."""
    return float(quantity(np.ones((1, samples)))[0])


def _share(of: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Weighted:
    return lambda weights: weights @ of / weights.sum(axis=1)
