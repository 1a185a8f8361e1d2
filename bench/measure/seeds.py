"""Several seeds of one cell: what the samples leave open, what the seeds leave open, and both, never mixed up.

The *sample interval* says how well the evaluation set stands for all inputs, for the models that were trained. The
*seed spread* says how much another training run differs, on this evaluation set. The *interval over both* is a
two-level bootstrap: seeds are drawn with replacement, then samples, the same for all seeds drawn, because all seeds
answered the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from bench.measure.curve import Float
from bench.measure.stats import FromStatistics, Interval, draw_counts, find_t_quantile, make_interval


@dataclass(frozen=True)
class SeedSummary:
    """The mean of a metric over S seeds: its interval over samples, for these seeds, and over both seeds and samples.

    ``both`` is None for a single seed, which cannot show a spread.
    """

    mean: float
    samples: Interval
    both: Interval | None


def summarise_seeds(
    statistics: ArrayLike, metric: FromStatistics, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> SeedSummary:
    """Summarise additive statistics [S, N, K] of S seeds on the same N samples.

    Drawing S seeds with replacement shows only (S - 1) / S of their variance, and their spread holds chance over
    samples that the draw of samples shows already; the draws of seeds are scaled so that both are right. So few seeds
    know their own spread badly: the percentiles are widened by Student's quantile over the normal one, with
    Satterthwaite's degrees of freedom (Hesterberg 2015, "expanded percentiles"). Raises ValueError for no samples or
    no seeds.
    """
    table = np.asarray(statistics, dtype=np.float64)
    if table.ndim != 3 or 0 in table.shape:
        raise ValueError(
            f"Statistics of seeds must be [seeds, samples, sums], none of them 0, not {list(table.shape)}."
        )
    seeds, samples, _ = table.shape
    values = metric(table.sum(axis=1))
    mean = float(values.mean())
    columns = np.ascontiguousarray(table.transpose(1, 0, 2)).reshape(samples, -1)  # one product for all seeds
    drawn = [(w @ columns).reshape(len(w), seeds, -1) for w in draw_counts(samples, replicates, seed)]
    by_seed = np.stack([metric(sums) for sums in np.concatenate(drawn).transpose(1, 0, 2)], axis=1)
    over_both = interval_over_seeds(values, by_seed, level, seed) if seeds > 1 else None
    return SeedSummary(mean, make_interval(mean, by_seed.mean(axis=1), level), over_both)


def interval_over_seeds(values: Float, by_seed: Float, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the interval of the mean of ``values`` [S], one a seed, from replicates [B, S] with the same samples.

    Over samples for one seed, over seeds and samples for several, as :func:`summarise_seeds`.
    """
    mean = float(values.mean())
    if len(values) == 1:
        return make_interval(mean, by_seed[:, 0], level)
    return make_interval(mean, _resample_both(by_seed, values, np.random.default_rng([seed, 1]), level), level)


def _resample_both(by_seed: Float, values: Float, random: np.random.Generator, level: float) -> Float:
    """Replicates [B] over seeds and samples, from replicates over samples [B, S] and the seeds' own values [S]."""
    replicates, seeds = by_seed.shape
    mean, middle = values.mean(), by_seed.mean(axis=1)
    spread = float(values.var(ddof=1))
    # what chance over samples adds to each seed by itself, after what it does to all of them alike
    own = (by_seed - values) - (middle - mean)[:, None]
    chance = float(own.var(axis=0).mean()) * seeds / (seeds - 1)
    more = max(spread - chance, 0.0) / seeds
    total = float(middle.var()) + more
    apart = values[random.integers(seeds, size=(replicates, seeds))].mean(axis=1) - mean
    scale = (more / (spread * (seeds - 1) / seeds**2)) ** 0.5 if spread > 0 else 0.0
    return np.asarray(mean + widen_for_seeds(total, spread, seeds, level) * (middle - mean + scale * apart))


def widen_for_seeds(total: float, spread: float, seeds: int, level: float = 0.95) -> float:
    """Return Student's quantile over the normal one: of the variance ``total``, ``spread / seeds`` rests on S seeds."""
    if spread == 0:
        return 1.0
    freedom = max(total**2 / ((spread / seeds) ** 2 / (seeds - 1)), seeds - 1)
    return find_t_quantile(level, freedom) / float(ndtri(0.5 + level / 2))
