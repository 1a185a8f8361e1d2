"""Three ways to be asked, one executor: single samples, batches, and queries that arrive at random.

Single stream and offline follow their protocols; serving asks the same queries at Poisson arrival times and
looks for the highest rate at which the tail of the latency stays within a target. A latency there is from arrival to
answer, so it holds the wait for those who came before: where early exit pays beyond its mean, and where its spread
costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from bench.inference.executors import make_executor
from bench.latency import OFFLINE_BATCH, SINGLE_STREAM
from bench.latency.arrivals import Served, measure_capacity, predict_capacity, serve_queries
from bench.latency.depth import measure_depth_table, predict_seconds
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
from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions, LatencyResult
from bench.latency.rounds import Query
from strategies.base import Criterion, ExitModel

Predict = Callable[[str, Sequence[float], Sequence[int]], NDArray[np.float64]]
Queries = tuple[Sequence[Batch], Sequence[Tensor]]
"""Batches of samples on the host, and their samples' stable numbers, int64 [B] each."""


DEPTH_SAMPLES = 16
"""Samples of the depth table that predicts the capacity: at every exit, with and without checks."""


@dataclass(frozen=True)
class ServingOptions:
    """How serving is asked: ``target`` seconds for the ``percentile`` of the latency (None: four plain means).

    ``queries`` arrive in each run; the rate is searched ``searches`` times, each with its own arrivals, in ``steps``
    and a few. ``energy`` adds a pass of so many seconds per configuration (0: none);
    ``batch_size`` is that of the offline scenario.
    """

    target: float | None = None
    percentile: int = 99
    queries: int = 700
    steps: int = 5
    searches: int = 3
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

    ``single`` and ``offline`` are results of their protocols with raw times, ``serving`` a capacity per configuration
    beside the one that the ``depth`` table predicts,
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
    say("depth table")
    depth = measure_depth_table(
        model, criterion, {}, samples, replace(alone, samples=min(options.samples, DEPTH_SAMPLES))
    )

    def predict(label: str, layers: Sequence[float], rows: Sequence[int]) -> NDArray[np.float64]:
        table = depth.bare if label == single.baseline else depth.checked
        tokens = [int(samples[i].input_ids.shape[1]) for i in rows]
        return predict_seconds(table, depth.lengths, [round(layer) for layer in layers], tokens)

    with fix_threads(options.threads), switch_to_evaluation(model):
        served, reasons = find_capacities(queries, single, load, len(samples), say, find_gpu(model), predict)
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
        "depth": depth.to_json(),
        "energy": energy,
    }


def find_capacities(
    queries: Mapping[str, Query],
    single: LatencyResult,
    load: ServingOptions,
    samples: int,
    say: Callable[[str], None],
    gpu: int | None = None,
    predict: Predict | None = None,
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Find the capacity of each configuration under one target, as plain data, and what disturbed the search.

    With ``predict`` beside each what its times say: from a label, exit layers and positions to the samples' seconds.
    Every query is answered once before the first arrives, since a new executor records or compiles on first use.
    """
    means = {label: single.summary(label).mean for label in queries}
    target = load.target if load.target is not None else 4 * means[single.baseline]
    arriving = [i % samples for i in range(max(load.queries, PERCENTILE_FLOORS[load.percentile]))]
    found = {}
    before = read_machine(gpu)
    for label, query in queries.items():
        say(f"Poisson arrivals to {label}")
        layers = {i: query(i) for i in dict.fromkeys(arriving)}
        asked = {"percentile": load.percentile, "steps": load.steps, "searches": load.searches, "seed": load.seed}

        def serve(rate: float, seed: int, query: Query = query) -> Served:
            return serve_queries(query, arriving, rate, seed=seed)

        # a server that is busy all the time answers 1 / mean a second: the search goes from a fifth of it to all
        found[label] = measure_capacity(serve, target, 0.2 / means[label], 1.0 / means[label], **asked)
        if predict is not None:
            seconds = predict(label, [layers[i] for i in arriving], arriving)
            found[label]["predicted"] = predict_capacity(seconds, target, **asked)
    return found, find_disturbances([(before, read_machine(gpu))], OTHERS_LIMIT)
