"""The rules of the latency protocols: order, warm-up, how many rounds, drift, percentile floors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bench.latency.protocol import (
    RoundPlan,
    alternate_order,
    compute_bucket,
    deal_strata,
    describe_rules,
    find_drift,
    find_moved_ratios,
    is_same_speed,
    judge_drift,
    plan_rounds,
    split_into_streaks,
)
from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions, compute_percentiles, find_disagreement
from bench.measure.rounds import RatioSeries, follow_ratio
from bench.measure.stats import Interval
from bench.selfcheck.drifts import BY_ROUNDS, FALSE_ALARMS, count_invalid

HALF_A_MINUTE = LatencyOptions(seconds=30.0)


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


@pytest.mark.parametrize(
    ("seconds", "samples", "expected"),
    [
        (0.001, 64, RoundPlan(64, 1, 128)),  # 30 s are enough for all
        (0.005, 64, RoundPlan(64, 2, 93)),
        (0.015, 64, RoundPlan(64, 5, 31)),
        (0.25, 64, RoundPlan(30, 7, 4)),  # bert-base on two cores
        (2.0, 64, RoundPlan(8, 3, 4)),  # longer than the limit allows
        (100.0, 64, RoundPlan(8, 3, 4)),
        (0.25, 3, RoundPlan(3, 1, 40)),
        (100.0, 3, RoundPlan(3, 3, 4)),
        (100.0, 1, RoundPlan(1, 1, 10)),
    ],
)
def test_rounds_are_planned_by_time_never_fewer_than_ten(seconds: float, samples: int, expected: RoundPlan) -> None:
    found = plan_rounds(seconds, samples, HALF_A_MINUTE)
    assert found == expected
    assert found.rounds >= 10


@given(st.floats(1e-4, 10.0), st.integers(1, 200), st.integers(1, 8))
def test_a_plan_keeps_to_the_time_where_it_can(seconds: float, samples: int, streak: int) -> None:
    found = plan_rounds(seconds, samples, LatencyOptions(seconds=30.0, streak=streak))
    assert found.rounds >= 10
    assert found.parts <= found.samples <= samples
    queries = found.samples * found.cycles
    assert queries * seconds <= 30.0 or queries <= max(8 * 5, 4 * samples)
    assert 2 * found.parts <= found.settling <= found.rounds


@given(st.lists(st.integers(1, 128), min_size=1, max_size=64), st.data())
def test_strata_are_as_long_as_each_other_and_have_everybody_once(tokens: list[int], data: st.DataObject) -> None:
    used = data.draw(st.integers(1, len(tokens)))
    plan = RoundPlan(used, data.draw(st.integers(1, used)), 4)
    order = np.random.default_rng(0).permutation(len(tokens)).tolist()
    parts = deal_strata(order, tokens, plan)
    dealt = [i for part in parts for i in part]
    assert len(parts) == plan.parts
    assert len(set(dealt)) == len(dealt) == used
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(part == sorted(part, key=order.index) for part in parts)


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
    found = find_drift(plain)
    assert (found is not None) is drifts
    assert found is None or found == pytest.approx(plain[-1] / plain[0] - 1)


def test_parts_of_unlike_length_are_no_drift_and_hide_none() -> None:
    steady = [10.0, 30.0, 20.0] * 4
    assert find_drift(steady, 3) is None
    assert find_drift([t * (1.1 if r >= 6 else 1.0) for r, t in enumerate(steady)], 3) is not None


def measure_made_up(move: float, common: float, rounds: int = 128, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Times of rounds with 1 % of noise: from the middle on all take longer by ``common`` and b by ``move`` more."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (4, rounds))
    found = {name: np.exp(row) / k for k, (name, row) in enumerate(zip("pabc", noise, strict=True), start=1)}
    for row in found.values():
        row[rounds // 2 :] *= 1 + common
    found["b"][rounds // 2 :] *= 1 + move
    return found


def judge_made_up(times: dict[str, NDArray[np.float64]]) -> list[str]:
    return judge_drift(find_drift(times["p"]), {name: follow_ratio(times["p"], times[name]) for name in "abc"})


@pytest.mark.parametrize("common", [0.0, 0.15, -0.15])
@pytest.mark.parametrize("seed", range(5))
def test_a_speedup_that_moves_is_drift_whatever_the_machine_does(seed: int, common: float) -> None:
    [reason] = judge_made_up(measure_made_up(0.03, common, seed=seed))
    assert reason.startswith("drift: the speed-up of b (-")
    assert reason.endswith("%) moved during the run")


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_slows_down_for_all_alike_is_no_drift_unless_it_is_another(seed: int) -> None:
    times = measure_made_up(0.0, 0.15, seed=seed)
    assert judge_made_up(times) == []
    assert find_drift(times["p"]) == pytest.approx(0.15, abs=0.01)
    [reason] = judge_made_up(measure_made_up(0.0, 0.4, seed=seed))
    assert reason.startswith("drift: the plain model's time moved by +")
    assert reason.endswith("as of another machine")


def test_a_speedup_that_moves_surely_by_less_than_the_limit_is_no_drift() -> None:
    times = measure_made_up(0.015, 0.0, rounds=1024)
    log, chance = follow_ratio(times["p"], times["b"]).compare_halves()
    assert log == pytest.approx(-np.log(1.015), abs=3e-3)
    assert chance < 1e-6
    assert judge_made_up(times) == []


def test_all_that_moved_are_named_the_worst_first_and_three_at_most() -> None:
    before, after = np.ones(64), np.ones(64)
    ratios = {}
    for number, name in enumerate("abcde"):
        after = np.exp(np.random.default_rng(number).normal(0, 1e-4, 64))
        after[32:] *= 1 + 0.03 * number
        ratios[name] = follow_ratio(before, after)
    assert list(find_moved_ratios(ratios)) == ["e", "d", "c", "b"]
    [reason] = judge_drift(0.01, ratios)
    assert reason == "drift: the speed-ups of e (-10.7%), d (-8.3%), c (-5.7%) and 1 more moved during the run"


def test_more_speedups_need_more_evidence() -> None:
    """What is significant alone may be chance among a hundred."""
    for seed in range(100):
        times = measure_made_up(0.03, 0.0, rounds=28, seed=seed)
        log, chance = follow_ratio(times["p"], times["b"]).compare_halves()
        if 1e-4 < chance < 0.01 and log < -0.021:
            break
    still = {str(k): follow_ratio(times["p"], times["p"]) for k in range(99)}
    moved = {"b": follow_ratio(times["p"], times["b"])}
    assert list(find_moved_ratios(moved)) == ["b"]
    assert find_moved_ratios(still | moved) == {}


@pytest.mark.parametrize("rounds", BY_ROUNDS)
def test_rounds_that_resemble_their_neighbours_seldom_raise_a_false_alarm(rounds: str) -> None:
    share = count_invalid("autocorrelated", 0.05, 0.0, BY_ROUNDS[rounds], 400, [3])
    assert share <= FALSE_ALARMS[rounds] + 3 * np.sqrt(FALSE_ALARMS[rounds] / 400)


def test_a_test_that_takes_neighbours_for_independent_raises_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare_by_welch(ratio: RatioSeries) -> tuple[float, float]:
        first, second = np.array_split(ratio.moves, 2)
        return float(second.mean() - first.mean()), float(stats.ttest_ind(first, second, equal_var=False).pvalue)

    monkeypatch.setattr(RatioSeries, "compare_halves", compare_by_welch)
    assert count_invalid("autocorrelated", 0.05, 0.0, BY_ROUNDS["some 155 rounds"], 200, [3]) > 0.15


def test_a_move_far_from_the_middle_is_not_found_and_widens_the_interval() -> None:
    """It is in the waves that the spread is taken from, as docs/methods.md says."""
    assert count_invalid("independent", 0.01, 0.1, BY_ROUNDS["some 155 rounds"], 100, [3], since=0.75) == 0
    random = np.random.default_rng(0)
    plain, other = 10 * np.exp(random.normal(0, 0.01, (2, 144)))
    moved = other.copy()
    moved[108:] *= 1.1
    still, wide = (follow_ratio(plain, one).estimate_mean() for one in (other, moved))
    assert wide.high - wide.low > 5 * (still.high - still.low)


def test_what_a_run_was_judged_by_is_in_its_rules() -> None:
    rules = describe_rules()
    assert (rules["drift_limit"], rules["machine_limit"]) == (0.05, 0.25)
    assert rules["ratio_drift"] == {"limit": 0.02, "level": 0.01}  # measurements of before have none


@pytest.mark.parametrize(
    ("timer", "robust", "disagree"),
    [((2.0, 1.9, 2.1), (2.2, 2.15, 2.25), True), ((2.0, 1.9, 2.1), (2.2, 1.95, 2.5), False),
     ((2.0, 1.5, 2.5), (2.2, 2.15, 2.25), False)],
)  # fmt: skip
def test_mean_and_median_disagree_where_neither_interval_has_the_other(
    timer: tuple[float, float, float], robust: tuple[float, float, float], disagree: bool
) -> None:
    assert bool(find_disagreement(Interval(*timer), Interval(*robust))) is disagree
    assert find_disagreement(Interval(*timer), None) == ""
