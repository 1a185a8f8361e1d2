"""What may be said of a claim, from an interval: three verdicts, and a fourth for what did not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.measure.stats import Interval

Verdict = Literal["reproduced", "within noise", "not reproduced", "not run"]
Over = Literal["every", "any"]

LEVEL = 0.95
SLACK = 1e-9  # a difference of exactly the bound must not fail for its last bit


@dataclass(frozen=True)
class Part:
    """One claim at one place, such as a task on a backbone.

    ``ours`` is None where nothing was measured. ``wanted`` is the bound or the published number in words.
    """

    where: str
    verdict: Verdict
    ours: Interval | None = None
    wanted: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim's verdict with its parts; ``why`` says what kept it from running, or how many places count."""

    verdict: Verdict
    parts: tuple[Part, ...]
    why: str = ""


def beyond(ours: Interval, bound: float, *, strict: bool) -> Verdict:
    """Of a claim that a number is at least ``bound`` (more than it where ``strict``).

    Reproduced where the whole interval says so, not reproduced where the whole interval says the opposite; within noise
    where the interval holds both.
    """
    if ours.low > bound + SLACK or (not strict and ours.low >= bound - SLACK):
        return "reproduced"
    return "not reproduced" if ours.high < bound - SLACK else "within noise"


def near(ours: Interval, published: float, tolerance: float) -> Verdict:
    """Of a claim that a number is ``published``: within ``tolerance``, else inside our interval, else neither."""
    if abs(ours.estimate - published) <= tolerance + SLACK:
        return "reproduced"
    return "within noise" if ours.low - SLACK <= published <= ours.high + SLACK else "not reproduced"


def together(parts: Sequence[Part], over: Over) -> Finding:
    """The claim's verdict from its parts; those that did not run do not count, and are told.

    ``every``: not reproduced where one part is not, reproduced where all are. ``any``: reproduced where one part is,
    not reproduced where none can be. Parts' intervals hold jointly (see :func:`joint_level`), so no part is picked out
    of many by luck.
    """
    ran = [part.verdict for part in parts if part.verdict != "not run"]
    if not ran:
        reasons = list(dict.fromkeys(part.detail for part in parts))
        return Finding("not run", tuple(parts), "; ".join(reasons) or "no cell of the plan tests it")
    first: tuple[Verdict, Verdict] = (
        ("not reproduced", "reproduced") if over == "every" else ("reproduced", "not reproduced")
    )
    verdict: Verdict = "within noise"
    if first[0] in ran:
        verdict = first[0]
    elif all(v == first[1] for v in ran):
        verdict = first[1]
    counts = ", ".join(f"{ran.count(v)} {v}" for v in dict.fromkeys(ran))
    missing = f"; {len(parts) - len(ran)} not run" if len(ran) < len(parts) else ""
    return Finding(verdict, tuple(parts), f"{counts}{missing}" if len(parts) > 1 else "")


def joint_level(parts: int) -> float:
    """The level at which each of so many intervals is taken, for all of them to hold with 95 % (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(1, parts)
