"""Latency protocols on simulated time: what they decide is a function of the times alone."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.measure.latency import LatencyOptions, LatencyResult, measure
from bench.measure.latency.protocol import (
    NOISE_FLOOR_ROUNDS,
    Coverage,
    abba,
    agree,
    blocks,
    bucket_of,
    drift,
    percentiles,
    stop_reason,
)
from bench.measure.latency.run import Configurations, run_protocol
from bench.measure.machine import GpuState, MachineState, disturbances, others, read_machine
from strategies.entropy import NormalisedEntropy
from tests.engines import make_batch, make_model

MS = 1_000_000


class FakeClock:
    """Time passes only when a query says so."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[tuple[str, int]] = []

    def __call__(self) -> int:
        return self.now

    def query(self, label: str, cost: Callable[[int], int], layer: int = 12) -> Callable[[int], int]:
        def run(i: int) -> int:
            self.log.append((label, i))
            self.now += cost(self.now)
            return layer

        return run

    def probe(self) -> MachineState:
        seconds = self.now / 1e9
        # a machine of two cores on which only this process works, on one of them
        return MachineState(seconds, 2, 0.0, busy=seconds, total=2 * seconds, own=seconds, mhz=None, throttle_count=0)


def simulate(
    costs: dict[str, Callable[[int], int]],
    options: LatencyOptions,
    tokens: list[int] | None = None,
    probe: Callable[[], MachineState] | None = None,
) -> tuple[LatencyResult, FakeClock]:
    clock = FakeClock()
    queries = {label: clock.query(label, cost) for label, cost in costs.items()}
    forced, lengths = clock.query("forced", lambda now: MS), tokens or [16] * 24
    configurations = Configurations(
        queries, ["plain"], lengths, [1] * len(lengths), range(1, 13), lambda i, depth: forced(i)
    )
    result = run_protocol(
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock, probe=probe or clock.probe
    )
    return result, clock


STEADY = {"plain": lambda now: 10 * MS, "early": lambda now: 4 * MS}
OPTIONS = LatencyOptions(samples=16, seconds=60.0)


# --------------------------------------------------------------------------- rules


def test_abba_gives_every_configuration_the_same_mean_position() -> None:
    labels = ["plain", "a", "b", "stock"]
    positions = {label: [abba(labels, turn).index(label) for turn in range(4)] for label in labels}
    assert {sum(p) for p in positions.values()} == {6}
    assert abba(labels, 0)[-1] == abba(labels, 1)[0]  # A B | B A


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_blocks_are_the_samples_in_order(samples: list[int], size: int) -> None:
    made = blocks(samples, size)
    assert [i for block in made for i in block] == samples
    assert all(len(block) == size for block in made[:-1])


@pytest.mark.parametrize(("tokens", "bucket"), [(1, 16), (15, 16), (16, 16), (17, 32), (128, 128)])
def test_bucket_edges(tokens: int, bucket: int) -> None:
    assert bucket_of(tokens, 16) == bucket


def test_coverage_names_what_is_missing() -> None:
    coverage = Coverage({1, 2, 3}, {16, 32})
    coverage.visit(1, 16)
    coverage.visit(3, 16)
    assert coverage.missing == ([2], [32])
    assert not coverage.complete
    coverage.visit(2, 32)
    assert coverage.complete


@pytest.mark.parametrize(
    ("second", "expected"), [(1.0, True), (1.05, True), (1.06, False), (0.95, False), (0.96, True)]
)
def test_two_blocks_agree_within_five_percent_either_way(second: float, expected: bool) -> None:
    assert agree({"a": 1.0, "b": 2.0}, {"a": second, "b": 2.0}) is expected


@pytest.mark.parametrize(
    ("count", "names"), [(1, []), (63, []), (64, ["p50"]), (129, ["p50"]), (130, ["p50", "p95"]), (661, ["p50", "p95"])]
)
def test_percentiles_need_enough_samples(count: int, names: list[str]) -> None:
    assert list(percentiles(np.arange(count))) == names


def test_percentiles_of_enough_samples() -> None:
    assert percentiles(np.arange(1001)) == {"p50": 500.0, "p95": 950.0, "p99": 990.0}


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
    assert stop_reason(rounds, "plain", elapsed, seconds=30.0, min_rounds=4, max_rounds=50) == expected


def test_the_noise_floor_is_where_more_rounds_do_not_help() -> None:
    # as many rounds again, and the interval is as wide: the second half is far noisier than the first
    plain = noisy(10, 0.02, 10, 0) + noisy(10, 0.2, 10, 1)
    args = {"seconds": 30.0, "min_rounds": 4, "max_rounds": 50}
    assert len(plain) >= NOISE_FLOOR_ROUNDS
    assert stop_reason({"plain": plain, "early": [5.0] * 20}, "plain", 1.0, **args) == "noise floor"  # type: ignore[arg-type]
    still_helps = noisy(10, 0.2, 10, 1) + noisy(10, 0.02, 10, 0)
    assert stop_reason({"plain": still_helps, "early": [5.0] * 20}, "plain", 1.0, **args) is None  # type: ignore[arg-type]


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
    assert (drift(plain) is not None) is drifts


# --------------------------------------------------------------------------- machine


def state(
    time: float, busy: float = 0.0, own: float = 0.0, throttles: int = 0, gpu: GpuState | None = None
) -> MachineState:
    return MachineState(time, 2, 0.0, busy, 2 * time, own, None, throttles, gpu)


def test_other_processes_are_what_is_busy_and_not_ours() -> None:
    assert others(state(0), state(10, busy=15, own=10)) == pytest.approx(0.25)
    assert others(state(0), state(10, busy=9.9, own=10)) == 0.0  # ticks are coarse
    assert others(replace(state(0), busy=None), state(10)) is None


def test_disturbances_are_named_once_each() -> None:
    hot = GpuState("gpu", 1000, 1000, 90, ("thermal",), 1, None)
    found = disturbances([(state(0), state(10, 15, 10, gpu=hot)), (state(10, 15, 10), state(20, 30, 20, 3, hot))], 0.1)
    assert [reason.split(":")[0] for reason in found] == ["load", "throttle", "throttle", "load"]
    assert "0.5 of 2 cores" in found[0]
    assert disturbances([(state(0), state(10, 10.5, 10))], 0.1) == []


def test_this_machine_can_be_read() -> None:
    before = read_machine()
    sum(i * i for i in range(200_000))
    after = read_machine()
    assert after.time > before.time
    assert after.own >= before.own
    share = others(before, after)
    assert share is None or 0 <= share <= 1


# --------------------------------------------------------------------------- the whole protocol


def test_a_steady_machine_stops_at_the_fewest_rounds_with_the_true_speedup() -> None:
    result, _ = simulate(STEADY, OPTIONS)
    assert result.valid
    assert (result.stop, len(result.rounds)) == ("interval within 1%", OPTIONS.min_rounds)
    early = result.summary("early")
    assert early.mean == pytest.approx(0.004)
    assert early.timer is not None
    assert early.sampling is not None
    assert (early.timer.low, early.timer.high) == pytest.approx((2.5, 2.5))
    assert early.sampling.estimate == pytest.approx(2.5)
    assert result.summary("plain").timer is None
    assert early.percentiles == {}  # 16 samples are too few


def test_every_round_runs_all_samples_of_one_permutation_through_all_configurations() -> None:
    options = replace(OPTIONS, streak=4)
    result, clock = simulate(STEADY, options)
    assert sorted(result.samples) == sorted(set(result.samples))
    assert len(result.samples) == 16
    measured = clock.log[-len(result.rounds) * 32 :]
    for r in range(len(result.rounds)):
        run = measured[32 * r : 32 * (r + 1)]
        for label in STEADY:
            assert [i for name, i in run if name == label] == result.samples
        streaks = [run[4 * k][0] for k in range(8)]
        assert streaks == ["plain", "early", "early", "plain"] * 2  # A B B A


def test_abba_cancels_a_linear_drift_of_the_machine_from_the_ratio() -> None:
    slowing = {
        "plain": lambda now: int(10 * MS * (1 + now / 1e11)),
        "early": lambda now: int(5 * MS * (1 + now / 1e11)),
    }
    result, _ = simulate(slowing, replace(OPTIONS, streak=4))
    assert result.speedup("early") == pytest.approx(2.0, rel=2e-3)


def test_the_warm_up_visits_every_depth_and_bucket_before_the_clock_counts() -> None:
    result, _ = simulate(STEADY, OPTIONS, tokens=[5, 16, 17, 40, 64] * 5)
    assert result.warmup.depths == list(range(1, 13))
    assert result.warmup.buckets == [16, 32, 48, 64]
    assert result.warmup.agreed
    assert result.warmup.blocks == 2


def test_more_buckets_than_depths_are_all_visited() -> None:
    tokens = [16 * k for k in range(1, 21)]
    result, _ = simulate(STEADY, replace(OPTIONS, samples=20), tokens=tokens)
    assert result.warmup.buckets == tokens


def test_the_warm_up_goes_on_until_two_blocks_agree() -> None:
    # the first second of the simulated machine is slow
    warming = {"plain": lambda now: (30 if now < 1e9 else 10) * MS, "early": lambda now: 4 * MS}
    result, _ = simulate(warming, OPTIONS)
    assert result.warmup.agreed
    assert result.warmup.blocks > 2
    assert result.table("plain").max() == 10 * MS


def test_a_machine_that_never_settles_is_said_so() -> None:
    unstable = {"plain": lambda now: int(10 * MS * (1.5 + math.sin(now / 1e8))), "early": lambda now: 4 * MS}
    result, _ = simulate(unstable, replace(OPTIONS, seconds=2.0))
    assert not result.warmup.agreed
    assert "no two warm-up blocks agreed" in result.notes[0]
    assert result.stop == "time limit"


def test_a_drifting_run_is_invalid() -> None:
    drifting = {"plain": lambda now: int(10 * MS * (1 + now / 2e10)), "early": lambda now: 4 * MS}
    result, _ = simulate(drifting, replace(OPTIONS, min_rounds=8))
    assert not result.valid
    assert result.reasons[0].startswith("drift")
    assert result.to_json()["validity"] == "INVALID"


def test_load_from_other_processes_makes_a_run_invalid() -> None:
    ticks = iter(range(1000))

    def busy() -> MachineState:
        now = next(ticks)
        return MachineState(now, 2, 3.0, busy=2.0 * now, total=2.0 * now, own=1.0 * now, mhz=None, throttle_count=None)

    result, _ = simulate(STEADY, OPTIONS, probe=busy)
    assert result.reasons == ["load: other processes used 1.0 of 2 cores"]


def test_the_garbage_collector_is_off_in_rounds_and_back_on_after() -> None:
    seen: list[bool] = []

    def early(now: int) -> int:
        seen.append(gc.isenabled())
        return MS

    simulate({"plain": lambda now: MS, "early": early}, OPTIONS)
    rounds = 16 * OPTIONS.min_rounds
    assert seen[-rounds:] == [False] * rounds
    assert gc.isenabled()


def test_the_result_is_json_with_raw_nanoseconds() -> None:
    result, _ = simulate(STEADY, OPTIONS)
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert found["protocol"] == "single-stream-v1"
    assert found["rounds"][0]["times"]["early"] == [4 * MS] * 16
    assert found["options"]["streak"] == OPTIONS.streak
    assert found["summary"]["early"]["timer"]["estimate"] == pytest.approx(2.5)


# --------------------------------------------------------------------------- a real model


def test_a_real_model_is_measured_against_its_faster_baseline() -> None:
    model = make_model("bert")
    samples = [make_batch([n]) for n in (4, 9, 20, 6)]
    options = LatencyOptions(samples=4, seconds=0.2, min_rounds=2, max_rounds=3, threads=1)
    before = torch.get_num_threads()
    result = measure(
        model, {"always": (NormalisedEntropy(), math.inf), "never": (NormalisedEntropy(), -1.0)}, samples, options
    )
    assert torch.get_num_threads() == before
    assert result.order == ["plain", "stock", "always", "never"]
    assert result.layers == {"plain": [5] * 4, "stock": [5] * 4, "always": [1] * 4, "never": [5] * 4}
    totals = {label: result.table(label).sum() for label in ("plain", "stock")}
    assert totals[result.baseline] == min(totals.values())
    assert result.threads == 1
    assert result.warmup.depths == [1, 2, 3, 4, 5]
    assert (np.concatenate([result.table(label) for label in result.order]) > 0).all()


@pytest.mark.parametrize(
    ("lengths", "label", "message"),
    [
        ([], "a", "at least one sample"),
        ([[4, 4]], "a", "batches of one sample"),
        ([[4]], "plain", "taken by a baseline"),
    ],
)
def test_requests_that_make_no_sense(lengths: list[list[int]], label: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(make_model("bert"), {label: (NormalisedEntropy(), 0.5)}, [make_batch(n) for n in lengths])
