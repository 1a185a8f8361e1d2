"""Figures for a paper: what stands in them, and that a reader can tell it apart, measured on the canvas."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from bench.cli.process import main
from bench.errors import NothingComparable, UserError
from bench.report.figures import COLUMN, draw_figure, open_canvas, save_canvas
from bench.report.marks import Chart, Line, Point, Reference
from bench.report.plots.comparison import COMPRESSION, QUANTITIES
from bench.report.plots.kinds import PLOT_KINDS, build_plot, draw_plot
from bench.report.plots.options import PlotOptions
from bench.report.plots.systems import SYSTEMS, choose_shown, merge_alike, name_shown
from bench.report.plots.texts import spread_apart
from bench.report.series import make_panels
from bench.results.run import Run
from bench.results.store import Store
from strategies import HEADS, RECIPES, STRATEGIES
from tests.helpers.plot_store import make_systems
from tests.helpers.report_store import make_cell

PICTURES = Path(__file__).parent / "pictures"
SST2 = PlotOptions(tasks=("sst2",))
DRAWN = [
    *((kind, SST2) for kind in PLOT_KINDS),
    *(("trade-off", replace(SST2, x=x)) for x in QUANTITIES),
    ("trade-off", PlotOptions()),
    ("elbert-figure-2", PlotOptions()),
    ("elbert-figure-3", PlotOptions()),
    ("trade-off", replace(SST2, font="serif", width=7.0, title="Two columns, in Times")),
    ("trade-off", replace(SST2, legend="below", bands=True)),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_systems(tmp_path_factory.mktemp("systems"))


@pytest.fixture(scope="module")
def runs(store: Path) -> list[Run]:
    return Store(store).runs()[0]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_a_system_is_trained_as_its_strategies_say(system: Any) -> None:
    for name in system.strategies:
        strategy = STRATEGIES.load(name)
        assert (strategy.recipe, strategy.head) == (RECIPES.load(system.recipe), HEADS.load(system.head))


def boxes(fig: Any) -> Iterator[tuple[str, Any]]:
    """Axes without their labels, legends and the words on the canvas, with the pixels that they cover."""
    renderer = fig.canvas.get_renderer()
    for ax in fig.axes:
        if ax.axison:
            yield "axes", ax.get_window_extent(renderer)
        for text in ax.texts:  # a text alone, without the thin line to what it names
            yield "word", Text.get_window_extent(text, renderer)
        labels = [axis.get_tightbbox(renderer) for axis in (ax.xaxis, ax.yaxis) if ax.axison]
        yield from (("label", box) for box in labels if box is not None)
    yield from (("legend", legend.get_window_extent(renderer)) for legend in fig.legends)


@pytest.mark.parametrize(("kind", "options"), DRAWN)
def test_nothing_lies_on_anything_else_and_all_of_it_is_seen(kind: str, options: PlotOptions, runs: list[Run]) -> None:
    figure = build_plot(kind, runs, options)
    with open_canvas(*figure.size, figure.font) as fig:
        draw_figure(figure, fig)
        fig.canvas.draw()
        found = list(boxes(fig))
        for what, box in found:
            if what != "word" or kind != "exits":  # the numbers of a table of shares are in its fields
                assert fig.bbox.padded(1).contains(*box.min), what
                assert fig.bbox.padded(1).contains(*box.max), what
        for axes in (box for what, box in found if what == "axes"):
            assert axes.height / fig.dpi > 0.9
            assert axes.width / fig.dpi > 1.4
            assert not any(axes.padded(-1).overlaps(box) for what, box in found if what == "legend")
        legends = [box for what, box in found if what == "legend"]
        assert not any(box.overlaps(legend) for what, box in found if what == "label" for legend in legends)
        words = [box.padded(-0.5) for what, box in found if what == "word"]
        assert not any(one.overlaps(two) for i, one in enumerate(words) for two in words[:i])
        for ax, chart in zip(fig.axes, figure.charts, strict=False):
            if isinstance(chart, Chart):
                assert_all_in_sight(ax, chart)


def assert_all_in_sight(ax: Any, chart: Chart) -> None:
    """Every series of a chart has its line or marker within the axes' limits, whole."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    drawn = {str(artist.get_label()) for artist in (*ax.lines, *ax.containers)}
    for mark in chart.shown():
        if isinstance(mark, Reference):
            continue
        assert mark.series in drawn
        if isinstance(mark, Line) and not mark.thin:
            assert left <= min(mark.x) <= max(mark.x) <= right
            assert low <= min(mark.y) <= max(mark.y) <= high


def test_one_line_a_published_system_and_the_caption_says_which(runs: list[Run]) -> None:
    figure = build_plot("trade-off", runs, SST2)
    [chart] = figure.charts
    assert [key.name for key in chart.legend] == [*(system.name for system in SYSTEMS), COMPRESSION]
    assert "ELBERT: elbert-mono, window 2, trained as elbert / shared, seeds 0, 1" in figure.caption
    assert "DeeBERT: deebert, trained as deebert / highway, seed 0" in figure.caption
    assert isinstance(chart, Chart)
    assert [mark.label[:10] for mark in chart.marks if isinstance(mark, Reference)] == ["full model"]
    assert {row["name"] for row in figure.rows} == {key.series for key in chart.legend}


def test_equal_curves_are_one_line(runs: list[Run]) -> None:
    [panel] = make_panels(run for run in runs if run.task == "sst2")
    [entropy] = [series for series in panel.series if series.strategy == "entropy"]
    twin = replace(entropy, label="its twin")
    [one, other] = merge_alike(name_shown([entropy, twin, panel.series[0]]))
    assert (one.alike, other.alike) == (("its twin",), ())


def test_two_of_a_system_are_told_apart_by_name(runs: list[Run]) -> None:
    [panel] = make_panels(run for run in runs if run.task == "sst2")
    labels = [s.label for s in panel.series if s.strategy == "elbert-mono"]
    assert [one.name for one in choose_shown(panel, ["elbert", "DEEBERT"])] == ["ELBERT", "DeeBERT"]
    names = [one.name for one in choose_shown(panel, labels)]
    assert [name for name in names if name not in labels] == ["ELBERT"]  # as published
    assert len(set(names)) == len(labels) == 4
    assert {one.series.strategy for one in choose_shown(panel, ["*bert*"])} >= {"deebert", "fastbert", "elbert-mono"}


def test_runs_that_are_named_are_all_drawn_under_the_users_names(runs: list[Run]) -> None:
    some = [run for run in runs if run.task == "sst2" and run.spec.recipe == "joint" and run.strategy == "elbert-mono"]
    figure = build_plot("trade-off", some, PlotOptions(whole=True, labels=("short", "middle", "long")))
    assert [key.name for key in figure.charts[0].legend] == ["short", "middle", "long"]


@pytest.mark.parametrize("labels", [("DeeBERT=mine", "elbert=ours"), ("ours", "mine")])
def test_a_line_that_is_on_one_of_several_charts_can_be_named(labels: tuple[str, ...], runs: list[Run]) -> None:
    some = [run for run in runs if run.task == "sst2" or run.strategy == "elbert-mono"]
    options = PlotOptions(labels=labels, tasks=("sst2", "mrpc"))
    figure = build_plot("trade-off", some, options)
    names = {chart.title.partition(" ")[0]: [key.name for key in chart.legend] for chart in figure.charts}
    assert [name for name in names["mrpc"] if name != COMPRESSION] == ["ours"]
    assert names["sst2"][:2] == ["ours", "mine"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PlotOptions(strategies=("deebrt",)), "Did you mean 'deebert'"),
        (PlotOptions(tasks=("sst",)), "Unknown task 'sst'"),
        (PlotOptions(seeds=(7,)), "Unknown seed '7'"),
        (PlotOptions(x="flop"), "Did you mean 'flops'"),
        (PlotOptions(labels=("foo=bar",)), "Unknown line 'foo' to label"),
        (PlotOptions(highlight=("ELBERT", "foo")), "Unknown line 'foo' to highlight"),
        (PlotOptions(labels=tuple("abcdefghijk")), "--labels names 11 lines"),
    ],
)
def test_what_is_not_known_is_said(options: PlotOptions, said: str, runs: list[Run]) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        build_plot("trade-off", runs, options)


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_a_line_to_highlight_is_never_passed_over(kind: str, runs: list[Run]) -> None:
    with pytest.raises(UserError, match=r"to highlight|leave --highlight out|Nothing"):
        build_plot(kind, runs, PlotOptions(highlight=("foo",)))


@pytest.mark.parametrize("kind", ["trade-off", "elbert-figure-3"])
def test_a_caption_of_several_tasks_names_every_system_once(kind: str, runs: list[Run]) -> None:
    caption = build_plot(kind, runs, PlotOptions(tasks=("sst2", "mrpc"))).caption
    assert caption.count("ELBERT: ") == 1
    assert caption.count("DeeBERT: ") == 1


def test_seeds_that_differ_between_tasks_are_said_by_task(runs: list[Run]) -> None:
    kept = [run for run in runs if run.task == "mrpc" or run.seed == 0]
    caption = build_plot("trade-off", kept, PlotOptions(tasks=("sst2", "mrpc"))).caption
    assert re.search(r"trained as elbert / shared \(mrpc [^:]*: seeds 0, 1; sst2 [^:]*: seed 0\)", caption)
    assert "DeeBERT: deebert, trained as deebert / highway, seed 0;" in caption


def test_a_line_of_times_joins_its_markers_under_the_name_of_its_panel(runs: list[Run]) -> None:
    figure = build_plot("trade-off", runs, replace(SST2, x="latency"))
    [chart] = figure.charts
    assert figure.titled
    assert isinstance(chart, Chart)
    lines = {mark.series: mark for mark in chart.marks if isinstance(mark, Line)}
    assert lines
    for name, line in lines.items():
        markers = {(m.x, m.y) for m in chart.marks if isinstance(m, Point) and m.series == name}
        assert {(round(x, 6), round(y, 6)) for x, y in zip(line.x, line.y, strict=True)} == markers


def test_points_of_one_quality_are_each_on_the_line(runs: list[Run]) -> None:
    [panel] = [panel for panel in make_panels(runs) if panel.task == "sst2"]
    series = next(one for one in panel.series if one.early and any(point.timed for point in one.points.values()))
    points = [replace(p, quality=replace(p.quality, value=0.8)) for p in series.points.values()]
    level = replace(series)
    vars(level)["points"] = dict(enumerate(points))
    xs, _ = QUANTITIES["latency"].place_curve(level)
    assert list(xs) == sorted({p.timed.speedup.value for p in points if p.timed})
    assert len(xs) > 1


def test_a_caption_tells_the_marks_of_every_chart(tmp_path: Path) -> None:
    trained = {"elbert-mono": {"recipe": "elbert", "head": "shared"}, "entropy": {"recipe": "joint", "head": "linear"}}
    for task in ("alpha", "beta"):
        for strategy, spec in trained.items():
            make_cell(tmp_path, strategy, task, spec=spec)
    make_cell(tmp_path, "full", "beta", early=False)
    figure = build_plot("trade-off", Store(tmp_path).runs()[0])
    assert [chart.title.split()[0] for chart in figure.charts] == ["alpha", "beta"]
    assert "dashed line" not in figure.charts[0].words
    assert "dashed line: the plain model with all layers" in figure.caption
    assert figure.caption.count("Lines: every threshold") == 1


def test_runs_without_what_a_figure_shows_are_told(runs: list[Run]) -> None:
    with pytest.raises(NothingComparable, match="Nothing measured for depth"):
        build_plot("depth", [run for run in runs if run.strategy == "margin"])
    with pytest.raises(NothingComparable, match="no finished run"):
        build_plot("trade-off", [])


def test_labels_are_spread_in_order() -> None:
    assert spread_apart([0.5, 0.5, 0.9], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55, 0.9])
    assert spread_apart([1.0, 0.99], 0.2, 0.0, 1.0) == pytest.approx([1.0, 0.8])
    assert spread_apart([], 0.1, 0.0, 1.0) == []


def test_python_gets_a_figure_of_matplotlib(runs: list[Run]) -> None:
    fig = draw_plot("trade-off", runs, replace(SST2, dpi=90))
    assert fig.get_size_inches()[0] == COLUMN
    assert fig.dpi == 90


# ---------------------------------------------------------------------------------------------- pictures

PICTURED = {
    "trade-off": SST2,
    "elbert-figure-2": PlotOptions(),
    "elbert-figure-3": PlotOptions(),
    "criteria": SST2,
    "exits": SST2,
}
DPI, LIMIT = 60, 0.01  # of the pictures; how far, of 1, two of them may be apart


def paint(kind: str, runs: list[Run], options: PlotOptions, path: Path) -> Path:
    figure = build_plot(kind, runs, options)
    with open_canvas(*figure.size, figure.font) as fig:
        draw_figure(figure, fig)
        save_canvas(fig, path, "png", dpi=DPI)
    return path


def measure_distance(one: Path, other: Path) -> float:
    """Root mean square of the difference of two pictures, of 1, after blurring what letters' edges differ by."""
    a, b = (imread(path)[..., :3] for path in (one, other))
    assert a.shape == b.shape
    apart = (a - b).mean(axis=2)
    rows, columns = (size // 4 * 4 for size in apart.shape)
    blurred = apart[:rows, :columns].reshape(rows // 4, 4, columns // 4, 4).mean(axis=(1, 3))
    return float(np.sqrt((blurred**2).mean()))


@pytest.mark.parametrize("kind", PICTURED)
def test_a_figure_looks_as_it_did(kind: str, runs: list[Run], tmp_path: Path) -> None:
    """Write the pictures anew, after looking at them, with EXITBENCH_PAINT=1."""

    kept = PICTURES / f"{kind}.png"
    if os.environ.get("EXITBENCH_PAINT") == "1":
        paint(kind, runs, PICTURED[kind], kept)
    assert measure_distance(kept, paint(kind, runs, PICTURED[kind], tmp_path / "now.png")) < LIMIT


def test_a_picture_without_one_system_is_another(runs: list[Run], tmp_path: Path) -> None:
    fewer = replace(SST2, strategies=tuple(system.name for system in SYSTEMS[:-1]))
    changed = paint("trade-off", runs, fewer, tmp_path / "fewer.png")
    now = paint("trade-off", runs, SST2, tmp_path / "now.png")
    assert measure_distance(now, changed) > LIMIT


# ---------------------------------------------------------------------------------------------- the command


def run_plot(store: Path, *words: str) -> int:
    return main(["plot", *words, "--results-dir", str(store)])


def test_without_a_kind_all_are_listed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_plot(store, "--json") == 0
    assert [row["kind"] for row in json.loads(capsys.readouterr().out)] == list(PLOT_KINDS)
    assert main(["plot", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(kind in said for kind in PLOT_KINDS)


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_the_command_writes_the_file_and_prints_the_caption(
    ending: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"f.{ending}"
    assert run_plot(store, "trade-off", "--task", "sst2", "--seed", "0", "-o", str(out)) == 0
    assert "ELBERT: elbert-mono" in " ".join(capsys.readouterr().out.split())
    content = out.read_bytes()
    if ending == "svg":
        assert b">FastBERT</text>" in content
    elif ending == "pdf":
        assert b"/CIDFontType2" in content  # TrueType letters, which can be edited; no outlines
        assert b"/Type3" not in content


@pytest.mark.parametrize(
    "words",
    [
        ["trade"], ["trade-off", "--task", "nope"], ["trade-off", "--width", "wide"], ["trade-off", "--height", "90"],
        ["trade-off", "--font", "No Such Font"], ["trade-off", "-o", "f.jpg"], ["elbert-figure-2", "--x", "flops"],
        ["trade-off", "--legend", "left"], ["trade-off", "no-such-run"], ["trade-off", "--dpi", "3"],
        ["trade-off", "--strategy", ","],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(words: list[str], store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_plot(store, *words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
