"""Stdout: a console for tables, JSON, and how names and quantities are written."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from rich.table import Table

from bench.text import TextConsole, escape_json


def console() -> TextConsole:
    """Stdout, at least 100 wide so that piped tables are not cut."""
    plain = TextConsole()
    return plain if plain.is_terminal else TextConsole(width=max(plain.width, 140))


def print_json(value: object) -> None:
    """``value`` on stdout as JSON."""
    sys.stdout.write(escape_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n")


def name_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Named things, a line each; the columns are the keys of the first row."""
    table = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ["nothing"]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*["" if v is None else str(v) for v in row.values()])
    return table


def format_seconds(seconds: float | None) -> str:
    """Return ``25 s``, ``3 min``, ``7.5 h``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def format_bytes(count: float | None) -> str:
    """Return ``1.5 GiB``, ``320 KiB``, or ``unknown``."""
    if count is None:
        return "unknown"
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 2**10:.0f} KiB"
