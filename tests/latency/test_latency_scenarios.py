"""Depth table, serving, energy and batches: the other scenarios around the same executor."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.executors import make_executor, make_plain_call
from bench.inference.live import run_live
from bench.inference.segments import EagerSegment
from bench.latency.arrivals import (
    Served,
    draw_arrivals,
    find_capacity,
    measure_capacity,
    predict_capacity,
    serve_queries,
    simulate_queue,
)
from bench.latency.depth import ShallowModel, deal_turns, make_unchecked_call, measure_depth_table, predict_mean
from bench.latency.energy import NO_COUNTER, NO_GPU, measure_energy
from bench.latency.queries import measure_interleaved
from bench.latency.result import LatencyOptions
from bench.latency.scenarios import ServingOptions, find_capacities
from strategies.base import ExitModel
from strategies.controls import ForcedExits
from strategies.elbert import MonotoneWindow
from strategies.entropy import NormalisedEntropy
from tests.helpers.models.exit_models import make_batch, make_model

MS = 1_000_000
QUICK = LatencyOptions(samples=4, seconds=0.2, rounds=3, threads=1)


class Simulated:
    """A clock on which sleeping and answering take time, and looking takes a microsecond."""

    def __init__(self, service: Callable[[int], int]) -> None:
        self.now, self.service = 0, service

    def clock(self) -> int:
        self.now += 1000
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def query(self, i: int) -> float:
        self.now += self.service(i)
        return 1.0

    def serve(self, count: int, rate: float, seed: int = 5) -> Served:
        return serve_queries(self.query, range(count), rate, seed=seed, clock=self.clock, sleep=self.sleep)


def lindley(gaps: np.ndarray, service: float) -> np.ndarray:
    """Latencies of a queue with one server: w_{n+1} = max(0, w_n + s - gap)."""
    waits = [0.0]
    for gap in gaps:
        waits.append(max(0.0, waits[-1] + service - gap))
    return np.array(waits) + service


def test_arrivals_are_poisson_and_scale_with_the_rate() -> None:
    slow, fast = draw_arrivals(5000, 10, 3), draw_arrivals(5000, 100, 3)
    np.testing.assert_allclose(slow, fast * 10.0, rtol=1e-6)
    gaps = np.diff(slow) / 1e9
    assert gaps.mean() == pytest.approx(0.1, rel=0.05)
    assert gaps.std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("rate", [10.0, 60.0, 95.0])
def test_serving_is_the_queue_with_one_server(rate: float) -> None:
    found = Simulated(lambda i: 10 * MS).serve(400, rate)
    expected = lindley(np.diff(draw_arrivals(400, rate, 5)), 10 * MS)
    np.testing.assert_allclose(found.latencies, expected, atol=MS)
    assert found.busy == pytest.approx(rate * 0.01, rel=0.2)


def test_at_a_low_rate_nobody_waits() -> None:
    found = Simulated(lambda i: 10 * MS).serve(662, 1.0)
    assert found.tail["p99"] == pytest.approx(0.010, abs=0.02)
    assert found.tail["p50"] == pytest.approx(0.010, abs=1e-4)


def test_capacity_is_between_what_held_and_what_did_not() -> None:
    found = find_capacity(lambda rate: Simulated(lambda i: 10 * MS).serve(700, rate), 0.05, 1.0, 200.0, steps=8)
    assert 40 < found["rate"] < 100  # one server of 10 ms cannot hold 100 per second
    held = [run["rate"] for run in found["tried"] if run["tail"]["p99"] <= 0.05]
    missed = [run["rate"] for run in found["tried"] if run["tail"]["p99"] > 0.05]
    assert max(held) == found["rate"] < min(missed) < found["rate"] * 1.05
    assert found["tail"]["p99"] <= 0.05


def test_shorter_answers_hold_a_higher_rate() -> None:
    def held(service: int) -> float:
        found = find_capacity(lambda rate: Simulated(lambda i: service * MS).serve(700, rate), 0.05, 1.0, 900.0)
        return float(found["rate"])

    assert held(4) > 2 * held(10)


def test_a_target_below_one_answer_is_never_held() -> None:
    found = find_capacity(lambda rate: Simulated(lambda i: 10 * MS).serve(700, rate), 0.005, 1.0, 10.0)
    assert (found["rate"], found["tail"], found["busy"]) == (None, None, None)
    assert len(found["tried"]) == 1


def test_serving_refuses_what_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="positive rate"):
        Simulated(lambda i: MS).serve(3, 0.0)
    with pytest.raises(UsageError, match="at least one sample"):
        Simulated(lambda i: MS).serve(0, 1.0)
    with pytest.raises(UsageError, match="too few for p99"):
        find_capacity(lambda rate: Simulated(lambda i: MS).serve(100, rate), 1.0, 1.0, 10.0)
    with pytest.raises(UsageError, match="low < high"):
        find_capacity(lambda rate: Simulated(lambda i: MS).serve(700, rate), 1.0, 10.0, 1.0)


def test_an_engine_is_warm_before_the_first_query_arrives() -> None:
    """What a first query takes longer, for recording or compiling, is not the tail of any rate."""
    model = make_model("bert")
    single = measure_interleaved(model, {"early": (NormalisedEntropy(), 0.5)}, [make_batch([5])], QUICK)
    asked: list[int] = []

    def query(i: int) -> float:
        asked.append(i)
        return 1.0

    load = ServingOptions(target=10.0, percentile=50, queries=3, steps=0, searches=1)
    found, _ = find_capacities({"early": query}, single, load, 4, lambda message: None)
    assert asked[:4] == [0, 1, 2, 3]
    assert len(asked) == 4 + 64 * (
        len(found["early"]["tried"]) + 1
    )  # as many as the median needs; one at the rate found


# --------------------------------------------------------------------------- intervals of the capacity


def test_several_searches_have_an_interval_that_holds_what_many_find() -> None:
    def search(searches: int, seed: int) -> dict[str, Any]:
        def serve(rate: float, seed: int) -> Served:
            return simulate_queue(np.full(700, 0.01), rate, seed)

        return measure_capacity(serve, 0.05, 1.0, 200.0, steps=8, searches=searches, seed=seed)

    many = search(60, 1000)
    held = [search(4, 10 * number) for number in range(30)]
    assert sum(one["rate_low"] <= many["rate"] <= one["rate_high"] for one in held) >= 26
    for one in held:
        assert one["rate_low"] < one["rate"] < one["rate_high"]
        assert one["tail_low"] < one["tail"]["p99"] * 1.02
        assert len(one["rates"]) == 4
        assert one["rate"] == pytest.approx(many["rate"], rel=0.4)
    assert many["tail"]["p99"] == pytest.approx(0.05, rel=0.3)  # what is held at that rate with other arrivals


def test_a_single_search_has_no_interval_and_none_that_holds_no_rate() -> None:
    def serve(rate: float, seed: int) -> Served:
        return simulate_queue(np.full(700, 0.01), rate, seed)

    once = measure_capacity(serve, 0.05, 1.0, 200.0)
    assert (once["rate_low"], once["rate_high"], once["tail_low"]) == (None, None, None)
    assert once["rate"] == once["rates"][0]
    never = measure_capacity(serve, 0.005, 1.0, 10.0, searches=3)
    assert (never["rate"], never["rates"], never["tail"], never["busy"]) == (None, [], None, None)
    always = measure_capacity(serve, 5.0, 1.0, 10.0, searches=2)
    assert always["rates"] == [10.0, 10.0]


@pytest.mark.parametrize("rate", [10.0, 60.0, 95.0])
def test_a_simulated_queue_is_the_one_that_is_served(rate: float) -> None:
    found, guess = Simulated(lambda i: 10 * MS).serve(400, rate), simulate_queue(np.full(400, 0.01), rate, 5)
    np.testing.assert_allclose(found.latencies, guess.latencies, atol=MS)
    assert guess.busy == pytest.approx(found.busy, abs=0.02)


def test_what_is_predicted_from_the_times_is_what_is_measured() -> None:
    asked: dict[str, Any] = {"percentile": 50, "steps": 1, "searches": 1, "seed": 5}

    def serve(rate: float, seed: int) -> Served:
        return Simulated(lambda i: MS).serve(130, rate, seed)

    found = measure_capacity(serve, 0.002, 200, 1000, **asked)
    guess = predict_capacity(np.full(130, 0.001), 0.002, **asked)
    assert guess["rate"] == pytest.approx(found["rate"], rel=0.1)
    assert guess["tail"]["p50"] == pytest.approx(found["tail"]["p50"], rel=0.1)


# --------------------------------------------------------------------------- energy


def test_energy_is_what_the_counter_gained_per_sample() -> None:
    machine = Simulated(lambda i: 10 * MS)
    found = measure_energy(
        machine.query,
        range(8),
        "cuda",
        seconds=1.0,
        clock=machine.clock,
        meters=(lambda: machine.now // 5000, lambda: 1),
    )
    assert found["joules"] == pytest.approx(0.010 * 200, rel=1e-3)  # 200 watts for 10 ms
    assert found["samples"] % 8 == 0


def test_energy_without_hardware_is_said_and_not_zero() -> None:
    machine = Simulated(lambda i: MS)
    found = measure_energy(machine.query, range(3), "cpu")
    assert (found["joules"], found["note"]) == (None, NO_GPU)
    assert machine.now == 0  # nothing was run for nothing
    none = measure_energy(machine.query, range(3), "cuda:0", meters=(lambda: None, lambda: None))
    assert (none["joules"], none["note"]) == (None, NO_COUNTER)


# --------------------------------------------------------------------------- depth table


@pytest.mark.parametrize("depth", [1, 3, 5, 9])
def test_a_forced_exit_pays_for_every_check_and_leaves_where_it_is_told(depth: int) -> None:
    model = make_model("bert")
    asked = []

    class Watched(NormalisedEntropy):
        def step(self, state, seen):  # type: ignore[no-untyped-def]
            asked.append(seen.layer)
            return super().step(state, seen)

    forced = ForcedExits(Watched())
    found = run_live(model, forced, forced.cut(depth), make_batch([5, 8]))
    assert found.layer.tolist() == [min(depth, 5)] * 2
    assert asked == list(range(1, min(depth, 4) + 1))


def test_the_depth_table_of_a_real_model() -> None:
    model = make_model("bert")
    samples = [make_batch([n]) for n in (4, 9, 20, 30)]
    table = measure_depth_table(model, MonotoneWindow(window=0), {"never": -1.0, "always": math.inf}, samples, QUICK)
    predict = partial(predict_mean, table.checked, table.lengths)
    assert table.buckets == [16, 32]
    assert table.checked.shape == table.bare.shape == (5, 2)
    assert (table.checked > 0).all()
    np.testing.assert_allclose(table.checks, table.checked - table.bare)
    never = table.points["never"]
    assert never["predicted"] == pytest.approx(predict([5] * 4, [4, 9, 20, 30]))
    assert table.points["always"]["predicted"] == pytest.approx(predict([1] * 4, [4, 9, 20, 30]))
    assert never["ratio"]["low"] <= never["ratio"]["estimate"] <= never["ratio"]["high"]
    assert table.lengths == [6.5, 25.0]
    assert predict([3], [25]) == pytest.approx(table.checked[2, 1])
    # a length between the buckets' lies between them
    assert min(table.checked[2]) <= predict([3], [15]) <= max(table.checked[2])
    json.dumps(table.to_json(), allow_nan=False)


@pytest.mark.parametrize("layer", [1, 3, 5])
@pytest.mark.parametrize("model_type", ["albert", "bert", "modernbert"])
def test_layers_without_checks_are_the_same_under_every_executor(model_type: str, layer: int) -> None:
    model, batch = make_model(model_type).double(), make_batch([7])
    expected = ForcedAnswer(model, layer)(batch)
    torch.testing.assert_close(model(batch)[layer - 1], expected)
    recorded = make_plain_call(make_executor(ShallowModel(model, layer), "graph", record=EagerSegment))
    torch.testing.assert_close(recorded(batch), expected)
    compiled = make_executor(model, "compile", backend="eager")
    for executor in (compiled, make_executor(model, "eager")):
        torch.testing.assert_close(make_unchecked_call(model, executor, layer, make_executor)(batch), expected)


class ForcedAnswer:
    """What leaving at an exit answers, all checks made."""

    def __init__(self, model: ExitModel, layer: int) -> None:
        self.model, self.criterion, self.layer = model, ForcedExits(NormalisedEntropy()), layer

    def __call__(self, batch: Batch) -> Tensor:
        return run_live(self.model, self.criterion, self.criterion.cut(self.layer), batch).logits


@pytest.mark.parametrize("depths", [1, 3, 5])
def test_turns_answer_every_sample_once_at_every_depth(depths: int) -> None:
    asked: list[tuple[int, int]] = []
    queries = [lambda i, k=k: asked.append((i, k)) or 0.0 for k in range(depths)]  # type: ignore[func-returns-value]
    for turn in deal_turns("exits", queries).values():
        begun = len(asked)
        for i in range(7):
            turn(i)
        in_a_row = [k for _, k in asked[begun:]]
        assert depths == 1 or all(a != b for a, b in pairwise(in_a_row))
    assert sorted(asked) == [(i, k) for i in range(7) for k in range(depths)]


# --------------------------------------------------------------------------- batches


def test_offline_batches_count_their_samples() -> None:
    model = make_model("bert")
    samples = [make_batch([4, 9, 7]), make_batch([20, 3])]
    options = LatencyOptions(protocol="offline-batch-v2", samples=4, seconds=0.2, rounds=2)
    result = measure_interleaved(model, {"always": (NormalisedEntropy(), math.inf)}, samples, options)
    assert sorted(result.sizes) == [2, 3]
    summary = result.summary("plain")
    assert summary.samples_per_second == pytest.approx(5 / (2 * summary.mean))
    assert result.summary("always").mean_layer == 1.0


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="Unknown latency protocol 'mlperf'"):
        measure_interleaved(make_model("bert"), {}, [make_batch([4])], LatencyOptions(protocol="mlperf"))
