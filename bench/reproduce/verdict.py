"""What may be said of a claim, from an interval: three verdicts, and a fourth for what did not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    return "not reproduced" if ours.high < bound - LAST_BITS else "within noise"


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
