"""`bench criteria`: every criterion on the same checkpoints, each paired with one of them on the same samples.

What differs between the rows of a table is the criterion alone: backbone, heads, training and samples are the same.
Costs are layers; what a criterion costs itself is in `bench table`'s FLOPs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.display import show_tables
from bench.cli.session import Backbones, MetricName, Session, Tasks, with_session
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.results.run import Run

COLUMNS = ("criterion", "arguments", "seeds", "least layers", "at L/2", "difference at L/2", "difference of the curve")

COLUMNS_NOTE = (
    "At L/2: the quality of the first cut whose mean exit is at most half of the layers (cost alone picks it). "
    "Difference of the curve: the mean difference of quality over {grid} budgets of layers, evenly spaced over those "
    "that both curves reach. Brackets: 95 %, paired on the same samples; over seeds too where there are several. "
    "Differences are against {against}."
)


@with_session("results_dir", "json", "allow_imports")
def criteria(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    against: Annotated[str, typer.Option(help="The criterion that the others are paired with.")] = "entropy",
    metric: MetricName = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", "-o", help="Write the tables to this file too.")
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", help="Replay this rule too, and rank all: my_rule:MyRule, or a name.")
    ] = None,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="Rank all, show what an oracle has more, say what it teaches.")
    ] = False,
    latex: Annotated[Path | None, typer.Option(help="Write the ranking to this file as a LaTeX table.")] = None,
) -> None:
    """Compare criteria on the same checkpoints and samples.

    What differs between the rows of a table is the criterion alone; each is paired with one of them. With --add or
    --oracle every criterion is replayed on the logits of every checkpoint, and all are ranked; nothing is trained.

    $ bench criteria --task sst2 --against entropy
    $ bench criteria --add my_rule:MyRule
    """
    if add or oracle or latex:
        rank_and_show(session, task, backbone, metric, add or [], against, oracle, markdown, latex)
        return
    from bench.api.results import Results
    from bench.measure.areas import GRID
    from bench.results.matched import make_plain_rows
    from bench.results.series_doubts import describe_row_doubts
    from bench.results.store import Only

    runs = judge_curves(session, session.read_runs(Only.named(task, backbone)), metric)
    found = Results.of(runs, session).compare_criteria(against)
    note = COLUMNS_NOTE.format(grid=GRID, against=against)
    tables = [(table["title"], COLUMNS, list(map(_list_cells, table["rows"]))) for table in found]
    doubts = [describe_row_doubts(table["rows"], "criterion") for table in found]
    plain = [{**table, "rows": make_plain_rows(table["rows"])} for table in found] if session.json else None
    show_tables(tables, note, doubts, markdown=markdown, plain=plain)


def _list_cells(row: Mapping[str, Any]) -> list[str]:
    from bench.results.series_doubts import add_marks

    name = add_marks(row["criterion"] + (" (upper bound)" if row["upper_bound"] else ""), row["doubts"])
    figures = [_write_text(row["half"], ""), _write_text(row["half_difference"], "+"), _write_text(row["curve"], "+")]
    least = f"{row['least_layers']:.2f}"
    return [name, row["arguments"], str(len(row["seeds"])), least, *figures]


def _write_text(found: Mapping[str, float] | None, sign: str) -> str:
    if found is None:
        return "not reached"
    return f"{found['estimate']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def judge_curves(session: Session, runs: list[Run], metric: str | None) -> list[Run]:
    """Return the runs judged by a metric that whole curves have: a function of sums over predictions.

    Raises UsageError for another one.
    """
    from bench.measure.metrics import METRICS, is_additive

    asked = session.read_metric(metric)
    known = [name for name in METRICS if is_additive(name)]
    if asked is not None and asked.name not in known:
        raise UsageError(
            f"bench criteria compares exact curves, which are sums over predictions: {asked.name} has none. "
            f"--metric takes {', '.join(known)} here."
        )
    return session.judge_runs(runs, asked)


def rank_and_show(
    session: Session, task: str | None, backbone: str | None, metric: str | None, add: list[str], against: str,
    oracle: bool, markdown: Path | None, latex: Path | None,
) -> None:  # fmt: skip
    """Rank all criteria and those that are added on the recorded logits; print, and write, the one table."""
    session.progress.say("Loading torch.")
    from bench.cli.leaderboard_tables import NOTE, describe_standings, make_plain_standings, tabulate_standings
    from bench.compare.leaderboard import list_replayable, rank_criteria, refuse_rules
    from bench.compare.lessons import draw_lessons
    from bench.errors import NothingComparable
    from bench.files import write_text
    from bench.report.formats import TextTable, format_latex
    from bench.results.store import Only
    from strategies import STRATEGIES

    added = [name for text in add for name in session.read_strategies(text, "--add")]
    refuse_rules([*added, against])
    runs = session.keep_judged(judge_curves(session, session.read_runs(Only.named(task, backbone)), metric))
    names = list(dict.fromkeys([*list_replayable(STRATEGIES), *added, against]))
    found = rank_criteria(runs, names, [*added, against], oracle=oracle, say=session.progress.say)
    if not found.blocks:
        raise NothingComparable(session.store.explain_none())
    mine = added[0] if added else against
    title, columns, rows = tabulate_standings(found, mine, added)
    said = describe_standings(found, mine, added)
    families = {name: STRATEGIES.load(name).family for name in STRATEGIES.builtin}
    lessons = draw_lessons(found, families, against) if oracle else []
    plain = {**make_plain_standings(found, mine, added), "lessons": lessons} if session.json else None
    if latex is not None:
        write_text(
            latex, format_latex(TextTable("criteria", title, columns, rows, f"{title}. {' '.join(said)} {NOTE}"))
        )
    show_tables([(title, columns, rows)], NOTE, [lessons], markdown=markdown, plain=plain, said=said)
