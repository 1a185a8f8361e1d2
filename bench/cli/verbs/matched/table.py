"""`bench table`: recorded runs side by side at matched cost, read from the store alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.display import format_tables, make_console, show_tables
from bench.cli.session import Backbones, MetricName, Session, Tasks, with_session
from bench.files import write_text
from bench.text import build_table

if TYPE_CHECKING:
    from bench.compare.ranking import Ranking
    from bench.measure.rules import Rule
    from bench.results.matched import MatchedRow, MatchedSeries

Cells = tuple[str, Sequence[str], list[list[str]]]

MOST_TABLE_LINES = 12
"""Rows in all that are printed with every point; of more a strategy has a line, unless all are asked for."""
SHORT_NOTE = (
    "A line a strategy: the best of its series there. Thresholds are chosen on samples held out of train and reported "
    "on the evaluation split; brackets: 95 % over samples, and over seeds where there are several. Every row at every "
    "point: --all."
)


@with_session("results_dir", "json", "allow_imports")
def table(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    at: Annotated[
        str, typer.Option(help="Operating points to show, separated by commas.")
    ] = "default,no-loss,1.5x,2x,3x",
    metric: MetricName = None,
    every: Annotated[bool, typer.Option("--all", help="Every row at every point, however many there are.")] = False,
    markdown: Annotated[Path | None, typer.Option("--markdown", "-o", help="Write the table to this file too.")] = None,
) -> None:
    """Show recorded runs side by side at matched cost.

    Says which is best, and what is within noise of it. Of many runs a strategy has one line, unless --all is given.

    $ bench table --task sst2 --at no-loss,2x
    """
    from bench.api.results import Results
    from bench.results.matched import group_series, make_plain_rows, name_point
    from bench.results.series_doubts import describe_row_doubts
    from bench.results.store import Only

    rules, asked = [name_point(name.strip()) for name in at.split(",")], session.read_metric(metric)
    runs = session.judge_runs(session.read_runs(Only.named(task, backbone)), asked)
    series = Results.of(runs, session).match_runs(rules)
    goal = None if asked is not None and asked.is_loss else choose_goal(rules)
    groups = group_series(series)
    rows = make_plain_rows(one.row for one in series)
    if session.json and markdown is None:
        show_tables([], "", [], markdown=None, plain=rows)
        return
    tables: list[Cells] = []
    feet: list[list[str]] = []
    said: list[str] = []
    rankings: list[Ranking] = []
    for title, members in groups.items():
        ranking, sentence = rank_group(title, members, goal)
        made = tabulate_group(title, members, rules, ranking)
        tables += made
        feet += [[]] * (len(made) - 1)
        feet.append(describe_row_doubts([one.row for one in members], "strategy"))
        said += [sentence] if sentence else []
        rankings += [ranking] if ranking else []
    note = write_note(tables, len(series))
    lines = sum(len(cells) for _, _, cells in tables)
    if session.json or lines <= MOST_TABLE_LINES or not rankings:
        show_tables(tables, note, feet, markdown=markdown, plain=rows if session.json else None, said=said)
        return
    if markdown is not None:
        write_text(markdown, format_tables(tables, note, feet, said))
    print_many(tables if every else [], feet, note if every else SHORT_NOTE, said, rankings)


def print_many(
    tables: Sequence[Cells], feet: Sequence[Sequence[str]], note: str, said: Sequence[str], rankings: Sequence[Ranking]
) -> None:
    """Print the answers, then all tables, or without any a line a strategy, and last the answers once more, shortly."""
    from bench.cli.short_tables import build_short_table, describe_short_doubts, say_shortly
    from bench.compare.sentences import name_goal

    out = make_console()
    for sentence in said:
        out.print(sentence)
        out.print()
    for (title, columns, rows), sentences in zip(tables, feet, strict=bool(tables)):
        out.print(build_table(title, columns, rows))
        for sentence in sentences:
            out.print(sentence)
    for ranking in [] if tables else rankings:
        if ranking.ranked:
            out.print(build_short_table(ranking, out.width))
            for sentence in describe_short_doubts(ranking):
                out.print(sentence)
    out.print(note)
    out.print()
    out.print(f"Best at {name_goal(rankings[0].goal)}:")
    for ranking in rankings:
        out.print(f"  {say_shortly(ranking)}")


def write_note(tables: Sequence[Cells], rows: int) -> str:
    """Return what is to know of ``tables`` with so many ``rows`` before equal ones became one; of nothing else."""
    cells = [cell for _, _, lines in tables for line in lines for cell in line[1:]]
    slow = next((cell for cell in cells if cell.startswith("only ")), None)
    notes = (
        "Thresholds are chosen on samples held out of train and reported on the evaluation split; the FLOPs speed-up "
        "there stands in parentheses. Brackets: 95 % over samples, and over seeds where there are several (two-level "
        "bootstrap).",
        slow and f"{slow.capitalize()}: the point is not as fast as its column says.",
        "Rows with the same numbers are one." if rows > sum(len(lines) for _, _, lines in tables) else None,
        "Sample sizes: used/available.",
        any("default" in columns for _, columns, _ in tables) and "Default: the criterion's own default setting.",
    )
    return " ".join(note for note in notes if note)


def choose_goal(rules: Sequence[str]) -> Rule | None:
    """Return what rows are ranked at: 2x where it is shown, else the first speed-up or loss; None without one."""
    from bench.errors import UsageError
    from bench.measure.rules import Rule

    known = []
    for name in rules:
        try:
            known.append(Rule.parse(name))
        except UsageError:  # the default, or a threshold
            continue
    goals = [rule for rule in known if rule.kind in ("speedup", "max_loss")]
    return min(goals, key=lambda rule: (rule.format() != "2x", rule.kind != "speedup"), default=None)


def rank_group(title: str, members: Sequence[MatchedSeries], goal: Rule | None) -> tuple[Ranking | None, str]:
    """Return how the rows of one table stand at the goal, and its sentence; nothing without a goal."""
    from bench.compare.ranking import rank_series
    from bench.compare.sentences import say_ranking

    if goal is None:
        return None, ""
    ranking = rank_series(title, members, goal)
    return ranking, say_ranking(ranking)


def tabulate_group(
    title: str, members: Sequence[MatchedSeries], rules: Sequence[str], ranking: Ranking | None
) -> list[Cells]:
    """Return the rows that are ranked, the best first, then in tables of their own those without thresholds, bounds."""
    from bench.compare.ranking import classify_series
    from bench.results.matched import label_rows

    labels = dict(zip(map(id, members), label_rows([one.row for one in members]), strict=True))
    places: dict[str, int] = {}
    for place, standing in enumerate([] if ranking is None else ranking.ranked):
        places |= dict.fromkeys(standing.names, place)
    ranked = sorted(members, key=lambda one: places.get(labels[id(one)], len(places)))
    kinds = {"ranked": title, "plain": "Without thresholds", "bound": "Upper bounds: they know the labels"}
    makings = {(one.row["recipe"], one.row["head"]) for one in members}
    seeds = {len(one.row["seeds"]) for one in members}
    common = [" / ".join(makings.pop())] if len(makings) == 1 else []
    common += [f"{n} seed{'s' * (n > 1)}" for n in seeds] if len(seeds) == 1 else []
    made: list[Cells] = []
    for kind, name in kinds.items():
        shown = [one for one in ranked if classify_series(one) == kind]
        if not shown:
            continue
        columns = ["strategy", *([] if len(seeds) == 1 else ["seeds"]), "all layers"]
        columns += [rule for rule in rules if any(one.row[rule] for one in shown)]
        head = name if made or kind == "ranked" else f"{title} | {name}"
        rows = merge_rows([(labels[id(one)], one.row) for one in shown], columns[1:])
        made.append((" | ".join((head, *([] if made else common))), columns, rows))
    return made


def merge_rows(rows: Sequence[tuple[str, MatchedRow]], columns: Sequence[str]) -> list[list[str]]:
    """Return the cells of each row under its name and ``columns``; rows with the same cells are one, with all names."""
    from bench.compare.sentences import join_equal
    from bench.results.series_doubts import add_marks, join_marks

    merged: dict[tuple[str, ...], list[tuple[str, MatchedRow]]] = {}
    for name, row in rows:
        cells = [
            str(len(row["seeds"])) if column == "seeds" else _write_cell(column, row[column]) for column in columns
        ]
        merged.setdefault((join_marks(row["doubts"]), *cells), []).append((name, row))
    return [
        [add_marks(join_equal([name for name, _ in alike], most=len(alike)), alike[0][1]["doubts"]), *cells]
        for (_, *cells), alike in merged.items()
    ]


def _write_cell(column: str, figure: Mapping[str, Any] | None) -> str:
    """Return ``0.862 [0.841, 0.882] (2.16x)``; of a point that is not where its column says ``only 1.83x``."""
    if figure is None:
        return "-"
    speed = figure["cost_speedup"]
    if (rule := choose_goal([column])) is not None and not rule.is_met(speed):
        return f"only {speed:.2f}x"
    low, high = figure.get("both") or (figure["low"], figure["high"])
    quality = f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]"
    return quality if column == "all layers" and f"{speed:.2f}" == "1.00" else f"{quality} ({speed:.2f}x)"
