"""Every kind of figure by its name: built from runs, drawn, saved. The command, the report and Python call these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones.names import make_unknown_error
from bench.errors import NothingComparable, UsageError
from bench.report import content
from bench.report.exit_charts import build_depth, build_every_exit, build_knowledge, build_used
from bench.report.figures import CAPTION, COLUMN, WIDE, Figure, draw_figure, join_captions, open_canvas, save_canvas
from bench.report.marks import Chart, Shares
from bench.report.plots.ablations import build_criteria, build_windows, group_criteria, group_windows
from bench.report.plots.captions import add_doubts, merge_words
from bench.report.plots.comparison import QUANTITIES, build_comparison, tabulate_comparison
from bench.report.plots.elbert import build_figure_2, build_figure_3
from bench.report.plots.options import PlotOptions, choose_panels, find_banded, find_lines, rename_lines, select_panels
from bench.report.plots.published import find_published_of
from bench.report.plots.realisation import build_realisation_figure
from bench.report.plots.systems import Shown, describe_drawn, describe_shown
from bench.report.series import Panel, Series
from bench.results.run import Run

MOST_TITLES = 2  # names of this many panels stand in a message


@dataclass(frozen=True)
class PlotKind:
    """A kind of figure: what it shows, how it is built, the quantities that its x axis may have."""

    summary: str
    build: Callable[[Sequence[Panel], PlotOptions], Figure | None]
    quantities: tuple[str, ...] = ()


def build_trade_off_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return systems against each other, a chart a task."""
    whole, timed = panels, options.x == "latency"
    if timed:
        panels = _keep_series(panels, lambda s: not s.early or any(point.timed for point in s.points.values()))
    chosen, left = choose_panels(find_lines(panels, options), options)
    if not chosen:
        return None
    named = rename_lines([found for _, found in chosen], options.labels)
    shown = [(panel, found) for (panel, _), found in zip(chosen, named, strict=True)]
    others = {panel.number: find_published_of(panel) if options.published else [] for panel, _ in shown}
    charts = []
    for (panel, found), asked in zip(shown, find_banded([found for _, found in shown], options), strict=True):
        alone = len(found) == 1 and options.bands is None
        bands = [one.name for one in found] if alone else asked
        charts.append(build_comparison(panel, found, options.x or "flops", bands=bands, published=others[panel.number]))
    words = [
        f"{', '.join(panel.title for panel, _ in shown)}. {merge_words(charts)}",
        *(f"{c.title}: {c.source}" if len(charts) > 1 else c.source for c in charts if c.source),
        describe_shown(shown),
        *(describe_drawn([one.series for one in found]) for _, found in shown),
        left,
        _describe_untimed(whole, [panel for panel, _ in shown]) if timed else "",
    ]
    rows = [
        {"panel": panel.title, **row}
        for panel, found in shown
        for row in tabulate_comparison(panel, found, others[panel.number])
    ]
    several, columns = len(charts) > 1, min(2, len(charts))
    sizes = (1.9 * -(-len(charts) // columns), WIDE) if several else (2.3, COLUMN)
    name = f"trade-off-{shown[0][0].slug}" if not several else "trade-off"
    made = Figure(name, " ".join(filter(None, words)), rows, charts, *sizes, columns, several or timed, not several)
    return add_doubts(made, [(panel, one.name, one.series) for panel, found in shown for one in found])


def _describe_untimed(whole: Sequence[Panel], shown: Sequence[Panel]) -> str:
    """Return what was not timed of the tasks that are drawn against time: whole panels, for a caption."""
    tasks = {panel.task for panel in shown}
    timed = {p.title for p in _keep_series(whole, lambda s: any(point.timed for point in s.points.values()))}
    left = [panel.title for panel in whole if panel.task in tasks and panel.title not in timed]
    return f"Not timed: {'; '.join(left)}." if left else ""


def _keep_series(panels: Sequence[Panel], test: Callable[[Series], bool]) -> list[Panel]:
    kept = [replace(panel, series=tuple(filter(test, panel.series))) for panel in panels]
    return [panel for panel in kept if any(series.early for series in panel.series)]


def _narrow_best(panels: Sequence[Panel], options: PlotOptions) -> tuple[Panel, Panel, list[Shown]] | None:
    """Return the best panel, the same with nothing but what is shown and under these names, and what that is."""
    chosen, _ = choose_panels(find_lines(panels, options), options)
    if not chosen:
        return None
    panel, shown = chosen[0]
    [shown] = rename_lines([shown], options.labels)
    return panel, narrow_panel(panel, shown), shown


def narrow_panel(panel: Panel, shown: Sequence[Shown]) -> Panel:
    """Return ``panel`` with nothing but what is shown, under the names and with the looks that it has there."""
    return replace(panel, series=tuple(replace(one.series, label=one.name, variant=0) for one in shown))


def _finish(panel: Panel, shown: Sequence[Shown], figure: Figure) -> Figure:
    caption = f"{figure.caption} {describe_shown([(panel, shown)])}".strip()
    return add_doubts(replace(figure, caption=caption), [(panel, one.name, one.series) for one in shown])


def build_exits_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return what every exit is worth alone, and where samples leave at one operating point."""
    if not (found := _narrow_best(panels, options)):
        return None
    panel, narrow, shown = found
    charts: list[Chart | Shares] = [build_every_exit(narrow)]
    if used := build_used(narrow):
        charts.append(used)
    words = join_captions(panel.title, charts)
    height = 1.7 + (0.5 + 0.17 * len(shown) if used else 0.0)
    made = Figure(f"exits-{panel.slug}", words, content.tabulate_exits(narrow), charts, height)
    return _finish(panel, shown, made)


def build_calibration_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return what exits know: calibration error, whether confidence tells right from wrong, overthinking."""
    if not (found := _narrow_best(panels, options)):
        return None
    panel, narrow, shown = found
    diagnoses = content.diagnose_exits(narrow)
    charts = build_knowledge(narrow, diagnoses)
    if not charts:
        return None
    words, rows = join_captions(panel.title, charts), content.tabulate_calibration(diagnoses)
    return _finish(panel, shown, Figure(f"calibration-{panel.slug}", words, rows, charts, 3.9))


def build_depth_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return the time of leaving at each exit, where it was measured."""
    timed = _keep_series(panels, lambda s: bool(content.tabulate_depth(replace(panels[0], series=(s,)))))
    chosen, _ = choose_panels(find_lines(timed, options), options)
    if not chosen:
        return None
    panel, shown = chosen[0]
    [shown] = rename_lines([shown], options.labels)
    narrow = narrow_panel(panel, shown)
    chart = build_depth(narrow)
    assert chart is not None
    words = join_captions(panel.title, [chart])
    return _finish(panel, shown, Figure(f"depth-{panel.slug}", words, content.tabulate_depth(narrow), [chart], 1.9))


def build_criteria_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return criteria on one and the same checkpoint, of the panel that has most of them."""
    known = [(panel, groups[0]) for panel in panels if (groups := group_criteria(panel, options))]
    best = max(known, key=lambda item: (len({s.strategy for s in item[1]}), len(item[1][0].runs)), default=None)
    return build_criteria(*best, options) if best else None


def build_windows_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return one criterion's windows on one checkpoint, of the panel that has most of them."""
    known = [(panel, groups[0]) for panel in panels if (groups := group_windows(panel, options))]
    best = max(known, key=lambda item: len(item[1]), default=None)
    return build_windows(*best, options) if best else None


PLOT_KINDS = {
    "trade-off": PlotKind("quality against what it costs: each published system once", build_trade_off_figure,
                      tuple(QUANTITIES)),
    "elbert-figure-2": PlotKind("ELBERT's figure 2: quality against computation, one curve a task", build_figure_2),
    "elbert-figure-3": PlotKind("ELBERT's figure 3: ELBERT, DeeBERT, FastBERT and plain compression, a chart a task",
                            build_figure_3, tuple(QUANTITIES)),
    "criteria": PlotKind("criteria on one and the same checkpoint, with upper bounds", build_criteria_figure,
                     tuple(QUANTITIES)),
    "windows": PlotKind("windows of one criterion on one checkpoint", build_windows_figure, tuple(QUANTITIES)),
    "realisation": PlotKind("measured against promised speed-up", build_realisation_figure),
    "exits": PlotKind("what every exit is worth alone, and where samples leave", build_exits_figure),
    "calibration": PlotKind("what exits know: calibration, right from wrong, overthinking", build_calibration_figure),
    "depth": PlotKind("time of leaving at each exit: layers and checks", build_depth_figure),
}  # fmt: skip
"""What `bench plot` can draw."""


def find_kind(name: str) -> str:
    """Return the kind of :data:`PLOT_KINDS` that is meant, in any case. Raises UsageError for none."""
    if name.lower() not in PLOT_KINDS:
        raise make_unknown_error("kind of figure", name, PLOT_KINDS)
    return name.lower()


def build_plot(kind: str, runs: Iterable[Run], options: PlotOptions | None = None) -> Figure:
    """Return the figure of ``kind``, one of :data:`PLOT_KINDS`, from finished runs: its charts, caption and numbers.

    Raises UsageError for what is not known, NothingComparable where the runs have nothing for such a figure.
    """
    options, kind = options or PlotOptions(), find_kind(kind)
    known = PLOT_KINDS[kind].quantities
    if options.x and options.x not in known:
        if not known:
            raise UsageError(f"The x axis of {kind} is always the same: leave --x out.")
        raise make_unknown_error("quantity", options.x, known, " of --x")
    if options.highlight and not known:
        raise UsageError(f"Lines of {kind} have no band of their own: leave --highlight out.")
    panels = select_panels(runs, options)
    figure = PLOT_KINDS[kind].build(panels, options)
    if figure is None or not any(chart.legend for chart in figure.charts):
        titles = [panel.title for panel in panels]
        more = f" and {len(titles) - MOST_TITLES} more" if len(titles) > MOST_TITLES else ""
        said = " measured" if options.x == "latency" or kind in ("depth", "realisation") else ""
        where = f"{', '.join(titles[:MOST_TITLES])}{more}"
        raise NothingComparable(f"Nothing{said} for {kind} ({PLOT_KINDS[kind].summary}) in these runs: {where}.")
    direct = options.legend == "direct" if options.legend else figure.direct and options.x not in ("cost", "layers")
    bare = options.legend == "none"
    return replace(
        figure,
        direct=direct,
        charts=[replace(chart, legend=()) for chart in figure.charts] if bare else figure.charts,
        width=options.width or figure.width,
        height=figure.height
        if not options.width or options.width < WIDE or figure.width == WIDE
        else figure.height * 1.3,
        whole=options.height,
        font=options.font,
        title=options.title,
    )


def draw_plot(kind: str, runs: Iterable[Run], options: PlotOptions | None = None) -> Any:
    """Return the figure of ``kind`` as a matplotlib Figure, as :func:`build_plot` builds it, to be changed or shown."""
    options = options or PlotOptions()
    figure = build_plot(kind, runs, options)
    with open_canvas(*figure.size, figure.font) as fig:
        draw_figure(figure, fig)
    fig.set_dpi(options.dpi)  # closing it sets back what it was
    return fig


def save_plot(kind: str, runs: Iterable[Run], out: Path, options: PlotOptions | None = None) -> Figure:
    """Write the figure of ``kind`` to ``out``, a .pdf, .svg or .png; return it, for its caption and numbers.

    Raises UsageError for another ending.
    """
    options = options or PlotOptions()
    ending = out.suffix[1:].lower()
    if ending not in CAPTION:
        raise UsageError(f"A figure is written as {', '.join(f'.{kind}' for kind in CAPTION)}, not '{out.name}'.")
    figure = build_plot(kind, runs, options)
    with open_canvas(*figure.size, figure.font) as fig:
        draw_figure(figure, fig)
        save_canvas(fig, out, ending, figure.caption, options.dpi)
    return figure
