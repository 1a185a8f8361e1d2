"""Stdout: a console for tables, JSON, and how names and quantities are written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.files import write_text
from bench.text import TextConsole, build_table, escape_json, escape_markdown, is_size, write_markdown_table


def make_console() -> TextConsole:
    """Return a console on stdout; where that is no terminal it is as wide as COLUMNS says, else 140."""
    plain = TextConsole()
    return (
        plain
        if plain.is_terminal or is_size(os.environ.get("COLUMNS", ""))
        else TextConsole(width=max(plain.width, 140))
    )


def print_json(value: object) -> None:
    """Print ``value`` on stdout as JSON."""
    sys.stdout.write(escape_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n")


def format_tables(
    tables: Sequence[tuple[str, Sequence[str], Iterable[Sequence[str]]]],
    note: str,
    feet: Sequence[Sequence[str]] = (),
    said: Sequence[str] = (),
) -> str:
    """Return tables as Markdown, each of a title, its columns and its rows, and below them the ``note``.

    ``feet`` are the sentences below each table, if there are any; what is ``said`` of all stands before them.
    """
    lines = [*(f"- {escape_markdown(sentence)}" for sentence in said), *[""] * bool(said)]
    for (title, columns, rows), sentences in zip(tables, feet or [()] * len(tables), strict=True):
        lines.append(f"### {escape_markdown(title)}\n")
        lines += [*write_markdown_table(columns, rows), ""]
        for sentence in sentences:
            lines += [escape_markdown(sentence), ""]
    return "\n".join([*lines, note]) + "\n"


def show_tables(
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
    note: str,
    feet: Sequence[Sequence[str]],
    *,
    markdown: Path | None,
    plain: object,
    said: Sequence[str] = (),
) -> None:
    """Write what :func:`format_tables` returns to the file ``markdown``, if any, and print the tables.

    On a terminal what is ``said`` of all comes last, where it is seen. Where ``plain`` is not None, it is printed as
    JSON in their place.
    """
    if markdown is not None:
        write_text(markdown, format_tables(tables, note, feet, said))
    if plain is not None:
        print_json(plain)
        return
    out = make_console()
    for (title, columns, rows), sentences in zip(tables, feet, strict=True):
        out.print(build_table(title, columns, rows))
        for sentence in sentences:
            out.print(sentence)
    out.print(note)
    for sentence in said:
        out.print()
        out.print(sentence)


def format_seconds(seconds: float | None) -> str:
    """Return ``25 s``, ``3 min``, ``7.5 h``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
