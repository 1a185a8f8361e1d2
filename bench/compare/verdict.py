"""What a comparison says of one number, and when it may say so.

"Worse" needs two things: the difference is significant (paired test on the same samples, Holm's adjustment over all
cells of the comparison that test the same thing) *and* larger than a stated margin. "Same" needs evidence too: the
95 % interval lies within the margin, or the answers are identical. What is neither is "inconclusive", and what was
measured under other conditions is "not comparable", with the condition as the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.errors import UsageError
from bench.measure.stats import holm

Verdict = Literal["better", "worse", "same", "inconclusive", "not comparable"]
VERDICTS: tuple[Verdict, ...] = ("worse", "inconclusive", "not comparable", "better", "same")
"""In the order of a reader's interest."""


@dataclass(frozen=True)
class Margins:
    """How large a difference must be to count, and the level of the tests.

    ``quality`` as a fraction (0.005 = half a point of accuracy); ``cost`` relative, of FLOPs at an operating point;
    ``latency`` relative; ``alpha`` the family-wise level of the tests.
    """

    quality: float = 0.005
    cost: float = 0.01
    latency: float = 0.05
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if min(self.quality, self.cost, self.latency) < 0 or not 0 < self.alpha < 1:
            raise UsageError("Margins must not be negative, and the level must lie between 0 and 1.")


@dataclass(frozen=True)
class Row:
    """One number of one cell in both results.

    ``difference`` is candidate minus base, or candidate over base minus 1 where ``relative``; ``p`` is the test's,
    ``p_holm`` the adjusted one. ``family`` names the tests that are adjusted together.
    """

    cell: str
    metric: str
    verdict: Verdict
    reason: str
    point: str = ""
    split: str = ""
    base: float | None = None
    candidate: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    relative: bool = False
    p: float | None = None
    p_holm: float | None = None
    family: str = ""
    margin: float | None = None

    @property
    def name(self) -> str:
        """Metric and operating point: ``accuracy at 2x``."""
        return f"{self.metric} at {self.point}" if self.point else self.metric


def judge_test(row: Row, alpha: float) -> tuple[Verdict, str]:
    """Return verdict and reason of a tested quality difference; ``row`` has interval, margin and adjusted p."""
    moved, low, high, margin, p = (float(v or 0.0) for v in (row.difference, row.low, row.high, row.margin, row.p_holm))
    size = f"{100 * moved:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}], p = {p:.2g}"
    if p < alpha and abs(moved) > margin:
        return ("better" if moved > 0 else "worse"), f"{size}: significant and beyond {100 * margin:g}"
    if p < alpha:
        return "same", f"{size}: significant, but within {100 * margin:g}"
    if -margin <= low and high <= margin:
        return "same", f"{size}: the interval lies within {100 * margin:g}"
    return "inconclusive", f"{size}: not significant, and the interval leaves {100 * margin:g}"


def adjust_tests(rows: Sequence[Row], alpha: float) -> list[Row]:
    """Return the rows with Holm's p within each family, and the verdict that follows; others as they are."""
    families: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.p is not None:
            families.setdefault(row.family, []).append(i)
    found = list(rows)
    for members in families.values():
        for i, p in zip(members, holm([rows[i].p or 0.0 for i in members]), strict=True):
            row = replace(rows[i], p_holm=float(p))
            verdict, reason = judge_test(row, alpha)
            found[i] = replace(row, verdict=verdict, reason=f"{row.reason}; {reason}" if row.reason else reason)
    return found


def judge_cost(row: Row, base: float, candidate: float, margin: float) -> Row:
    """Judge a cost a sample, which has no sampling error; differences up to a relative ``margin`` are the same."""
    moved = candidate / base - 1 if base else (0.0 if candidate == base else float("inf"))
    row = replace(row, base=base, candidate=candidate, difference=moved, relative=True, margin=margin)
    if candidate == base:
        return replace(row, verdict="same", reason="equal")
    size = f"per sample {100 * moved:+.3g} %"
    if abs(moved) <= margin:
        return replace(row, verdict="same", reason=f"{size}, within {100 * margin:g} %")
    return replace(row, verdict="worse" if moved > 0 else "better", reason=size)
