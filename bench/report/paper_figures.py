"""The figures for print: every panel's charts, and ELBERT's own figures drawn from our data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bench.measure.metrics import title_metric
from bench.report import content
from bench.report.charts import SPEEDUP, PanelCharts
from bench.report.figures import Figure, join_captions
from bench.report.formats import DataRow
from bench.report.marks import SMALL, Axis, Band, Chart, Key, Line, Mark, Point, pad_range
from bench.report.provenance import describe_runs, describe_source
from bench.report.series import BandedCurve, Panel, Series, read_curve
from bench.report.style import COLOURS, DASHES, MARKERS, Look
from bench.results.groups import make_checkpoint_key, write_canonical
from bench.results.series_doubts import add_marks, describe_doubts

DELTAS = tuple(round(0.1 * k, 1) for k in range(1, 11))  # ELBERT sec. 3: threshold 0.1 to 1.0
FIRST = ("elbert-mono", "elbert-label", "elbert-range")  # whose curves figure 2 shows, the first that is there
SHADES = ("#08264d", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55")  # cividis
POINTS = 7  # markers on a line of many vertices


def build_panel_figures(made: PanelCharts) -> Iterator[Figure]:
    """Return the figures of one panel: trade-off, exits, calibration and depth, those that there is data for."""
    for figure in _build_panel_figures(made):
        yield add_doubts(figure, _label_series([made.panel]))


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
    rows = [
        {**row, "doubts": known.get((row.get("panel", titles[0]), row.get("series", "")), " ".join(sentences)) or None}
        for row in figure.rows
    ]
    return replace(figure, caption=" ".join([figure.caption, *sentences]), rows=rows)


def _label_series(panels: Iterable[Panel]) -> list[tuple[Panel, str, Series]]:
    return [(panel, series.label, series) for panel in panels for series in panel.series]


def _build_panel_figures(made: PanelCharts) -> Iterator[Figure]:
    panel, title, slug = made.panel, made.panel.title, made.panel.slug
    if made.trade_off.legend:
        words = join_captions(title, [made.trade_off], content.describe_left_out(panel))
        yield Figure(f"trade-off-{slug}", words, content.tabulate_curves(panel), [made.trade_off])
    exits = [made.every_exit, *made.exits_used[-1:]]
    yield Figure(f"exits-{slug}", join_captions(title, exits), content.tabulate_exits(panel), exits, 1.3 * len(exits))
    if made.knowledge:
        words = join_captions(title, made.knowledge)
        yield Figure(f"calibration-{slug}", words, content.tabulate_calibration(made.diagnoses), made.knowledge, 2.8)
    if made.depth:
        yield Figure(f"depth-{slug}", join_captions(title, [made.depth]), content.tabulate_depth(panel), [made.depth])


def build_realisation_figure(chart: Chart, panels: Sequence[Panel]) -> Figure:
    """Return the figure of promised against measured speed-up."""
    words = join_captions(chart.title, [chart])
    figure = Figure("flops-and-time", words, content.tabulate_timings(panels), [chart], 2.5)
    timed = [one for one in _label_series(panels) if any(point.timed for point in one[2].points.values())]
    return add_doubts(figure, timed)


def build_paper_figures(panels: Sequence[PanelCharts]) -> list[Figure]:
    """Return those of the paper's figures that the store has results for."""
    plain = [made.panel for made in panels]
    return [*_build_figure_2(plain), *_build_figure_3(panels), *_build_windows(plain), *_build_criteria(plain)]


def read_at_threshold(curve: BandedCurve, delta: float) -> tuple[float, float]:
    """Return computation (1 / FLOPs speed-up) and quality at threshold ``delta``: the stored row just below it."""
    known = [(-np.inf if t is None else t, k) for k, t in enumerate(curve.thresholds)]
    k = max((item for item in known if item[0] <= delta), default=min(known))[1]
    return float(1 / curve.speedup[k]), float(curve.quality[k])


def choose_paper_variant(panel: Panel) -> Series | None:
    """Return the series that stands for ELBERT on ``panel``, None where there is none.

    The paper's own training (recipe elbert, one shared head) goes before another, then the window nearest to the
    paper's 8 of 24 layers, in proportion.
    """

    def distance(series: Series) -> tuple[int, bool, float, str]:
        spec = series.first.spec
        trained = (spec.recipe, spec.head) == ("elbert", "shared")
        window = spec.criterion_args.get("window")
        away = abs(window - panel.layers / 3) if isinstance(window, int) else np.inf
        return FIRST.index(series.strategy), not trained, float(away), series.label

    return min((s for s in panel.series if s.strategy in FIRST), key=distance, default=None)


def _build_figure_2(panels: Sequence[Panel]) -> list[Figure]:
    chosen = [(panel, series) for panel in panels if (series := choose_paper_variant(panel))]
    if not chosen:
        return []
    rows: list[DataRow] = []
    lines: list[Line] = []
    for i, (panel, series) in enumerate(chosen):
        curves = [read_curve(run, series.split) for run in series.runs]
        found = [np.mean([read_at_threshold(c, delta) for c in curves], axis=0).tolist() for delta in DELTAS]
        own = Look(list(COLOURS)[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // 7 % len(DASHES)])
        lines.append(Line(panel.title, own, [cost for cost, _ in found], [quality for _, quality in found]))
        rows += [
            {"panel": panel.title, "series": series.label, "threshold": delta, "computation": cost,
             "metric": panel.metric, "quality": quality}
            for delta, (cost, quality) in zip(DELTAS, found, strict=True)
        ]  # fmt: skip
    words = (
        "After ELBERT's figure 2: quality against computation (fraction of the plain model's FLOPs), threshold 0.1 to "
        "1.0 in steps of 0.1 from right to left, not chosen on any data. "
        + "".join(f"{panel.title}: {series.label}, {series.trained_as}. " for panel, series in chosen)
        + describe_runs([series for _, series in chosen])
    )
    metrics = " / ".join(sorted({title_metric(p.metric) for p, _ in chosen}))
    chart = _build_lines_chart(lines, "computation (fraction of the plain model)", metrics, every=True)
    figure = Figure("elbert-figure-2", words, rows, [chart])
    return [add_doubts(figure, [(panel, series.label, series) for panel, series in chosen])]


def _build_figure_3(panels: Sequence[PanelCharts]) -> list[Figure]:
    counts = {p.panel.number: len({s.strategy for s in p.panel.series if s.early}) for p in panels}
    most = sorted((p for p in panels if counts[p.panel.number] > 1), key=lambda p: -counts[p.panel.number])[:6]
    several = sorted(most, key=lambda p: p.panel.number)
    if not several:
        return []
    rows = [{"panel": p.panel.title, **row} for p in several for row in content.tabulate_curves(p.panel)]
    words = (
        "After ELBERT's figure 3: strategies against each other; stars are plain compression (models of fewer layers "
        "and the full model, without early exit). "
        + " ".join(f"{p.panel.title}: {p.trade_off.source}" for p in several)
    )
    charts = [
        replace(p.trade_off, title=p.panel.title, marks=[m for m in p.trade_off.marks if not isinstance(m, Band)])
        for p in several
    ]
    figure = Figure("elbert-figure-3", words, rows, charts, 0.3 + 1.75 * len(several), titled=True)
    return [add_doubts(figure, _label_series(p.panel for p in several))]


def _build_windows(panels: Sequence[Panel]) -> Iterator[Figure]:
    """One figure for every strategy of which a panel has several windows and nothing else that differs."""
    for panel in panels:
        groups: dict[str, list[tuple[int, Series]]] = defaultdict(list)
        for series in panel.series:
            args = dict(series.first.spec.criterion_args)
            window = args.pop("window", None)
            if isinstance(window, int):
                key = write_canonical([series.strategy, args, make_checkpoint_key(series.first)])
                groups[key].append((window, series))
        for number, (_, found) in enumerate(sorted(groups.items()), start=1):
            if len({w for w, _ in found}) > 1:
                found.sort(key=lambda item: item[0])
                named = [(f"window {w}" if w else "no window", s) for w, s in found]
                looks = [Look(SHADES[i * len(SHADES) // len(found)], MARKERS[i % len(MARKERS)], "")
                         for i in range(len(found))]  # fmt: skip
                words = f"Window size of {found[0][1].strategy} on {panel.title}, same checkpoint. "
                words += describe_source([s for _, s in found])
                yield _build_curves_figure(f"window-{panel.slug}-{number}", words, panel, named, looks)


def _build_criteria(panels: Sequence[Panel]) -> Iterator[Figure]:
    """Criteria on the same checkpoint: the only comparison of criteria alone."""
    for panel in panels:
        groups: dict[str, list[Series]] = defaultdict(list)
        for series in panel.series:
            if series.early:
                groups[make_checkpoint_key(series.first)].append(series)
        several = [g for g in groups.values() if len({s.strategy for s in g}) > 1]
        for number, found in enumerate(several, start=1):
            shown, names = content.choose_best(found), [s.strategy for s in found]
            named = [(s.strategy if names.count(s.strategy) == 1 else s.label, s) for s in shown]
            words = f"Criteria on one and the same checkpoint ({found[0].trained_as}), {panel.title}. "
            words += describe_source(found)
            words += f" The best {len(shown)} of {len(found)} are drawn." if len(shown) < len(found) else ""
            yield _build_curves_figure(f"criteria-{panel.slug}-{number}", words, panel, named, [s.look for s in shown])


def _build_curves_figure(
    name: str, words: str, panel: Panel, named: Sequence[tuple[str, Series]], looks: Sequence[Look]
) -> Figure:
    """Return a figure of the trade-off curves of some series, under names of their own."""
    lines = [Line(add_marks(label, s.doubts), look, s.curve.speedup.tolist(), s.curve.quality.tolist())
             for (label, s), look in zip(named, looks, strict=True)]  # fmt: skip
    rows: list[DataRow] = [
        {"series": label, "speedup": float(x), "quality": float(y), "low": float(low), "high": float(high)}
        for label, s in named
        for x, y, low, high in zip(s.curve.speedup, s.curve.quality, s.curve.low, s.curve.high, strict=True)
    ]
    figure = Figure(name, words, rows, [_build_lines_chart(lines, SPEEDUP, title_metric(panel.metric))])
    return add_doubts(figure, [(panel, label, series) for label, series in named])


def _build_lines_chart(lines: Sequence[Line], x: str, y: str, every: bool = False) -> Chart:
    """Build a chart of lines with markers, at ``every`` vertex or at a few: lines of one colour cross here."""
    across = Axis(x, *pad_range((v for line in lines for v in line.x), 0.03))
    up = Axis(y, *pad_range((v for line in lines for v in line.y), 0.06))
    marks: list[Mark] = []
    for line in lines:
        xs, ys = line.x, line.y
        where = range(len(xs)) if every else np.searchsorted(xs, np.linspace(xs[0], xs[-1], POINTS))
        points = [Point(line.series, line.look, xs[k], ys[k], "", size=SMALL) for k in dict.fromkeys(map(int, where))]
        marks += [line, *points]
    keys = [Key(line.series, line.series, line.look) for line in lines]
    return Chart("", f"{y} against {x}", "", "", across, up, marks, keys)
