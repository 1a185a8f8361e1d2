"""ELBERT's own figures, drawn from our data: one curve a task, and the published systems against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.measure.metrics import title_metric
from bench.report import content
from bench.report.figures import COLUMN, WIDE, Figure
from bench.report.formats import DataRow
from bench.report.marks import LARGE, SMALL, Axis, Band, Chart, Key, Line, Mark, Point, pad_range
from bench.report.plots.captions import add_doubts, merge_words
from bench.report.plots.comparison import QUANTITIES, build_comparison, tabulate_comparison
from bench.report.plots.options import PlotOptions, choose_panels, find_banded, find_lines, rename_lines
from bench.report.plots.systems import SYSTEMS, Shown, describe_drawn, describe_shown
from bench.report.provenance import describe_runs
from bench.report.series import BandedCurve, Panel, Series, average_curves
from bench.report.style import COLOURS, MARKERS, Look

DELTAS = tuple(round(0.1 * k, 1) for k in range(1, 11))  # ELBERT sec. 3: threshold 0.1 to 1.0
ELBERT = SYSTEMS[0].name
RIVALS = (ELBERT, "DeeBERT", "FastBERT")  # of figure 3
TASK_COLOURS = [name for name in COLOURS if name != "grey"]


def read_at_threshold(curve: BandedCurve, delta: float) -> tuple[float, float]:
    """Return computation (1 / FLOPs speed-up) and quality at threshold ``delta``: the stored row just below it."""
    known = [(-np.inf if t is None else t, k) for k, t in enumerate(curve.thresholds)]
    k = max((item for item in known if item[0] <= delta), default=min(known))[1]
    return float(1 / curve.speedup[k]), float(curve.quality[k])


def read_original(panel: Panel, series: Series) -> tuple[float, bool]:
    """Return the quality of the original model, all of whose layers run, and whether it was trained without exits."""
    plain = [s for s in content.find_stars(panel) if s.first.layers == panel.layers]
    return (plain[0] if plain else series).full.value, bool(plain)


def build_figure_2(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return quality against computation, a curve a task, with the original model at the right end; None for no data.

    The curve is whole; its markers are the paper's thresholds, 0.1 to 1.0, from right to left.
    """
    asked = options if options.strategies else replace(options, whole=False)
    lines = [(panel, shown[:1]) for panel, shown in find_lines(panels, asked, (ELBERT,))]
    chosen, left = choose_panels(lines, asked, one_model=True)
    if not chosen:
        return None
    titles = [panel.task if len({p.backbone for p, _ in chosen}) == 1 else panel.title for panel, _ in chosen]
    looks = [Look(TASK_COLOURS[i % len(TASK_COLOURS)], MARKERS[i % len(MARKERS)], "") for i in range(len(chosen))]
    shown = [replace(one, name=t, look=look) for (_, (one, *_)), t, look in zip(chosen, titles, looks, strict=True)]
    [shown] = rename_lines([shown], options.labels)
    marks: list[Mark] = []
    rows: list[DataRow] = []
    plain = []
    for (panel, _), one in zip(chosen, shown, strict=True):
        banded = len(shown) == 1 if options.bands is None else options.bands
        drawn, found, trained = _draw_task(panel, one, banded)
        marks += drawn
        rows += found
        plain.append(trained)
    metrics = " / ".join(sorted({title_metric(panel.metric) for panel, _ in chosen}))
    cost = QUANTITIES["cost"]
    lines_drawn = [m for m in marks if isinstance(m, Line)]
    x = Axis(cost.label, *pad_range((*(v for m in lines_drawn for v in m.x), 1.0, 0.0), 0.03), short=cost.short)
    heights = [v for m in lines_drawn for v in m.y] + [m.y for m in marks if isinstance(m, Point)]
    y = Axis(metrics, *pad_range(heights, 0.06))
    without = [one.name for one, known in zip(shown, plain, strict=True) if not known]
    names = [Key(one.full_name, one.name, one.look) for one in shown]
    words = (
        f"{metrics[:1].upper()}{metrics[1:]} against computation, the share of the plain model's FLOPs; one curve a "
        "task. Lines: every threshold; markers: threshold 0.1 to 1.0 in steps of 0.1 from right to left, chosen on no "
        "data; hollow, at the right end: the original model"
        + (", fine-tuned without exits" if any(plain) else ", here the same one with all of its layers")
        + (f" (on {', '.join(without)} the same one with all of its layers)." if any(plain) and without else ".")
    )
    said = "; ".join(
        f"{one.name} ({panel.title}) is {one.series.label}, trained as {one.series.trained_as}"
        for (panel, _), one in zip(chosen, shown, strict=True)
    )
    runs = describe_runs([one.series for one in shown])
    caption = " ".join(filter(None, ["After ELBERT's figure 2.", words, f"{said}.", runs, left]))
    chart = Chart("ELBERT", f"{metrics} against computation", words, runs, x, y, marks, names)
    figure = Figure("elbert-figure-2", caption, rows, [chart], 2.3, direct=True)
    return add_doubts(figure, [(panel, one.name, one.series) for (panel, _), one in zip(chosen, shown, strict=True)])


def _draw_task(panel: Panel, one: Shown, banded: bool) -> tuple[list[Mark], list[DataRow], bool]:
    """Return one task's marks and rows, and whether its original model was trained without exits."""
    series, name = one.series, one.name
    curve, cost = series.curve, (1 / series.curve.speedup).tolist()
    marks: list[Mark] = [Line(name, one.look, cost, curve.quality.tolist())]
    if banded:
        marks.insert(0, Band(name, one.look, cost, curve.low.tolist(), curve.high.tolist()))
    curves = [average_curves([run], series.split) for run in series.runs]
    at = [np.mean([read_at_threshold(each, delta) for each in curves], axis=0).tolist() for delta in DELTAS]
    for x, y in dict.fromkeys((round(a, 6), round(b, 6)) for a, b in at):
        marks.append(Point(name, one.look, x, y, "", size=SMALL))
    original, without = read_original(panel, series)
    marks.append(Point(name, one.look, 1.0, original, "", "s", LARGE, hollow=True))
    head = {"panel": panel.title, "name": name, "series": series.label, "metric": panel.metric}
    rows: list[DataRow] = [
        {**head, "kind": "threshold", "threshold": delta, "computation": x, "quality": y}
        for delta, (x, y) in zip(DELTAS, at, strict=True)
    ]
    rows += [
        {**head, "kind": "curve", "threshold": threshold, "computation": x, "quality": float(y)}
        for threshold, x, y in zip(curve.thresholds, cost, curve.quality, strict=True)
    ]
    rows.append({**head, "kind": "original", "threshold": None, "computation": 1.0, "quality": original})
    return marks, rows, without


def build_figure_3(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return ELBERT, DeeBERT and FastBERT against each other, a chart a task; None where none has two of them."""
    lines = find_lines(panels, options, RIVALS)
    lines = [item for item in lines if len(item[1]) > 1] if not options.strategies else lines
    chosen, left = choose_panels(lines, options, one_model=True)
    if not chosen:
        return None
    named = rename_lines([found for _, found in chosen], options.labels)
    shown = [(panel, found) for (panel, _), found in zip(chosen, named, strict=True)]
    x, banded = options.x or "cost", find_banded([found for _, found in shown], options)
    charts = [
        build_comparison(panel, found, x, bands=bands, rules=("no-loss", "2x", "4x"))
        for (panel, found), bands in zip(shown, banded, strict=True)
    ]
    several = len(charts) > 1
    words = [
        "After ELBERT's figure 3: the published systems against each other and against plain compression, models of "
        "fewer layers trained without exits (stars).",
        merge_words(charts),
        describe_shown(shown),
        describe_drawn([one.series for _, found in shown for one in found]),
        left,
    ]
    rows = [{"panel": panel.title, **row} for panel, found in shown for row in tabulate_comparison(panel, found)]
    columns = min(3, len(charts))
    height = 2.0 * -(-len(charts) // columns)
    figure = Figure("elbert-figure-3", " ".join(filter(None, words)), rows, charts, height,
                    WIDE if several else COLUMN, columns, titled=True)  # fmt: skip
    return add_doubts(figure, [(panel, one.name, one.series) for panel, found in shown for one in found])
