"""What commands share: the options that most take, as fields of :class:`Session`, and others that some take.

A session is the workplace that every command has, as options: results folder, hub mirror, network, what is printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.hubcalls import keep_offline
from backbones.names import trust_names
from bench.api.workplace import Workplace
from bench.errors import UsageError
from bench.files import refuse_file

if TYPE_CHECKING:
    from bench.cell.request import Context, Overwrite
    from bench.results.run import Run


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
class Session(Workplace):
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

    def context(self, overwrite: Overwrite = "missing", *, of: Run | None = None, command: str = "") -> Context:
        """Return what the cells of a run are measured with; into their records goes the command as it was typed."""
        from bench.cell.command import write_command

        return super().context(overwrite, of=of, command=command or write_command())


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
