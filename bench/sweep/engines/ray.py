"""The engine for many machines: Ray places the cells, watches the machines and starts again what was lost with one.

Needs the extra ``exitbench[ray]``. Results go to the same store: a folder that all machines share, or machines' own
folders that are synced with a URL (:mod:`bench.sweep.remote`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from bench.errors import UsageError
from bench.sweep.engines.base import Ending, Job
from bench.sweep.engines.shares import TrainingLoad

RETRIES = 3  # of a cell whose worker or machine was lost
AHEAD = 2  # cells in Ray's queue for each that can run, so that no machine waits for the driver


class RayEngine:
    """Cells as Ray tasks. ``address`` is a cluster's, or empty: RAY_ADDRESS, else one that is started here.

    An untimed cell takes ``threads`` CPUs (default 1) and may share a worker process with cells before it; a timed
    one takes a whole machine of the largest size and a new process. A cell on a GPU takes one GPU. ``workers`` limits
    the cells at once. A worker or machine that is lost costs the cells that it was at, which go on elsewhere.
    """

    attempts = 1  # Ray tries again by itself
    talks = False

    def __init__(self, address: str = "", workers: int | None = None, threads: int | None = None) -> None:
        self.ray = _ray()
        cpus = threads or 1
        self.threads: int | None = cpus
        self.ours = not self.ray.is_initialized()
        if self.ours:
            try:
                self.ray.init(address=address or None, log_to_driver=False, logging_level="ERROR")
            except ConnectionError as error:
                raise UsageError(f"No Ray cluster at '{address or os.environ.get('RAY_ADDRESS')}': {error}") from error
        self.largest = max((node["Resources"].get("CPU", 0.0) for node in self.ray.nodes() if node["Alive"]), default=1)
        total = self.ray.cluster_resources().get("CPU", 1.0)
        self.limit = workers or max(1, AHEAD * int(total / cpus))
        self.running: dict[Any, Job] = {}
        self.untimed = self.ray.remote(max_retries=RETRIES, retry_exceptions=False)(_cell)
        self.fresh = self.ray.remote(max_retries=RETRIES, retry_exceptions=False, max_calls=1)(_cell)

    def share_cores(self, load: TrainingLoad, trainings: int) -> str:
        """Choose nothing: each machine of a cluster would have to be measured by itself."""
        return ""

    def has_room(self, job: Job) -> bool:
        """Return whether to hand Ray one more cell; it places what it has."""
        return len(self.running) < self.limit

    def start(self, job: Job) -> None:
        """Hand ``job`` to Ray."""
        task = self.fresh if job.timed or job.gpu else self.untimed
        cpus = self.largest if job.timed else job.threads
        self.running[task.options(num_cpus=cpus, num_gpus=1 if job.gpu else 0).remote(job)] = job

    def wait(self) -> Sequence[tuple[Job, Ending]]:
        """Wait for the next cell to end."""
        done, _ = self.ray.wait(list(self.running), num_returns=1)
        return [(self.running.pop(ref), self._ending(ref)) for ref in done]

    def stop(self) -> None:
        """Cancel what runs, and leave the cluster if it was joined here; one that was started here ends."""
        for ref in self.running:
            self.ray.cancel(ref, force=False)
        self.running.clear()
        if self.ours and self.ray.is_initialized():
            self.ray.shutdown()

    def _ending(self, ref: Any) -> Ending:
        try:
            answer: Ending = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:  # what the cell raises itself comes back as an answer
            reason = (str(error).strip().splitlines() or [""])[0]
            return Ending("died", message=f"its worker was lost ({type(error).__name__}: {reason})")
        return answer


def _cell(job: Job) -> Ending:
    """One cell in a Ray worker."""
    sys.path += [entry for entry in job.path if entry not in sys.path]
    from bench.sweep.worker import run_job

    return run_job(job)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError("--engine ray needs Ray: pip install 'exitbench[ray]'.") from error
    return ray
