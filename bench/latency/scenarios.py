"""Three ways to be asked, one executor: single samples, batches, and queries that arrive at random.

Single stream and offline follow their protocols; serving asks the same queries at Poisson arrival times and
looks for the highest rate at which the tail of the latency stays within a target. A latency there is from arrival to
answer, so it holds the wait for those who came before: where early exit pays beyond its mean, and where its spread
costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.executors import make_executor
from bench.latency import OFFLINE_BATCH, SINGLE_STREAM
from bench.latency.energy import measure_energy
from bench.latency.machine import find_disturbances, read_machine
from bench.latency.protocol import OTHERS_LIMIT
from bench.latency.queries import (
    find_gpu,
    fix_threads,
    make_baselines,
    make_exit_query,
    make_plain_query,
    measure_interleaved,
    switch_to_evaluation,
)
from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions, LatencyResult, compute_percentiles
from bench.latency.rounds import Clock, Query, pause_garbage_collection
from strategies.base import Criterion, ExitModel

Queries = tuple[Sequence[Batch], Sequence[Tensor]]
"""Batches of samples on the host, and their samples' stable numbers, int64 [B] each."""


@dataclass(frozen=True)
class ServingOptions:
    """How serving is asked: ``target`` seconds for the ``percentile`` of the latency (None: four plain means).

    ``queries`` arrive in each run; ``energy`` adds a pass of so many seconds per configuration (0: none);
    ``batch_size`` is that of the offline scenario.
    """

    target: float | None = None
    percentile: int = 99
    queries: int = 700
    steps: int = 5
    seed: int = 0
    energy: float = 0.0
    batch_size: int = 32


def measure_scenarios(
    model: ExitModel,
    criterion: Criterion,
    points: Mapping[str, float],
    single_queries: Queries,
    batch_queries: Queries,
    load: ServingOptions,
    options: LatencyOptions,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure all scenarios for the plain model and ``points`` (label to cut): plain data, seconds, samples a second.

    ``single`` and ``offline`` are results of their protocols with raw times, ``serving`` a capacity per configuration,
    ``energy`` joules per sample or why there are none. Raises UsageError for too few queries.
    """
    (samples, keys), (batches, batch_keys) = single_queries, batch_queries
    operating = {label: (criterion, cut) for label, cut in points.items()}
    say("single stream")
    alone = replace(options, protocol=SINGLE_STREAM)
    single = measure_interleaved(model, operating, samples, alone, keys=keys, progress=say)
    say("offline batches")
    most = max(1, options.samples // len(batches[0]))
    together = replace(options, protocol=OFFLINE_BATCH, samples=most, streak=1)
    offline = measure_interleaved(model, operating, batches, together, keys=batch_keys, progress=say)
    executor = make_executor(model, options.executor)
    plain = make_baselines(model, executor)[single.baseline]
    queries = {single.baseline: make_plain_query(model, plain, samples)}
    for label, cut in points.items():
        queries[label] = make_exit_query(executor, criterion, cut, samples, keys)
    with fix_threads(options.threads), switch_to_evaluation(model):
        served, reasons = find_capacities(queries, single, load, len(samples), say, find_gpu(model))
        energy = {}
        if load.energy:
            device = str(next(model.parameters()).device)
            for label, query in queries.items():
                say(f"energy of {label}")
                energy[label] = measure_energy(query, single.samples, device, seconds=load.energy)
    return {
        "single": single.to_json(),
        "offline": offline.to_json(),
        "serving": served,
        "serving_reasons": reasons,
        "energy": energy,
    }


def find_capacities(
    queries: Mapping[str, Query],
    single: LatencyResult,
    load: ServingOptions,
    samples: int,
    say: Callable[[str], None],
    gpu: int | None = None,
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Find the capacity of each configuration under one target, as plain data, and what disturbed the search.

    Every query is answered once before the first arrives, since a new executor records or compiles on first use.
    """
    means = {label: single.summary(label).mean for label in queries}
    target = load.target if load.target is not None else 4 * means[single.baseline]
    arriving = [i % samples for i in range(max(load.queries, PERCENTILE_FLOORS[load.percentile]))]
    found = {}
    before = read_machine(gpu)
    for label, query in queries.items():
        say(f"Poisson arrivals to {label}")
        for i in dict.fromkeys(arriving):
            query(i)
        # a server that is busy all the time answers 1 / mean a second: the search goes from a fifth of it to all
        found[label] = find_capacity(
            lambda rate, query=query: serve_queries(query, arriving, rate, seed=load.seed),  # type: ignore[misc]
            target,
            0.2 / means[label],
            1.0 / means[label],
            percentile=load.percentile,
            steps=load.steps,
        )
    return found, find_disturbances([(before, read_machine(gpu))], OTHERS_LIMIT)


# --------------------------------------------------------------------------- random arrivals


@dataclass(frozen=True)
class Served:
    """One run at one rate: ``latencies`` int64 [N], nanoseconds from arrival to answer, in order of arrival."""

    rate: float
    latencies: NDArray[np.int64]
    busy: float
    """The part of the time in which a query was being answered."""

    @property
    def mean(self) -> float:
        """Mean latency in seconds."""
        return float(self.latencies.mean()) / 1e9

    @property
    def tail(self) -> dict[str, float]:
        """Percentiles in seconds, those that the number of queries suffices for."""
        return compute_percentiles(self.latencies / 1e9)


def draw_arrivals(count: int, rate: float, seed: int) -> NDArray[np.int64]:
    """Draw the nanoseconds at which ``count`` queries arrive: exponential gaps with mean 1 / ``rate`` seconds.

    The same seed draws the same gaps, scaled, at every rate, so that rates are compared on one pattern.
    """
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, count)
    return np.cumsum(gaps).astype(np.int64)


def serve_queries(
    query: Query,
    samples: Sequence[int],
    rate: float,
    *,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Served:
    """Answer ``samples``, which arrive at ``rate`` per second, in order and one at a time.

    ``clock`` and ``sleep`` (seconds) may be simulated. Raises UsageError for no sample or a rate that is not positive.
    """
    if not samples or not rate > 0:
        raise UsageError("Serving needs at least one sample and a positive rate.")
    due = draw_arrivals(len(samples), rate, seed)
    latencies = np.empty(len(samples), dtype=np.int64)
    worked = 0
    with pause_garbage_collection():
        begun = clock()
        for n, i in enumerate(samples):
            arrived = begun + int(due[n])
            early = arrived - clock()
            if early > 2_000_000:
                sleep((early - 1_000_000) / 1e9)  # wake a millisecond early: a sleeping thread wakes up late
            while (start := clock()) < arrived:
                sleep(0)
            query(i)
            end = clock()
            worked += end - start
            latencies[n] = end - arrived
        total = clock() - begun
    return Served(rate, latencies, worked / total)


def find_capacity(
    run: Callable[[float], Served], target: float, low: float, high: float, *, percentile: int = 99, steps: int = 6
) -> dict[str, Any]:
    """Find the highest rate in [low, high] whose ``percentile`` of latency stays within ``target`` seconds: plain data.

    Bisects on the logarithm of the rate, ``steps`` runs beyond the two ends. ``rate`` is queries per second, None where
    even the lowest missed the target; beside it the mean, the tail and the busy share there, and every rate ``tried``.
    Raises UsageError where a run has too few queries for that percentile (see PERCENTILE_FLOORS), or the rates are not
    0 < low < high.
    """
    if not 0 < low < high:
        raise UsageError(f"Rates must be 0 < low < high, not {low} and {high}.")
    runs: list[Served] = []

    def holds(rate: float) -> bool:
        served = run(rate)
        runs.append(served)
        name = f"p{percentile}"
        if name not in served.tail:
            raise UsageError(f"{len(served.latencies)} queries are too few for {name}.")
        return served.tail[name] <= target

    rate: float | None = None
    if holds(low):
        rate = high
        if not holds(high):
            for _ in range(steps):
                middle = float(np.sqrt(low * high))
                low, high = (middle, high) if holds(middle) else (low, middle)
            rate = low
    runs.sort(key=lambda run: run.rate)
    tried = [{"rate": run.rate, "mean": run.mean, "tail": run.tail, "busy": run.busy} for run in runs]
    held = next((run for run in tried if run["rate"] == rate), dict.fromkeys(("rate", "mean", "tail", "busy")))
    return {"target": target, "percentile": percentile, **held, "tried": tried}
