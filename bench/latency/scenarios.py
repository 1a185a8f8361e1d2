"""Three ways to be asked, one executor: single samples, batches, and queries that arrive at random.

Single stream and offline follow their protocols; serving asks the same queries at Poisson arrival times and
looks for the highest rate at which the tail of the latency stays within a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from backbones.base import Batch
from bench.inference.executors import make_executor
from bench.latency import OFFLINE_BATCH, SINGLE_STREAM
from bench.latency.energy import measure_energy
from bench.latency.machine import find_disturbances, read_machine
from bench.latency.protocol import OTHERS_LIMIT, PERCENTILE_FLOORS
from bench.latency.queries import (
    find_gpu,
    fix_threads,
    make_baselines,
    make_exit_query,
    make_plain_query,
    measure_interleaved,
    switch_to_evaluation,
)
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.run import Query
from bench.latency.serving import Capacity, find_capacity, serve_queries
from strategies.base import Criterion, ExitModel


@dataclass(frozen=True)
class ScenarioSamples:
    """The samples of a task as single queries and as batches of them; ``keys`` their stable numbers, int64 [B] each."""

    single: Sequence[Batch]
    single_keys: Sequence[Tensor]
    batches: Sequence[Batch]
    batch_keys: Sequence[Tensor]


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
    asked: ScenarioSamples,
    load: ServingOptions,
    options: LatencyOptions,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure all scenarios for the plain model and ``points`` (label to cut): plain data, seconds, samples a second.

    ``single`` and ``offline`` are results of their protocols with raw times, ``serving`` a capacity per configuration,
    ``energy`` joules per sample or why there are none. Raises UsageError for too few queries.
    """
    say = progress or (lambda message: None)
    operating = {label: (criterion, cut) for label, cut in points.items()}
    say("single stream")
    single = measure_interleaved(
        model, operating, asked.single, replace(options, protocol=SINGLE_STREAM), keys=asked.single_keys,
        progress=progress,
    )  # fmt: skip
    say("offline batches")
    offline = measure_interleaved(
        model, operating, asked.batches,
        replace(options, protocol=OFFLINE_BATCH, samples=max(1, options.samples // len(asked.batches[0])), streak=1),
        keys=asked.batch_keys, progress=progress,
    )  # fmt: skip
    executor = make_executor(model, options.executor)
    plain = make_baselines(model, executor)[single.baseline]
    queries = {single.baseline: make_plain_query(model, plain, asked.single)}
    for label, cut in points.items():
        queries[label] = make_exit_query(executor, criterion, cut, asked.single, asked.single_keys)
    with fix_threads(options.threads), switch_to_evaluation(model):
        served, reasons = find_capacities(queries, single, load, len(asked.single), say, find_gpu(model))
        energy = {}
        if load.energy:
            device = str(next(model.parameters()).device)
            for label, query in queries.items():
                say(f"energy of {label}")
                energy[label] = asdict(measure_energy(query, single.samples, device, seconds=load.energy))
    return {
        "single": single.to_json(),
        "offline": offline.to_json(),
        "serving": {label: capacity_to_json(found) for label, found in served.items()},
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
) -> tuple[dict[str, Capacity], list[str]]:
    """Find the capacity of each configuration under one target, and what disturbed the search.

    Every query is answered once before the first arrives, since a new executor records or compiles on first use.
    """
    means = {label: single.summary(label).mean for label in queries}
    target = load.target if load.target is not None else 4 * means[single.baseline]
    arriving = [i % samples for i in range(max(load.queries, PERCENTILE_FLOORS[load.percentile]))]
    found: dict[str, Capacity] = {}
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


def capacity_to_json(found: Capacity) -> dict[str, Any]:
    """Return the rate that was held, its tail, and every rate that was tried, as plain data."""
    runs = sorted(found.runs, key=lambda run: run.rate)
    held = next((run for run in runs if run.rate == found.rate), None)
    return {
        "target": found.target,
        "percentile": found.percentile,
        "rate": found.rate,
        "mean": None if held is None else held.mean,
        "tail": None if held is None else held.tail,
        "busy": None if held is None else held.busy,
        "tried": [{"rate": run.rate, "mean": run.mean, "tail": run.tail, "busy": run.busy} for run in runs],
    }
