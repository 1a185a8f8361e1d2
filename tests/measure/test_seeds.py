"""What seeds add to what samples leave open: chance over samples is not counted twice."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.seeds import summarise_seeds

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
