"""The numbers behind every chart and table, once, for the page, the figures and their CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import UserError
from bench.measure import areas
from bench.measure.calibration import Calibration, Headroom, measure_calibration, measure_headroom
from bench.measure.stats import wilson
from bench.report.formats import DataRow
from bench.report.series import Panel, Series, read_curve
from bench.results.groups import make_checkpoint_key
from bench.results.judged_by.judging import find_judge
from bench.results.run import Run
from bench.results.times import describe_two_speeds

MOST_DRAWN = 8  # lines that can be told apart in one chart
MOST_OFFERED = 32  # lines that a legend on the page can switch on


# --------------------------------------------------------------------------- what is drawn


def choose_drawn(panel: Panel, most: int = MOST_DRAWN) -> list[Series]:
    """Return the early-exit series of a panel to draw."""
    return choose_best([s for s in panel.series if s.early], most)


def choose_best(early: Sequence[Series], most: int = MOST_DRAWN) -> list[Series]:
    """Return all series, or where they are too many the best of each strategy, then the next best, in their own order.

    Upper bounds come last: they would crowd out what can be had.
    """
    early = list(early)
    if len(early) <= most:
        return early
    ranked = sorted(early, key=lambda s: (s.upper_bound, -_measure_volume(s), s.label))
    firsts: dict[str, Series] = {}
    for series in ranked:
        firsts.setdefault(series.strategy, series)
    chosen = [*firsts.values(), *(s for s in ranked if s not in firsts.values())][:most]
    return [s for s in early if s in chosen]


def _measure_volume(series: Series) -> float:
    curve, better = read_curve(series.first, series.split), find_judge(series.first).higher_is_better
    quality = curve.quality if better else -curve.quality  # a loss has no chance level: any one serves to compare
    return areas.hypervolume(areas.envelope(curve.speedup, quality), compute_chance(series.first) if better else -100.0)


def compute_chance(run: Run) -> float:
    """Return what guessing gives: 1 / classes for accuracy, 0 for the other metrics."""
    return 1 / max(1, len(run.record.task.labels)) if run.metric == "accuracy" else 0.0


def find_stars(panel: Panel) -> dict[Series, float]:
    """Return plain compression, models that always run to their own last layer, with FLOPs speed-up over the backbone.

    None without the whole plain backbone.
    """
    whole = next((run.result(panel.split).full for run in panel.runs if run.layers == panel.layers), None)
    if whole is None:
        return {}
    base = whole.cost_mean * whole.cost_speedup.value
    plain = [s for s in panel.series if not s.early]
    return {s: float(np.mean([base / result.full.cost_mean for result in s.results])) for s in plain}


# --------------------------------------------------------------------------- exits as classifiers


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What the stored logits of one checkpoint say, for its lowest seed."""

    label: str
    series: Series
    calibration: Calibration | None
    headroom: Headroom | None
    note: str = ""


def diagnose_exits(panel: Panel) -> list[Diagnosis]:
    """Return a diagnosis of every checkpoint of a panel; criteria that read the same logits share one."""
    sharing: dict[str, list[Series]] = {}
    for series in panel.series:
        sharing.setdefault(make_checkpoint_key(series.first), []).append(series)
    return [_diagnose_checkpoint(found, panel.split) for found in sharing.values()]


def _diagnose_checkpoint(sharing: Sequence[Series], split: str) -> Diagnosis:
    first = sharing[0]
    others = len({s.label for s in sharing}) - 1
    label = first.label + (f" and {others} more" if others else "")
    stored = next((s.first for s in sharing if s.first.has_exits(split)), None)
    if first.first.record.task.kind == "regression":
        note = "not defined for regression"
    elif stored is None:
        note = "logits of the exits are not in the store"
    else:
        try:
            exits = stored.exits(split)
            given = (exits.logits, exits.labels)
            return Diagnosis(label, first, measure_calibration(*given), measure_headroom(*given))
        except UserError:
            note = "the file of the exits' logits is damaged"
    return Diagnosis(label, first, None, None, note)


def tabulate_every_exit(series: Series) -> list[DataRow]:
    """Return the primary metric of every exit alone for the lowest seed, with Wilson's interval for accuracy."""
    metric, result = series.first.metric, series.results[0]
    rows = []
    for layer, value in enumerate(result.per_exit[metric], start=1):
        low = high = None
        if metric == "accuracy":
            found = wilson(min(result.samples, round(value * result.samples)), result.samples)
            low, high = found.low, found.high
        rows.append({"exit": layer, "quality": value, "low": low, "high": high})
    return rows


# --------------------------------------------------------------------------- rows of files


def tabulate_exits(panel: Panel) -> list[DataRow]:
    """Return, per series, quality of every exit alone and samples leaving at each exit at the operating points."""
    rows: list[DataRow] = []
    for series in panel.series:
        for k, row in enumerate(tabulate_every_exit(series)):
            left = {f"left at {rule}": point.exit_counts[k] for rule, point in series.points.items()}
            rows.append({"series": series.label, **row, **left})
    return rows


def tabulate_calibration(found: Sequence[Diagnosis]) -> list[DataRow]:
    """Return ECE, AUROC and overthinking of every exit."""
    rows: list[DataRow] = []
    for d in found:
        if d.calibration is None or d.headroom is None:
            continue
        c, h = d.calibration, d.headroom
        for k in range(len(c.ece)):
            row = {"exit": k + 1, "accuracy": c.accuracy[k], "confidence": c.confidence[k], "ece": c.ece[k]}
            rows.append({"checkpoint": d.label, **row, "auroc": c.auroc[k], "overthought": h.overthought[k]})
    return rows


def tabulate_timings(panels: Sequence[Panel]) -> list[DataRow]:
    """Return every timed operating point: what the FLOPs promise and what the clock says, on the same samples."""
    return [
        {
            "panel": panel.title,
            "series": series.label,
            "strategy": series.strategy,
            "rule": rule,
            "flops_speedup": timed.cost_speedup,
            "latency_speedup": timed.speedup.value,
            "low": timed.speedup.low,
            "high": timed.speedup.high,
            "samples_low": timed.sampling.low,
            "samples_high": timed.sampling.high,
            "realisation": timed.realisation,
            "mean_ms": timed.mean_ms,
            "machine": timed.machine,
            "protocol": timed.protocol,
            "baseline": timed.baseline or "plain",
            "valid": timed.valid,
            "one_speed": timed.one_speed,
        }
        for panel in panels
        for series in panel.series
        for rule, point in series.points.items()
        if (timed := point.timed)
    ]


def tabulate_summaries(panel: Panel) -> list[DataRow]:
    """Return the numbers of :data:`bench.measure.areas.DEFINITIONS` for every early-exit series, means over seeds."""
    rows: list[DataRow] = []
    for series in (s for s in panel.series if s.early):
        found = []
        for run, result in zip(series.runs, series.results, strict=True):
            curve, full = read_curve(run, series.split), result.full.metrics[run.metric].value
            known = (full, run.layers, compute_chance(run), result.per_exit[run.metric])
            found.append(areas.summarise_areas(curve.speedup, curve.quality, *known))
        columns = {name: [one[name] for one in found] for name in areas.DEFINITIONS}
        means = {name: None if None in values else float(np.mean(values)) for name, values in columns.items()}
        rows.append({"series": series.label, "strategy": series.strategy, "upper_bound": series.upper_bound, **means})
    return rows


def tabulate_depth(panel: Panel) -> list[DataRow]:
    """Return milliseconds a sample at every depth, averaged over length buckets: the layers, and the checks."""
    rows: list[DataRow] = []
    for series in panel.series:
        latency = series.first.record.latency
        if latency is None or latency.depth is None:
            continue
        for k, (bare, checks) in enumerate(zip(latency.depth.bare, latency.depth.checks, strict=True), start=1):
            cells = {"layers_ms": float(np.mean(bare) * 1e3), "checks_ms": float(np.mean(checks) * 1e3)}
            judged = {"valid": latency.depth.valid, "one_speed": not describe_two_speeds(latency.depth)}
            rows.append({"series": series.label, "exit": k, **cells, **judged})
    return rows
