"""Series at one goal side by side on a terminal: the table, what does not stand in it, and the sentence."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.table import Table

from bench.cli.display import format_tables, make_console
from bench.compare.ranking import Ranking, rank_series
from bench.compare.sentences import join_equal, join_names, name_goal, say_ranking, write_quality
from bench.compare.standings import DIGITS, Difference, Standing
from bench.measure.metrics import title_metric
from bench.measure.rules import SHORT, Rule
from bench.results.groups import OverSeeds
from bench.results.matched import group_series, match_runs
from bench.results.run import Run
from bench.results.series_doubts import add_marks, describe_doubts
from bench.text import build_table

GOALS = ("2x", "1.5x", "no-loss")
"""What runs are ranked at where nothing is asked: the first that any of them reaches."""

MOST_BEHIND = 3
"""Rows that are shown of those clearly behind, where not all are."""

RANKING_NOTE = (
    "Thresholds: chosen on samples held out of train, reported on the evaluation split{short}. Brackets: 95 % over "
    "samples, and over seeds where there are several. Differences: on the same samples, over the seeds that both have"
    "{unpaired}."
)


def rank_runs(runs: Iterable[Run], goal: Rule | None) -> list[Ranking]:
    """Return a ranking for each panel of the runs, those with most runs first; without a goal at the first of GOALS."""
    groups = group_series(match_runs(runs, []))
    order = sorted(groups.items(), key=lambda group: (-len(group[1]), -sum(len(one.runs) for one in group[1])))
    found = []
    for title, series in order:
        ranking = rank_series(title, series, goal or Rule.parse(GOALS[0]))
        for name in () if goal or ranking.ranked else GOALS[1:]:
            other = rank_series(title, series, Rule.parse(name))
            if other.ranked:
                ranking = other
                break
        found.append(ranking)
    return found


def tabulate_ranking(found: Ranking) -> tuple[str, list[str], list[list[str]]]:
    """Return title, columns and rows of a ranking: who stands there, then, unranked, what has no exits or knows labels.

    The title has two lines: what is compared, and the goal.
    """
    everyone = [*found.ranked, *found.plain, *found.bounds]
    first, timed = everyone[0].series.runs[0], any(one.latency for one in everyone)
    seeds = Counter(len(one.series.runs) for one in everyone).most_common(1)[0][0]
    unit = "FLOPs" if first.result().full.cost_unit == "flops" else "layers"
    beside = "against the best" if found.goal.kind == "speedup" else "against the full model"
    against = sorted({one.timing_baseline or "plain" for one in everyone if one.latency})
    clock = "latency speed-up" if against == ["plain"] else f"latency speed-up over {' or '.join(against)}"
    columns = ["strategy", title_metric(first.metric), f"{unit} speed-up", *[clock] * timed, beside]
    rows = []
    for one, said in _say_places(found):
        names, own = add_marks(join_equal(one.names, most=6), one.doubts), len(one.series.runs)
        names += "" if own == seeds else f", {own} seed{'s' * (own > 1)}"
        costs = [f"{one.cost_speedup.value:.2f}x", *[_write_time(one)] * timed]
        rows.append([names, write_quality(one.quality), *costs, said])
    return f"{found.title}{f', {seeds} seeds' if seeds > 1 else ''}\n{name_goal(found.goal)}", columns, rows


def build_ranking_table(found: Ranking) -> Table:
    """Return the table of a ranking for a terminal, with lines between those that stand in it and the others."""
    title, columns, rows = tabulate_ranking(found)
    columns = [re.sub(r" (speed-up|over )", r"\n\1", name) for name in columns]  # narrow, to leave room for intervals
    ends = {len(found.ranked), len(found.ranked) + len(found.plain)}
    return build_table(title, columns, rows, right=[name for name in columns if "speed-up" in name], ends=ends)


def leave_behind(found: Ranking, most: int | None) -> tuple[Ranking, str]:
    """Return the ranking without those that are clearly behind but for ``most`` of them, and a line about these."""
    near = max((place for place, one in enumerate(found.ranked, start=1) if one.level), default=0)
    if most is None or len(found.ranked) <= near + most:
        return found, ""
    kept, behind = found.ranked[: near + most], found.ranked[near + most :]
    names = [name for one in behind for name in one.names]
    return replace(found, ranked=kept), f"Behind these: {join_names(names, most=len(names))}."


def _say_places(found: Ranking) -> Iterable[tuple[Standing, str]]:
    for place, one in enumerate(found.ranked):
        told = [write_difference(one.difference)] if one.difference else []
        word = "best" if place == 0 and found.best else "within noise" if one.level and found.best else ""
        if found.goal.kind == "max_loss":
            word = {"best": "fastest", "within noise": "as fast within noise"}.get(word, "")
        yield one, ", ".join(filter(None, (word, *told)))
    yield from ((one, "no thresholds") for one in found.plain)
    yield from ((one, "upper bound: knows the labels") for one in found.bounds)


def write_difference(found: Difference) -> str:
    """Return ``-0.010 [-0.020, -0.0004]``, and whether it is unpaired."""
    if round(found.value, DIGITS) == round(found.low, DIGITS) == round(found.high, DIGITS) == 0:
        return "the same answers"
    ends = f"[{_write_bound(found.low)}, {_write_bound(found.high)}]"
    return f"{found.value:+.3f} {ends}{'' if found.paired else ' unpaired'}"


def _write_bound(value: float) -> str:
    """Return a bound with so many digits, three or more, that it shows on which side of 0 it lies."""
    digits = 3
    while digits < DIGITS and round(value, digits) == 0 != round(value, DIGITS):
        digits += 1
    return f"{value:+z.{digits}f}"


def _write_time(one: Standing) -> str:
    found: OverSeeds | None = one.latency
    return "-" if found is None else f"{found.value:.2f}x{one.timing_mark}"


def describe_ranking(found: Ranking) -> list[str]:
    """Return the lines under the table: who does not stand there and why, doubts, how it was obtained."""
    why: dict[str, list[str]] = defaultdict(list)
    for name, reason in found.missing.items():
        why[reason].append(name)
    lines = []
    if why:
        each = [f"{', '.join(names)} ({reason})" for reason, names in why.items()]
        lines.append(f"Not in the table: {'; '.join(each)}.")
    if found.reference is not None:
        full = found.reference
        lines.append(f"The full model is the best of all: {full.name}, {write_quality(full.quality)}.")
    everyone = [*found.ranked, *found.plain, *found.bounds]
    lines += describe_doubts((join_equal(one.names), one.doubts) for one in everyone)
    unpaired = any(one.difference and not one.difference.paired for one in found.ranked)
    short = f" (a point within {SHORT:.0%} of the speed-up counts)" if found.goal.kind == "speedup" else ""
    if any(one.latency and one.is_formerly_timed for one in everyone):
        lines.append("Times v1: by a former protocol, whose intervals are too narrow; not to be compared with others.")
    return [*lines, RANKING_NOTE.format(unpaired=" unless it says unpaired" if unpaired else "", short=short)]


def format_ranking(found: Ranking, most_behind: int | None, said: Sequence[str]) -> str:
    """Return a ranking as Markdown: what is ``said``, its table as :func:`print_rankings` has it, what is to be known.

    Without a table where nothing stands in it.
    """
    shown, left = leave_behind(found, most_behind)
    *lines, note = filter(None, (left, *describe_ranking(shown)))
    title, columns, rows = tabulate_ranking(shown) if shown.ranked or shown.plain or shown.bounds else ("", [], [])
    tables = [(title.replace("\n", ", "), columns, rows)] if rows else []
    return format_tables(tables, note, [lines] * len(tables), said)


def print_rankings(found: Sequence[Ranking], most_behind: int | None = None) -> None:
    """Print the table of each ranking, with at most ``most_behind`` rows clearly behind; at the end a sentence each."""
    out = make_console()
    for ranking in found:
        shown, left = leave_behind(ranking, most_behind)
        if shown.ranked or shown.plain or shown.bounds:
            out.print(build_ranking_table(shown))
        for line in filter(None, (left, *describe_ranking(shown))):
            out.print(line)
    for ranking in found:
        out.print()
        out.print(say_ranking(ranking))
