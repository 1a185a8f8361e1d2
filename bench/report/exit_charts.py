"""The page's charts about single exits: their quality, their confidence, what they know, what leaving there costs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import content, numbers
from bench.report.captions import caption
from bench.report.charts import Chart, Key, exit_ticks, keys
from bench.report.content import Diagnosis, metric_name
from bench.report.series import Panel, Series
from bench.report.svg import Plot, padded, swatch


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
                padded(values), x_ticks=exit_ticks(panel.layers), height=240)  # fmt: skip
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
    words += caption(panel, shown, points=False, lowest=True)
    words = words[:1].upper() + words[1:]
    return Chart("Every exit alone", words, plot.render(words), keys(shown))


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
                    (max(0.0, shown[0]), shown[1]), x_ticks=exit_ticks(panel.layers), height=240)  # fmt: skip
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
        words += " " + caption(panel, [d.series for d in known], points=False, lowest=True)
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
                (0.7, panel.layers + 0.3), (0.0, top * 1.1), x_ticks=exit_ticks(panel.layers), height=240)  # fmt: skip
    for d in known:
        values = d.headroom.overthought if d.headroom else []
        plot.line(list(range(1, len(values) + 1)), values, d.series.look, d.label)
        for k, value in enumerate(values):
            tip = f"{d.label}\nright at exit {k + 1}, wrong at the last: {numbers.percent(value)}"
            plot.mark(k + 1, value, d.series.look, d.label, tip, size=3.2)
    words = "Share of samples that an exit answers rightly and the last exit wrongly. "
    words += caption(panel, [d.series for d in known], points=False, lowest=True)
    return Chart(
        "Overthinking", words, plot.render(words), [Key(d.label, swatch(d.series.look), d.label) for d in known]
    )


def depth(panel: Panel, series: Series) -> Chart | None:
    """A depth table as stacked bars: the layers below, the checks on the way on top."""
    rows = [r for r in content.depth_rows(panel) if r["series"] == series.label]
    if not rows:
        return None
    top = max(r["layers_ms"] + max(0.0, r["checks_ms"]) for r in rows)
    layers = len(rows)
    plot = Plot(f"Depth table of {series.label}, {panel.title}", "forced exit", "ms a sample",
                (0.5, layers + 0.5), (0.0, top * 1.08), x_ticks=exit_ticks(layers), height=240)  # fmt: skip
    for row in rows:
        at, low, more = row["exit"] - 0.38, row["layers_ms"], max(0.0, row["checks_ms"])
        tip = f"{series.label}\nexit {row['exit']}: layers {low:.3f} ms, checks {row['checks_ms']:.3f} ms"
        plot.bar(at, 0.76, 0.0, low, series.look, "layers", tip)
        plot.bar(at, 0.76, low, low + more, series.look, "checks", tip, light=True)
    words = "Time of leaving at each exit: layers and one head below, heads and criterion on the way lighter on top "
    words += f"({series.label}). " + caption(panel, [series], points=False, lowest=True)
    if not rows[0]["valid"]:
        words += " INVALID timing."
    keys = [
        Key("layers", swatch(series.look), "layers"),
        Key("checks on the way", swatch(series.look, light=True), "checks"),
    ]
    return Chart(f"Depth table, {series.label}", words, plot.render(words), keys)
