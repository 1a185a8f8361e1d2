"""Error bars cover what they should, and the tests match their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as reference

from bench.measure.rounds import paired_ratio
from bench.measure.stats import (
    CHUNK,
    Interval,
    bootstrap,
    bootstrap_mean,
    bootstrap_ratio,
    draw_counts,
    holm,
    mcnemar,
    paired_bootstrap,
    wilson,
)

Array = NDArray[Any]


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy(total: int, data: st.DataObject, level: float) -> None:
    successes = data.draw(st.integers(0, total))
    have = wilson(successes, total, level)
    want = reference.binomtest(successes, total).proportion_ci(level, method="wilson")
    assert have.low == pytest.approx(want.low, abs=1e-12)
    assert have.high == pytest.approx(want.high, abs=1e-12)
    assert 0 <= have.low <= have.estimate <= have.high <= 1


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_proportion(successes: int, total: int) -> None:
    with pytest.raises(ValueError, match="No proportion"):
        wilson(successes, total)


@pytest.mark.parametrize(
    ("only_a", "only_b", "want"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 2 / 2**5), (1, 9, 2 * 11 / 2**10), (10, 0, 2 / 2**10)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, want: float) -> None:
    a = np.array([1] * only_a + [0] * only_b + [1] * 20 + [0] * 4, dtype=bool)
    b = np.array([0] * only_a + [1] * only_b + [1] * 20 + [0] * 4, dtype=bool)
    assert mcnemar(a, b) == pytest.approx(want)
    assert mcnemar(b, a) == pytest.approx(want)


def test_mcnemar_refuses_different_samples() -> None:
    with pytest.raises(ValueError, match="same samples"):
        mcnemar([True], [True, False])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    raw = np.array(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()


def test_draw_counts_are_resamples() -> None:
    chunks = list(draw_counts(50, CHUNK + 3, seed=1))
    assert [len(c) for c in chunks] == [CHUNK, 3]
    weights = np.concatenate(chunks)
    assert (weights.sum(axis=1) == 50).all()
    assert len(np.unique(weights, axis=0)) == len(weights)
    assert abs(weights.var() - (1 - 1 / 50)) < 0.1  # binomial(50, 1/50)
    assert (weights == np.concatenate(list(draw_counts(50, CHUNK + 3, seed=1)))).all()


def f1(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1]))


def test_bootstrap_of_a_mean_approaches_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    have = bootstrap_mean(values, replicates=2000, seed=5)
    half = 1.96 * values.std() / math.sqrt(400)
    assert have.estimate == pytest.approx(values.mean())
    assert (have.low, have.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_bootstrap_of_accuracy_agrees_with_wilson() -> None:
    correct = np.arange(1000) < 870
    have, want = bootstrap_mean(correct, seed=1), wilson(870, 1000)
    assert (have.low, have.high) == pytest.approx((want.low, want.high), abs=0.004)


def test_bootstrap_is_seeded_and_takes_any_metric() -> None:
    rng = np.random.default_rng(2)
    cells = np.column_stack([rng.random(300) < 0.4, rng.random(300) < 0.2])
    first, again, other = (bootstrap(cells, f1, 200, seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.low < first.estimate < first.high


def test_undefined_replicates_are_left_out() -> None:
    cells = np.zeros((4, 2))
    cells[0] = [1, 0]  # drawn in about two thirds of the resamples; in the others 0 / 0
    have = bootstrap(cells, f1, 100)
    assert (have.low, have.high) == (1.0, 1.0)
    with pytest.raises(ValueError, match="undefined"):
        bootstrap(np.zeros((4, 2)), f1, 100)


@pytest.mark.parametrize("empty", [np.empty((0, 2)), np.empty(0)])
def test_bootstrap_needs_samples(empty: Array) -> None:
    with pytest.raises(ValueError, match="No samples"):
        bootstrap(empty, f1)


def test_pairing_makes_the_interval_narrow() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(size=500)
    a, b = shared + 0.1, shared + rng.normal(0, 0.01, 500)

    def mean(sums: Array) -> Array:
        return np.asarray(sums[..., 0] / 500)

    paired = paired_bootstrap(a, b, mean)
    assert paired.low < 0.1 < paired.high
    assert paired.high - paired.low < 0.1 * (bootstrap_mean(a).high - bootstrap_mean(a).low)
    with pytest.raises(ValueError, match="same samples"):
        paired_bootstrap(a, b[:-1], mean)


def test_ratio_of_means_not_mean_of_ratios() -> None:
    have = bootstrap_ratio(np.array([1.0, 100.0]), np.array([1.0, 10.0]), 50)
    assert have.estimate == 101 / 11


def covered(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("method", ["wilson", "bootstrap", "ratio", "rounds"])
def test_coverage_is_about_nominal(method: str) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for trial in range(300):
        if method == "wilson":
            hits += covered(wilson(int(rng.binomial(60, 0.9)), 60), 0.9)
        elif method == "bootstrap":
            hits += covered(bootstrap_mean(rng.exponential(2.0, 120), 300, trial), 2.0)
        elif method == "ratio":
            cost = rng.uniform(1, 3, 120)
            hits += covered(bootstrap_ratio(cost, cost * rng.uniform(0, 1, 120), 300, trial), 2.0)
        else:
            drift = rng.uniform(1, 5, 8)
            hits += covered(paired_ratio(drift * rng.lognormal(math.log(1.7), 0.05, 8), drift), 1.7)
    assert 0.90 <= hits / 300 <= 0.99


def accuracy(sums: Array) -> Array:
    return np.asarray(sums[..., 0] / 80)
