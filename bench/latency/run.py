"""The protocol itself: warm up, run interleaved rounds, watch the machine, stop for a stated reason."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch

from bench.latency.machine import MachineState, find_disturbances, read_machine
from bench.latency.protocol import (
    OTHERS_LIMIT,
    alternate_order,
    compute_bucket,
    describe_rules,
    find_drift,
    find_stop_reason,
    is_same_speed,
    split_into_streaks,
)
from bench.latency.result import LatencyOptions, LatencyResult, Round, WarmUp

Query = Callable[[int], float]
"""Answer query i to the end, decision on the host; returns the mean exit layer (1-based) of its samples."""

Clock = Callable[[], int]
"""Nanoseconds, monotonic."""


class CudaTimer:
    """Puts device events around each query; elapsed times are read after the streak, when all have completed."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        """Record the event before a query."""
        pair = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        self.pairs.append(pair)
        pair[0].record()

    def stop(self) -> None:
        """Record the event after a query."""
        self.pairs[-1][1].record()

    def read(self) -> list[int]:
        """Return the nanoseconds of the queries since the last read, in order."""
        torch.cuda.synchronize()
        found = [round(begun.elapsed_time(ended) * 1e6) for begun, ended in self.pairs]
        self.pairs.clear()
        return found


@dataclass(frozen=True)
class Configurations:
    """What is measured against what, as queries that are independent of any model.

    ``queries`` by label; ``plain`` the labels without early exit, of which the fastest is the baseline; ``tokens``
    and ``sizes`` the length and the number of samples of each query; ``depths`` the exits the warm-up must visit and
    ``force(i, depth)`` query i leaving at a given one.
    """

    queries: Mapping[str, Query]
    plain: Sequence[str]
    tokens: Sequence[int]
    sizes: Sequence[int]
    depths: Sequence[int]
    force: Callable[[int, int], float]


def run_protocol(
    configurations: Configurations,
    options: LatencyOptions,
    *,
    device: str,
    dtype: str,
    threads: int,
    clock: Clock = time.perf_counter_ns,
    probe: Callable[[], MachineState] = read_machine,
    timer: CudaTimer | None = None,
    progress: Callable[[str], None] | None = None,
) -> LatencyResult:
    """Measure every configuration on the same samples, interleaved, until the speed-ups are known.

    ``clock`` and ``probe`` are parameters so that the whole protocol runs on simulated time in tests. ``progress`` is
    called between rounds only. Raises ValueError where there is nothing to measure.
    """
    if not configurations.tokens or not configurations.plain:
        raise ValueError("Nothing to measure: at least one sample and one plain configuration are needed.")
    samples = draw_samples(len(configurations.tokens), options.samples, options.seed)
    order = list(configurations.queries)
    say = progress or (lambda message: None)
    say("warming up")
    warmup = warm_up(configurations, samples, options, clock)
    rounds: list[Round] = []
    layers: dict[str, list[float]] = {}
    stop, begun, turn = None, clock(), 0
    while stop is None:
        before = probe()
        with pause_garbage_collection():
            collecting, first = gc.isenabled(), alternate_order(order, turn)[0]
            times, layers, device_ns = _run_round(configurations, samples, options, clock, timer, turn)
        rounds.append(Round(times, before, probe(), device_ns, first, collecting))
        turn += len(split_into_streaks(samples, options.streak))
        totals = {label: [float(sum(r.times[label])) for r in rounds] for label in order}
        baseline = min(configurations.plain, key=lambda label: sum(totals[label]))
        stop = find_stop_reason(totals, baseline, (clock() - begun) / 1e9, options)
        plain = totals[baseline][-1] / len(samples) / 1e6
        say(f"round {len(rounds)}: plain {plain:.2f} ms" + (f", {stop}" if stop else ""))
    reasons = find_disturbances([(r.before, r.after) for r in rounds], OTHERS_LIMIT)
    moved = find_drift(totals[baseline])
    notes = [] if warmup.agreed else ["no two warm-up blocks agreed within 5 % before the warm-up's time was over"]
    if device.startswith("cuda") and any(r.before.gpu is None or r.after.gpu is None for r in rounds):
        notes.append("the GPU's clocks and throttling are unknown: NVML (extra 'energy') says nothing of it")
    return LatencyResult(
        protocol=options.protocol,
        options=options,
        device=device,
        dtype=dtype,
        threads=threads,
        samples=samples,
        tokens=[configurations.tokens[i] for i in samples],
        sizes=[configurations.sizes[i] for i in samples],
        order=order,
        baseline=baseline,
        rounds=rounds,
        layers=layers,
        warmup=warmup,
        stop=stop,
        clock=getattr(clock, "__name__", "simulated"),
        rules=describe_rules(),
        reasons=[*reasons, *([moved] if moved else [])],
        notes=notes,
    )


def draw_samples(count: int, most: int, seed: int) -> list[int]:
    """Draw at most ``most`` of ``count`` positions in random order, the same for everything that is measured."""
    return np.random.default_rng(seed).permutation(count)[:most].tolist()


def warm_up(configurations: Configurations, samples: Sequence[int], options: LatencyOptions, clock: Clock) -> WarmUp:
    """Visit every exit depth and length bucket, then run blocks until two in a row took the same time.

    Every configuration visits every bucket itself: executors record or compile for each criterion and shape on first
    use, which takes seconds. Which shapes a batch shrinks to is its own affair, so that of batches all are visited.
    """
    begun = clock()
    by_bucket = {compute_bucket(configurations.tokens[i], options.bucket): i for i in samples}
    # one pass per depth, going round the buckets; then the buckets that are left, at full depth
    passes = list(zip(configurations.depths, cycle(by_bucket.values()), strict=False))
    passes += [(max(configurations.depths), i) for i in islice(by_bucket.values(), len(configurations.depths), None)]
    for depth, i in passes:
        configurations.force(i, depth)
    visited = samples if max(configurations.sizes) > 1 else list(by_bucket.values())
    for query in configurations.queries.values():
        for i in visited:
            query(i)
    count, done, agreed = len(passes) + len(visited) * len(configurations.queries), 0, False
    previous: dict[str, float] | None = None
    # the first streaks of the permutation, again and again: two means are comparable only on the same samples
    block = samples[: 2 * options.streak]
    while not agreed and (done < 2 or (clock() - begun) / 1e9 < options.seconds):
        current = {}
        for label in alternate_order(list(configurations.queries), done):
            start = clock()
            for i in block:
                configurations.queries[label](i)
            current[label] = float(clock() - start) / len(block)
        count += len(block) * len(configurations.queries)
        done += 1
        agreed = previous is not None and is_same_speed(previous, current)
        previous = current
    return WarmUp(
        passes=count,
        depths=sorted({depth for depth, _ in passes}),
        buckets=sorted(by_bucket),
        blocks=done,
        agreed=agreed,
        seconds=(clock() - begun) / 1e9,
    )


def _run_round(
    configurations: Configurations,
    samples: Sequence[int],
    options: LatencyOptions,
    clock: Clock,
    timer: CudaTimer | None,
    turn: int,
) -> tuple[dict[str, list[int]], dict[str, list[float]], dict[str, list[int]] | None]:
    """Run all samples through all configurations, streak by streak in ABBA order: times, exit layers, device times."""
    labels = list(configurations.queries)
    times: dict[str, list[int]] = {label: [] for label in labels}
    layers: dict[str, list[float]] = {label: [] for label in labels}
    device: dict[str, list[int]] | None = None if timer is None else {label: [] for label in labels}
    for offset, streak in enumerate(split_into_streaks(samples, options.streak)):
        for label in alternate_order(labels, turn + offset):
            query, own, depth = configurations.queries[label], times[label], layers[label]
            for i in streak:
                if timer is not None:
                    timer.start()
                start = clock()
                layer = query(i)
                end = clock()
                if timer is not None:
                    timer.stop()
                own.append(end - start)
                depth.append(layer)
            if timer is not None and device is not None:
                device[label] += timer.read()
    return times, layers, device


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Collect garbage now, and not while the clock runs."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
