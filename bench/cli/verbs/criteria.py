"""`bench criteria`: every criterion on the same checkpoints, each paired with one of them on the same samples.

What differs between the rows of a table is the criterion alone: backbone, heads, training and samples are the same.
Costs are layers; what a criterion costs itself is in `bench table`'s FLOPs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cli.display import console, print_json
from bench.cli.options import Backbones, Tasks
from bench.cli.session import Session, with_session
from bench.errors import OK, NothingComparable
from bench.files import write_text
from bench.text import escape_markdown

COLUMNS = ("criterion", "arguments", "seeds", "least layers", "at L/2", "difference at L/2", "difference of the curve")

FOOT = (
    "At L/2: the quality of the first cut whose mean exit is at most half of the layers (cost alone picks it). "
    "Difference of the curve: the mean difference of quality over {grid} budgets of layers, evenly spaced over those "
    "that both curves reach. Brackets: 95 %, paired on the same samples; over seeds too where there are several. "
    "Differences are against {against}."
)


@with_session("results_dir", "json")
def criteria(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    against: Annotated[str, typer.Option(help="The criterion that the others are paired with.")] = "entropy",
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
) -> int:
    """Every criterion on the same checkpoints, paired on the same samples."""
    from bench.compare.criteria import LEAST, compare_criteria
    from bench.results.store import Only

    found = compare_criteria(session.read_runs(Only.named(task, backbone), logits=True), against)
    if not found:
        raise NothingComparable(
            f"No checkpoint in {session.results_dir} carries {LEAST} criteria, '{against}' among them: run several "
            "strategies with the same --recipe and --head, and they share one."
        )
    if markdown is not None:
        write_text(markdown, as_markdown(found, against))
    if session.json:
        print_json(found)
        return OK
    out = console()
    for table in found:
        shown = Table(title=Text(table["title"]), title_justify="left")
        for column in COLUMNS:
            shown.add_column(column, overflow="fold")
        for row in table["rows"]:
            shown.add_row(*map(Text, _cells(row)))
        out.print(shown)
    out.print(describe_columns(against))
    return OK


def describe_columns(against: str) -> str:
    """Return what the columns are, for the foot of the tables."""
    from bench.measure.areas import GRID

    return FOOT.format(grid=GRID, against=against)


def _cells(row: Mapping[str, Any]) -> list[str]:
    bound = " (upper bound)" if row["upper_bound"] else ""
    figures = [_text(row["half"], ""), _text(row["half_difference"], "+"), _text(row["curve"], "+")]
    least = f"{row['least_layers']:.2f}"
    return [row["criterion"] + bound, row["arguments"], str(len(row["seeds"])), least, *figures]


def _text(found: Mapping[str, float] | None, sign: str) -> str:
    if found is None:
        return "not reached"
    return f"{found['estimate']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def as_markdown(tables: Sequence[Mapping[str, Any]], against: str) -> str:
    """All tables, then what the columns are."""
    lines: list[str] = []
    for table in tables:
        lines += [
            f"### {escape_markdown(table['title'])}",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|" + " --- |" * len(COLUMNS),
        ]
        lines += [f"| {' | '.join(map(escape_markdown, _cells(row)))} |" for row in table["rows"]]
        lines.append("")
    return "\n".join([*lines, describe_columns(against)]) + "\n"
