"""One number for a whole trade-off curve; each is defined where it is shown.

A curve is given as speed-ups [K] (cost of the plain model over cost with early exits) and qualities [K] (higher is
better). Cost is 1 / speed-up, a fraction of the plain model's. ``best(c)`` is the best quality at a cost of at most
c: thresholds are picked on the very data that the curve shows, so these numbers compare curves and promise nothing
for new data. What a user gets is in the operating points, whose thresholds are chosen elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bench.measure.curve import Float
from bench.measure.metrics import from_statistics
from bench.measure.rules import LAST_BIT

if TYPE_CHECKING:  # which needs torch, and a report does not
    from bench.measure.trade_off import TradeOff


DEFINITIONS: Mapping[str, str] = {
    "area": "mean over costs c, uniform from 1/L to 1 of the plain model's, of the best quality at a cost of at most c "
    "(chance level where nothing is that cheap)",
    "hypervolume": "area of (cost, quality) that the curve dominates, seen from cost 1 and chance level",
    "speedup_no_loss": "largest speed-up whose quality is not below the full model's",
    "speedup_minus_1": "largest speed-up whose quality is at most 0.01 below the full model's",
    "quality_2x": "best quality at a speed-up of at least 2",
    "quality_3x": "best quality at a speed-up of at least 3",
    "elue": "mean quality difference to a reference curve at equal cost, over the costs that both cover: the ELUE "
    "score (Liu et al., NAACL 2022), computed offline against our own reference",
}


@dataclass(frozen=True, eq=False)
class Envelope:
    """The best of a curve: ``costs`` ascending [P] with ``qualities`` strictly ascending [P]."""

    costs: Float
    qualities: Float

    def best(self, cost: ArrayLike) -> Float:
        """Return the best quality at a cost of at most ``cost``; -inf where nothing is that cheap."""
        at = np.searchsorted(self.costs, np.asarray(cost, dtype=np.float64) * (1 + LAST_BIT), side="right")
        return np.append(-np.inf, self.qualities)[at]


def envelope(speedup: ArrayLike, quality: ArrayLike) -> Envelope:
    """Return the Pareto front of a curve.

    Raises ValueError for no points, unequal lengths or costs that are not positive.
    """
    s, q = np.asarray(speedup, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if s.shape != q.shape or s.ndim != 1 or not len(s) or not (np.isfinite(s) & (s > 0)).all():
        raise ValueError(f"A curve needs as many positive speed-ups as qualities, and some: {s.shape}, {q.shape}.")
    defined = ~np.isnan(q)
    costs, q = 1 / s[defined], q[defined]
    order = np.lexsort([-q, costs])
    costs, q = costs[order], q[order]
    better = q > np.append(-np.inf, np.maximum.accumulate(q)[:-1])[: len(q)]
    return Envelope(costs[better], q[better])


def hypervolume(front: Envelope, chance: float, low: float = 0.0, high: float = 1.0) -> float:
    """Return the integral of max(best(c) - chance, 0) over costs c in [low, high]; exact for a step function."""
    inside = (front.costs > low) & (front.costs < high)
    edges = np.concatenate([[low], front.costs[inside], [high]])
    heights = np.maximum(front.best(edges[:-1]) - chance, 0.0)
    return float((heights * np.diff(edges)).sum())


def area_under(front: Envelope, chance: float, low: float, high: float = 1.0) -> float:
    """Return the mean over costs c in [low, high] of the best quality at c, at least ``chance``.

    Raises ValueError where low >= high.
    """
    if not 0 <= low < high:
        raise ValueError(f"Costs from {low} to {high} are no range.")
    return chance + hypervolume(front, chance, low, high) / (high - low)


def speedup_at(front: Envelope, wanted: float) -> float | None:
    """Return the largest speed-up with a quality of at least ``wanted``; None where none reaches it."""
    rows = np.flatnonzero(front.qualities >= wanted - LAST_BIT * max(1.0, abs(wanted)))
    return float(1 / front.costs[rows[0]]) if len(rows) else None


def quality_at(front: Envelope, speedup: float) -> float | None:
    """Return the best quality at a speed-up of at least ``speedup``; None where the curve is never that fast."""
    found = float(front.best(1 / speedup))
    return found if np.isfinite(found) else None


def elue_score(
    front: Envelope, reference_cost: ArrayLike, reference_quality: ArrayLike, grid: int = 200
) -> float | None:
    """Return the mean over equal costs of quality minus the reference's (linear between its points).

    None without overlap.

    After ELUE's score (Liu et al., NAACL 2022, "Towards Efficient NLP: A Standard Evaluation and A Strong Baseline"),
    which takes the submitted points; here the whole curve counts, on ``grid`` evenly spaced costs.
    """
    costs, qualities = np.asarray(reference_cost, dtype=np.float64), np.asarray(reference_quality, dtype=np.float64)
    order = np.argsort(costs, kind="stable")
    costs, qualities = costs[order], qualities[order]
    if not len(costs) or not len(front.costs):
        return None
    low, high = max(front.costs[0], costs[0]), min(1.0, costs[-1])
    if low > high:
        return None
    at = np.linspace(low, high, grid)
    return float((front.best(at) - np.interp(at, costs, qualities)).mean())


def summarise_areas(
    speedup: ArrayLike, quality: ArrayLike, full: float, exits: int, chance: float, per_exit: ArrayLike
) -> dict[str, Any]:
    """Return all of :data:`DEFINITIONS` for one curve; a value is None where it cannot be had.

    ``full`` is the full model's quality; ``per_exit`` [L] the quality of every exit alone, the reference of the ELUE
    score at costs k / L.
    """
    front, alone = envelope(speedup, quality), np.asarray(per_exit, dtype=np.float64)
    return {
        "area": area_under(front, chance, 1 / exits) if exits > 1 else None,
        "hypervolume": hypervolume(front, chance),
        "speedup_no_loss": speedup_at(front, full),
        "speedup_minus_1": speedup_at(front, full - 0.01),
        "quality_2x": quality_at(front, 2.0),
        "quality_3x": quality_at(front, 3.0),
        "elue": elue_score(front, np.arange(1, len(alone) + 1) / max(1, len(alone)), alone),
    }


GRID = 33
"""Budgets of layers over which two curves are compared."""

ROWS = 1024
"""Rows of a curve that are enough to interpolate it."""


class QualityArea:
    """The mean quality of a curve over a grid of budgets of layers, for resampled samples too.

    Between neighbouring cuts the curve is interpolated linearly; re-weighted, not sorted again, for each replicate.
    """

    def __init__(self, trade_off: TradeOff, metric: str) -> None:
        self.curve = trade_off.curve
        self.value: Callable[[Float], Float] = lambda sums: from_statistics(metric, sums)
        self.layers = self.curve.mean_layer
        self.rows = np.unique(np.linspace(0, len(self.curve) - 1, min(ROWS, len(self.curve))).astype(np.int64))

    def of_sample(self, grid: Float) -> float:
        """Return the area on the samples as they are."""
        quality = self.value(self.curve.sums[0][self.rows].astype(np.float64))
        return float(np.interp(grid, self.layers[self.rows][::-1], quality[::-1]).mean())

    def of_weights(self, weights: Float, grid: Float) -> Float:
        """Return the area on resamples with weights [B, N]: [B]."""
        quality = self.curve.reweight(weights, 0, self.rows)
        spent = self.curve.reweight(weights, -1, self.rows)[:, :, 0] / weights.sum(axis=1, keepdims=True)
        found = [np.interp(grid, s[::-1], self.value(q)[::-1]).mean() for q, s in zip(quality, spent, strict=True)]
        return np.array(found)
