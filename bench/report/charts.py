"""What the charts of a panel show, each built once for the page and the figures alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.measure.metrics import title_metric
from bench.report import content, numbers
from bench.report.content import Diagnosis
from bench.report.exit_charts import build_depth, build_every_exit, build_exits_used, build_knowledge
from bench.report.marks import (
    LARGE,
    SMALL,
    Axis,
    Band,
    Chart,
    Dots,
    Key,
    Line,
    Mark,
    Point,
    Reference,
    Whisker,
    pad_range,
    thin_out,
)
from bench.report.provenance import describe_source, describe_timings
from bench.report.series import Panel, Series
from bench.report.style import Look, choose_look

if TYPE_CHECKING:
    from bench.compare.history import Entry, Step

FEW_SERIES = 3  # bands of more series lie over one another and are drawn fainter
SPEEDUP = "FLOPs speed-up over the plain model"


@dataclass(frozen=True)
class PanelCharts:
    """A panel and everything that is drawn of it."""

    panel: Panel
    diagnoses: Sequence[Diagnosis]
    trade_off: Chart
    exits_used: Sequence[Chart]
    every_exit: Chart
    knowledge: Sequence[Chart]
    depth: Chart | None

    @property
    def charts(self) -> list[Chart]:
        """All charts, in the order of the page."""
        depth = [self.depth] if self.depth else []
        return [self.trade_off, *self.exits_used, self.every_exit, *self.knowledge, *depth]


def build_charts(panel: Panel) -> PanelCharts:
    """Read the stored logits of ``panel`` and build every chart of it."""
    diagnoses = content.diagnose_exits(panel)
    return PanelCharts(
        panel,
        diagnoses,
        build_trade_off(panel),
        build_exits_used(panel),
        build_every_exit(panel),
        build_knowledge(panel, diagnoses),
        build_depth(panel),
    )


def build_trade_off(panel: Panel) -> Chart:
    """Build the chart of quality against FLOPs speed-up: bands, Pareto fronts, operating points, plain compression."""
    shown, starred = content.choose_drawn(panel, content.MOST_OFFERED), content.find_stars(panel)
    at_first, metric = content.choose_drawn(panel), title_metric(panel.metric)
    speedups = [float(v) for s in shown for v in s.curve.speedup] + list(starred.values())
    qualities = [float(v) for s in shown for v in s.curve.quality] + [s.full.value for s in starred]
    x = Axis(SPEEDUP, *pad_range([*speedups, 1.0], 0.03))
    y = Axis(metric, *pad_range(qualities, 0.12, 0.01))
    marks: list[Mark] = []
    marks += [mark for series in shown for mark in _draw_spread(series, y, len(at_first) > FEW_SERIES)]
    marks += [mark for series in shown for mark in _draw_line(series, x, y)]
    marks += [mark for series in shown for mark in _draw_point(series)]
    for series, speedup in starred.items():
        tip = f"{series.label}\n{metric} {numbers.format_quality(series.full)}\nFLOPs speed-up {speedup:.2f}×"
        marks.append(Point(series.label, series.look, speedup, series.full.value, tip, "*", LARGE))
    words = (
        f"{metric} against FLOPs speed-up. Lines: every threshold; bands: 95 % over samples"
        + ("; thin lines: worst and best seed" if any(s.curve.lowest is not None for s in shown) else "")
        + "; dots: the Pareto front of a curve; markers: operating points"
        + ("; stars: models without early exit, against the whole plain backbone." if starred else ".")
    )
    legend = [Key(s.full_name, s.label, s.look, on=s in at_first) for s in shown]
    legend += [Key(s.label, s.label, s.look, "*") for s in starred]
    name, words = f"{metric} against FLOPs speed-up, {panel.title}", words[:1].upper() + words[1:]
    source, note = describe_source(panel.series), content.describe_offered(panel)
    return Chart("Trade-off", name, words, source, x, y, marks, legend, note)


def _draw_spread(series: Series, y: Axis, faint: bool) -> list[Mark]:
    """Return what samples and seeds leave open, within the axis: a band may be wider than what is shown."""
    line, speedups = series.curve, series.curve.speedup.tolist()
    low, high = (edge.clip(y.low, y.high).tolist() for edge in (line.low, line.high))
    found: list[Mark] = [Band(series.label, series.look, speedups, low, high, faint)]
    for seed in (line.lowest, line.highest):
        if seed is not None:
            found.append(Line(series.label, series.look, speedups, seed.clip(y.low, y.high).tolist(), thin=True))
    return found


def _draw_line(series: Series, x: Axis, y: Axis) -> list[Mark]:
    line = series.curve
    notes = [f"threshold {numbers.format_threshold(t)}" if t is not None else "" for t in line.thresholds]
    speedups, qualities = line.speedup.tolist(), line.quality.tolist()
    front = thin_out(((speedups[k], qualities[k]) for k in line.pareto.nonzero()[0]), x, y)
    dots = [Dots(series.label, series.look, *zip(*front, strict=True))] if front else []
    return [Line(series.label, series.look, speedups, qualities, notes), *dots]


def _draw_point(series: Series) -> Iterator[Mark]:
    """Yield a marker for every operating point; rules that chose the same one share it."""
    places: dict[tuple[float, float], list[str]] = {}
    for rule, point in series.points.items():
        at = (round(point.speedup.value, 6), round(point.quality.value, 6))
        places.setdefault(at, []).append(rule)
    for at, rules in places.items():
        point = series.points[rules[0]]
        lines = [
            series.full_name,
            f"point: {', '.join(map(numbers.format_rule, rules))}",
            f"{title_metric(series.first.metric)} {numbers.format_quality(point.quality)}",
            f"FLOPs speed-up {numbers.format_times(point.speedup)}",
            f"mean exit {point.mean_layer:.2f} of {series.first.layers}",
            f"threshold {', '.join(numbers.format_threshold(t) for t in point.thresholds)}",
        ]
        if point.timed:
            lines.append(f"measured speed-up {numbers.format_times(point.timed.speedup)}")
        yield Point(series.label, series.look, *at, "\n".join(lines))


def build_realisation(panels: Sequence[Panel]) -> Chart | None:
    """Build the chart of what the FLOPs promise against what the clock measured; None where nothing was timed."""
    rows = content.tabulate_timings(panels)
    if not rows:
        return None
    shown = ("flops_speedup", "low", "high", "samples_low", "samples_high")
    low, high = pad_range([r[name] for r in rows for name in shown] + [1.0], 0.05)
    marks: list[Mark] = [Reference((low, low), (high, high), "y = x: all of it is realised")]
    for row in rows:
        name, at = row["strategy"], row["flops_speedup"]
        marks.append(Whisker(name, choose_look(name), at, row["samples_low"], row["samples_high"], faint=True))
        marks.append(Whisker(name, choose_look(name), at, row["low"], row["high"]))
        tip = (
            f"{row['series']}, {row['panel']}\npoint: {numbers.format_rule(row['rule'])}\n"
            f"FLOPs {at:.2f}×, measured {row['latency_speedup']:.2f}× "
            f"[{row['low']:.2f}, {row['high']:.2f}] over rounds, "
            f"[{row['samples_low']:.2f}, {row['samples_high']:.2f}] over samples\n"
            f"realisation {row['realisation']:.2f}, machine {row['machine']}"
            + ("" if row["valid"] else "\nINVALID timing")
        )
        marks.append(Point(name, choose_look(name), at, row["latency_speedup"], tip, hollow=not row["valid"]))
    return Chart(
        "Promised and measured",
        "Measured speed-up against FLOPs speed-up",
        "Measured against FLOPs speed-up of every timed operating point, on the timed samples; intervals 95 %, over "
        "rounds (how well the clock knows it) and, faint, over samples (how well these stand for the task). Below the "
        "line, less is realised than the FLOPs promise. Hollow: the timing is INVALID.",
        describe_timings(panels),
        Axis("FLOPs speed-up", low, high),
        Axis("measured speed-up", low, high),
        marks,
        [Key(name, name, choose_look(name)) for name in sorted({r["strategy"] for r in rows})],
        height=400,
    )


HISTORY = Look("blue", "o", "")


def build_history(entries: Sequence[Entry]) -> list[Chart]:
    """Build a chart for each series and number of a history, series by label, with the steps that it took."""
    from bench.compare.history import follow_numbers  # only here: it needs torch, and a report does not

    return [_build_steps(*found) for found in follow_numbers(entries)]


def _build_steps(name: str, kept: Sequence[Entry], taken: Sequence[Step]) -> Chart:
    label, numbers = kept[-1].label, [e.values[name].value for e in kept]
    at = [float(i) for i in range(1, len(kept) + 1)]
    y = Axis("", *pad_range(numbers, 0.12, abs(numbers[0]) * 0.005))
    x = Axis("entry", 0.5, len(kept) + 0.5, sorted({at[0], at[-1], *(at[s.at] for s in taken)}))
    marks: list[Mark] = [Line(label, HISTORY, at, numbers)]
    for here, value, e in zip(at, numbers, kept, strict=True):
        marks.append(Point(label, HISTORY, here, value, f"{e.commit[:9]} {e.at}: {e.mark_number(name)}", size=SMALL))
    for step in taken:
        here = at[step.at] - 0.5
        up = (step.after > step.before) == (here > (x.low + x.high) / 2)  # where the line leaves room for the label
        start, end = (y.low, y.high) if up else (y.high, y.low)
        marks.append(Reference((here, start), (here, end), f"{step.before:.4g} → {step.after:.4g}"))
    title = f"{label}: {name}, {kept[-1].mark_number(name)}"
    return Chart(title, title, "", "", x, y, marks, height=150)
