"""What seeds add to what samples leave open: chance over samples is not counted twice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.measure.seeds import interval_over_seeds, summarise_seeds, widen_for_seeds

SAMPLES = 400


def accuracy(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / SAMPLES


def summary(right: np.ndarray) -> tuple[float, float]:
    """Half widths of the interval over samples and of that over both, of answers [S, N] that are right or not."""
    found = summarise_seeds(right.astype(float)[:, :, None], accuracy, replicates=4000)
    assert found.both is not None
    return (found.samples.high - found.samples.low) / 2, (found.both.high - found.both.low) / 2


def test_seeds_that_differ_by_chance_over_samples_alone_add_nothing_but_doubt() -> None:
    """Every seed is right with 0.8 on each sample by itself: the seeds' spread is what 400 samples leave open.

    So the variance over both is that of the samples, p (1 - p) / (N S), and only Student's factor for few seeds
    widens the interval. Were the samples' chance not taken off the spread, the variance would be twice as large.
    """
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(12):
        samples, both = summary(random.random((6, SAMPLES)) < 0.8)
        ratios.append(both / samples)
    assert np.median(ratios) == pytest.approx(1.12, abs=0.13)


def test_seeds_that_differ_by_themselves_add_their_variance() -> None:
    """Accuracies of 0.7 to 0.9, all samples alike: the variance over both is that of samples and var / S together."""
    random = np.random.default_rng(1)
    rates = np.linspace(0.7, 0.9, 12)
    samples, both = summary(random.random((12, SAMPLES)) < rates[:, None])
    expected = 1.96 * np.sqrt((samples / 1.96) ** 2 + rates.var(ddof=1) / 12)
    assert both == pytest.approx(expected, rel=0.2)
    assert both > 2 * samples


@pytest.mark.parametrize("bias", [0.0, 0.05])
def test_two_seeds_without_chance_over_samples_by_hand(bias: float) -> None:
    """Two of two seeds drawn are twice the first, twice the second or both: their mean has half the true variance.

    Scaled by sqrt(2), and by Student's quantile over the normal one with 1 degree of freedom. What resampling shifts a
    seed by, always alike, is no chance.
    """
    values = np.array([0.7, 0.8])
    found = interval_over_seeds(values, np.tile(values + np.array([bias, -bias]), (2000, 1)))
    half = 0.05 * np.sqrt(2) * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.75 - half, 0.75, 0.75 + half))


def test_one_seed_has_the_interval_over_samples() -> None:
    by_seed = np.linspace(0.0, 1.0, 2001)[:, None]
    found = interval_over_seeds(np.array([0.4]), by_seed, level=0.9)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.05, 0.4, 0.95))


@pytest.mark.parametrize(("total", "spread", "freedom"), [(0.01, 0.03, 2), (0.02, 0.03, 8), (1e9, 0.03, 1e22)])
def test_few_seeds_widen_by_satterthwaites_degrees_of_freedom(total: float, spread: float, freedom: float) -> None:
    """Three seeds: total² / ((spread / 3)² / 2), at least 2."""
    assert widen_for_seeds(total, spread, 3) == pytest.approx(stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975))
    assert widen_for_seeds(total, 0.0, 3) == 1.0
