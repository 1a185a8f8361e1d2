"""One cell in a worker process, whatever the engine that started it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from bench.cell.command import write_arguments, write_command
from bench.cell.request import Context
from bench.cell.run import prepare_cell, run_cell
from bench.errors import UserError, name_causes
from bench.progress import Progress, forgive_stderr
from bench.results.store import Store
from bench.sweep.engines.base import Ending, Job
from bench.sweep.remote import Remote

LONGEST_MESSAGE = 4000  # characters of a message that travels back


def run_job(job: Job) -> Ending:
    """Run the cell of ``job`` and return how it ended, errors included. KeyboardInterrupt goes through."""
    begun = time.monotonic()
    try:
        with name_causes():
            follow_driver(job)
            store, progress = Store(Path(job.results_dir)), Progress(quiet=job.quiet)
            hub_root = None if job.hub_root is None else Path(job.hub_root)
            context = Context(store, progress, hub_root, job.offline, job.overwrite, wait_quiet=job.wait_quiet)
            alone = write_command(write_arguments(job.request, context))  # what would run this cell by itself
            cell = prepare_cell(job.request, replace(context, command=alone))
            remote = None if job.sync is None else Remote(job.sync, store, progress)
            if remote is not None:
                remote.fetch(cell)
            run_cell(cell)
            if remote is not None:
                remote.send(cell)
    except UserError as error:
        return Ending("error", None, str(error)[:LONGEST_MESSAGE], seconds=time.monotonic() - begun)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
        return Ending("error", None, message, traceback.format_exc(), time.monotonic() - begun)
    return Ending("success", str(cell.folder), seconds=time.monotonic() - begun)


def follow_driver(job: Job) -> None:
    """Take on the driver's folder and import path, and the threads that it gives."""
    import torch

    forgive_stderr()
    if Path(job.cwd).is_dir():  # another machine may not have it; then paths in the request are absolute
        os.chdir(job.cwd)
    sys.path += [entry for entry in job.path if entry not in sys.path]
    if job.threads is not None:
        torch.set_num_threads(job.threads)
