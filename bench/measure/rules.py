"""Operating points: the one cut of a curve that a rule asks for, chosen on data that is not reported.

Qualities are fractions in [0, 1], or any metric where higher is better; a point is 0.01 of it.
Speed-ups are FLOPs of the plain model over FLOPs with early exits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UsageError
from bench.measure.curve import Curve

RuleKind = Literal["max_loss", "speedup", "budget", "risk", "gap"]

LAST_BIT = 1e-9  # relative and absolute: 301/600 - 0.005 must not miss 298/600 for its last bit

SHORT = 0.05
"""How far a point may fall short of the speed-up that its rule names: the held-out samples, on which the cut was
chosen, are others than those reported."""

STANDARD = ("no-loss", "-0.5", "-1", "1.5x", "2x", "3x", "4x")
"""The operating points that every report shows."""


@dataclass(frozen=True)
class Rule:
    """Which operating point is wanted.

    ``max_loss``: the cheapest cut whose quality is at most ``value`` (0.01 = one point) below the full model's.
    ``speedup``: the best quality among cuts at least ``value`` times cheaper than the plain model.
    ``budget``: the best quality among cuts that cost at most the fraction ``value`` of it.
    ``risk`` and ``gap``: the loosest cut that is certified to change at most the fraction ``value`` of answers, or to
    cost at most so much accuracy; with probability ``confidence``, or without one in expectation
    (:mod:`bench.measure.risk`).
    """

    kind: RuleKind
    value: float
    confidence: float | None = None

    def __post_init__(self) -> None:
        allowed = self.value >= 0 if self.kind == "max_loss" else self.value > 0
        if self.kind not in get_args(RuleKind) or not allowed or not math.isfinite(self.value):
            raise UsageError(f"No operating point '{self.kind}={self.value:g}': the value must be positive.")
        if self.is_certified and self.value >= 1:
            raise UsageError(f"No operating point '{self.kind}={self.value:g}': the level must be below 1.")
        if self.confidence is not None and not (self.is_certified and 0 < self.confidence < 1):
            raise UsageError(
                f"No operating point '{self.format()}': a confidence between 0 and 1 goes with risk or gap."
            )

    @property
    def is_certified(self) -> bool:
        """Whether the point comes with a guarantee and is chosen by :func:`bench.measure.risk.choose_certified`."""
        return self.kind in ("risk", "gap")

    @property
    def least_speedup(self) -> float:
        """The speed-up that the rule asks for; 0 for a rule about quality, which asks for none."""
        return {"speedup": self.value, "budget": 1 / self.value if self.value else 0.0}.get(self.kind, 0.0)

    def is_met(self, speedup: float) -> bool:
        """Return whether a point that is so fast on the reported samples is where the rule's name says, or faster."""
        return speedup >= self.least_speedup * (1 - SHORT)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule that ``text`` states.

        ``no-loss``, ``-0.5`` (points), ``2x``, or ``max_loss=0.005``, ``speedup=2``, ``budget=0.5``,
        ``risk=0.02@0.95``, ``gap=0.01@0.95``, ``risk=0.02``.

        Raises :class:`bench.errors.UsageError` for anything else.
        """
        text = text.strip()
        if text == "no-loss":
            return cls("max_loss", 0.0)
        name, equals, number = text.partition("=")
        try:
            if equals and name in ("max_loss", "speedup", "budget"):
                return cls(name, float(number))  # type: ignore[arg-type]
            if equals and name in ("risk", "gap"):
                level, at, confidence = number.partition("@")
                return cls(name, float(level), float(confidence) if at else None)  # type: ignore[arg-type]
            if text.endswith("x"):
                return cls("speedup", float(text[:-1]))
            if text.startswith("-"):  # through Decimal, so that text and number are exact inverses
                return cls("max_loss", float(Decimal(text[1:]) / 100))
        except (ValueError, InvalidOperation):
            pass
        known = "no-loss, -0.5 (points), 2x, max_loss=0.005, speedup=2, budget=0.5, risk=0.02@0.95, gap=0.01@0.95"
        raise UsageError(f"Unknown operating point '{text}'. Known: {known}.")

    def format(self) -> str:
        """Return the short form; :meth:`parse` gives the same rule back."""
        if self.kind == "max_loss":
            return f"-{_write_short(Decimal(repr(self.value)) * 100)}" if self.value else "no-loss"
        number = _write_short(Decimal(repr(self.value)))
        if self.is_certified:
            return f"{self.kind}={number}" + ("" if self.confidence is None else f"@{self.confidence!r}")
        return f"{number}x" if self.kind == "speedup" else f"budget={number}"


def shorten_rule(name: str) -> str:
    """Return an operating point's name with a confidence of three digits: ``risk=0.01@0.983``."""
    rest, at, confidence = name.rpartition("@")
    try:
        level = float(confidence) if at and len(confidence) > 5 else math.nan
    except ValueError:
        level = math.nan
    digits = next((n for n in range(3, 9) if float(f"{level:.{n}g}") < 1), 0)
    return f"{rest}@{level:.{digits}g}" if digits else name


@dataclass(frozen=True)
class Choice:
    """The row of the curve and the cut to store, a midpoint; -inf lets nobody leave early."""

    index: int
    cut: float


@dataclass(frozen=True)
class Unreachable:
    """Why no cut is what a rule asks for."""

    reason: str


def choose_cut(
    curve: Curve, quality: ArrayLike, speedup: ArrayLike, full_quality: float, rule: Rule
) -> Choice | Unreachable:
    """Choose the cut for ``rule`` on a curve of data set aside for choosing.

    ``quality`` and ``speedup`` float [K], one per row of the curve; ``full_quality`` is the full
    model's on the same data. Rows with undefined quality (NaN) are never chosen. Ties go to the
    cheapest row, then to the loosest cut. An exact curve is jagged and the best of many rows is
    optimistic on this data, which is why the point is reported on other data.
    """
    if rule.is_certified:
        raise ValueError(f"{rule.format()} is chosen by bench.measure.risk, which needs every sample's answers.")
    q, s = np.asarray(quality, dtype=np.float64), np.asarray(speedup, dtype=np.float64)
    if q.shape != (len(curve),) or s.shape != (len(curve),):
        raise ValueError(
            f"One quality and one speed-up per row needed: {len(curve)}, {list(q.shape)}, {list(s.shape)}."
        )
    loosest: NDArray[Any] = np.arange(len(curve))
    if rule.kind == "max_loss":
        wanted = full_quality - rule.value
        allowed = q >= wanted - LAST_BIT * max(1.0, abs(wanted))
        preference = [loosest, s]
        most, least = _write_apart(_find_largest(q), wanted, 4)
        best = f"the best quality is {most}, {least} is wanted"
    else:
        wanted = rule.value if rule.kind == "speedup" else 1 / rule.value
        allowed = (s >= wanted * (1 - LAST_BIT)) & ~np.isnan(q)
        preference = [loosest, s, q]
        most, least = _write_apart(_find_largest(s[~np.isnan(q)]), wanted, 2)
        best = f"the largest FLOPs speed-up is {most}x, {least}x is wanted"
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return Unreachable(f"{rule.format()}: {best}.")
    index = int(rows[np.lexsort([key[rows] for key in preference])[-1]])
    return Choice(index, float(curve.midpoints[index]))


def pareto(quality: ArrayLike, cost: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other dominates: bool [K] from quality (higher better) and cost (lower better).

    A point is dominated by one that is at least as good and as cheap, and better in one of them;
    equal points stand or fall together. Points with NaN are never on the front.
    """
    q, c = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    defined = ~(np.isnan(q) | np.isnan(c))
    front = np.zeros(q.shape, dtype=bool)
    if not defined.any():
        return front
    q, (costs, group) = q[defined], np.unique(c[defined], return_inverse=True)
    best = np.full(len(costs), -np.inf)
    np.maximum.at(best, group, q)
    cheaper = np.append(-np.inf, np.maximum.accumulate(best)[:-1])
    first = group == 0  # nothing is cheaper, so even a quality of -inf is undominated
    front[defined] = (q == best[group]) & ((q > cheaper[group]) | first)
    return front


def _find_largest(values: NDArray[Any]) -> float:
    return float(np.nanmax(values)) if values.size and not np.isnan(values).all() else math.nan


def _write_apart(found: float, wanted: float, digits: int) -> tuple[str, str]:
    """Return both with ``digits`` after the point, or as many more as it takes to see which is larger."""
    while f"{found:.{digits}f}" == f"{wanted:.{digits}f}" and found != wanted:
        digits += 1
    return f"{found:.{digits}f}", f"{wanted:.{digits}f}"


def _write_short(number: Decimal) -> str:
    """Without trailing zeros or exponent where it is short: 2, 0.5, 1e-20."""
    text = format(number.normalize(), "f")
    return text if len(text) < 12 else str(number.normalize())
