"""One description, two canvases: every mark of a chart is on the page and in the figure, under its series' name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.compare.history import Entry, Value
from bench.report import marks
from bench.report.advise_view import draw_goal
from bench.report.charts import PanelCharts, build_charts, build_history, build_realisation
from bench.report.content import find_stars, tabulate_every_exit
from bench.report.figures import Figure, draw_figure, use_paper_style
from bench.report.marks import Axis, Chart, Mark, Point, Whisker, pad_range, thin_out
from bench.report.plots.collection import build_panel_figures, build_paper_figures
from bench.report.plots.comparison import COMPRESSION
from bench.report.plots.systems import choose_shown, choose_variant
from bench.report.series import make_panels
from bench.report.style import assign_looks
from bench.report.svg import draw_svg, stack_svg
from bench.results.store import Store
from tests.helpers.report_store import make_cell, varied_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[PanelCharts]:
    store = varied_store(tmp_path_factory.mktemp("store"))
    for window in range(10, 20):  # more series than a figure can show
        make_cell(store, criterion={"window": window}, exits=False)
    return [build_charts(panel) for panel in make_panels(Store(store).runs()[0])]


def names(found: Sequence[Mark]) -> Counter[tuple[str, str]]:
    """How many marks of each kind every series has."""
    return Counter((type(m).__name__, m.series) for m in found if not isinstance(m, marks.Reference))


CLASSES = {"ln": "Line", "thin": "Line", "band": "Band", "pt": "Point", "dot": "Point", "whisker": "Whisker"}
TOGETHER = {"dot": "h0", "whisker": "M"}  # how often this is in an element, so many marks it draws


def on_the_page(chart: Chart) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for kinds, rest, series in re.findall(r'class="([^"]+)"([^>]*?) data-series="([^"]*)"', draw_svg(chart)):
        first = kinds.split()[0]
        kind = "Bar" if "bar" in kinds.split() else CLASSES.get(first)
        if kind:
            found[kind, unescape(series)] += rest.count(TOGETHER[first]) if first in TOGETHER else 1
    return found


def in_print(chart: Chart) -> Counter[str]:
    """How many artists every series has."""
    with use_paper_style() as plt:
        fig = plt.figure()
        draw_figure(Figure("f", "", [], [chart]), fig)
        [ax] = fig.axes
        found = Counter(str(a.get_label()) for a in [*ax.lines, *ax.collections, *ax.containers])
        plt.close(fig)
    return found


def test_every_mark_is_on_both_canvases(made: list[PanelCharts]) -> None:
    charts = [c for one in made for c in one.charts]
    realisation = build_realisation([one.panel for one in made])
    assert realisation is not None
    for chart in [*charts, realisation]:
        assert on_the_page(chart) == names(chart.marks)
        printed = in_print(chart)
        wanted = Counter(m.series for m in chart.shown() if not isinstance(m, marks.Reference))
        wanted += Counter(m.series for m in chart.shown() if isinstance(m, marks.Bar) and m.capped)
        assert {k: v for k, v in printed.items() if k in wanted} == wanted


def test_every_series_of_the_data_is_in_its_chart(made: list[PanelCharts]) -> None:
    for one in made:
        panel, shown = one.panel, {s.name for s in choose_shown(one.panel)}
        stars = {COMPRESSION for s in find_stars(panel) if s.first.layers < panel.layers}
        assert {k.series for k in one.trade_off.legend if k.on} == shown | stars
        hidden = {s.series for s in choose_shown(panel)}
        assert {s.label for s in panel.series if s.early and s not in hidden} <= {
            k.series for k in one.trade_off.legend
        }
        for chart in one.charts:
            drawn_names = {m.series for m in chart.marks if not isinstance(m, marks.Reference)}
            assert drawn_names == {k.series for k in chart.legend}
    demo = made[0]
    for series in demo.panel.series:
        points = [m for m in demo.every_exit.marks if isinstance(m, Point) and m.series == series.label]
        if points:
            assert [p.y for p in points] == [r["quality"] for r in tabulate_every_exit(series)]


def test_a_panel_has_a_figure_of_each_kind_that_it_has_data_for(made: list[PanelCharts]) -> None:
    kinds = [figure.name.rpartition(f"-{made[0].panel.slug}")[0] for figure in build_panel_figures(made[0])]
    assert kinds == ["trade-off", "exits", "calibration", "depth"]


def test_both_canvases_have_the_same_axes(made: list[PanelCharts]) -> None:
    for chart in made[0].charts:
        with use_paper_style() as plt:
            ax = plt.figure().subplots()
            from bench.report.figures import draw_chart

            draw_chart(chart, ax)
            assert ax.get_xlim() == (chart.x.low, chart.x.high)
            assert ax.get_ylim() == (chart.y.low, chart.y.high)
            ticks = [text.get_text() for text in [*ax.get_xticklabels(), *ax.get_yticklabels()]]
            plt.close("all")
        texts = [t.text for t in ElementTree.fromstring(draw_svg(chart)).iter("text")]
        assert texts[: len(ticks)] == ticks


def test_elberts_figure_2_takes_the_papers_variant_and_says_which(tmp_path: Path) -> None:
    own = {"recipe": "elbert", "head": "shared"}
    for window in (1, 2, 6):
        make_cell(tmp_path, criterion={"window": window}, spec=own, exits=False)
    make_cell(tmp_path, criterion={"window": 2}, spec={"recipe": "joint", "head": "linear"}, exits=False)
    make_cell(tmp_path, "entropy", exits=False)
    [one] = [build_charts(panel) for panel in make_panels(Store(tmp_path).runs()[0])]
    chosen = choose_variant(one.panel, [s for s in one.panel.series if s.strategy == "elbert-mono"])
    assert chosen is not None
    assert (chosen.first.spec.recipe, chosen.first.spec.criterion_args) == ("elbert", {"window": 2})
    [figure, *_] = build_paper_figures([one])
    assert f"({one.panel.title}) is {chosen.label}, trained as elbert / shared." in figure.caption
    assert {row["series"] for row in figure.rows} == {chosen.label}


def test_history_is_drawn_by_the_same_engine_in_a_file_of_its_own() -> None:
    entries = [
        Entry(
            f"2026-01-{i + 1:02d}", f"{i:040d}", False, "s", "a <b>", "m", "k", {"accuracy": Value(0.9 - 0.1 * (i > 5))}
        )
        for i in range(12)
    ]
    [chart] = build_history(entries)
    assert [m.label for m in chart.marks if isinstance(m, marks.Reference)] == ["0.9 → 0.8"]
    root = ElementTree.fromstring(stack_svg([chart]))
    space = "{http://www.w3.org/2000/svg}"
    titles = [t.text or "" for t in root.iter(f"{space}title")]
    assert len(titles) == 12
    assert titles[0] == f"{0:040d}"[:9] + " 2026-01-01: 0.9"
    assert any("prefers-color-scheme:dark" in (s.text or "") for s in root.iter(f"{space}style"))


def test_dense_points_are_thinned_and_ranges_have_room() -> None:
    unit = Axis("x", 0.0, 1.0)
    assert thin_out([(0.0, 0.0), (0.01, 0.0), (0.02, 0.0), (0.03, 0.0)], unit, unit) == [(0.0, 0.0), (0.03, 0.0)]
    assert pad_range([]) == (0.0, 1.0)
    assert pad_range([2.0, float("nan"), 2.0]) == (1.999, 2.001)
    assert pad_range([0.0, 1.0], 0.1) == pytest.approx((-0.1, 1.1))


@pytest.mark.parametrize(
    ("near", "end"),
    [([], 3.0), ([2.9], 2.9), ([1.1, 2.9], 2.9), ([1.1, 1.3, 2.2], 2.2), ([1.9, 2.5, 2.9], 1.0), ([1.1, 1.3], 3.0)],
)
def test_the_label_of_a_goal_stands_where_no_mark_does(near: list[float], end: float) -> None:
    """It is beside an end of its line, towards the middle; what lies far above the line is not in its way."""
    x, y, look = Axis("", 1.0, 3.0), Axis("", 0.0, 10.0), assign_looks(["a"], [])["a"]
    marks: list[Mark] = [Whisker("a", look, place, 0.4, 1.2) for place in near]
    lines = draw_goal(1.0, x, y, [*marks, Whisker("a", look, 2.0, 6.0, 9.0)])
    assert [line.label for line in lines] == ["goal", ""][: len(lines)]
    assert (lines[0].start, lines[-1].end) == ((1.0, 1.0), (3.0, 1.0))
    assert lines[0].end == (end, 1.0)
