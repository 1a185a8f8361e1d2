"""Trade-off curves to draw: of one seed, or the mean over several, with samples and seeds kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.measure.stats import wilson
from bench.results.data import Array, Result

GRID = 120  # speed-ups at which the curves of several seeds are averaged


@dataclass(frozen=True, eq=False)
class Line:
    """A trade-off curve: speed-ups ascending [K], quality with a 95 % band over samples [K], thresholds where known.

    ``lowest`` and ``highest`` [K] are the quality of the worst and the best seed at each speed-up; None for one seed.
    """

    speedup: Array
    quality: Array
    low: Array
    high: Array
    thresholds: list[float | None]
    pareto: Array
    lowest: Array | None = None
    highest: Array | None = None


def line_of(results: Sequence[Result]) -> Line:
    """One seed's own rows, or the mean over seeds where all of them have a speed-up.

    The band of several seeds is the mean of their bands, as wide as one seed's: it says what the samples leave open,
    and the worst and best seed are lines of their own.
    """
    lines = [_line(r) for r in results]
    low, high = max(x.speedup[0] for x in lines), min(x.speedup[-1] for x in lines)
    if len(lines) == 1 or low >= high:
        return lines[0]
    grid = np.linspace(low, high, GRID)
    quality, below, above = (
        np.array([np.interp(grid, x.speedup, getattr(x, name)) for x in lines]) for name in ("quality", "low", "high")
    )
    mean = quality.mean(axis=0)
    ends = quality.min(axis=0), quality.max(axis=0)
    return Line(grid, mean, below.mean(axis=0), above.mean(axis=0), [None] * GRID, _front(mean), *ends)


def _line(result: Result) -> Line:
    speedup, quality, thresholds, front = result.curve
    if result.metric == "accuracy":
        n = result.samples
        bands = [wilson(min(n, max(0, round(q * n))), n) for q in quality]
        low, high = np.array([b.low for b in bands]), np.array([b.high for b in bands])
    else:
        low, high = _band_between_points(result, speedup, quality)
    return Line(speedup, quality, low, high, thresholds, front)


def _band_between_points(result: Result, speedup: Array, quality: Array) -> tuple[Array, Array]:
    """A band for metrics without a closed form: the stored points' own intervals, as wide in between as beside them."""
    known = [result.full, *(p for p in result.points.values() if "metrics" in p)]
    at = np.array([p["cost_speedup"]["value"] for p in known])
    found = [p["metrics"][result.metric] for p in known]
    order = np.argsort(at, kind="stable")
    below = np.array([f["value"] - f["low"] for f in found])[order]
    above = np.array([f["high"] - f["value"] for f in found])[order]
    return quality - np.interp(speedup, at[order], below), quality + np.interp(speedup, at[order], above)


def _front(quality: Array) -> Array:
    """Pareto marks of points in ascending order of speed-up: nothing faster is as good."""
    later = np.append(np.maximum.accumulate(quality[::-1])[::-1][1:], -np.inf)
    marks: Array = quality > later
    return marks
