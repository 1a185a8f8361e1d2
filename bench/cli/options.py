"""Options and arguments that several commands share but that are no part of a Session, and what is read from them."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.errors import UsageError

RunName = Annotated[str, typer.Argument(help="RUN: folder, name, key or 'last'.")]
Tasks = Annotated[str | None, typer.Option("--task", help="Only these tasks, separated by commas.")]
Backbones = Annotated[str | None, typer.Option("--backbone", help="Only these backbones, separated by commas.")]
ExecutorName = Annotated[str, typer.Option(help="eager, compile; on a GPU graph, conditional.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: the criterion's arguments, or backbone., head., recipe., train., latency. ones."
    ),
]


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
