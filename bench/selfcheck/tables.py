"""What reading hundreds of runs costs: `bench table` and `bench report` over copies of recorded ones.

A copy differs from its run in the learning rate, by a millionth, so that it is a series of its own with the same
logits. Each command is a process of its own, timed from outside with its peak memory: first in a store that nobody has
read, then again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from bench.environment import keep_import_path
from bench.errors import UsageError
from bench.results.packed.references import follow_reference
from bench.results.places import RECORD, locate_exits
from bench.results.record import RunRecord
from bench.results.record_file import write_record
from bench.results.run import Run
from bench.results.spec import hash_identity
from bench.results.store import Store, leave_out

CELLS = 300
STEP = 1e-6


def time_reading(results: Path, cells: int = CELLS) -> dict[str, Any]:
    """Time `bench table` and `bench report` over so many cells, made of the runs in ``results``.

    Seconds, and MiB of memory at the peak. Raises UsageError where there is no finished run.
    """
    with tempfile.TemporaryDirectory(prefix="exitbench-") as folder:
        store = Store(Path(folder) / "results")
        found: dict[str, Any] = {"cells": multiply_runs(Store(results), store, cells)}
        for name in ("table first", "table again", "report first", "report again"):
            verb = name.partition(" ")[0]
            out = ["--out", str(Path(folder) / "reports"), "--quiet"] if verb == "report" else []
            found[name] = _time_command([verb, "--results-dir", str(store.root), *out])
    return found


def multiply_runs(source: Store, target: Store, cells: int) -> int:
    """Fill ``target`` with the finished runs of ``source``, and copies of them until there are ``cells``; return these.

    Raises UsageError where there is no finished run.
    """
    runs, left_out = source.runs()
    runs = [run for run in leave_out(runs, left_out) if run.is_finished()]
    if not runs:
        raise UsageError(f"There is no finished run in {source.root} to make copies of.")
    made = 0
    for turn in count():
        for run in runs:
            if made == cells:
                return made
            _copy_run(run, target, turn)
            made += 1
    raise AssertionError("unreachable")


def _copy_run(run: Run, target: Store, turn: int) -> None:
    record = vary_record(run.record, turn)
    key = hash_identity(record.identity.to_plain())
    folder = target.place(run.task, run.backbone, run.strategy, run.seed, key)
    folder.mkdir(parents=True)
    write_record(folder / RECORD, record)
    for split in (*record.task.evaluation, record.task.select):
        if run.has_exits(split):
            shutil.copyfile(follow_reference(run.exits_file(split)), locate_exits(folder, split))


def vary_record(record: RunRecord, turn: int) -> RunRecord:
    """Return a record that differs from the given one in its learning rate alone, ``turn`` times a millionth of it."""
    if not turn:
        return record
    rate = record.spec.train.lr * (1 + turn * STEP)
    train = replace(record.spec.train, lr=rate)
    identity = record.identity.model_copy(update={"train": {**record.identity.train, "lr": rate}})
    changed = {"spec": replace(record.spec, train=train), "identity": identity}
    return record.model_copy(update={**changed, "quality_key": hash_identity(identity.to_plain())})


WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs a command. It is a small process of its own: a child counts the peak of whoever began it as its own."""


def _time_command(words: Sequence[str]) -> dict[str, float]:
    """Run a command of ours; return its seconds, its processor seconds and MiB at its peak."""
    with keep_import_path():
        command = [sys.executable, "-m", "bench", *words]
        begun = time.perf_counter()
        watch = [sys.executable, "-c", WATCH, *command]
        done = subprocess.run(watch, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - begun
    code, cpu, peak = done.stdout.split()
    if int(code):
        raise UsageError(f"bench {words[0]} ended with exit code {code}.")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {"seconds": seconds, "cpu_seconds": float(cpu), "peak_mib": int(peak) / unit}


def describe_reading(result: Mapping[str, Any]) -> str:
    """Return the figures as lines for people."""
    lines = [f"{result['cells']} cells"]
    for name, found in result.items():
        if name != "cells":
            cpu, memory = found["cpu_seconds"], found["peak_mib"]
            lines.append(f"bench {name:<13}{found['seconds']:6.1f} s  {cpu:6.1f} s of processors  {memory:5.0f} MiB")
    return "\n".join(lines)
