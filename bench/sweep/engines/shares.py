"""How many cells at once, on how many threads each: what trains most in a second here, measured before a sweep begins.

Many cores help one small training little, and a busy machine makes threads wait for each other; several trainings at
once share the memory's bandwidth. Which of it weighs most depends on the model and on what else runs, so that a layer
of the first cell's width is trained for a moment in each way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import BrokenBarrierError
from typing import Any

from bench.environment import keep_import_path

SHARE_SECONDS = 0.6
SHARE_PATIENCE = 60.0
"""Seconds that processes get to begin and to answer; a way in which one does not is left out."""
CLEARLY = 1.1
"""More at once on fewer threads are taken unless another way is faster by this: a measurement's noise is no reason."""


@dataclass(frozen=True)
class TrainingLoad:
    """What one step of a cell's training asks of the machine: a layer's width, the rows and tokens, bytes in all."""

    hidden: int
    rows: int
    tokens: int
    memory: int


@dataclass(frozen=True)
class CoreShare:
    """So many trainings at once, each on so many threads, and the FLOP/s of all together."""

    workers: int
    threads: int
    speed: float

    def describe(self) -> str:
        """Return the share in words."""
        cells = "one cell at a time" if self.workers == 1 else f"{self.workers} cells at once"
        each = " each" if self.workers > 1 else ""
        return f"{cells} on {self.threads} thread{'s' if self.threads > 1 else ''}{each}"


def list_shares(cores: int, most: int) -> list[tuple[int, int]]:
    """Return the ways to share ``cores``, at most ``most`` cells at once: workers and threads, most workers first."""
    found = []
    workers = cores
    while workers >= 1:
        if workers <= most:
            found.append((workers, cores // workers))
        workers //= 2
    return found or [(1, cores)]


def choose_share(found: Sequence[CoreShare]) -> CoreShare:
    """Return the fastest share; of those near it the one with the most workers. ``found`` begins with that."""
    best = max(share.speed for share in found)
    return next(share for share in found if share.speed * CLEARLY >= best)


def measure_shares(load: TrainingLoad, ways: Sequence[tuple[int, int]], processes: Any) -> list[CoreShare]:
    """Train a layer of ``load`` in each of the ``ways``, in ``processes``, a multiprocessing context."""
    found = []
    for workers, threads in ways:
        speeds = _run_together(load, workers, threads, processes)
        if len(speeds) == workers:
            found.append(CoreShare(workers, threads, sum(speeds)))
    return found


def _run_together(load: TrainingLoad, workers: int, threads: int, processes: Any) -> list[float]:
    barrier, answers, running = processes.Barrier(workers), [], []
    for _ in range(workers):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=train_layer, args=(load, threads, barrier.wait, theirs), daemon=True)
        with keep_import_path():
            process.start()
        theirs.close()
        answers.append(ours)
        running.append(process)
    speeds = []
    for ours, process in zip(answers, running, strict=True):
        with ours, suppress(EOFError):
            if ours.poll(SHARE_PATIENCE):
                speeds.append(ours.recv())
        process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join()
    return speeds


def train_layer(load: TrainingLoad, threads: int, begin: Callable[[float], object], answer: Any) -> None:
    """Send the FLOP/s of a layer's training steps to ``answer``, measured once all have come to ``begin``."""
    import torch

    from bench.sweep.speed import measure_layer_speed
    from bench.training.trainer import limit_threads

    torch.set_num_threads(threads)
    with limit_threads(load.hidden, torch.device("cpu")), suppress(BrokenBarrierError):
        measure_layer_speed(load.hidden, "cpu", load.rows, load.tokens, 0.1)
        begin(SHARE_PATIENCE)
        answer.send(measure_layer_speed(load.hidden, "cpu", load.rows, load.tokens, SHARE_SECONDS))
