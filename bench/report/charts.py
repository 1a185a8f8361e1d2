"""The page's charts, one function each, drawn with :mod:`bench.report.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bench.report import content, numbers
from bench.report.content import Diagnosis, Row, metric_name
from bench.report.series import Panel, Series
from bench.report.style import Look, look
from bench.report.svg import Plot, padded, swatch

SHOWN_RULES = ("no-loss", "2x")  # exit histograms are drawn for these where they were reached


@dataclass(frozen=True)
class Key:
    """One entry of a legend: what it is called, what it looks like, and the series that it switches."""

    name: str
    swatch: Markup
    series: str


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
    shown, starred = content.drawn(panel), content.stars(panel)
    metric = metric_name(panel.metric)
    xs = [float(v) for s in shown for v in s.line.speedup] + [s.speedup for s in starred]
    ys = [float(v) for s in shown for v in (*s.line.quality, s.line.quality.max())] + [
        s.quality["value"] for s in starred
    ]
    plot = Plot(f"{metric} against FLOPs speed-up, {panel.title}", "FLOPs speed-up over the plain model", metric,
                padded([*xs, 1.0], 0.03), padded(ys, 0.12, 0.01))  # fmt: skip
    for series in shown:
        line = series.line
        clip = [[min(max(float(v), plot.y[0]), plot.y[1]) for v in band] for band in (line.low, line.high)]
        plot.band(line.speedup.tolist(), clip[0], clip[1], series.look, series.label)
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
        + (" and seeds" if any(len(s.results) > 1 for s in shown) else "")
        + "; dots: the Pareto front of a curve; markers: operating points"
        + ("; stars: models without early exit, against the whole plain backbone" if starred else "")
        + f". {content.caption(panel)}{content.left_out(panel)}"
    )
    keys = [Key(_bound(s), swatch(s.look), s.label) for s in shown]
    keys += [Key(s.series.label, swatch(s.series.look, "*"), s.series.label) for s in starred]
    words = words[:1].upper() + words[1:]
    return Chart("Trade-off", words, plot.render(words), keys)


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
                    (0.5, layers + 0.5), (0.0, max(max(s) for s in shares) * 1.06),
                    x_ticks=_exit_ticks(layers), height=240)  # fmt: skip
        width = 0.84 / len(found)
        for i, ((series, _), share) in enumerate(zip(found, shares, strict=True)):
            for k, value in enumerate(share):
                if value:
                    tip = f"{_bound(series)}\nexit {k + 1}: {numbers.percent(value)} of samples"
                    plot.bar(k + 0.58 + i * width, width, 0.0, value, series.look, series.label, tip)
        words = f"Share of samples that leave at each exit at the operating point “{numbers.rule(rule)}”. "
        words += content.caption(panel, [s for s, _ in found])
        charts.append(Chart(f"Exits used, {numbers.rule(rule)}", words, plot.render(words), _keys(s for s, _ in found)))
    return charts


def _exit_ticks(layers: int) -> list[float]:
    step = 1 if layers <= 12 else 2 if layers <= 24 else max(1, layers // 12)
    return [float(k) for k in range(step, layers + 1, step)] if step > 1 else [float(k) for k in range(1, layers + 1)]


def _keys(series: object) -> list[Key]:
    return [Key(_bound(s), swatch(s.look), s.label) for s in series]  # type: ignore[attr-defined]


def per_exit(panel: Panel) -> Chart:
    """Quality with all samples forced to leave at the same exit."""
    metric, shown = metric_name(panel.metric), _one_per_checkpoint(panel)
    rows = {s.label: content.per_exit(s.first) for s in shown}
    values = [
        v
        for found in rows.values()
        for row in found
        for v in (row["quality"], row["low"], row["high"])
        if v is not None
    ]
    plot = Plot(f"{metric} of every exit alone, {panel.title}", "exit", metric, (0.7, panel.layers + 0.3),
                padded(values), x_ticks=_exit_ticks(panel.layers), height=240)  # fmt: skip
    for i, series in enumerate(shown):
        found, aside = rows[series.label], 0.07 * (i - (len(shown) - 1) / 2)  # so that intervals do not hide another
        plot.line([r["exit"] + aside for r in found], [r["quality"] for r in found], series.look, series.label)
        for row in found:
            if row["low"] is not None:
                plot.whisker(row["exit"] + aside, row["low"], row["high"], series.look, series.label)
            tip = f"{series.label}\nexit {row['exit']} alone: {metric} {numbers.number(row['quality'])}"
            if row["low"] is not None:
                tip += f" [{numbers.number(row['low'])}, {numbers.number(row['high'])}]"
            plot.mark(row["exit"] + aside, row["quality"], series.look, series.label, tip, size=3.2)
    words = f"{metric} when every sample leaves at the same exit (criteria that share a checkpoint are drawn once). "
    words += content.caption(panel, shown)
    words = words[:1].upper() + words[1:]
    return Chart("Every exit alone", words, plot.render(words), _keys(shown))


def _one_per_checkpoint(panel: Panel) -> list[Series]:
    kept: dict[str, Series] = {}
    for series in [*content.drawn(panel), *panel.series]:
        kept.setdefault(series.first.view.exits_key, series)
    return list(kept.values())[: content.MOST_DRAWN]


def calibration(panel: Panel, found: Sequence[Diagnosis]) -> list[Chart]:
    """ECE and AUROC of every exit."""
    known = [d for d in found if d.calibration is not None][: content.MOST_DRAWN]
    if not known:
        return []
    charts = []
    for title, name, y, label in (
        ("Calibration", "ece", None, "expected calibration error"),
        ("Does confidence tell right from wrong?", "auroc", (0.4, 1.0), "AUROC of “this exit is right”"),
    ):
        series = {d.label: getattr(d.calibration, name) for d in known}
        values = [v for column in series.values() for v in column if v is not None]
        shown = y if y and min(values, default=1.0) >= y[0] else padded([*values, 0.0] if name == "ece" else values)
        plot = Plot(f"{label}, {panel.title}", "exit", label, (0.7, panel.layers + 0.3),
                    (max(0.0, shown[0]), shown[1]), x_ticks=_exit_ticks(panel.layers), height=240)  # fmt: skip
        for d in known:
            pairs = [(k + 1, v) for k, v in enumerate(series[d.label]) if v is not None]
            if pairs:
                plot.line([p[0] for p in pairs], [p[1] for p in pairs], d.series.look, d.label)
            for layer, value in pairs:
                tip = f"{d.label}\nexit {layer}: {label} {numbers.number(value)}"
                plot.mark(layer, value, d.series.look, d.label, tip, size=3.2)
        words = (
            "Expected calibration error of every exit, 15 equal bins of confidence: 0 is perfect."
            if name == "ece"
            else "How well an exit's confidence ranks its right answers above its wrong ones: 0.5 is chance, 1 perfect."
        )
        words += f" n = {panel.samples}, lowest seed of each."
        charts.append(
            Chart(title, words, plot.render(words), [Key(d.label, swatch(d.series.look), d.label) for d in known])
        )
    return charts


def overthinking(panel: Panel, found: Sequence[Diagnosis]) -> Chart | None:
    """Samples that an earlier exit answers rightly and the last one wrongly."""
    known = [d for d in found if d.headroom is not None][: content.MOST_DRAWN]
    if not known:
        return None
    top = max([v for d in known if d.headroom for v in d.headroom.overthought] + [0.01])
    plot = Plot(f"Overthinking, {panel.title}", "exit", "right here, wrong at the last",
                (0.7, panel.layers + 0.3), (0.0, top * 1.1), x_ticks=_exit_ticks(panel.layers), height=240)  # fmt: skip
    for d in known:
        values = d.headroom.overthought if d.headroom else []
        plot.line(list(range(1, len(values) + 1)), values, d.series.look, d.label)
        for k, value in enumerate(values):
            tip = f"{d.label}\nright at exit {k + 1}, wrong at the last: {numbers.percent(value)}"
            plot.mark(k + 1, value, d.series.look, d.label, tip, size=3.2)
    words = (
        f"Share of samples that an exit answers rightly and the last exit wrongly. n = {panel.samples}, lowest seed."
    )
    return Chart(
        "Overthinking", words, plot.render(words), [Key(d.label, swatch(d.series.look), d.label) for d in known]
    )


def realisation(panels: Sequence[Panel]) -> Chart | None:
    """What the FLOPs promise against what the clock measured."""
    rows = content.realisation_rows(panels)
    if not rows:
        return None
    span = padded([v for r in rows for v in (r["flops_speedup"], r["low"], r["high"])] + [1.0], 0.05)
    plot = Plot(
        "Measured speed-up against FLOPs speed-up", "FLOPs speed-up", "measured speed-up", span, span, height=400
    )
    plot.diagonal("y = x: all of it is realised")
    for row in rows:
        drawn = look(row["strategy"])
        plot.whisker(row["flops_speedup"], row["low"], row["high"], drawn, row["strategy"])
        invalid = "" if row["valid"] else "\nINVALID timing"
        tip = (
            f"{row['series']}, {row['panel']}\npoint: {numbers.rule(row['rule'])}\n"
            f"FLOPs {row['flops_speedup']:.2f}×, measured {row['latency_speedup']:.2f}× "
            f"[{row['low']:.2f}, {row['high']:.2f}]\n"
            f"realisation {row['realisation']:.2f}, machine {row['machine']}{invalid}"
        )
        plot.mark(row["flops_speedup"], row["latency_speedup"], drawn, row["strategy"], tip,
                  extra="" if row["valid"] else "invalid")  # fmt: skip
    names = sorted({r["strategy"] for r in rows})
    words = (
        "Measured against FLOPs speed-up of every timed operating point, on the timed samples; intervals 95 % over "
        "rounds. "
        "Below the line, less is realised than the FLOPs promise. Hollow: the timing is INVALID. Machines: "
        + ", ".join(sorted({r["machine"] for r in rows}))
        + "."
    )
    return Chart("Promised and measured", words, plot.render(words), [Key(n, swatch(look(n)), n) for n in names])


def depth(panel: Panel, series: Series) -> Chart | None:
    """A depth table as stacked bars: the layers below, the checks on the way on top."""
    rows = [r for r in content.depth_rows(panel) if r["series"] == series.label]
    if not rows:
        return None
    top = max(r["layers_ms"] + max(0.0, r["checks_ms"]) for r in rows)
    layers = len(rows)
    plot = Plot(f"Depth table of {series.label}, {panel.title}", "forced exit", "ms a sample",
                (0.5, layers + 0.5), (0.0, top * 1.08), x_ticks=_exit_ticks(layers), height=240)  # fmt: skip
    for row in rows:
        at, low, more = row["exit"] - 0.38, row["layers_ms"], max(0.0, row["checks_ms"])
        tip = f"{series.label}\nexit {row['exit']}: layers {low:.3f} ms, checks {row['checks_ms']:.3f} ms"
        plot.bar(at, 0.76, 0.0, low, series.look, "layers", tip)
        plot.bar(at, 0.76, low, low + more, Look("orange", "s", ""), "checks", tip)
    words = "Time of leaving at each exit: layers and one head below, heads and criterion on the way on top "
    words += f"({series.label}). " + content.caption(panel, [series])
    if not rows[0]["valid"]:
        words += " INVALID timing."
    keys = [
        Key("layers", swatch(series.look), "layers"),
        Key("checks on the way", swatch(Look("orange", "s", "")), "checks"),
    ]
    return Chart(f"Depth table, {series.label}", words, plot.render(words), keys)
