"""The default engine: this machine, one process a cell."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from bench.environment import count_cores, keep_import_path, read_memory
from bench.sweep.engines.base import Ending, Job
from bench.sweep.engines.shares import TrainingLoad, choose_share, list_shares, measure_shares

CORES_PER_WORKER = 8  # a cell uses several cores well, so few processes are as fast as many and need less memory
SHARE = 0.8  # of the memory that is free when the sweep begins
PATIENCE = 10.0  # seconds that a process gets to write that it was cancelled

PRELOADED = [
    "bench.cell.run",
    "bench.sweep.worker",
    "backbones.albert",
    "backbones.bert",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.metrics",
    "torch._dynamo",
]
"""What every cell imports, and takes seconds to."""


@dataclass
class Running:
    """One process and what it works on."""

    job: Job
    process: BaseProcess
    answer: Connection
    gpu: str | None


class LocalEngine:
    """Cells in processes of their own, as many at once as ``workers``, memory and GPUs allow.

    ``workers`` None is the number of GPUs, or without one a worker for every eight cores (at least one) unless
    :meth:`share_cores` finds out better. A timed cell
    runs in a fresh interpreter and alone. Untimed ones are forked from a process that has imported torch and
    transformers and computed nothing, which saves each of them seconds.
    """

    attempts = 3

    def __init__(self, workers: int | None = None, threads: int | None = None) -> None:
        self.gpus = list_gpus()
        self.is_open = workers is None and threads is None and not self.gpus
        self.workers = workers or len(self.gpus) or max(1, count_cores() // CORES_PER_WORKER)
        self.threads = threads or (max(1, count_cores() // self.workers) if self.workers > 1 else None)
        self.talks = self.workers == 1
        self.memory = SHARE * read_free_memory()
        self.running: dict[int, Running] = {}
        self.forks = _make_forks()

    def share_cores(self, load: TrainingLoad, trainings: int) -> str:
        """Choose workers and threads for so many ``trainings`` by what a moment of each way shows; say what was found.

        Empty where it was said before what to do, where GPUs do the work, and where there is nothing to share.
        """
        cores = count_cores()
        most = min(trainings, int(min(self.memory / max(1, load.memory), cores)))
        ways = list_shares(cores, max(1, most))
        if not self.is_open or len(ways) < 2:
            return ""
        found = measure_shares(load, ways, self.forks)
        if not found:
            return ""
        share = choose_share(found)
        self.workers, self.threads, self.talks = share.workers, share.threads, share.workers == 1
        others = ", ".join(f"{one.describe()} {one.speed / share.speed:.2f}x" for one in found if one != share)
        return f"Training {share.describe()}: measured here{f' ({others} as fast)' if others else ''}."

    def has_room(self, job: Job) -> bool:
        """Return whether workers, memory and GPUs are left for ``job``; a timed one needs an idle machine."""
        busy = list(self.running.values())
        if not busy:
            return True
        if job.timed or any(other.job.timed for other in busy) or len(busy) >= self.workers:
            return False
        if job.gpu and self.gpus and not self._free_gpus():
            return False
        return sum(other.job.memory for other in busy) + job.memory <= self.memory

    def start(self, job: Job) -> None:
        """Start a process for ``job``."""
        gpu = self._free_gpus()[0] if job.gpu and self._free_gpus() else None
        processes = multiprocessing.get_context("spawn") if job.timed else self.forks
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process: Any = processes.Process(target=_run_worker, args=(job, gpu, theirs))
        with keep_import_path():
            process.start()
        theirs.close()
        self.running[process.sentinel] = Running(job, process, ours, gpu)

    def wait(self) -> Sequence[tuple[Job, Ending]]:
        """Wait for the next process to end."""
        return [self._end(self.running.pop(int(str(s)))) for s in wait_for(list(self.running))]

    def stop(self) -> None:
        """Interrupt what runs, so that it records that it was cancelled; kill what does not end."""
        for other in self.running.values():
            if other.process.pid is not None and other.process.is_alive():
                os.kill(other.process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        for other in self.running.values():
            other.process.join(max(0.0, until - time.monotonic()))
            if other.process.is_alive():
                other.process.kill()
                other.process.join()
        self.running.clear()

    def _free_gpus(self) -> list[str]:
        taken = {other.gpu for other in self.running.values()}
        return [gpu for gpu in self.gpus if gpu not in taken]

    def _end(self, ended: Running) -> tuple[Job, Ending]:
        ended.process.join()
        ending = Ending("died", message=describe_death(ended.process.exitcode or 0))
        with ended.answer, suppress(EOFError):
            if ended.answer.poll():
                ending = ended.answer.recv()
        return ended.job, ending


def describe_death(code: int) -> str:
    """Return what an exit code says of a process that gave no answer."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def _make_forks() -> Any:
    """Processes forked from a clean server that has imported what is slow to import; fresh ones where there is none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(PRELOADED)
    return forks


def _run_worker(job: Job, gpu: str | None, answer: Connection) -> None:
    """The whole life of a worker."""
    # Ctrl-C reaches every process of a terminal; only the driver answers to it, and tells its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA starts, which has not happened yet
    from bench.sweep.worker import run_job

    if hasattr(select, "poll"):
        Thread(target=_end_with_driver, args=(answer,), daemon=True).start()
    try:
        with suppress(BrokenPipeError):  # nobody is left to answer to; the store has the result
            answer.send(run_job(job))
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_driver(answer: Connection) -> None:
    """Interrupt this worker once nobody can hear its answer: the driver was killed, so the rest is not wanted now."""
    watch = select.poll()
    watch.register(answer.fileno(), 0)  # errors alone: the other end is closed
    watch.poll()
    os.kill(os.getpid(), signal.SIGTERM)


def list_gpus() -> list[str]:
    """Return the GPUs of this machine that may be used, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [name.strip() for name in named.split(",") if name.strip()] if torch.cuda.device_count() else []
    return [str(i) for i in range(torch.cuda.device_count())]


def read_free_memory() -> float:
    """Return the free bytes of main memory, or all of it where the system does not tell; infinite if unknown."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    total = read_memory()
    return float("inf") if total is None else total * 2**30
