"""Ratios of times over rounds: what they are, and how often their intervals cover the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as reference

from bench.measure.rounds import (
    compare_ratios,
    follow_ratio,
    follow_time,
    make_contrast,
    make_waves,
    paired_ratio,
)

Array = NDArray[np.float64]


def test_paired_ratio_by_hand() -> None:
    before, after = np.array([2.0, 4.0, 8.0]), np.array([1.0, 1.0, 4.0])
    have = paired_ratio(before, after)
    logs = np.log([2.0, 4.0, 2.0])
    low, high = reference.t.interval(0.95, 2, logs.mean(), reference.sem(logs))
    assert have.estimate == pytest.approx(2 ** (4 / 3))
    assert (have.low, have.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_paired_ratio_ignores_drift_that_both_share() -> None:
    drift = np.array([1.0, 3.0, 0.5, 7.0])
    have = paired_ratio(3 * drift, 2 * drift)
    assert (have.low, have.estimate, have.high) == pytest.approx((1.5, 1.5, 1.5))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [([1.0], [1.0], "two"), ([1.0, 2.0], [1.0], "two"), ([1.0, 0.0], [1.0, 1.0], "positive")],
)
def test_paired_ratio_refuses(a: list[float], b: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        paired_ratio(a, b)


@pytest.mark.parametrize(("rounds", "parts", "count"), [(2, 1, 1), (5, 1, 4), (40, 1, 4), (72, 1, 6), (128, 1, 8),
                                                       (28, 7, 4), (14, 7, 3), (256, 2, 8)])  # fmt: skip
def test_waves_are_orthonormal_and_know_nothing_of_the_parts_means(rounds: int, parts: int, count: int) -> None:
    waves = make_waves(rounds, parts)
    assert waves.shape == (count, rounds)
    assert waves @ waves.T == pytest.approx(np.eye(count), abs=1e-12)
    assert waves.reshape(count, -1, parts).sum(axis=1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("rounds", "parts", "count"), [(2, 1, 0), (3, 1, 0), (4, 1, 1), (10, 1, 4), (12, 3, 4),
                                                       (28, 7, 4), (14, 7, 2), (128, 1, 8), (155, 5, 8)])  # fmt: skip
def test_the_contrast_of_halves_is_apart_from_what_its_spread_is_taken_from(
    rounds: int, parts: int, count: int
) -> None:
    step, waves = make_contrast(rounds, parts)
    half_a_cosine = np.cos(np.pi * (np.arange(rounds) + 0.5) / rounds)
    assert waves.shape == (count, rounds)
    assert waves @ waves.T == pytest.approx(np.eye(count), abs=1e-12)
    assert waves @ step == pytest.approx(0, abs=1e-9)
    assert waves @ half_a_cosine == pytest.approx(0, abs=1e-9)
    assert waves.reshape(count, rounds // parts, parts).sum(axis=1) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("rounds", "parts"), [(10, 1), (11, 1), (12, 3), (28, 7), (129, 3)])
def test_a_move_between_the_halves_is_found_as_large_as_it_is(rounds: int, parts: int) -> None:
    times = np.exp(np.random.default_rng(0).normal(0, 1e-5, rounds))
    times[-(rounds // 2) :] *= 1.1
    log, chance = follow_ratio(np.ones(rounds), times, parts).compare_halves()
    assert log == pytest.approx(-math.log(1.1), rel=0.15 if rounds % 2 or rounds // parts % 2 else 1e-3)
    assert chance < 0.01


def test_two_rounds_tell_nothing_of_halves_and_equal_ones_that_nothing_moved() -> None:
    assert follow_ratio([1.0, 2.0], [1.0, 1.0]).compare_halves()[1] == 1.0
    assert follow_ratio(np.full(20, 2.0), np.ones(20)).compare_halves() == (0.0, 1.0)


def test_few_rounds_have_students_interval() -> None:
    logs = np.array([0.1, 0.3, 0.2, 0.25])
    found = paired_ratio(np.exp(logs), np.ones(4), 0.9)
    low, high = reference.t.interval(0.9, 3, logs.mean(), reference.sem(logs))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_parts_that_take_turns_give_the_ratio_of_their_totals_and_differ_without_widening_it() -> None:
    plain, candidate = np.tile([10.0, 40.0], 8), np.tile([5.0, 5.0], 8)
    found = follow_ratio(plain, candidate, parts=2)
    assert found.moves == pytest.approx(0, abs=1e-12)
    interval = found.estimate_mean()
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((5, 5, 5))
    with pytest.raises(ValueError, match="of 2 parts"):
        follow_ratio(plain[:3], candidate[:3], parts=2)


def test_outlying_rounds_pull_the_mean_and_not_the_median() -> None:
    random = np.random.default_rng(0)
    plain, candidate = np.exp(random.normal(0, 0.002, (2, 64)))
    candidate[[3, 17, 40, 50]] *= 2
    found = follow_ratio(2 * plain, candidate)
    median = found.estimate_median()
    assert median is not None
    assert median.low < 2 < median.high
    assert median.estimate == pytest.approx(2, rel=2e-3)
    assert found.estimate_mean().estimate < 1.95
    assert follow_ratio(plain[:19], candidate[:19]).estimate_median() is None  # too few


def correlate(noise: Array) -> Array:
    for r in range(1, len(noise)):
        noise[r] = 0.5 * noise[r - 1] + math.sqrt(0.75) * noise[r]
    return noise


@pytest.mark.parametrize("spread", [lambda noise: noise, correlate])
@pytest.mark.parametrize(("parts", "cycles", "lowest"), [(1, 128, 0.93), (5, 26, 0.93), (7, 4, 0.91)])
def test_intervals_cover_the_truth_also_where_neighbouring_rounds_resemble_each_other(
    spread: Callable[[Array], Array], parts: int, cycles: int, lowest: float
) -> None:
    means = np.random.default_rng(1).normal(0, 0.3, (2, parts))
    truth, covered = float(np.divide(*np.exp(means).sum(axis=1))), np.zeros(2)
    for seed in range(800):
        random = np.random.default_rng(seed)
        times = [np.exp(np.tile(mean, cycles) + 0.01 * spread(random.normal(size=parts * cycles))) for mean in means]
        found = follow_ratio(*times, parts)
        for number, one in enumerate((found.estimate_mean(), found.estimate_median())):
            covered[number] += one is None or one.low <= truth <= one.high
    assert (covered / 800 >= lowest - 0.015).all()
    assert (covered / 800 <= 0.975).all()


def test_two_runs_differ_by_the_quotient_of_their_ratios() -> None:
    random = np.random.default_rng(3)
    noise = np.exp(random.normal(0, 0.01, (4, 60)))
    one, other = follow_ratio(2 * noise[0], noise[1]), follow_ratio(3 * noise[2], noise[3])
    found = compare_ratios(one, other)
    assert found.low < 1.5 < found.high
    assert found.estimate == pytest.approx(other.estimate_mean().estimate / one.estimate_mean().estimate)
    same = compare_ratios(follow_time([2.0, 2.0]), follow_time([3.0, 3.0]))
    assert (same.low, same.estimate, same.high) == pytest.approx((1.5, 1.5, 1.5))
