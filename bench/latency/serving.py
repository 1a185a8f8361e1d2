"""Serving: queries that arrive at random (Poisson) are answered one after another; which rate is held?

A latency here is from arrival to answer, so it holds the wait for those who came before: where early exit pays
beyond its mean, and where its spread costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.latency.protocol import compute_percentiles
from bench.latency.run import Clock, Query, pause_garbage_collection


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


@dataclass(frozen=True)
class Capacity:
    """The highest rate at which the target was held, and every run that was tried.

    ``rate`` is queries per second, or None where even the lowest rate tried missed the target.
    """

    target: float
    percentile: int
    rate: float | None
    runs: list[Served]


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
) -> Capacity:
    """Find the highest rate in [low, high] whose ``percentile`` of latency stays within ``target`` seconds.

    Bisects on the logarithm of the rate, ``steps`` runs beyond the two ends. Raises UsageError where a run has too few
    queries for that percentile (see PERCENTILE_FLOORS), or the rates are not 0 < low < high.
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

    if not holds(low):
        return Capacity(target, percentile, None, runs)
    if holds(high):
        return Capacity(target, percentile, high, runs)
    for _ in range(steps):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Capacity(target, percentile, low, runs)
