"""The rules of the latency protocols: order, warm-up, stopping, drift, percentile floors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.latency.protocol import (
    NOISE_FLOOR_ROUNDS,
    alternate_order,
    compute_bucket,
    find_drift,
    find_stop_reason,
    is_same_speed,
    split_into_streaks,
)
from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions, compute_percentiles

HALF_A_MINUTE = LatencyOptions(seconds=30.0, min_rounds=4, max_rounds=50)


def test_abba_gives_every_configuration_the_same_mean_position() -> None:
    labels = ["plain", "a", "b", "stock"]
    positions = {label: [alternate_order(labels, turn).index(label) for turn in range(4)] for label in labels}
    assert {sum(p) for p in positions.values()} == {6}
    assert alternate_order(labels, 0)[-1] == alternate_order(labels, 1)[0]  # A B | B A


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_blocks_are_the_samples_in_order(samples: list[int], size: int) -> None:
    made = split_into_streaks(samples, size)
    assert [i for block in made for i in block] == samples
    assert all(len(block) == size for block in made[:-1])


@pytest.mark.parametrize(("tokens", "bucket"), [(1, 16), (15, 16), (16, 16), (17, 32), (128, 128)])
def test_bucket_edges(tokens: int, bucket: int) -> None:
    assert compute_bucket(tokens, 16) == bucket


@pytest.mark.parametrize(
    ("second", "expected"), [(1.0, True), (1.05, True), (1.06, False), (0.95, False), (0.96, True)]
)
def test_two_blocks_agree_within_five_percent_either_way(second: float, expected: bool) -> None:
    assert is_same_speed({"a": 1.0, "b": 2.0}, {"a": second, "b": 2.0}) is expected


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, []), (63, []), (64, ["p50", "p90"]), (129, ["p50", "p90"]), (130, ["p50", "p90", "p95"]),
     (661, ["p50", "p90", "p95"]), (662, ["p50", "p90", "p95", "p99"])],
)  # fmt: skip
def test_percentiles_need_enough_samples(count: int, names: list[str]) -> None:
    assert list(compute_percentiles(np.arange(count))) == names


def test_percentiles_of_enough_samples() -> None:
    assert compute_percentiles(np.arange(1001)) == {"p50": 500.0, "p90": 900.0, "p95": 950.0, "p99": 990.0}


@pytest.mark.parametrize("percentile", [90, 95, 99])
def test_the_floors_are_the_fewest_samples_of_which_two_surely_lie_beyond(percentile: int) -> None:
    floor = PERCENTILE_FLOORS[percentile]
    at_most_one = [stats.binom.cdf(1, count, 1 - percentile / 100) for count in (floor - 1, floor)]
    assert at_most_one[0] > 0.01 >= at_most_one[1]


def noisy(mean: float, spread: float, count: int, seed: int) -> list[float]:
    return (mean * np.exp(np.random.default_rng(seed).normal(0, spread, count))).tolist()


@pytest.mark.parametrize(
    ("rounds", "elapsed", "expected"),
    [
        ({"plain": [10.0] * 3, "early": [5.0] * 3}, 0.0, None),  # too few rounds
        ({"plain": [10.0] * 4, "early": [5.0] * 4}, 0.0, "interval within 1%"),
        ({"plain": [10.0, 12.0, 9.0, 11.0], "early": [5.0] * 4}, 0.0, None),
        ({"plain": [10.0, 12.0, 9.0, 11.0], "early": [5.0, 6.0, 4.5, 5.5]}, 0.0, "interval within 1%"),  # paired
        ({"plain": [10.0, 12.0, 9.0, 11.0], "early": [5.0] * 4}, 30.0, "time limit"),
        ({"plain": [10.0, 12.0], "early": [5.0, 5.0]}, 30.0, "time limit"),
        ({"plain": [10.0], "early": [5.0]}, 30.0, None),  # one round has no interval
        ({"plain": noisy(10, 0.2, 50, 1), "early": [5.0] * 50}, 1.0, "round limit"),
        ({"plain": [10.0] * 4}, 0.0, "interval within 1%"),  # nothing to compare
    ],
)
def test_stopping(rounds: dict[str, list[float]], elapsed: float, expected: str | None) -> None:
    assert find_stop_reason(rounds, "plain", elapsed, HALF_A_MINUTE) == expected


def test_the_noise_floor_is_where_more_rounds_do_not_help() -> None:
    # as many rounds again, and the interval is as wide: the second half is far noisier than the first
    plain = noisy(10, 0.02, 10, 0) + noisy(10, 0.2, 10, 1)
    assert len(plain) >= NOISE_FLOOR_ROUNDS
    assert find_stop_reason({"plain": plain, "early": [5.0] * 20}, "plain", 1.0, HALF_A_MINUTE) == "noise floor"
    still_helps = noisy(10, 0.2, 10, 1) + noisy(10, 0.02, 10, 0)
    assert find_stop_reason({"plain": still_helps, "early": [5.0] * 20}, "plain", 1.0, HALF_A_MINUTE) is None


@pytest.mark.parametrize(
    ("plain", "drifts"),
    [
        ([10.0] * 8, False),
        ([10.0] * 4 + [10.4] * 4, False),  # below 5 %
        ([10.0] * 4 + [10.6] * 4, True),
        ([10.6] * 4 + [10.0] * 4, True),
        ([10.0, 14.0, 9.0, 10.5, 12.0, 9.0, 15.0, 11.0], False),  # noise
        ([10.0, 20.0], False),  # too few to tell
    ],
)
def test_drift_is_large_and_significant(plain: list[float], drifts: bool) -> None:
    assert (find_drift(plain) is not None) is drifts
