"""The page: what the template shows, as plain lists and texts, and the template's environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bench.measure.areas import DEFINITIONS
from bench.measure.metrics import metric_title
from bench.measure.points import STANDARD
from bench.report import content, numbers
from bench.report.charts import PanelCharts
from bench.report.formats import Table
from bench.report.marks import Chart
from bench.report.provenance import (
    Revision,
    StoreContents,
    describe_machines,
    describe_panel,
    describe_sizes,
    find_machine,
    find_timing_problem,
    make_revision_key,
)
from bench.report.series import Panel, Series
from bench.report.svg import draw_svg, draw_swatch, style_sheet
from bench.report.tables import AREA_NAMES, describe_revisions
from bench.results.groups import OverSeeds
from bench.text import escape_html

DEFAULT_RULE = "no-loss"


def make_environment() -> Environment:
    """Return an environment for templates with autoescape on and no silent holes."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=escape_html
    )
    made.filters |= {
        "percent": numbers.format_percent,
        "rule": numbers.format_rule,
        "svg": draw_svg,
        "swatch": draw_swatch,
    }
    return made


def read_template(name: str) -> str:
    """Return a file of the templates folder."""
    return (files("bench.report") / "templates" / name).read_text(encoding="utf-8")


def render_page(
    contents: StoreContents,
    made: Sequence[PanelCharts],
    realisation: Chart | None,
    marks: Mapping[str, Revision],
    tables: Mapping[str, Table],
    points: Sequence[Table],
) -> str:
    """Render the whole page as one text. The same input gives the same bytes."""
    panels = [one.panel for one in made]
    rules = _rules(panels)
    anchors = {run.name: f"cell-{i}" for i, run in enumerate(contents.runs, start=1)}
    return (
        make_environment()
        .from_string(read_template("page.html.j2"))
        .render(
            css=Markup(style_sheet()),
            js=Markup(read_template("page.js")),
            contents=contents,
            find_timing_problem=find_timing_problem,
            machines=describe_machines(contents.runs),
            marks=list(marks.values()),
            letters={run.name: marks[make_revision_key(run)].letter for run in contents.runs},
            find_machine=find_machine,
            anchors=anchors,
            rules=rules,
            default_rule=DEFAULT_RULE if DEFAULT_RULE in rules else next(iter(rules), "full"),
            matrix=build_matrix(panels, marks, anchors),
            panels=made,
            realisation=realisation,
            curves=tables["curves"],
            curve_groups=_by_first(tables["curves"]),
            describe_sizes=describe_sizes,
            describe_panel=describe_panel,
            packages=_common([mark.packages for mark in marks.values()]),
            curve_columns=[(name, DEFINITIONS[key]) for key, name in AREA_NAMES.items()],
            points=points,
            metric_title=metric_title,
        )
        + "\n"
    )


def _by_first(table: Table) -> dict[str, list[Sequence[str]]]:
    """The rows of a table under what stands in their first column."""
    found: dict[str, list[Sequence[str]]] = {}
    for row in table.rows:
        found.setdefault(row[0], []).append(row[1:])
    return found


def _common(texts: Sequence[str]) -> str:
    """The text, where all are the same."""
    return texts[0] if len(set(texts)) == 1 else ""


def _rules(panels: Sequence[Panel]) -> list[str]:
    """Every operating point of any series: the standard ones first, in their own order."""
    found = list(dict.fromkeys(r for p in panels for s in p.series for r in s.rules))
    return [r for r in STANDARD if r in found] + sorted(r for r in found if r not in STANDARD)


def build_matrix(
    panels: Sequence[Panel], marks: Mapping[str, Revision], anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Build the main table: a row a strategy with its settings, a cell a panel, each with all its points."""
    rows: dict[str, dict[str, Any]] = {}
    for panel in panels:
        speedups = {id(star.series): star.speedup for star in content.find_stars(panel)}
        for series in panel.series:
            row = rows.setdefault(
                series.label,
                {"label": series.label, "bound": series.upper_bound, "swatch": draw_swatch(series.look), "cells": {}},
            )
            row.setdefault("trained", []).append(series.trained_as)
            row["cells"][panel.number] = _cell(panel, series, speedups.get(id(series)), marks, anchors)
    return [rows[label] for label in sorted(rows)]


def _cell(
    panel: Panel, series: Series, alone: float | None, marks: Mapping[str, Revision], anchors: Mapping[str, str]
) -> dict[str, Any]:
    points: dict[str, Any] = {}
    for rule in series.rules:
        point = series.points.get(rule)
        if point is None:
            points[rule] = {"quality": None, "more": "", "value": "", "title": series.reason(rule)}
            continue
        more = f"{numbers.format_times(point.speedup)} FLOPs"
        if point.timed:
            more += f", {point.timed.speedup.value:.2f}× measured" + ("" if point.timed.valid else " (INVALID)")
        if point.reached < len(series.runs):
            more += f", {point.reached} of {len(series.runs)} seeds"
        value = f"{point.quality.value:.6f}"
        points[rule] = {"quality": _parts(point.quality), "more": more, "value": value, "title": ""}
    full = series.full
    return {
        "early": series.early,
        "only": series.rules[0] if len(series.rules) == 1 else None,
        "full": _parts(full),
        "full_value": f"{full.value:.6f}",
        "alone": "" if alone is None else f"{alone:.2f}× FLOPs, no early exit",
        "points": points,
        "seeds": series.seeds,
        "mark": describe_revisions(series, marks),
        "links": [(anchors[run.name], run.seed) for run in series.runs],
    }


def _parts(value: OverSeeds) -> dict[str, str]:
    """Return a quality in pieces that do not break: the number, its interval over samples, and what seeds add."""
    number, interval = numbers.format_number, numbers.format_interval
    made = {"value": number(value.value), "interval": interval(value.low, value.high), "seeds": "", "both": ""}
    if value.std is not None:
        ends = f"{number(value.lowest)} to {number(value.highest)}"
        made["seeds"] = f"± {number(value.std)} over {value.seeds} seeds, {ends}"
    if value.both:
        made["both"] = f"both {interval(*value.both)}"
    return made
