"""What judging in plain numbers (:mod:`strategies.fast`) gains over tensors at batch 1, query by query in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.inference.executors import EagerExecutor
from bench.latency.queries import fix_threads, make_exit_query, number_samples
from bench.latency.run import Clock, Query, pause_garbage_collection
from bench.measure.stats import make_interval
from bench.selfcheck.engine import CLASSES, TIMED_CRITERIA, TIMED_SIZES, build_sized_model
from bench.selfcheck.tiny import make_random_batch
from strategies.base import ExitModel
from strategies.controls import ForcedExits


class ForcedByTensors(ForcedExits):
    """The same criterion without a judge, as every subclass is."""


def measure_judges(
    *,
    say: Callable[[str], None],
    sizes: Sequence[str] = TIMED_SIZES,
    tokens: int = 64,
    samples: int = 8,
    seconds: float = 20.0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Return the gains as plain data, for samples that leave at L/2 and that never leave; ``seconds`` for each.

    There are twelve; ``say`` is told each when it is found.
    """
    gains = []
    for size in sizes:
        model = build_sized_model(size)
        batches = [make_random_batch([tokens], i) for i in range(samples)]
        keys, last = number_samples(batches), model.num_layers
        for check, (criterion, head) in TIMED_CRITERIA.items():
            executor = EagerExecutor(ExitModel(model.encoder, head(model.encoder, CLASSES)).eval())
            for what, exit in (("exit L/2", last // 2), ("never", last + 1)):
                judged, tensors = (
                    make_exit_query(executor, forced, forced.cut(exit), batches, keys)
                    for forced in (ForcedExits(criterion), ForcedByTensors(criterion))
                )
                with fix_threads(threads), pause_garbage_collection():
                    times = time_in_turn(judged, tensors, samples, seconds)
                gains.append({"size": size, "check": check, "what": what, **estimate_gain(times)})
                say(describe_gain(gains[-1]))
    return {"tokens": tokens, "threads": threads or torch.get_num_threads(), "gains": gains}


def time_in_turn(
    first: Query, second: Query, samples: int, seconds: float, clock: Clock = time.perf_counter_ns
) -> NDArray[np.float64]:
    """Return the nanoseconds [P, 2] of pairs of queries on the same sample, in the order 1 2, 2 1, 1 2, ..."""
    queries, pairs, turn = (first, second), [], 0
    for i in range(2 * samples):  # warm up
        queries[i % 2](i // 2)
    end = clock() + seconds * 1e9
    while turn < 2 or clock() < end:
        pair = [0, 0]
        for k in (turn % 2, 1 - turn % 2):
            begun = clock()
            queries[k](turn // 2 % samples)
            pair[k] = clock() - begun
        pairs.append(pair)
        turn += 1
    return np.array(pairs, dtype=np.float64)


def estimate_gain(times: NDArray[np.float64]) -> dict[str, float]:
    """Return how much longer a query takes where tensors decide: median over pairs, minus one, and its 95 % interval.

    Beside it the number of ``pairs`` and the ``milliseconds`` of the median query with a judge, from times [P, 2].
    """
    ratios = times[:, 1] / times[:, 0]
    drawn = np.random.default_rng(0).integers(0, len(ratios), (1000, len(ratios)))
    found = make_interval(float(np.median(ratios)), np.median(ratios[drawn], axis=1), 0.95)
    gains = {"gain": found.estimate - 1, "low": found.low - 1, "high": found.high - 1}
    return {"pairs": len(ratios), **gains, "milliseconds": float(np.median(times[:, 0])) / 1e6}


def describe_gain(row: Mapping[str, Any]) -> str:
    """Return one gain as a line for people."""
    return (
        f"{row['size']:<12}{row['check']:<13}{row['what']:<10}{row['gain']:>+7.1%} "
        f"[{row['low']:+.1%}, {row['high']:+.1%}]  {row['milliseconds']:.2f} ms, {row['pairs']} pairs"
    )


def describe_judges(result: Mapping[str, Any]) -> str:
    """Return the gains as lines for people."""
    head = f"batch 1, {result['tokens']} tokens, {result['threads']} threads; tensors over judges, minus one"
    return "\n".join([head, *map(describe_gain, result["gains"])])
