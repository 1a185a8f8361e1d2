"""What a figure's caption and rows say of doubts about its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.report.figures import Figure
from bench.report.formats import DataRow
from bench.report.marks import Chart
from bench.report.series import Panel, Series
from bench.results.series_doubts import describe_doubts


def add_doubts(figure: Figure, about: Sequence[tuple[Panel, str, Series]]) -> Figure:
    """Return ``figure`` with what is doubted of its series, by the names they have there: in the caption, in each row.

    A row that names a series has what is doubted of that one, another row all of it.
    """
    panels = {panel.number: panel for panel, _, _ in about}
    sentences = [
        f"{panel.title}: {said}" if len(panels) > 1 else said
        for panel in panels.values()
        for said in describe_doubts((name, series.doubts) for one, name, series in about if one is panel)
    ]
    if not sentences:
        return figure
    known = {(panel.title, name): series.said_doubts for panel, name, series in about}
    titles = [panel.title for panel in panels.values()]

    def doubt(row: DataRow) -> str | None:
        if row.get("kind") == "published":  # what is doubted is what was measured here
            return None
        key = (str(row.get("panel", titles[0])), str(row.get("name", row.get("series", ""))))
        return known.get(key, " ".join(sentences)) or None

    rows = [{**row, "doubts": doubt(row)} for row in figure.rows]
    return replace(figure, caption=" ".join([figure.caption, *sentences]), rows=rows)


def merge_words(charts: Sequence[Chart]) -> str:
    """Return what the marks of charts side by side are, each once: one may have stars or bars that another has not."""
    parts = dict.fromkeys(part for chart in charts for part in chart.words.removesuffix(".").split("; "))
    return "; ".join(parts) + "."
