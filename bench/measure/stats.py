"""Error bars and tests: seeded, vectorised, paired wherever the same samples or rounds were measured.

The bootstrap works on *additive* per-sample statistics [N, S] (correct or not, cells of the confusion
matrix, FLOPs): a resample is a vector of draw counts w [N], and its statistics are w @ statistics, so
B replicates are one matrix product [B, N] @ [N, S].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from bench.measure.curve import Array, Float

FromStatistics = Callable[[Float], Float]
"""Summed statistics [K, S] -> metric [K]: the same function for the data and for all replicates at once."""

CHUNK = 64  # replicates at a time: 64 × 10,000 draw counts are 5 MB, and a whole curve's sums stay below 100 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval that covers the true value with probability ``level``."""

    estimate: float
    low: float
    high: float
    level: float = 0.95


# --------------------------------------------------------------------------- closed forms


def find_t_quantile(level: float, freedom: float) -> float:
    """Return how many standard errors Student's two-sided interval of ``level`` reaches to either side."""
    return float(stdtrit(freedom, 0.5 + level / 2))


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion such as accuracy; sound at 0 and 1 and for small N.

    Wilson (1927), JASA 22; recommended over the normal interval by Brown, Cai & DasGupta (2001).
    Raises ValueError where ``total`` is not positive or ``successes`` is outside 0..total.
    """
    if total < 1 or not 0 <= successes <= total:
        raise ValueError(f"No proportion: {successes} of {total}.")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p, shrink = successes / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / shrink
    half = z / shrink * np.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    low = 0.0 if successes == 0 else float(centre - half)
    return Interval(p, low, 1.0 if successes == total else float(centre + half), level)


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Return the exact two-sided McNemar p-value that two classifiers are equally accurate on the same samples.

    Only the samples that exactly one of them gets right matter; under the null either is equally
    likely to: a binomial test. McNemar (1947), Psychometrika 12. Both bool [N]. 1.0 where they never differ.
    """
    a, b = np.asarray(a_correct, dtype=bool), np.asarray(b_correct, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"McNemar's test needs the same samples: got {list(a.shape)} and {list(b.shape)}.")
    from scipy.stats import binomtest  # half a second, which tables of recorded runs need not wait for

    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def holm(p_values: ArrayLike) -> Float:
    """Return Holm's step-down adjustment [M] -> [M]: reject where it is below alpha, for any dependence.

    Holm (1979), Scandinavian Journal of Statistics 6: the i-th smallest (from 0) times M - i, made monotone.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


# --------------------------------------------------------------------------- bootstrap


MOST_COUNTS = 32 * 2**20  # drawn counts that are kept, two bytes each: 1,000 resamples of 30,000 samples


def draw_counts(samples: int, replicates: int, seed: int) -> Iterator[Float]:
    """Yield how often each sample is drawn in each resample of N with replacement: chunks float64 [<=CHUNK, N].

    A table asks for the same draws at every number; they are kept where they are small.
    """
    if samples * replicates > MOST_COUNTS:
        yield from _draw_chunks(samples, replicates, seed)
    else:
        yield from (counts.astype(np.float64) for counts in _keep_chunks(samples, replicates, seed))


@lru_cache(maxsize=2)
def _keep_chunks(samples: int, replicates: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    return tuple(counts.astype(np.uint16) for counts in _draw_chunks(samples, replicates, seed))


def _draw_chunks(samples: int, replicates: int, seed: int) -> Iterator[Float]:
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, CHUNK):
        size = min(CHUNK, replicates - start)
        drawn = rng.integers(samples, size=(size, samples))
        drawn += np.arange(size)[:, None] * samples
        yield np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples).astype(np.float64)


def bootstrap(
    statistics: Array, metric: FromStatistics, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile bootstrap interval of a metric of summed per-sample statistics [N, S].

    Efron (1979), Annals of Statistics 7. Replicates in which the metric is undefined (NaN, such as F1 without
    a positive) are left out; ValueError where none is defined, or there are no samples.
    """
    columns = _make_columns(statistics)
    values = [metric(w @ columns) for w in draw_counts(len(columns), replicates, seed)]
    estimate = metric(columns.sum(axis=0, keepdims=True))
    return make_interval(float(estimate[0]), np.concatenate(values), level)


def paired_bootstrap(
    a: Array, b: Array, metric: FromStatistics, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile interval of metric(a) - metric(b), statistics [N, S] each, of the same samples in order.

    Both are resampled with the same draws, so that what they share cancels. Errors as :func:`bootstrap`.
    """
    first, second = _make_columns(a), _make_columns(b)
    if len(first) != len(second):
        raise ValueError(f"A paired bootstrap needs the same samples: {len(first)} and {len(second)}.")
    values = [metric(w @ first) - metric(w @ second) for w in draw_counts(len(first), replicates, seed)]
    estimate = metric(first.sum(axis=0, keepdims=True)) - metric(second.sum(axis=0, keepdims=True))
    return make_interval(float(estimate[0]), np.concatenate(values), level)


def bootstrap_mean(values: Array, replicates: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the percentile interval of the mean of values [N], such as the mean exit layer."""
    count = len(_make_columns(values))
    return bootstrap(values, lambda sums: np.asarray(sums[..., 0] / count), replicates, seed, level)


def bootstrap_ratio(
    numerator: Array, denominator: Array, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return the percentile interval of mean(numerator) / mean(denominator), both [N]: the FLOPs speed-up.

    A ratio of means, not a mean of ratios: what a whole workload gains. Resampled pairwise.
    """
    pairs = np.column_stack([numerator, denominator])
    return bootstrap(pairs, lambda sums: np.asarray(sums[..., 0] / sums[..., 1]), replicates, seed, level)


def _make_columns(statistics: Array) -> Float:
    columns = np.asarray(statistics, dtype=np.float64)
    if not columns.size:
        raise ValueError("No samples: a bootstrap needs at least one.")
    return columns.reshape(len(columns), -1)


def make_interval(estimate: float, replicates: Float, level: float) -> Interval:
    """Return the interval between the percentiles of those replicates [B] that are defined.

    Raises ValueError where none is.
    """
    if np.isnan(replicates).all():
        raise ValueError("The metric is undefined in every bootstrap replicate.")
    low, high = np.nanquantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(estimate, float(low), float(high), level)
