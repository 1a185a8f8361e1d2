"""What commands share: the options that most take, as fields of :class:`Session`, and others that some take.

A session is what every command works with: results folder, hub mirror, network, and what it says and prints.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.hubcalls import keep_offline
from backbones.names import trust_names
from bench.errors import UsageError
from bench.files import refuse_file
from bench.progress import Progress
from bench.results.places import RECORD
from bench.text import show_line

if TYPE_CHECKING:
    from bench.cell.request import Context, Overwrite
    from bench.results.run import Run
    from bench.results.store import LeftOut, Only, Store


RunName = Annotated[str, typer.Argument(help="RUN: folder, name, key or 'last'.")]
Tasks = Annotated[str | None, typer.Option("--task", help="Only these tasks, separated by commas.")]
Backbones = Annotated[str | None, typer.Option("--backbone", help="Only these backbones, separated by commas.")]
ExecutorName = Annotated[str, typer.Option(help="eager, compile; on a GPU graph, conditional.")]
SettingOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: the criterion's arguments, or backbone., head., recipe., train., latency. ones."
    ),
]


@dataclass(frozen=True)
class Session:
    """The shared options of one call of ``bench``; a command that does not take one has its default."""

    results_dir: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results")
    hub_root: Annotated[
        Path | None, typer.Option(help="Local mirror with datasets/ and models/ (or EXITBENCH_HUB).")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False
    allow_imports: Annotated[
        bool, typer.Option("--allow-imports", help="Run modules that a record names (module:Name): trust its maker.")
    ] = False

    @property
    def store(self) -> Store:
        """The results folder."""
        from bench.results.store import Store

        return Store(self.results_dir)

    def read_runs(self, only: Only | None = None, *, logits: bool = False) -> list[Run]:
        """Read every recorded run, or those of ``only``; what cannot be read is left out and said on stderr.

        With ``logits`` a run is left out too whose recorded logits are damaged, or cannot be judged here.
        """
        from bench.results.store import find_damaged_logits, find_refused_criteria, leave_out

        runs, left_out = self.store.runs(only)
        left_out += find_damaged_logits(runs) if logits else []
        left_out += find_refused_criteria(leave_out(runs, left_out)) if logits else []
        self.say_left_out(left_out)
        self.say_unsealed(runs)
        return leave_out(runs, left_out)

    def find_run(self, text: str) -> Run:
        """Read the run that ``text`` names, as :meth:`Store.find_run` does; say on stderr where it has no checksum."""
        found = self.store.find_run(text)
        self.say_unsealed([found])
        return found

    def say_unsealed(self, runs: Iterable[Run]) -> None:
        """Say on stderr, in one line for all, of which records no checksum holds the numbers."""
        if said := describe_unsealed(list(runs)):
            print(show_line(said), file=sys.stderr)

    def say_left_out(self, left_out: Iterable[LeftOut], what: str = "Left out:") -> None:
        """Name on stderr what cannot be read or used, and why, a line each; ``what`` became of it."""
        for bad in left_out:
            print(show_line(f"{what} {bad.name}: {bad.why}"), file=sys.stderr)

    @property
    def progress(self) -> Progress:
        """What is said on stderr while the command works."""
        return Progress(quiet=self.quiet)

    @property
    def hub_named(self) -> Path | None:
        """The mirror from --hub-root or EXITBENCH_HUB, whether it is there or not."""
        named = os.environ.get("EXITBENCH_HUB")
        return self.hub_root or (Path(named) if named else None)

    @property
    def hub(self) -> Path | None:
        """The local mirror, or None. Raises UsageError where it is no folder."""
        mirror = self.hub_named
        if mirror is not None and not mirror.is_dir():
            named = "of --hub-root" if self.hub_root is not None else "of EXITBENCH_HUB"
            raise UsageError(
                f"The hub mirror {mirror} {named} is not a folder. Give one with datasets/ and models/ in it."
            )
        return mirror

    def context(self, overwrite: Overwrite = "missing", *, of: Run | None = None) -> Context:
        """Return what the cells of a run are measured with: where results go, where data come from, what is said.

        The checkpoint ``of`` a recorded run is in the results folder that the run lies in, which may be another one.
        """
        from bench.cell.command import write_command
        from bench.cell.request import Context

        store = self.store if of is None else self.store.find_home(of.folder)
        return Context(store, self.progress, self.hub, self.offline, overwrite, write_command())


def describe_unsealed(runs: Sequence[Run]) -> str:
    """Return which of ``runs`` have no checksum, in one line; the empty string where all have one."""
    bare = [run.folder / RECORD for run in runs if not run.is_sealed]
    if not bare:
        return ""
    what = f"{bare[0]} has" if len(runs) == 1 else f"{len(bare)} of {len(runs)} records have"
    first = "" if len(runs) == 1 else f"; the first is {bare[0]}"
    return f"{what} no checksum (schema_version 1): an altered number may go unnoticed{first}."


def with_session(
    *options: str, check_place: bool = True
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a command of a function whose first parameter is a Session: in its place come the Session's ``options``.

    Without names these are all. The function returns the exit code, or None for success. With --offline, nothing that
    the command imports or starts uses the network. A file in the place of the results folder is refused, but for a
    command that finds out by itself what would go wrong (``check_place``).
    """
    every = signature(Session, eval_str=True).parameters
    shared = [every[name] for name in options or every]

    def make_command(function: Callable[..., int | None]) -> Callable[..., int | None]:
        own = list(signature(function, eval_str=True).parameters.values())[1:]

        @wraps(function)
        def command(**given: Any) -> int | None:
            session = Session(**{option.name: given.pop(option.name) for option in shared})
            refuse_infinite(given)
            if check_place:
                refuse_file(session.results_dir)
            with keep_offline(session.offline), trust_names(session.allow_imports):
                return function(session, **given)

        parameters = [*own, *shared]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return make_command


def refuse_infinite(given: Mapping[str, object]) -> None:
    """Raise UsageError for the first option whose number is infinite or none: no JSON has it, and no wait ends."""
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")


def split_names(text: str, option: str) -> list[str]:
    """Return the names in ``a,b``, each once. Raises UsageError, naming the option, where there are none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} is empty.")
    return list(dict.fromkeys(names))


def split_seeds(text: str) -> list[int]:
    """Return the whole numbers in ``0,1,2``, each once. Raises UsageError for anything else."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--seed takes whole numbers separated by commas, not '{text}'.") from None
