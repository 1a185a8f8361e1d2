"""Where the rest goes: what early exit does beside the layers, counted, for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.latency.names import write_over
from bench.report import numbers
from bench.report.formats import DataRow, TextTable
from bench.report.series import Panel, Series
from bench.results.measures import COUNTED, Counts, write_span
from bench.text import format_bytes

COUNTED_COLUMNS = (
    "strategy",
    "backbone",
    "layer: operations, weights",
    "head: operations, weights",
    "check: operations",
    "host waits a check",
    "beside the layers: operations, weights",
    "realisation",
)


def build_counts_table(panels: Sequence[Panel]) -> TextTable:
    """Build the table of what is done at each layer, head and check, a row a system whose exits are looked at."""
    rows: list[list[str]] = []
    values: list[DataRow] = []
    for panel in panels:
        for series in panel.series:
            counts = series.first.record.counts if series.early else None
            if counts is None or not counts.describe():
                continue
            row = [series.label, panel.backbone, *_format_counts(counts)]
            timed = [point.timed for point in series.points.values() if point.timed]
            kept = [one.realisation for one in timed]
            over = " and ".join(dict.fromkeys(write_over(one.baseline) for one in timed))
            span = numbers.MISSING if not kept else f"{min(kept):.2f} to {max(kept):.2f}{over}"
            if [*row, span] not in rows:  # the same model on another task does the same
                rows.append([*row, span])
                values += _list_places(panel, series, counts)
    words = (
        "Operations that torch dispatches and bytes of weights that they read, at a layer, a head and a check of the "
        "eager engine, counted on one sample of few tokens that never leaves early: the same on any machine. Beside "
        "the layers: the share of all operations, and of all bytes of weights, that heads and checks before the last "
        "exit take. FLOPs see only the matrix products among them; the rest is why the clock keeps less than promised. "
        "Realisation: measured speed-up over promised; that over another plain model is named."
    )
    return TextTable("counts", "Where the rest goes", COUNTED_COLUMNS, rows, words, values)


def _format_counts(counts: Counts) -> list[str]:
    run = counts.never
    before = slice(0, len(run.layers.operations) - 1)

    def share(quantity: str) -> str:
        looking = sum(sum(place.list_amounts(quantity)[before]) for place in (run.heads, run.checks))
        looking += run.sum_amounts(quantity, "start")
        return numbers.format_percent(looking / max(1, run.sum_amounts(quantity)))

    return [
        f"{write_span(run.layers.operations)}, {format_bytes(max(run.layers.weight_bytes))}",
        f"{write_span(run.heads.operations[before])}, {format_bytes(max(run.heads.weight_bytes))}",
        write_span(run.checks.operations[before]),
        write_span(run.checks.syncs[before]),
        f"{share('operations')}, {share('weight_bytes')}",
    ]


def _list_places(panel: Panel, series: Series, counts: Counts) -> Iterator[DataRow]:
    """Yield the amounts at every place of the sample that never leaves early."""
    for place, layer, _ in counts.never.list_places():
        amounts = {name: getattr(counts.never, place).list_amounts(name)[layer - 1] for name in COUNTED}
        yield {"backbone": panel.backbone, "series": series.label, "at": place, "layer": layer, **amounts}
