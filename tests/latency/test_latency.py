"""Latency protocols on simulated time: what they decide is a function of the times alone."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.latency.machine import GpuState, MachineState
from bench.latency.queries import measure_interleaved
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.rounds import Configurations, CudaTimer
from bench.latency.run import draw_samples, run_protocol
from strategies.entropy import NormalisedEntropy
from tests.helpers.models.exit_models import make_batch, make_model

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

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def probe(self, others: float = 0.0) -> MachineState:
        """A machine of two cores: this process works on one, others have worked on the other for some seconds."""
        at = self.now / 1e9
        return MachineState(at, 2, 0.0, busy=at + others, total=2 * at, own=at, mhz=None, throttle_count=0)


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
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock, probe=probe or clock.probe,
        sleep=clock.sleep,
    )  # fmt: skip
    return result, clock


STEADY = {"plain": lambda now: 10 * MS, "early": lambda now: 4 * MS}
OPTIONS = LatencyOptions(samples=16, seconds=60.0, rounds=16)


# --------------------------------------------------------------------------- the whole protocol


def test_a_steady_machine_gives_the_true_speedup_in_the_planned_rounds() -> None:
    result, _ = simulate(STEADY, OPTIONS)
    assert result.valid
    assert (result.stop, len(result.rounds), result.parts) == ("planned number of rounds", OPTIONS.rounds, [16])
    assert (result.repeated, result.settling, result.waited, result.notes) == ([], [], None, [])
    early = result.summary("early")
    assert early.mean == pytest.approx(0.004)
    assert early.timer is not None
    assert early.robust is None  # of 16 rounds
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
        assert result.rounds[r].first == run[0][0]
        streaks = [run[4 * k][0] for k in range(8)]
        one, other = ("plain", "early") if r % 2 == 0 else ("early", "plain")
        assert streaks == [one, other, other, one] * 2


def test_a_round_of_all_samples_that_would_take_too_long_is_cut_into_parts_that_take_turns() -> None:
    tokens = [8 * k for k in range(1, 25)]
    result, clock = simulate(STEADY, replace(OPTIONS, samples=24, seconds=3.0, streak=4, rounds=32), tokens)
    assert (len(result.samples), result.parts, len(result.rounds)) == (24, [6, 6, 6, 6], 32)
    assert [one.part for one in result.rounds] == [0, 1, 2, 3] * 8
    measured = clock.log[-24 * 8 * 2 :]
    for label in STEADY:
        assert [i for name, i in measured if name == label] == result.samples * 8
    means = np.array(result.tokens).reshape(4, 6).mean(axis=1)
    assert means.max() / means.min() < 1.05  # of 8 to 192 tokens
    assert result.table("plain").shape == (8, 24)
    first = [one.first for one in result.rounds[::4]]
    assert set(first) == {"plain", "early"}  # of one part
    timer = result.summary("early").timer
    assert timer is not None
    assert (timer.low, timer.estimate, timer.high) == pytest.approx((2.5, 2.5, 2.5))


def test_abba_cancels_a_linear_drift_of_the_machine_from_the_ratio() -> None:
    slowing = {
        "plain": lambda now: int(10 * MS * (1 + now / 1e11)),
        "early": lambda now: int(5 * MS * (1 + now / 1e11)),
    }
    result, _ = simulate(slowing, replace(OPTIONS, streak=4, rounds=8))
    assert result.table("plain").mean() / result.table("early").mean() == pytest.approx(2.0, rel=2e-3)


def test_the_warm_up_visits_every_depth_and_bucket_before_the_clock_counts() -> None:
    result, _ = simulate(STEADY, OPTIONS, tokens=[5, 16, 17, 40, 64] * 5)
    assert result.warmup.depths == list(range(1, 13))
    assert result.warmup.buckets == [16, 32, 48, 64]
    assert result.warmup.agreed
    assert result.warmup.blocks == 2


def test_what_a_configuration_does_on_first_use_of_a_bucket_is_never_timed() -> None:
    """Recording a graph, compiling: for each configuration and length of its own, even the last of the permutation."""
    tokens = [16] * 39 + [400]
    options = replace(OPTIONS, samples=40, streak=4)
    rare = draw_samples(40, 40, options.seed).index(39)
    assert rare >= 2 * options.streak  # no warm-up block has it
    clock = FakeClock()
    known: set[tuple[str, int]] = set()

    def recording(label: str) -> Callable[[int], float]:
        def run(i: int) -> float:
            clock.now += 5 * MS if (label, tokens[i]) in known else 3000 * MS
            known.add((label, tokens[i]))
            return 12.0

        return run

    labels = ("plain", "early", "other")
    configurations = Configurations(
        {label: recording(label) for label in labels}, ["plain"], tokens, [1] * 40, range(1, 13),
        lambda i, depth: recording("forced")(i),
    )  # fmt: skip
    result = run_protocol(
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock, probe=clock.probe
    )
    assert {int(result.table(label).max()) for label in labels} == {5 * MS}


def test_every_batch_is_visited_before_the_clock_counts() -> None:
    clock, forced = FakeClock(), list[int]()

    def force(i: int, depth: int) -> float:
        forced.append(i)
        return float(depth)

    query = clock.query("plain", lambda now: MS)
    configurations = Configurations({"plain": query}, ["plain"], [16] * 9, [2] * 9, range(1, 3), force)
    result = run_protocol(
        configurations, replace(OPTIONS, streak=1), device="cpu", dtype="float32", threads=1, clock=clock,
        probe=clock.probe,
    )  # fmt: skip
    assert sorted(i for _, i in clock.log[:9]) == list(range(9))
    assert result.warmup.passes == len(clock.log) + len(forced) - 9 * len(result.rounds) - 1  # one refills the caches


def test_nobody_pays_for_the_collection_of_garbage() -> None:
    """The answers that find the caches empty are in no round."""
    cold = {"plain": 3, "early": 3}

    def answer(label: str) -> int:
        if gc.isenabled():
            return MS
        cold[label] -= 1
        return 2 * MS if cold[label] >= 0 else MS

    result, _ = simulate({label: partial(lambda label, now: answer(label), label) for label in cold}, OPTIONS)
    assert max(cold.values()) < 0
    assert {time for one in result.rounds for times in one.times.values() for time in times} == {MS}


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


def test_rounds_of_a_machine_that_got_slower_than_planned_end_with_the_time() -> None:
    slower = {"plain": lambda now: (10 if now < 2e9 else 100) * MS, "early": lambda now: (4 if now < 2e9 else 40) * MS}
    result, _ = simulate(slower, replace(OPTIONS, seconds=10.0, rounds=64))
    assert result.stop == "time limit"
    assert 10 <= len(result.rounds) < 64
    assert len(result.rounds) % len(result.parts) == 0


def test_a_drifting_run_is_invalid() -> None:
    drifting = {"plain": lambda now: int(10 * MS * (1 + now / 2e10)), "early": lambda now: 4 * MS}
    result, _ = simulate(drifting, OPTIONS)
    assert not result.valid
    assert any(reason.startswith("drift: the speed-up of early (+") for reason in result.reasons)
    assert result.to_json()["validity"] == "INVALID"
    assert not any("speed-ups hold" in note for note in result.notes)


def test_a_machine_whose_speed_moves_for_all_alike_is_valid_and_said_so() -> None:
    slowing = {
        "plain": lambda now: int(10 * MS * (1 + now / 3e10)), "early": lambda now: int(4 * MS * (1 + now / 3e10)),
    }  # fmt: skip
    result, _ = simulate(slowing, replace(OPTIONS, streak=4))
    assert result.valid
    assert result.moved is not None
    assert 0.05 < result.moved < 0.25
    assert result.notes == [
        f"the plain model's time moved by {result.moved:+.1%} during the run, no speed-up moved measurably: "
        "speed-ups hold, milliseconds are a mean over both speeds"
    ]
    timer = result.summary("early").timer
    assert timer is not None
    assert timer.estimate == pytest.approx(2.5, rel=2e-4)
    assert json.loads(json.dumps(result.to_json()))["moved"] == result.moved


def test_drift_in_the_first_rounds_prolongs_the_warm_up() -> None:
    # warm after a while: in its first rounds the machine is still getting slower
    warming = {"plain": lambda now: int(10 * MS * (1 + min(now, 5e9) / 1e10)), "early": lambda now: 4 * MS}
    result, _ = simulate(warming, replace(OPTIONS, rounds=64))
    assert result.valid
    assert len(result.settling) >= 8
    assert len(result.rounds) == 64
    assert any("count as warm-up" in note for note in result.notes)
    assert len(json.loads(json.dumps(result.to_json()))["settling"]) == len(result.settling)


def simulate_busy(others: Callable[[float], float], options: LatencyOptions) -> LatencyResult:
    """Run the protocol where ``others`` says how many seconds other processes have worked by then."""
    clock = FakeClock()
    queries = {label: clock.query(label, cost) for label, cost in STEADY.items()}
    configurations = Configurations(queries, ["plain"], [16] * 16, [1] * 16, range(1, 13), lambda i, depth: 1.0)
    return run_protocol(
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock,
        probe=lambda: clock.probe(others(clock.now / 1e9)), sleep=clock.sleep,
    )  # fmt: skip


def test_load_from_other_processes_makes_a_run_invalid() -> None:
    result = simulate_busy(lambda now: now, replace(OPTIONS, seconds=4.0))
    assert result.reasons == ["load: other processes used 1.0 of 2 cores"]
    assert len(result.rounds) == 16  # as many as of another machine
    assert 0 < sum(sum(map(sum, one.times.values())) for one in result.repeated) <= 0.5 * 4e9


def test_rounds_in_which_others_worked_are_repeated_and_kept() -> None:
    result = simulate_busy(lambda now: min(max(now - 2, 0.0), 1.0), OPTIONS)  # from the second second to the third
    assert result.valid
    assert (len(result.rounds), len(result.repeated)) == (16, 6)
    assert result.notes == ["6 rounds were repeated, as other processes used more than 10% of the cores"]
    times = sum(sum(one.times["plain"]) for one in result.repeated)
    assert times / 1e9 == pytest.approx(6 * 0.16)  # whatever they took


def test_the_wait_for_a_quiet_machine_ends_with_it_or_with_patience() -> None:
    result = simulate_busy(lambda now: min(now, 7.0), replace(OPTIONS, wait_quiet=300.0))
    assert (result.waited, result.notes) == (10.0, [])  # the first two seconds that were quiet begin at eight
    assert result.valid
    never = simulate_busy(lambda now: now, replace(OPTIONS, seconds=1.0, wait_quiet=20.0))
    assert never.waited is None
    assert never.notes[0] == "the machine was not quiet within 20 s"


def test_the_same_rounds_are_measured_however_they_scatter() -> None:
    """A number of rounds that depended on the scatter would make the interval too narrow."""
    random = np.random.default_rng(0)
    scattered = {"plain": lambda now: int(10 * MS * math.exp(random.normal(0, 0.2))), "early": lambda now: 4 * MS}
    steady, noisy = (len(simulate(costs, replace(OPTIONS, seconds=300.0))[0].rounds) for costs in (STEADY, scattered))
    assert steady == noisy == 16


def test_the_garbage_collector_is_off_in_rounds_and_back_on_after() -> None:
    seen: list[bool] = []

    def early(now: int) -> int:
        seen.append(gc.isenabled())
        return MS

    simulate({"plain": lambda now: MS, "early": early}, OPTIONS)
    rounds = 16 * OPTIONS.rounds
    assert seen[-rounds:] == [False] * rounds
    assert gc.isenabled()


def test_the_result_is_json_with_raw_nanoseconds() -> None:
    result, _ = simulate(STEADY, OPTIONS)
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert found["protocol"] == "single-stream-v2"
    assert found["rounds"][0]["times"]["early"] == [4 * MS] * 16
    assert found["options"]["streak"] == OPTIONS.streak
    assert found["options"]["seed"] == OPTIONS.seed
    assert found["rules"]["percentile_floors"]["p99"] == 662
    assert found["clock"] == "simulated"
    assert [r["collecting"] for r in found["rounds"]] == [False] * OPTIONS.rounds
    assert found["summary"]["early"]["device_mean"] is None
    assert found["summary"]["early"]["timer"]["estimate"] == pytest.approx(2.5)


class DeviceClock(CudaTimer):
    """A device that is busy for half of each query."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.begun, self.found = clock, 0, list[int]()

    def start(self) -> None:
        self.begun = self.clock.now

    def stop(self) -> None:
        self.found.append((self.clock.now - self.begun) // 2)

    def read(self) -> list[int]:
        found, self.found = self.found, []
        return found


@pytest.mark.parametrize("told", [True, False])
def test_device_events_are_a_second_column_and_a_silent_driver_is_named(told: bool) -> None:
    clock = FakeClock()
    gpu = GpuState("gpu", 1500, 2000, 50, (), 0, None) if told else None
    configurations = Configurations(
        {"plain": clock.query("plain", lambda now: 10 * MS), "early": clock.query("early", lambda now: 4 * MS)},
        ["plain"], [16] * 8, [1] * 8, range(1, 3), lambda i, depth: 1.0,
    )  # fmt: skip
    result = run_protocol(
        configurations, OPTIONS, device="cuda:0", dtype="float32", threads=1, clock=clock,
        probe=lambda: replace(clock.probe(), gpu=gpu), timer=DeviceClock(clock),
    )  # fmt: skip
    assert result.summary("early").device_mean == pytest.approx(0.002)
    assert result.summary("early").mean == pytest.approx(0.004)
    assert [note for note in result.notes if "NVML" in note] == ([] if told else result.notes)


# --------------------------------------------------------------------------- a real model


def test_a_real_model_is_measured_against_its_faster_baseline() -> None:
    model = make_model("bert")
    samples = [make_batch([n]) for n in (4, 9, 20, 6)]
    options = LatencyOptions(samples=4, seconds=0.2, rounds=3, threads=1)
    before = torch.get_num_threads()
    result = measure_interleaved(
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
        measure_interleaved(
            make_model("bert"), {label: (NormalisedEntropy(), 0.5)}, [make_batch(n) for n in lengths], OPTIONS
        )
