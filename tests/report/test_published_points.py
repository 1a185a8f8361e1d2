"""Published numbers on trade-off figures: which have a place there, how they are told apart, how they are hidden."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.progress import Progress
from bench.report.marks import Line, Point
from bench.report.overview.lines import overlook_panel
from bench.report.plots.kinds import build_plot
from bench.report.plots.options import PlotOptions
from bench.report.plots.published import BY_OTHERS, find_published_of
from bench.report.series import make_panels
from bench.report.svg import draw_svg
from bench.report.write import write_report
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.report_store import edit_cell, make_cell

BERT = {"recipe": "deebert", "head": "highway", "init": "pretrained"}


def grow(record: dict[str, Any]) -> None:
    record["backbone"]["hidden"] = 768


def make_bert(
    root: Path, task: str = "sst2", change: Callable[[dict[str, Any]], None] = grow, **more: Any
) -> list[Run]:
    """One run that has BERT-base's name, with its sizes unless ``change`` says otherwise."""
    folder = make_cell(root, "deebert", task, "bert-base", **{"layers": 12, "spec": BERT, **more})
    edit_cell(folder, change)
    return Store(root).runs()[0]


def list_points(runs: list[Run], **options: Any) -> list[Point]:
    [chart] = build_plot("trade-off", runs, PlotOptions(**options)).charts
    return [mark for mark in getattr(chart, "marks", ()) if isinstance(mark, Point) and mark.series == BY_OTHERS]


def name_method(point: Point) -> str:
    return point.tip.partition(":")[0].partition(" (")[0]


def test_numbers_of_the_same_task_and_backbone_are_drawn_hollow(tmp_path: Path) -> None:
    """Eight rows of COSEE's table on SST-2; not DeeBERT's wall-clock rows, nor those of several tasks or one exit."""
    points = list_points(make_bert(tmp_path))
    assert all(point.hollow for point in points)
    places = {name_method(point): (point.x, round(point.y, 6)) for point in points}
    assert places == {
        "BERT-base": (1.0, 0.935), "BERT-6L": (2.0, 0.91),
        "DeeBERT": (2.0, 0.902), "PABEE": (1.95, 0.893),
        "BERxiT": (2.86, 0.916), "GPFEE": (2.02, 0.928),
        "ConsistentEE": (1.85, 0.929), "COSEE": (2.14, 0.93),
    }  # fmt: skip
    [tip] = [point.tip for point in points if name_method(point) == "COSEE"]
    for said in ("published, not measured here", "GLUE test server", "sum M*N_m / sum m*N_m", "Table 2", "V: read in"):
        assert said in tip


@pytest.mark.parametrize(
    ("task", "more", "change"),
    [
        ("demo", {}, grow),
        ("sst2", {"spec": {**BERT, "init": "scratch"}}, grow),
        ("sst2", {"layers": 6}, grow),
        ("sst2", {}, lambda record: None),
        ("mrpc", {"metric": "matthews"}, grow),
    ],
    ids=["another task", "from scratch", "fewer layers", "narrower", "another metric"],
)
def test_nothing_is_drawn_where_it_is_not_the_same(
    task: str, more: dict[str, Any], change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    assert not list_points(make_bert(tmp_path, task, change, **more))


@pytest.mark.parametrize(
    ("x", "expected"), [("flops", {1.0, 3.62, 10.33, 11.72, 2.0, 4.0, 12.0}), ("layers", set()), ("latency", set())]
)
def test_a_speed_up_is_drawn_where_its_definition_has_a_place(x: str, expected: set[float], tmp_path: Path) -> None:
    """FastBERT's are of FLOPs with its heads: not of layers, not of time."""
    runs = make_bert(tmp_path, "ag_news", latency="valid")
    assert {point.x for point in list_points(runs, x=x)} == expected


def test_layers_run_are_layers_over_the_speed_up(tmp_path: Path) -> None:
    points = {name_method(point): point.x for point in list_points(make_bert(tmp_path), x="layers")}
    assert points["BERxiT"] == pytest.approx(12 / 2.86)


def test_likely_misprints_are_not_drawn(tmp_path: Path) -> None:
    [panel] = make_panels(make_bert(tmp_path, "mrpc"))
    assert {number.method for number in find_published_of(panel)} == {"BERT-6L (via GPFEE)", "GPFEE", "COSEE"}


def test_they_can_be_hidden(tmp_path: Path) -> None:
    runs = make_bert(tmp_path)
    assert not list_points(runs, published=False)
    [panel] = make_panels(runs)
    charts = {shown: overlook_panel(panel, shown).chart for shown in (True, False)}
    assert {shown: BY_OTHERS in {key.series for key in chart.legend} for shown, chart in charts.items()} == {
        True: True, False: False,
    }  # fmt: skip
    assert "ConsistentEE 0.929 at 1.85×, PABEE 0.893 at 1.95×" in charts[True].caption
    assert "published" not in charts[False].caption
    assert draw_svg(charts[True]).count(f'data-series="{BY_OTHERS}"') == 8


def test_measured_and_published_are_never_one(tmp_path: Path) -> None:
    """No line goes through what is published, its rows are of their own kind, no doubt of a run is one of theirs."""
    runs = make_bert(tmp_path)
    figure = build_plot("trade-off", runs, PlotOptions(legend="direct"))
    assert figure.named_directly
    [chart] = figure.charts
    assert not [m for m in getattr(chart, "marks", ()) if isinstance(m, Line) and m.series == BY_OTHERS]
    kinds = {row["kind"] for row in figure.rows}
    assert kinds == {"curve", "point", "published"}
    rows = [row for row in figure.rows if row["kind"] == "published"]
    assert len(rows) == 8
    assert all("sum M*N_m" in row["rule"] and "COSEE" in row["series"] and not row.get("doubts") for row in rows)
    assert [key.name for key in figure.legend] == [BY_OTHERS], "it is no line, which would be named directly"


@pytest.mark.parametrize("shown", [True, False])
def test_a_report_has_them_or_not(shown: bool, tmp_path: Path) -> None:
    make_bert(tmp_path / "results")
    write_report(tmp_path / "results", tmp_path / "out", ["html", "figures"], Progress(quiet=True), published=shown)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (f'data-series="{BY_OTHERS}"' in page) == shown
    [numbers] = (tmp_path / "out" / "figures").glob("trade-off-*.csv")
    with numbers.open(encoding="utf-8") as file:
        assert ("published" in {row["kind"] for row in csv.DictReader(file)}) == shown
