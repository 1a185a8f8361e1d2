"""`bench` in a process of its own that dies at a chosen moment and counts the work it does.

The product knows nothing of this: functions are wrapped in the child before the command line is called.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

# Forked from a server that has imported the slow packages once and computed nothing yet.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "bench.cli.verbs.run",
        "bench.cell.run",
        "bench.tasks.folder",
        "backbones.bert",
        "strategies.deebert",
        "strategies.elbert",
        "pyarrow.parquet",
        "bench.cli.app",
        "typer.rich_utils",
        "pandas",
        "sklearn.metrics",
        "scipy.stats",
        "torch._dynamo",
    ]
)

TIMEOUT = 120.0
UPDATE = "bench.training.trainer:_Stage._update"
"""Where one optimiser step is made."""


@dataclass(frozen=True)
class Moment:
    """Before or after the ``nth`` call of ``where`` (module:name) whose arguments contain ``about``."""

    where: str
    when: Literal["before", "after"]
    nth: int = 1
    about: str = ""
    signal: int = signal.SIGKILL


def start(
    arguments: list[str], notes: Path, moment: Moment | None = None, delay: float = 0.0, stop_at: int | None = None
) -> BaseProcess:
    """Start ``bench`` with ``arguments``; what it did goes to ``notes``. ``delay`` seconds pass before training.

    With ``stop_at`` the calls of Python functions are counted into ``notes``.calls, and at that one the process stops.
    """
    child = FORKS.Process(target=_bench, args=(arguments, str(notes), moment, delay, stop_at))
    child.start()
    return child


def end(child: BaseProcess) -> int | None:
    """Wait for the process; its exit code, negative for the signal that ended it."""
    child.join(TIMEOUT)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"no end within {TIMEOUT:g} s")
    return child.exitcode


def work_of(notes: Path) -> dict[str, Any]:
    """Optimiser steps done and splits run through, as far as the process came."""
    lines = notes.read_text().splitlines() if notes.exists() else []
    kinds = [json.loads(line) for line in lines]
    return {"steps": sum(k == "step" for k in kinds), "splits": [k[1] for k in kinds if isinstance(k, list)]}


def _bench(arguments: list[str], notes: str, moment: Moment | None, delay: float, stop_at: int | None) -> None:
    import torch

    from bench.cell import request
    from bench.cli.process import main

    # a test run in the background of a shell inherits an ignored Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    sys.stdout = open(f"{notes}.out", "w")  # noqa: SIM115 - until the process ends
    sys.stderr = open(f"{notes}.err", "w", buffering=1)  # noqa: SIM115
    _count(notes)
    request.Context = partial(request.Context, save_every=0.0)  # type: ignore[misc, assignment]
    if delay:
        _wrap("bench.cell.stages:train_model", lambda call: (time.sleep(delay), call())[1])
    if moment is not None:
        _wrap(moment.where, _at(moment))
    if stop_at is None:
        code = main(arguments)
    else:
        code = _count_calls(lambda: main(arguments), Path(f"{notes}.calls"), stop_at)
    sys.stdout.flush()
    os._exit(code)


def _count(notes: str) -> None:
    """Write a line for each optimiser step and each split, at once: the process may not live to say it later."""

    def note(what: object) -> None:
        with open(notes, "a") as file:
            file.write(json.dumps(what) + "\n")

    _wrap(UPDATE, lambda call: (call(), note("step"))[0])
    _wrap("bench.cell.stages:record_exits", lambda call: (note(["split", call.args[1].name]), call())[1])


def _count_calls(work: Callable[[], int], file: Path, stop_at: int) -> int:
    """Do ``work`` in a process that stops itself at a call of a function, by number; their number goes to ``file``."""
    calls = 0

    def on_event(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        if event == "call":
            calls += 1
            if calls == stop_at:
                os.kill(os.getpid(), signal.SIGSTOP)

    sys.setprofile(on_event)
    code = work()
    sys.setprofile(None)
    file.write_text(str(calls))
    return code


class _Call:
    """A call that has not been made yet."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.function, self.args, self.options = function, args, options

    def __call__(self) -> Any:
        return self.function(*self.args, **self.options)


def _wrap(where: str, around: Callable[[_Call], Any]) -> None:
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)
    setattr(owner, name, lambda *args, **options: around(_Call(function, args, options)))


def _at(moment: Moment) -> Callable[[_Call], Any]:
    seen = 0

    def around(call: _Call) -> Any:
        nonlocal seen
        seen += moment.about in str(call.args)
        now = seen == moment.nth and moment.about in str(call.args)
        if now and moment.when == "before":
            os.kill(os.getpid(), moment.signal)
        result = call()
        if now and moment.when == "after":
            os.kill(os.getpid(), moment.signal)
        return result

    return around
