"""One cell in a worker process, whatever the engine that started it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Literal

from bench.cell.run import Context, command_line, prepared, run_work
from bench.cli.verbs.fresh import arguments
from bench.errors import UserError
from bench.progress import Progress
from bench.results.store import Store
from bench.sweep.engines.base import Ending, Job
from bench.sweep.remote import Remote

LONGEST = 4000  # characters of a message that travels back


def run_job(job: Job) -> Ending:
    """Run the cell; an error is an answer like any other. KeyboardInterrupt goes through."""
    begun = time.monotonic()
    try:
        settle(job)
        work = prepared(job.request, context_of(job))
        remote = None if job.sync is None else Remote(job.sync, work.context.store)
        if remote is not None:
            remote.fetch(work)
        cell, _ = run_work(work)
        if remote is not None:
            remote.send(work)
    except Exception as error:
        kind: Literal["user", "internal"] = "user" if isinstance(error, UserError) else "internal"
        if kind == "internal" and not job.quiet:
            traceback.print_exc()
        message = str(error) if kind == "user" else f"{type(error).__name__}: {error}"
        return Ending("error", None, message[:LONGEST], kind, time.monotonic() - begun)
    return Ending("success", str(cell.folder), seconds=time.monotonic() - begun)


def settle(job: Job) -> None:
    """Be where the driver is: its folder, its import path, the threads that it gives."""
    import torch

    if Path(job.cwd).is_dir():  # another machine may not have it; then paths in the request are absolute
        os.chdir(job.cwd)
    sys.path += [entry for entry in job.path if entry not in sys.path]
    if job.threads is not None:
        torch.set_num_threads(job.threads)


def context_of(job: Job) -> Context:
    """The runner's context, with the command that would run this cell alone."""
    hub_root = None if job.hub_root is None else Path(job.hub_root)
    store, progress = Store(Path(job.results_dir)), Progress(quiet=job.quiet)
    context = Context(store, progress, hub_root, job.offline, job.overwrite)
    command = command_line(arguments(job.request, context))
    return Context(store, progress, hub_root, job.offline, job.overwrite, command)
