"""The page's charts, one function each, drawn with :mod:`bench.report.svg`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from markupsafe import Markup

from bench.report import content, numbers
from bench.report.captions import caption, timed_caption
from bench.report.content import metric_name
from bench.report.formats import Row
from bench.report.series import Panel, Series
from bench.report.style import look
from bench.report.svg import Plot, padded, swatch
from bench.results.data import Array

FEW = 3  # bands of more series lie over one another and are drawn fainter
SHOWN_RULES = ("no-loss", "2x")  # exit histograms are drawn for these where they were reached


@dataclass(frozen=True)
class Key:
    """One entry of a legend: what it is called, what it looks like, and the series that it switches."""

    name: str
    swatch: Markup
    series: str
    on: bool = True


@dataclass(frozen=True)
class Chart:
    """A finished chart with its words. ``legend`` entries switch series on and off."""

    title: str
    caption: str
    svg: Markup
    legend: list[Key] = field(default_factory=list)
    table: list[Row] = field(default_factory=list)


def trade_off(panel: Panel) -> Chart:
    """Quality against FLOPs speed-up, with bands, Pareto marks, operating points and plain-compression stars."""
    shown, starred = content.drawn(panel, content.MOST_OFFERED), content.stars(panel)
    at_first = content.drawn(panel)
    metric = metric_name(panel.metric)
    xs = [float(v) for s in shown for v in s.line.speedup] + [s.speedup for s in starred]
    ys = [float(v) for s in shown for v in (*s.line.quality, s.line.quality.max())] + [
        s.quality["value"] for s in starred
    ]
    plot = Plot(f"{metric} against FLOPs speed-up, {panel.title}", "FLOPs speed-up over the plain model", metric,
                padded([*xs, 1.0], 0.03), padded(ys, 0.12, 0.01))  # fmt: skip
    many = len(at_first) > FEW
    for series in shown:
        line = series.line
        low, high = (_clipped(plot, band) for band in (line.low, line.high))
        plot.band(line.speedup.tolist(), low, high, series.look, series.label, faint=many)
        for seed in (line.lowest, line.highest):
            if seed is not None:
                plot.line(line.speedup.tolist(), _clipped(plot, seed), series.look, series.label, thin=True)
    for series in shown:
        line = series.line
        told = [f"threshold {numbers.threshold(t)}" if t is not None else "" for t in line.thresholds]
        plot.line(line.speedup.tolist(), line.quality.tolist(), series.look, series.label, told)
        _thinned_front(plot, series)
    for series in shown:
        _points(plot, panel, series)
    for star in starred:
        tip = f"{star.series.label}\n{metric} {numbers.quality(star.quality)}\nFLOPs speed-up {star.speedup:.2f}×"
        plot.mark(star.speedup, star.quality["value"], star.series.look, star.series.label, tip, marker="*", size=6)
    words = (
        f"{metric} against FLOPs speed-up. Lines: every threshold; bands: 95 % over samples"
        + ("; thin lines: worst and best seed" if any(s.line.lowest is not None for s in shown) else "")
        + "; dots: the Pareto front of a curve; markers: operating points"
        + ("; stars: models without early exit, against the whole plain backbone" if starred else "")
        + f". {caption(panel)}{_offered(panel)}"
    )
    legend = [replace(k, on=s in at_first) for k, s in zip(keys(shown), shown, strict=True)]
    legend += [Key(s.series.label, swatch(s.series.look, "*"), s.series.label) for s in starred]
    words = words[:1].upper() + words[1:]
    return Chart("Trade-off", words, plot.render(words), legend)


def _offered(panel: Panel) -> str:
    """What the legend does not show at first, or at all, as a sentence for the caption."""
    early = sum(s.early for s in panel.series)
    if early <= content.MOST_DRAWN:
        return ""
    rest = "." if early <= content.MOST_OFFERED else f", of the best {content.MOST_OFFERED}; the tables have all."
    first = f" The best {content.MOST_DRAWN} of {early} series are shown at first"
    return f"{first}; the legend switches the others on{rest}"


def _clipped(plot: Plot, values: Array) -> list[float]:
    """Within the axes: a band may be wider than what is shown."""
    return [float(v) for v in np.clip(values, *plot.y)]


def _bound(series: Series) -> str:
    return f"{series.label} (upper bound)" if series.upper_bound else series.label


def _thinned_front(plot: Plot, series: Series) -> None:
    """Pareto marks at least a few units apart: a dense front is a line anyway."""
    last: tuple[float, float] | None = None
    for k in series.line.pareto.nonzero()[0]:
        x, y = float(series.line.speedup[k]), float(series.line.quality[k])
        here = plot.px(x), plot.py(y)
        if last is None or abs(here[0] - last[0]) + abs(here[1] - last[1]) > 7:
            plot.dot(x, y, series.look, series.label)
            last = here


def _points(plot: Plot, panel: Panel, series: Series) -> None:
    metric = metric_name(panel.metric)
    seen: set[tuple[float, float]] = set()
    for rule in series.rules:
        point = series.point(rule, panel.metric)
        if point is None:
            continue
        at = (round(point["speedup"]["value"], 6), round(point["quality"]["value"], 6))
        if at in seen:
            continue
        seen.add(at)
        same = [numbers.rule(r) for r in series.rules if _at(series, r, panel.metric) == at]
        lines = [
            _bound(series),
            f"point: {', '.join(same)}",
            f"{metric} {numbers.quality(point['quality'])}",
            f"FLOPs speed-up {numbers.times(point['speedup'])}",
            f"mean exit {point['mean_layer']:.2f} of {series.first.view.layers}",
            f"threshold {', '.join(numbers.threshold(t) for t in point['thresholds'])}",
        ]
        if point["latency"]:
            lines.append(f"measured speed-up {numbers.times(point['latency'])}")
        plot.mark(*at, series.look, series.label, "\n".join(lines))


def _at(series: Series, rule: str, metric: str) -> tuple[float, float] | None:
    point = series.point(rule, metric)
    return None if point is None else (round(point["speedup"]["value"], 6), round(point["quality"]["value"], 6))


def exit_histograms(panel: Panel) -> list[Chart]:
    """Where samples leave, for two operating points."""
    charts = []
    for rule in SHOWN_RULES:
        found = [(s, p) for s in content.drawn(panel) if (p := s.point(rule, panel.metric))]
        if not found:
            continue
        layers = max(len(p["exit_counts"]) for _, p in found)
        shares = [[c / sum(p["exit_counts"]) for c in p["exit_counts"]] for _, p in found]
        plot = Plot(f"Exits at {numbers.rule(rule)}, {panel.title}", "exit", "share of samples",
                    (0.5, layers + 0.5), (0.0, max(max(s) for s in shares) * 1.12),
                    x_ticks=exit_ticks(layers), height=240)  # fmt: skip
        width = 0.84 / len(found)
        for i, ((series, _), share) in enumerate(zip(found, shares, strict=True)):
            for k, value in enumerate(share):
                if value:
                    tip = f"{_bound(series)}\nexit {k + 1}: {numbers.percent(value)} of samples"
                    plot.bar(k + 0.58 + i * width, width, 0.0, value, series.look, series.label, tip)
                    plot.cap(k + 0.58 + (i + 0.5) * width, value, series.look, series.label)
        words = f"Share of samples that leave at each exit at the operating point “{numbers.rule(rule)}”"
        words += ", mean over seeds. " if any(len(s.results) > 1 for s, _ in found) else ". "
        words += caption(panel, [s for s, _ in found])
        charts.append(Chart(f"Exits used, {numbers.rule(rule)}", words, plot.render(words), keys(s for s, _ in found)))
    return charts


def exit_ticks(layers: int) -> list[float]:
    step = 1 if layers <= 12 else 2 if layers <= 24 else max(1, layers // 12)
    return [float(k) for k in range(step, layers + 1, step)] if step > 1 else [float(k) for k in range(1, layers + 1)]


def keys(series: Iterable[Series]) -> list[Key]:
    """The legend's entries."""
    return [Key(_bound(s), swatch(s.look), s.label) for s in series]


ENDS = ("low", "high", "samples_low", "samples_high")
"""The ends of both intervals of a measured speed-up."""


def realisation(panels: Sequence[Panel]) -> Chart | None:
    """What the FLOPs promise against what the clock measured."""
    rows = content.realisation_rows(panels)
    if not rows:
        return None
    span = padded([v for r in rows for v in (r["flops_speedup"], *[r[end] for end in ENDS])] + [1.0], 0.05)
    plot = Plot(
        "Measured speed-up against FLOPs speed-up", "FLOPs speed-up", "measured speed-up", span, span, height=400
    )
    plot.diagonal("y = x: all of it is realised")
    for row in rows:
        drawn = look(row["strategy"])
        plot.whisker(row["flops_speedup"], row["samples_low"], row["samples_high"], drawn, row["strategy"], faint=True)
        plot.whisker(row["flops_speedup"], row["low"], row["high"], drawn, row["strategy"])
        invalid = "" if row["valid"] else "\nINVALID timing"
        tip = (
            f"{row['series']}, {row['panel']}\npoint: {numbers.rule(row['rule'])}\n"
            f"FLOPs {row['flops_speedup']:.2f}×, measured {row['latency_speedup']:.2f}× "
            f"[{row['low']:.2f}, {row['high']:.2f}] over rounds, "
            f"[{row['samples_low']:.2f}, {row['samples_high']:.2f}] over samples\n"
            f"realisation {row['realisation']:.2f}, machine {row['machine']}{invalid}"
        )
        plot.mark(row["flops_speedup"], row["latency_speedup"], drawn, row["strategy"], tip,
                  extra="" if row["valid"] else "invalid")  # fmt: skip
    names = sorted({r["strategy"] for r in rows})
    words = (
        "Measured against FLOPs speed-up of every timed operating point, on the timed samples; intervals 95 %, over "
        "rounds (how well the clock knows it) and, faint, over samples (how well these stand for the task). Below the "
        "line, less is realised than the FLOPs promise. Hollow: the timing is INVALID. " + timed_caption(panels)
    )
    return Chart("Promised and measured", words, plot.render(words), [Key(n, swatch(look(n)), n) for n in names])
