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

from bench.errors import UsageError
from bench.latency.machine import GpuState
from bench.latency.queries import measure_interleaved
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.rounds import Configurations, CudaTimer
from bench.latency.run import run_protocol
from strategies.entropy import NormalisedEntropy
from tests.helpers.models.exit_models import make_batch, make_model
from tests.latency.fake_clock import MS, OPTIONS, STEADY, FakeClock, simulate


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
