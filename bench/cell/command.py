"""The command that makes a cell: as it was typed, or written out for one cell of many."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cell.request import Context, Request
from bench.tasks.file import JOIN


def write_command(arguments: Sequence[str] | None = None) -> str:
    """Return ``bench`` with ``arguments`` (default: as typed) for the record.

    Paths say nothing of where this folder or the home folder are.
    """
    words = ["bench", *(sys.argv[1:] if arguments is None else arguments)]
    words = [word for word in words if word not in ("--json", "--quiet")]  # they change nothing in the record
    return " ".join(f'"{w}"' if " " in w else w for w in map(write_from_here, words))


def write_arguments(request: Request, context: Context) -> list[str]:
    """Return the arguments of ``bench`` that run ``request`` alone."""
    words = ["run", "--strategy", request.strategy, "--task", request.task, "--seed", str(request.seed)]
    named = ("backbone", "recipe", "head", "init", "preset", "limit", "device", "dtype")
    options: dict[str, object] = {f"--{name}": getattr(request, name) for name in named}
    around = {"--results-dir": context.store.root, "--hub-root": context.hub_root, "--overwrite": context.overwrite}
    for option, value in (options | around).items():
        words += [option, str(value)] if value is not None else []
    for name, value in request.settings.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += [f"--select={rule}" for rule in request.select]
    if request.thresholds is not None:
        words += [f"--thresholds={','.join(map(repr, request.thresholds))}"]
    words += [] if request.latency else ["--no-latency"]
    words += [f"--wait-quiet={context.wait_quiet:g}s"] if context.wait_quiet else []
    return [*words, "--offline"] if context.offline else words


def write_from_here(word: str) -> str:
    """Return ``word`` for a record that is shared: a full path in or beside the current folder as it is seen from
    there; any below the home folder without it.

    What lies here starts with ``./``, so that a folder is not taken for a task or a backbone of its name.
    """
    here = Path.cwd()
    if here.parent != Path(here.anchor) and word.startswith(f"{here.parent}{os.sep}"):
        seen = os.path.relpath(word, here)
        return seen if seen.startswith(os.pardir) or seen == os.curdir else os.path.join(os.curdir, seen)
    home = Path.home()
    if home == Path(home.anchor):  # of somebody without one, who would lose every slash
        return word
    return re.sub(rf"(?<![\w.-]){re.escape(str(home))}(?={re.escape(os.sep)}|$)", "~", word)


def write_task_from_here(name: str) -> str:
    """Return a task that was given as files, ``DATA+TEXTS`` or one of them, for a record that is shared."""
    return JOIN.join(map(write_from_here, name.split(JOIN)))
