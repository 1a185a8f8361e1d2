"""Several seeds of one cell: what the samples leave open, what the seeds leave open, and both, never mixed up.

The *sample interval* says how well the evaluation set stands for all inputs, for the models that were trained. The
*seed spread* says how much another training run differs, on this evaluation set. The *interval over both* is a
two-level bootstrap: seeds are drawn with replacement, then samples, the same for all seeds drawn, because all seeds
answered the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.measure.stats import FromStatistics, Interval, draw_counts

Float = NDArray[np.float64]


@dataclass(frozen=True)
class SeedSummary:
    """A metric over S seeds. ``std`` (with S - 1) and ``both`` are None for a single seed, which cannot show a spread.

    ``samples`` is the interval of the mean over these seeds, over samples only.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    lowest: float
    highest: float
    samples: Interval
    both: Interval | None

    def describe(self, digits: int = 3) -> str:
        """``0.912, samples [0.90, 0.92]; 3 seeds: std 0.004, 0.908..0.916; both [0.89, 0.93]``."""
        text = f"{self.mean:.{digits}f}, samples [{self.samples.low:.{digits}f}, {self.samples.high:.{digits}f}]; "
        if self.std is None or self.both is None:
            return text + "1 seed: spread unknown"
        spread = f"std {self.std:.{digits}f}, {self.lowest:.{digits}f}..{self.highest:.{digits}f}"
        both = f"both [{self.both.low:.{digits}f}, {self.both.high:.{digits}f}]"
        return f"{text}{len(self.values)} seeds: {spread}; {both}"


def over_seeds(
    statistics: ArrayLike, metric: FromStatistics, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> SeedSummary:
    """Summarise additive statistics [S, N, K] of S seeds on the same N samples.

    Drawing S seeds with replacement shows only (S - 1) / S of their variance; each replicate's departure from the mean
    over all seeds is therefore scaled by sqrt(S / (S - 1)) (Davison & Hinkley 1997, sec. 3.8). With fewer than five
    seeds the interval over both is rough all the same. Raises ValueError for no samples or no seeds.
    """
    table = np.asarray(statistics, dtype=np.float64)
    if table.ndim != 3 or 0 in table.shape:
        raise ValueError(
            f"Statistics of seeds must be [seeds, samples, sums], none of them 0, not {list(table.shape)}."
        )
    seeds, samples, _ = table.shape
    values = metric(table.sum(axis=1))
    mean = float(values.mean())
    chosen = np.random.default_rng([seed, 1])
    over_samples, over_both = [], []
    for weights in draw_counts(samples, replicates, seed):
        by_seed = np.stack([metric(weights @ one) for one in table], axis=1)  # [B, S]
        middle = by_seed.mean(axis=1)
        over_samples.append(middle)
        if seeds > 1:
            drawn = chosen.integers(seeds, size=by_seed.shape)
            apart = np.take_along_axis(by_seed, drawn, axis=1).mean(axis=1) - middle
            over_both.append(middle + apart * (seeds / (seeds - 1)) ** 0.5)
    return SeedSummary(
        values=tuple(float(v) for v in values),
        mean=mean,
        std=float(values.std(ddof=1)) if seeds > 1 else None,
        lowest=float(values.min()),
        highest=float(values.max()),
        samples=_interval(mean, np.concatenate(over_samples), level),
        both=_interval(mean, np.concatenate(over_both), level) if seeds > 1 else None,
    )


def _interval(estimate: float, replicates: Float, level: float) -> Interval:
    low, high = np.quantile(replicates, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(estimate, float(low), float(high), level)
