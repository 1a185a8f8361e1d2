"""What every command works with: results folder, hub mirror, network, and what it says and prints.

The options that several commands share are the fields of :class:`Session`, so that each is stated once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.hubcalls import hub_offline
from bench.errors import UsageError
from bench.progress import Progress
from bench.text import show_hidden

if TYPE_CHECKING:
    from bench.cell.request import Context, Overwrite
    from bench.results.run import Run
    from bench.results.store import LeftOut, Only, Store


@dataclass(frozen=True)
class Session:
    """The shared options of one call of ``bench``; a command that does not take one has its default."""

    results_dir: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results")
    hub_root: Annotated[
        Path | None, typer.Option(help="Local mirror with datasets/ and models/ (or EXITBENCH_HUB).")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False

    @property
    def store(self) -> Store:
        """The results folder."""
        from bench.results.store import Store

        return Store(self.results_dir)

    def read_runs(self, only: Only | None = None, *, logits: bool = False) -> list[Run]:
        """Read every recorded run, or those of ``only``; what cannot be read is left out and said on stderr.

        With ``logits`` a run whose recorded logits are damaged is left out too.
        """
        from bench.results.store import find_damaged_logits, leave_out

        runs, left_out = self.store.runs(only)
        left_out += find_damaged_logits(runs) if logits else []
        self.say_left_out(left_out)
        return leave_out(runs, left_out)

    def say_left_out(self, left_out: Iterable[LeftOut]) -> None:
        """Name on stderr what cannot be read, and why, a line each."""
        for bad in left_out:
            print(show_hidden(f"Left out: {bad.name}: {bad.why}"), file=sys.stderr)

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
            raise UsageError(f"The hub mirror {mirror} is not a folder. Give one with datasets/ and models/ in it.")
        return mirror

    def context(self, overwrite: Overwrite = "missing") -> Context:
        """What the cells of a run are measured with."""
        from bench.cell.command import command_line
        from bench.cell.request import Context

        return Context(self.store, self.progress, self.hub, self.offline, overwrite, command_line())


def with_session(*options: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a command of a function whose first parameter is a Session: in its place come the Session's ``options``.

    Without names these are all. With --offline, nothing that the command imports or starts uses the network.
    """
    every = signature(Session, eval_str=True).parameters
    shared = [every[name] for name in options or every]

    def make_command(function: Callable[..., int]) -> Callable[..., int]:
        own = list(signature(function, eval_str=True).parameters.values())[1:]

        @wraps(function)
        def command(**given: Any) -> int:
            session = Session(**{option.name: given.pop(option.name) for option in shared})
            with hub_offline(session.offline):
                return function(session, **given)

        parameters = [*own, *shared]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return make_command
