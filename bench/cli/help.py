"""How the help of a command looks: its options in groups, examples last, in a terminal of any width."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from bench.cli.foreign import read_foreign_options
from bench.cli.words import OPTION_GROUPS, OUTPUT
from bench.text import show_line

UNGROUPED = 7
"""So many options of a command need no groups."""
WIDEST = 26
"""Letters of a name beside which what it means still has room."""
NARROW = 70
"""Columns below which what an option means stands under it, not beside it."""
EXAMPLE = re.compile(r"^ *\$ (bench .*)\n?", re.MULTILINE)
"""A line of a command's docstring that shows how it is called."""


HelpRows = Sequence[tuple[str, str]]


def write_lists(formatter: Any, lists: Sequence[tuple[str, HelpRows]], *, beside: bool = False) -> None:
    """Write rows of a name and what it is, each list under its title, all in the same two columns.

    Where the terminal is narrow what it is stands below the name, unless names are short enough to be ``beside`` it.
    """
    names = [len(name) for _, rows in lists for name, _ in rows if len(name) <= WIDEST]
    column = max(names, default=0) if beside or formatter.width >= NARROW - 2 else 4
    for title, rows in lists:
        with formatter.section(title):
            formatter.write_dl([(name.ljust(column), said) for name, said in rows], col_max=column)


class Verb(TyperCommand):
    """One command of `bench`."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        said = self.help or ""
        self.epilog = "\n".join(EXAMPLE.findall(said)) or None
        self.help = EXAMPLE.sub("", said).strip()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, others' names of options too, and say on stderr which these were taken for."""
        read, notes = read_foreign_options(args, self.get_params(ctx))
        if not ctx.resilient_parsing and not {"-q", "--quiet"} & set(read):
            for note in notes:
                print(show_line(note), file=sys.stderr)
        return super().parse_args(ctx, read)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands in the first line of the help after the command's name."""
        arguments = [(p, p.metavar or p.name.upper()) for p in self.params if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(name if p.required or name[0] == "[" else f"[{name}]" for p, name in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, the options in their groups unless they are few."""
        shown = [(param, line) for param in self.get_params(ctx) if (line := param.get_help_record(ctx))]
        arguments = [(p.metavar or p.name.upper(), line[1]) for p, line in shown if p.param_type_name == "argument"]
        options = [(getattr(p, "rich_help_panel", None), line) for p, line in shown if p.param_type_name == "option"]
        if len(options) <= UNGROUPED:
            groups = [("Options", [line for _, line in options])]
        else:
            told = [(group or OUTPUT, line) for group, line in options]  # -h is in no group
            groups = [(title, [line for group, line in told if group == title]) for title in OPTION_GROUPS]
        write_lists(formatter, [(title, rows) for title, rows in [("Arguments", arguments), *groups] if rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, a long one in several lines that a shell takes as one."""
        if not self.epilog:
            return
        lines = self.epilog.splitlines()
        with formatter.section("Example" if len(lines) == 1 else "Examples"):
            for line in lines:
                for part in wrap_command(line, formatter.width - 2):
                    formatter.write(f"  {part}\n")


def wrap_command(line: str, width: int) -> list[str]:
    """Return a command in lines of at most ``width`` letters, each but the last with the backslash that goes on."""
    whole = re.sub(r"(--?[\w-]+) (?=[^-])", "\\1\0", line)  # an option stays with its value
    parts = textwrap.wrap(whole, width - 2, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [part.replace("\0", " ") for part in (*(f"{part} \\" for part in parts[:-1]), *parts[-1:])]
