"""The page: what the template shows, as plain lists and texts, and the template's environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.measure.areas import DEFINITIONS
from bench.measure.metrics import title_metric
from bench.measure.rules import STANDARD
from bench.report import content, numbers, provenance
from bench.report.charts import PanelCharts
from bench.report.formats import TextTable
from bench.report.marks import Chart
from bench.report.provenance import Revision, StoreContents
from bench.report.series import Panel, Series, SeriesPoint
from bench.report.svg import draw_svg, draw_swatch, write_style_sheet
from bench.report.tables import AREA_NAMES, describe_revisions
from bench.text import escape_html

DEFAULT_RULE = "no-loss"


def make_environment() -> Environment:
    """Return an environment for the report's templates with autoescape on and no silent holes."""
    strict: dict[str, Any] = {"autoescape": True, "undefined": StrictUndefined, "finalize": escape_html}
    made = Environment(loader=PackageLoader("bench.report"), trim_blocks=True, lstrip_blocks=True, **strict)
    made.globals |= {"css": Markup(write_style_sheet()), "numbers": numbers}
    made.filters |= {"percent": numbers.format_percent, "rule": numbers.format_rule}
    made.filters |= {"svg": draw_svg, "swatch": draw_swatch}
    return made


def render_page(
    contents: StoreContents,
    made: Sequence[PanelCharts],
    realisation: Chart | None,
    marks: Mapping[str, Revision],
    tables: Mapping[str, TextTable],
    points: Sequence[TextTable],
) -> str:
    """Render the whole page as one text. The same input gives the same bytes."""
    panels = [one.panel for one in made]
    present = list(dict.fromkeys(rule for panel in panels for series in panel.series for rule in series.rules))
    rules = [r for r in STANDARD if r in present] + sorted(r for r in present if r not in STANDARD)
    packages = {mark.packages for mark in marks.values()}
    curves: dict[str, list[Sequence[str]]] = {}
    for title, *cells in tables["curves"].rows:
        curves.setdefault(title, []).append(cells)
    page = make_environment().get_template("page.html.j2")
    return (
        page.render(
            js=Markup((files("bench.report") / "templates" / "page.js").read_text(encoding="utf-8")),
            contents=contents,
            provenance=provenance,
            machines=provenance.describe_machines(contents.runs),
            marks=list(marks.values()),
            letters={run.name: marks[provenance.make_revision_key(run)].letter for run in contents.runs},
            anchors={run.name: f"cell-{i}" for i, run in enumerate(contents.runs, start=1)},
            rules=rules,
            default_rule=DEFAULT_RULE if DEFAULT_RULE in rules else next(iter(rules), "full"),
            matrix=build_matrix(panels),
            describe_speedups=describe_speedups,
            describe_revisions=partial(describe_revisions, marks=marks),
            stars={panel.number: content.find_stars(panel) for panel in panels},
            panels=made,
            realisation=realisation,
            curves=tables["curves"],
            curve_groups=curves,
            doubted=[(panel, said) for panel in panels if (said := summarise_doubts(panel))],
            packages=packages.pop() if len(packages) == 1 else "",
            curve_columns=[(name, DEFINITIONS[key]) for key, name in AREA_NAMES.items()],
            points=points,
            title_metric=title_metric,
        )
        + "\n"
    )


def summarise_doubts(panel: Panel) -> str:
    """Return what is doubted of a panel's series, as ``no skill (3 series), 16 held out (4 series)``."""
    often = Counter(mark for series in panel.series for mark in {one.doubt.mark for one in series.doubts})
    return ", ".join(f"{mark} ({count} series)" for mark, count in sorted(often.items()))


def build_matrix(panels: Sequence[Panel]) -> list[tuple[str, dict[int, Series]]]:
    """Return the rows of the main table: the label of a strategy with its settings, and its series by panel number."""
    rows: dict[str, dict[int, Series]] = {}
    for panel in panels:
        for series in panel.series:
            rows.setdefault(series.label, {})[panel.number] = series
    return sorted(rows.items())


def describe_speedups(point: SeriesPoint, seeds: int) -> str:
    """Return what an operating point saves, in FLOPs and by the clock, and how many of the seeds reached it."""
    said = [f"{numbers.format_times(point.speedup)} FLOPs"]
    if point.timed:
        said.append(f"{point.timed.speedup.value:.2f}× measured" + ("" if point.timed.valid else " (INVALID)"))
    if len(point.thresholds) < seeds:
        said.append(f"{len(point.thresholds)} of {seeds} seeds")
    return ", ".join(said)
