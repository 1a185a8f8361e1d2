"""Queries that arrive at random, answered one after another: latencies, and the highest rate within a target.

A latency is from arrival to answer, so it holds the wait for those who came before. How high a rate holds depends on
which gaps are drawn as well as on the machine: the search is repeated with other arrivals, and its interval is over the
searches. What the depth table predicts stands beside it: the same arrivals at a server whose times are the table's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UsageError
from bench.latency.result import compute_percentiles
from bench.latency.rounds import Clock, Query, pause_garbage_collection
from bench.measure.stats import find_t_quantile

NEARBY = 1.3
"""Later searches begin this factor around what earlier ones found: others' arrivals move it by a tenth or so."""
NEARBY_STEPS = 4
SEARCH_LEVEL = 0.95


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


def measure_capacity(
    run: Callable[[float, int], Served],
    target: float,
    low: float,
    high: float,
    *,
    percentile: int = 99,
    steps: int = 6,
    searches: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Search the highest rate ``searches`` times, each with arrivals of its own: ``run`` takes a rate and their seed.

    Plain data. ``rate`` is the geometric mean of the ``rates`` that the searches found, each the middle between what
    held and what did not; ``rate_low`` and ``rate_high`` its t-interval over them. ``mean``, ``tail`` and ``busy`` are
    of as many further runs at that rate, with arrivals of their own; ``tail_low`` and ``tail_high`` the t-interval of
    the percentile there. Intervals are None for a single search; all is None where one misses the target at any rate.
    Errors as :func:`find_capacity`.
    """
    tried: list[dict[str, Any]] = []
    rates: list[float] = []
    for number in range(searches):
        rate = _search(partial(run, seed=seed + number), target, (low, high), rates, percentile, steps, tried)  # type: ignore[call-arg]
        if rate is None:
            break
        rates.append(rate)
    found: dict[str, Any] = {"target": target, "percentile": percentile, "rates": rates}
    whole = len(rates) == searches
    rate = float(np.exp(np.log(rates).mean())) if whole else None
    bounds = _bound_logs(rates) if whole else None
    found |= {"rate": rate, "rate_low": bounds and bounds[0], "rate_high": bounds and bounds[1]}
    served = [run(rate, seed + searches + number) for number in range(searches)] if rate is not None else []
    tails = [one.tail for one in served]
    names = dict.fromkeys(name for tail in tails for name in tail)
    found["mean"] = float(np.mean([one.mean for one in served])) if served else None
    found["tail"] = {name: float(np.mean([tail[name] for tail in tails])) for name in names} if served else None
    found["busy"] = float(np.mean([one.busy for one in served])) if served else None
    tail_bounds = _bound_logs([tail[f"p{percentile}"] for tail in tails]) if served else None
    found |= {"tail_low": tail_bounds and tail_bounds[0], "tail_high": tail_bounds and tail_bounds[1]}
    return {**found, "tried": sorted(tried, key=lambda one: one["rate"])}


def _search(
    run: Callable[[float], Served],
    target: float,
    ends: tuple[float, float],
    before: Sequence[float],
    percentile: int,
    steps: int,
    tried: list[dict[str, Any]],
) -> float | None:
    """Return the middle between the highest rate that held and the next above it; None where none in ``ends`` held."""
    low, high = ends
    if before:
        middle = float(np.exp(np.log(before).mean()))
        near = max(low, middle / NEARBY), min(high, middle * NEARBY)
        if near[0] < near[1]:
            found = find_capacity(run, target, *near, percentile=percentile, steps=NEARBY_STEPS)
            tried += found["tried"]
            if found["rate"] is not None and (found["rate"] < near[1] or near[1] == high):
                return _find_middle(found)
            if found["rate"] is None and near[0] == low:
                return None
            low, high = (low, near[0]) if found["rate"] is None else (near[1], high)  # outside of what was near
    found = find_capacity(run, target, low, high, percentile=percentile, steps=steps)
    tried += found["tried"]
    return None if found["rate"] is None else _find_middle(found)


def _find_middle(found: dict[str, Any]) -> float:
    held = float(found["rate"])
    above = [one["rate"] for one in found["tried"] if one["rate"] > held]
    return float(np.sqrt(held * min(above))) if above else held


def _bound_logs(values: Sequence[float]) -> tuple[float, float] | None:
    """Return Student's interval of the geometric mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    logs = np.log(values)
    half = find_t_quantile(SEARCH_LEVEL, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return float(np.exp(logs.mean() - half)), float(np.exp(logs.mean() + half))


def simulate_queue(seconds: ArrayLike, rate: float, seed: int = 0) -> Served:
    """Return what :func:`serve_queries` would where each query takes ``seconds`` [N]: one server, Lindley's recursion.

    Lindley (1952), Mathematical Proceedings of the Cambridge Philosophical Society 48.
    """
    took = np.rint(np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64)
    due = draw_arrivals(len(took), rate, seed)
    latencies, free = np.empty(len(took), dtype=np.int64), 0
    for n, (arrived, own) in enumerate(zip(due.tolist(), took.tolist(), strict=True)):
        free = max(free, arrived) + own
        latencies[n] = free - arrived
    return Served(rate, latencies, float(took.sum()) / free)


def predict_capacity(seconds: ArrayLike, target: float, **asked: Any) -> dict[str, Any]:
    """Return the rate, with its interval, at which a server that takes ``seconds`` [N] holds ``target``.

    The search is :func:`measure_capacity`'s, with the same arrivals, on :func:`simulate_queue`.
    """
    mean = float(np.mean(np.asarray(seconds, dtype=np.float64)))
    found = measure_capacity(
        lambda rate, seed: simulate_queue(seconds, rate, seed), target, 0.2 / mean, 1.0 / mean, **asked
    )
    return {name: found[name] for name in ("rate", "rate_low", "rate_high", "tail")}
