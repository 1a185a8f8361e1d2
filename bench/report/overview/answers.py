"""The first screen of a report as Markdown: for each task a sentence and a line a system."""

from __future__ import annotations

from collections.abc import Sequence

from bench.measure.metrics import title_metric
from bench.report import numbers, provenance
from bench.report.overview.lines import Headline, Overview, PlacedLine
from bench.text import escape_markdown, write_markdown_table


def render_answers(tasks: Sequence[tuple[str, Sequence[Overview]]]) -> list[str]:
    """Return the lines that a reader meets first, of each task the comparison that says most with its table.

    ``tasks`` are in the order of :func:`arrange_panels`; of a task's other comparisons there is a sentence each.
    """
    lines: list[str] = []
    for task, (first, *others) in tasks:
        lines += [f"## {escape_markdown(task)}", "", *_render_overview(first), ""]
        said = [f"- {escape_markdown(one.short_title)}: {say_headline(head)}" for one in others if (head := _head(one))]
        lines += ["Trained or measured otherwise:", "", *said, ""] if said else []
    return lines


def _head(one: Overview) -> Headline | None:
    return one.headlines.get(one.first_rule)


def _render_overview(one: Overview) -> list[str]:
    panel, head = one.panel, _head(one)
    about = f"{one.short_title}: {title_metric(panel.metric)}, {provenance.describe_sizes(panel.series)}."
    if head is None:
        return [escape_markdown(about)]
    columns = ["system", f"{title_metric(panel.metric)}, 95 %", "FLOPs speed-up", "measured", "mean exit", "verdict"]
    rows = [_write_row(head, entry) for entry in head.entries]
    return [f"**{say_headline(head)}**", "", escape_markdown(about), "", *write_markdown_table(columns, rows)]


def say_headline(head: Headline) -> str:
    """Return what is found at an operating point as one sentence of Markdown."""
    if head.best is None or head.best.standing is None:
        why = f"nothing can be said: {head.void}" if head.void else "no system is there"
        return escape_markdown(f"{head.words}: {why}.")
    best = head.best.standing
    cost = best.series.runs[0].result().full.cost_unit.replace("flops", "FLOPs")
    said = f"{head.words}: {head.best.line.name} {numbers.format_short_quality(best.quality)}"
    parts = [f"{said} at {numbers.format_factor(best.cost_speedup.value)} fewer {cost}."]
    for what, found in (("Within noise", head.near), ("Behind", head.behind)):
        parts += [f"{what}: {', '.join(map(head.say, found))}."] if found else []
    for entry in head.plain:
        assert entry.standing is not None
        cheaper = "" if entry.whole else f" at {numbers.format_factor(entry.standing.cost_speedup.value)}"
        parts.append(f"{entry.line.name}: {numbers.format_number(entry.standing.quality.value)}{cheaper}.")
    return escape_markdown(" ".join(parts))


def _write_row(head: Headline, entry: PlacedLine) -> list[str]:
    described = f" ({entry.line.described})" if entry.line.described else ""
    found = entry.standing
    if found is None:
        return [f"{entry.line.name}{described}", *[numbers.MISSING] * 4, entry.verdict]
    where = "" if entry.line.plain or found.rule == head.rule else f" at {numbers.format_rule(found.rule)}"
    clock = numbers.format_factor(found.latency.value) if found.latency else numbers.MISSING
    clock += found.timing_over + found.timing_mark if found.latency else ""
    cost = numbers.format_factor(found.cost_speedup.value) + where
    quality = numbers.format_short_quality(found.quality)
    return [f"{entry.line.name}{described}", quality, cost, clock, f"{entry.mean_exit:.1f}", entry.verdict]
