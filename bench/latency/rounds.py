"""Rounds: every configuration answers the same queries, streak by streak in turn, while the machine is watched."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bench.latency.machine import MachineState
from bench.latency.names import AS_IT_IS
from bench.latency.protocol import (
    FEWEST_ROUNDS,
    OVERTIME,
    REFILL,
    WINDOW,
    RoundPlan,
    alternate_order,
    find_drift,
    is_disturbed,
    split_into_streaks,
)
from bench.latency.result import LatencyOptions, Round

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


@dataclass
class MeasuredRounds:
    """Rounds as they are measured: those that count, those that were repeated, those that were warm-up after all.

    ``layers`` has the mean exit layer of each query of each part, by configuration; ``stop`` says what ended them.
    """

    rounds: list[Round]
    repeated: list[Round]
    settling: list[Round]
    layers: list[dict[str, list[float]]]
    stop: str = ""


def measure_rounds(
    configurations: Configurations,
    parts: Sequence[Sequence[int]],
    plan: RoundPlan,
    options: LatencyOptions,
    warmed: float,
    clock: Clock,
    probe: Callable[[], MachineState],
    timer: CudaTimer | None,
    say: Callable[[str], None],
) -> MeasuredRounds:
    """Measure the planned rounds: again where other processes disturbed them, and from the first while it drifts.

    Both are told by the machine and by the plain model's time alone, never by a ratio. ``warmed`` is how many seconds
    the warm-up has taken: prolonged, it has the time limit in all. Once half the limit was spent on rounds that are
    repeated, disturbed ones count too: a machine that is always busy has as many as another.
    """
    found, begun, window = MeasuredRounds([], [], [], [{} for _ in parts]), clock(), 0
    watched, lost, most_lost = begun, 0, (OVERTIME - 1) * options.seconds * 1e9
    before_part = [sum(-(-len(part) // options.streak) for part in parts[:p]) for p in range(len(parts))]
    rounds = found.rounds
    while not found.stop:
        cycle, part = divmod(len(rounds), plan.parts)
        # the order turns with every streak and with every cycle, so that no sample is always answered first by the same
        one, found.layers[part] = _run_round(
            configurations, parts[part], part, options, clock, probe, timer, before_part[part] + cycle
        )
        rounds.append(one)
        now, complete = clock(), len(rounds) == plan.rounds
        elapsed = (now - begun) / 1e9
        if complete or rounds[-1].after.time - rounds[window].before.time >= WINDOW:
            spent, watched = now - watched, now
            if lost + spent <= most_lost and is_disturbed(rounds[window].before, rounds[-1].after):
                lost += spent
                found.repeated += rounds[window:]
                del rounds[window:]
                continue
            window = len(rounds)
        if len(rounds) == plan.settling < plan.rounds and warmed + elapsed < options.seconds:
            plain = find_baseline(configurations.plain, rounds)
            if find_drift(sum_rounds(rounds, plain), plan.parts):
                found.settling += rounds
                rounds.clear()
                warmed, begun, watched, window = warmed + elapsed, now, now, 0
                continue
        if complete:
            found.stop = "planned number of rounds"
        elif elapsed >= OVERTIME * options.seconds and len(rounds) >= max(FEWEST_ROUNDS, 2 * plan.parts):
            found.stop = "time limit" if part == plan.parts - 1 else ""
        baseline = find_baseline(configurations.plain, rounds)
        plain_ms = sum(one.times[baseline]) / len(parts[part]) / 1e6
        ended = f", {found.stop}" if found.stop else ""
        name = "plain" if baseline in AS_IT_IS else baseline
        say(f"round {len(rounds)} of {plan.rounds}: {name} {plain_ms:.2f} ms{ended}")
    return found


def refill_caches(configurations: Configurations, samples: Sequence[int], clock: Clock) -> None:
    """Answer a few samples by every configuration, untimed: collecting garbage walks the heap and empties the caches.

    The first to be timed would pay for that, always the same one. Who takes longer than :data:`REFILL` has filled them.
    """
    for query in configurations.queries.values():
        begun = clock()
        for i in samples:
            query(i)
            if clock() - begun > REFILL * 1e9:
                break


def find_baseline(plain: Sequence[str], rounds: Sequence[Round]) -> str:
    """Return the fastest of the plain configurations over rounds."""
    return min(plain, key=lambda label: sum(sum_rounds(rounds, label)))


def sum_rounds(rounds: Sequence[Round], label: str) -> list[float]:
    """Return a configuration's nanoseconds in each round."""
    return [float(sum(r.times[label])) for r in rounds]


def _run_round(
    configurations: Configurations,
    samples: Sequence[int],
    part: int,
    options: LatencyOptions,
    clock: Clock,
    probe: Callable[[], MachineState],
    timer: CudaTimer | None,
    turn: int,
) -> tuple[Round, dict[str, list[float]]]:
    """Run one part's samples through all configurations, streak by streak in ABBA order; return their exits too."""
    gc.collect()  # of what the last round left: all older is frozen
    before = probe()
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
    first = alternate_order(labels, turn)[0]
    return Round(times, before, probe(), device, first, gc.isenabled(), part), layers


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Collect garbage now, and not while the clock runs; what is there now is not looked at again until then."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()
