"""What a check is: it asks one thing of every place (task and backbone) that it is about.

A check measures a number with an interval and compares it with a bound or a published number. What may be said of it:
three verdicts, and a fourth for what did not run. Qualities of two settings are compared on the same samples. Several
seeds count by their mean, with an interval over seeds and samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bench.compare.replayed import NotRun, ReplayedRun, estimate_mean, subtract
from bench.measure.stats import Interval

Judgement = Literal["reproduced", "within noise", "not reproduced", "not run"]
Over = Literal["every", "any"]

LEVEL = 0.95
LAST_BITS = 1e-9  # a difference of exactly the bound must not fail for its last bit


@dataclass(frozen=True)
class Trial:
    """One claim at one place, such as a task on a backbone.

    ``ours`` is None where nothing was measured. ``wanted`` is the bound or the published number in words.
    """

    where: str
    verdict: Judgement
    ours: Interval | None = None
    wanted: str = ""
    detail: str = ""


@dataclass(frozen=True)
class ClaimResult:
    """A claim's verdict with its trials; ``why`` says what kept it from running, or how many places count."""

    verdict: Judgement
    trials: tuple[Trial, ...]
    why: str = ""

    @property
    def ran(self) -> list[Trial]:
        """The trials that ran."""
        return [trial for trial in self.trials if trial.verdict != "not run"]


def judge_bound(ours: Interval, bound: float, *, strict: bool) -> Judgement:
    """Judge the claim that a number is at least ``bound`` (more than it where ``strict``).

    Reproduced where the whole interval says so, not reproduced where the whole interval says the opposite; within noise
    where the interval holds both.
    """
    if ours.low > bound + LAST_BITS or (not strict and ours.low >= bound - LAST_BITS):
        return "reproduced"
    missed = ours.high < bound - LAST_BITS or (strict and ours.high <= bound + LAST_BITS)
    return "not reproduced" if missed else "within noise"


def judge_published(ours: Interval, published: float, tolerance: float) -> Judgement:
    """Judge the claim that a number is ``published``: within ``tolerance``, else inside our interval, else neither."""
    if abs(ours.estimate - published) <= tolerance + LAST_BITS:
        return "reproduced"
    return "within noise" if ours.low - LAST_BITS <= published <= ours.high + LAST_BITS else "not reproduced"


def combine_trials(trials: Sequence[Trial], over: Over) -> ClaimResult:
    """Return the claim's verdict from its trials; those that did not run do not count, and are told.

    ``every``: not reproduced where one is not, reproduced where all are. ``any``: reproduced where one is, not
    reproduced where none can be. Their intervals hold jointly (:func:`compute_joint_level`), so none is picked out of
    many by luck.
    """
    ran = [trial.verdict for trial in trials if trial.verdict != "not run"]
    if not ran:
        reasons = list(dict.fromkeys(trial.detail for trial in trials))
        return ClaimResult("not run", tuple(trials), "; ".join(reasons) or "no cell of the plan tests it")
    one: Judgement = "not reproduced" if over == "every" else "reproduced"
    verdict: Judgement = one if one in ran else ran[0] if len(set(ran)) == 1 else "within noise"
    counts = ", ".join(f"{ran.count(v)} {v}" for v in dict.fromkeys(ran))
    missing = f"; {len(trials) - len(ran)} not run" if len(ran) < len(trials) else ""
    return ClaimResult(verdict, tuple(trials), f"{counts}{missing}" if len(trials) > 1 else "")


def compute_joint_level(intervals: int) -> float:
    """Return the level of each of so many intervals, for all of them to hold with 95 % (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, intervals)


# --------------------------------------------------------------------------- checks


@dataclass(frozen=True)
class Place:
    """A task of a block: the runs of every strategy there, by name, and why others have none."""

    block: str
    task: str
    runs: Mapping[str, Sequence[ReplayedRun]]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The place's name in tables."""
        return f"{self.task}, {self.block}"

    def plans(self, strategy: str) -> bool:
        """Return whether ``strategy`` was to run here, whatever came of it."""
        return strategy in self.runs or strategy in self.missing

    def of(self, strategy: str) -> Sequence[ReplayedRun]:
        """Return the runs of ``strategy``, one a seed. Raises NotRun where there are none."""
        if strategy in self.runs:
            return self.runs[strategy]
        raise NotRun(self.missing.get(strategy, f"the plan has no {strategy} here"))

    def pairs(self, strategy: str, other: str) -> list[tuple[ReplayedRun, ReplayedRun]]:
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


@dataclass(frozen=True, kw_only=True)
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


def refuse_unlearned(runs: Sequence[ReplayedRun]) -> None:
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
