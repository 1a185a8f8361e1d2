"""The page: what the template shows, as plain lists and texts, and the template's environment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.measure.areas import DEFINITIONS
from bench.measure.metrics import title_metric
from bench.measure.rules import SHORT
from bench.report import numbers, provenance
from bench.report.charts import PanelCharts
from bench.report.formats import TextTable
from bench.report.marks import Chart
from bench.report.overview.crossing import cross_systems
from bench.report.overview.families import list_families
from bench.report.overview.lines import DEFAULT_RULE, Overview, list_point_rules, read_goal
from bench.report.provenance import Revision, StoreContents
from bench.report.series import Panel
from bench.report.svg import Swatches, draw_svg, write_style_sheet
from bench.report.tables import AREA_NAMES
from bench.text import escape_html


def make_environment() -> Environment:
    """Return an environment for the report's templates with autoescape on and no silent holes."""
    strict: dict[str, Any] = {"autoescape": True, "undefined": StrictUndefined, "finalize": escape_html}
    made = Environment(loader=PackageLoader("bench.report"), trim_blocks=True, lstrip_blocks=True, **strict)
    made.globals |= {"css": Markup(write_style_sheet()), "numbers": numbers}
    made.filters |= {"percent": numbers.format_percent, "rule": numbers.format_rule}
    swatches = Swatches()
    made.globals |= {"define_swatches": swatches.define}
    made.filters |= {"svg": draw_svg, "swatch": swatches.draw}
    return made


def render_page(
    contents: StoreContents,
    tasks: Sequence[tuple[str, Sequence[Overview]]],
    made: Sequence[PanelCharts],
    realisation: Chart | None,
    marks: Mapping[str, Revision],
    tables: Mapping[str, TextTable],
    points: Sequence[TextTable],
    classes: Mapping[int, TextTable],
) -> str:
    """Render the whole page as one text, of ``tasks`` in the given order. The same input gives the same bytes."""
    panels = [one.panel for one in made]
    rules = list_point_rules(panels)
    packages = {mark.packages for mark in marks.values()}
    curves: dict[str, list[Sequence[str]]] = {}
    for title, *cells in tables["curves"].rows:
        curves.setdefault(title, []).append(cells)
    doubted = [(panel, said) for panel in panels if (said := summarise_doubts(panel))]
    page = make_environment().get_template("page.html.j2")
    return (
        page.render(
            js=Markup((files("bench.report") / "templates" / "page.js").read_text(encoding="utf-8")),
            contents=contents,
            problems=contents.failed or contents.left_out or contents.badly_timed or contents.unfinished or doubted,
            provenance=provenance,
            machines=provenance.describe_machines(contents.runs),
            marks=list(marks.values()),
            letters={run.name: marks[provenance.make_revision_key(run)].letter for run in contents.runs},
            anchors={run.name: f"cell-{i}" for i, run in enumerate(contents.runs, start=1)},
            first_runs={p.number: {series.label: series.first.name for series in p.series} for p in panels},
            rules=rules,
            default_rule=DEFAULT_RULE if DEFAULT_RULE in rules else next(iter(rules), ""),
            tasks=tasks,
            panels=panels,
            backbones=list(dict.fromkeys(one.panel.backbone for _, found in tasks for one in found)),
            families=list_families(),
            charts={one.panel.number: one for one in made},
            crossed={one.panel.number: cross_systems(one) for _, found in tasks for one in found},
            points={panel.number: table for panel, table in zip(panels, points, strict=True)},
            classes=classes,
            realisation=realisation,
            curves=tables["curves"],
            counted=tables.get("counts"),
            curve_groups=curves,
            doubted=doubted,
            summarise_doubts=summarise_doubts,
            packages=packages.pop() if len(packages) == 1 else "",
            curve_columns=[(name, DEFINITIONS[key]) for key, name in AREA_NAMES.items()],
            title_metric=title_metric,
            read_goal=read_goal,
            short=SHORT,
            zip=zip,
        )
        + "\n"
    )


def summarise_doubts(panel: Panel) -> str:
    """Return what is doubted of a panel's series, as ``no skill (3 series), 16 held out (4 series)``."""
    often = Counter(mark for series in panel.series for mark in {one.doubt.mark for one in series.doubts})
    return ", ".join(f"{mark} ({count} series)" for mark, count in sorted(often.items()))
