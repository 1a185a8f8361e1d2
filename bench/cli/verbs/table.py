"""`bench table`: recorded runs side by side at matched cost, read from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.display import show_tables
from bench.cli.session import Backbones, Session, Tasks, with_session


@with_session("results_dir", "json", "allow_imports")
def table(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    at: Annotated[
        str, typer.Option(help="Operating points to show, separated by commas.")
    ] = "default,no-loss,1.5x,2x,3x",
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
) -> None:
    """Recorded runs side by side at matched cost."""
    from bench.api.results import Results
    from bench.results.matched import group_rows, make_plain_rows, name_point
    from bench.results.series_doubts import describe_row_doubts
    from bench.results.store import Only

    rules = [name_point(name.strip()) for name in at.split(",")]
    rows = Results.of(session.read_runs(Only.named(task, backbone)), session).match_runs(rules)
    columns = ["strategy", "recipe / head", "arguments", "seeds", "all layers", *rules]
    groups = group_rows(rows)
    tables = [(title, columns, [_list_cells(row, rules) for row in members]) for title, members in groups.items()]
    doubts = [describe_row_doubts(members, "strategy") for members in groups.values()]
    show_tables(tables, TABLE_NOTE, doubts, markdown=markdown, plain=make_plain_rows(rows) if session.json else None)


TABLE_NOTE = (
    "Thresholds are chosen on samples held out of train and reported on the evaluation split; the realised FLOPs "
    "speed-up stands in parentheses. Brackets: 95 % interval over samples, for these seeds. Several seeds: their mean, "
    "the standard deviation between seeds after ±, and the 95 % interval over both, seeds and samples (two-level "
    "bootstrap). Sample sizes: used/available. Default: the criterion's own default setting."
)


def _list_cells(row: Mapping[str, Any], rules: Sequence[str]) -> list[str]:
    from bench.results.series_doubts import add_marks

    name = add_marks(row["strategy"] + (" (upper bound)" if row["upper_bound"] else ""), row["doubts"])
    seeds = len(row["seeds"])
    figures = [_write_text(row[column]) for column in ("all layers", *rules)]
    return [name, f"{row['recipe']} / {row['head']}", row["arguments"], str(seeds), *figures]


def _write_text(figure: Mapping[str, Any] | None) -> str:
    from bench.report.numbers import format_quality
    from bench.results.groups import OverSeeds

    if figure is None:
        return "-"
    quality = {name: value for name, value in figure.items() if name != "cost_speedup"}
    return f"{format_quality(OverSeeds(**quality))} ({figure['cost_speedup']:.2f}x)"
