"""Trade-off curves to draw: of one seed, or the mean over several, with samples and seeds kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure.stats import wilson
from bench.results.measures import SplitResult
from bench.results.run import Run

Array = NDArray[Any]
GRID = 120  # speed-ups at which the curves of several seeds are averaged


@dataclass(frozen=True, eq=False)
class Curve:
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


def curve_over_seeds(runs: Sequence[Run], split: str) -> Curve:
    """Return one seed's own rows, or the mean over seeds where all of them have a speed-up.

    The band of several seeds is the mean of their bands, as wide as one seed's: it says what the samples leave open,
    and the worst and best seed are lines of their own.
    """
    curves = [curve_of(run, split) for run in runs]
    low, high = max(c.speedup[0] for c in curves), min(c.speedup[-1] for c in curves)
    if len(curves) == 1 or low >= high:
        return curves[0]
    grid = np.linspace(low, high, GRID)
    quality, below, above = (
        np.array([np.interp(grid, c.speedup, getattr(c, name)) for c in curves]) for name in ("quality", "low", "high")
    )
    mean = quality.mean(axis=0)
    ends = quality.min(axis=0), quality.max(axis=0)
    return Curve(grid, mean, below.mean(axis=0), above.mean(axis=0), [None] * GRID, _front(mean), *ends)


def curve_of(run: Run, split: str) -> Curve:
    """Return the rows of a run's recorded curve, cheapest last, with their band."""
    result = run.result(split)
    rows = sorted(result.curve, key=lambda row: (row.cost_speedup, -row.quality))
    speedup = np.array([row.cost_speedup for row in rows], dtype=np.float64)
    quality = np.array([row.quality for row in rows], dtype=np.float64)
    if run.metric == "accuracy":
        n = result.samples
        bands = [wilson(min(n, max(0, round(q * n))), n) for q in quality]
        low, high = np.array([b.low for b in bands]), np.array([b.high for b in bands])
    else:
        low, high = _band_between_points(result, run.metric, speedup, quality)
    return Curve(speedup, quality, low, high, [row.threshold for row in rows], np.array([row.pareto for row in rows]))


def _band_between_points(result: SplitResult, metric: str, speedup: Array, quality: Array) -> tuple[Array, Array]:
    """Return a band for metrics without a closed form: the points' own intervals, as wide in between as beside them."""
    known = sorted([result.full, *result.reached.values()], key=lambda point: point.cost_speedup.value)
    at, found = [point.cost_speedup.value for point in known], [point.metrics[metric] for point in known]
    below, above = [f.value - f.low for f in found], [f.high - f.value for f in found]
    return quality - np.interp(speedup, at, below), quality + np.interp(speedup, at, above)


def _front(quality: Array) -> Array:
    """Pareto marks of points in ascending order of speed-up: nothing faster is as good."""
    later = np.append(np.maximum.accumulate(quality[::-1])[::-1][1:], -np.inf)
    marks: Array = quality > later
    return marks
