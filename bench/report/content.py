"""The numbers behind every chart and table, once, for the page, the figures and their CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.measure import areas
from bench.measure.calibration import Calibration, Headroom, measure_calibration, measure_headroom
from bench.measure.stats import wilson
from bench.report.formats import Row
from bench.report.lines import curve_of
from bench.report.series import Panel, Series, SeriesPoint
from bench.results.run import Run

MOST_DRAWN = 8  # lines that can be told apart in one chart
MOST_OFFERED = 32  # lines that a legend on the page can switch on


# --------------------------------------------------------------------------- what is drawn


def drawn(panel: Panel, most: int = MOST_DRAWN) -> list[Series]:
    """The early-exit series of a panel to draw."""
    return best([s for s in panel.series if s.early], most)


def best(early: Sequence[Series], most: int = MOST_DRAWN) -> list[Series]:
    """All of them, or where they are too many the best of each strategy, then the next best, in their own order.

    Upper bounds come last: they would crowd out what can be had.
    """
    early = list(early)
    if len(early) <= most:
        return early
    ranked = sorted(early, key=lambda s: (s.upper_bound, -_volume(s), s.label))
    firsts: dict[str, Series] = {}
    for series in ranked:
        firsts.setdefault(series.strategy, series)
    chosen = [*firsts.values(), *(s for s in ranked if s not in firsts.values())][:most]
    return [s for s in early if s in chosen]


def left_out(panel: Panel) -> str:
    """Return what :func:`drawn` left out, as a sentence for a figure's caption."""
    early = sum(s.early for s in panel.series)
    return f" The best {MOST_DRAWN} of {early} series are drawn; the tables have all." if early > MOST_DRAWN else ""


def offered(panel: Panel) -> str:
    """Return what the legend does not show at first, or at all, as a sentence for the page's caption."""
    early = sum(s.early for s in panel.series)
    if early <= MOST_DRAWN:
        return ""
    rest = "." if early <= MOST_OFFERED else f", of the best {MOST_OFFERED}; the tables have all."
    return f"The best {MOST_DRAWN} of {early} series are shown at first; the legend switches the others on{rest}"


def _volume(series: Series) -> float:
    curve = curve_of(series.first, series.split)
    return areas.hypervolume(areas.envelope(curve.speedup, curve.quality), chance_of(series.first))


def chance_of(run: Run) -> float:
    """Return what guessing gives: 1 / classes for accuracy, 0 for the other metrics."""
    return 1 / max(1, len(run.record.task.labels)) if run.metric == "accuracy" else 0.0


@dataclass(frozen=True)
class Star:
    """A model without early exits as a point: its cost against the whole plain backbone's."""

    series: Series
    speedup: float
    quality: Mapping[str, Any]


def plain_cost(panel: Panel) -> float | None:
    """Return the plain whole backbone's mean cost on these samples; None where no run has all its layers."""
    whole = next((run for run in panel.runs if run.layers == panel.layers), None)
    if whole is None:
        return None
    full = whole.result(panel.split).full
    return full.cost_mean * full.cost_speedup.value


def stars(panel: Panel) -> list[Star]:
    """Return plain compression: models that always run to their own last layer."""
    base = plain_cost(panel)
    if base is None:
        return []
    return [
        Star(s, float(np.mean([base / result.full.cost_mean for result in s.results])), s.full)
        for s in panel.series
        if not s.early
    ]


# --------------------------------------------------------------------------- exits as classifiers


@dataclass(frozen=True)
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
        sharing.setdefault(exits_key(series.first), []).append(series)
    return [_diagnosis(panel, found) for found in sharing.values()]


def _diagnosis(panel: Panel, sharing: Sequence[Series]) -> Diagnosis:
    first = sharing[0]
    others = len({s.label for s in sharing}) - 1
    label = first.label + (f" and {others} more" if others else "")
    if first.first.record.task.kind == "regression":
        return Diagnosis(label, first, None, None, "not defined for regression")
    stored = next((s.first for s in sharing if s.first.has_exits(panel.split)), None)
    if stored is None:
        return Diagnosis(label, first, None, None, "logits of the exits are not in the store")
    try:
        exits = stored.exits(panel.split)
    except UserError:
        return Diagnosis(label, first, None, None, "the file of the exits' logits is damaged")
    given = (exits.logits, exits.labels)
    return Diagnosis(label, first, measure_calibration(*given), measure_headroom(*given))


def exits_key(run: Run) -> str:
    """Return the same for runs that share their logits: one checkpoint, read by several criteria."""
    return f"{run.record.training.key} {run.spec.dtype} {run.spec.device}"


def every_exit(series: Series) -> list[Row]:
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


def curve_csv(panel: Panel) -> list[Row]:
    """Every drawn curve, then the operating points, then the stars."""
    rows: list[Row] = []
    names = ("speedup", "quality", "low", "high", "lowest_seed", "highest_seed", "threshold", "pareto", "rule")
    blank = dict.fromkeys(names)
    for series in drawn(panel):
        curve = series.curve
        head = {"kind": "curve", "series": series.label, "seeds": series.seeds}
        for k in range(len(curve.speedup)):
            rows.append(
                {
                    **head,
                    **blank,
                    "speedup": round(float(curve.speedup[k]), 6),
                    "quality": round(float(curve.quality[k]), 6),
                    "low": round(float(curve.low[k]), 6),
                    "high": round(float(curve.high[k]), 6),
                    "lowest_seed": None if curve.lowest is None else round(float(curve.lowest[k]), 6),
                    "highest_seed": None if curve.highest is None else round(float(curve.highest[k]), 6),
                    "threshold": curve.thresholds[k],
                    "pareto": bool(curve.pareto[k]),
                }
            )
        for rule, point in series.points.items():
            rows.append({**head, **blank, "kind": "point", "rule": rule, **_flat(point)})
    for star in stars(panel):
        quality = {"quality": star.quality["value"], "low": star.quality["low"], "high": star.quality["high"]}
        head = {"kind": "no early exit", "series": star.series.label, "seeds": star.series.seeds}
        rows.append({**head, **blank, "speedup": star.speedup, **quality})
    return rows


def _flat(point: SeriesPoint) -> Row:
    quality, thresholds = point.quality, point.thresholds
    return {
        "speedup": point.speedup["value"],
        "quality": quality["value"],
        "low": quality["low"],
        "high": quality["high"],
        "lowest_seed": quality.get("lowest"),
        "highest_seed": quality.get("highest"),
        "threshold": thresholds[0] if len(thresholds) == 1 else None,
    }


def exits_csv(panel: Panel) -> list[Row]:
    """Per series: quality of every exit alone and samples leaving at each exit at the operating points."""
    rows: list[Row] = []
    for series in panel.series:
        for k, row in enumerate(every_exit(series)):
            left = {f"left at {rule}": point.exit_counts[k] for rule, point in series.points.items()}
            rows.append({"series": series.label, **row, **left})
    return rows


def calibration_csv(found: Sequence[Diagnosis]) -> list[Row]:
    """ECE, AUROC and overthinking of every exit."""
    rows: list[Row] = []
    for d in found:
        if d.calibration is None or d.headroom is None:
            continue
        c, h = d.calibration, d.headroom
        for k in range(len(c.ece)):
            row = {"exit": k + 1, "accuracy": c.accuracy[k], "confidence": c.confidence[k], "ece": c.ece[k]}
            rows.append({"checkpoint": d.label, **row, "auroc": c.auroc[k], "overthought": h.overthought[k]})
    return rows


def realisation_rows(panels: Sequence[Panel]) -> list[Row]:
    """Every timed operating point: what the FLOPs promise and what the clock says, on the same samples."""
    rows: list[Row] = []
    for panel in panels:
        for series in panel.series:
            for rule, point in series.points.items():
                timed = point.timed
                if timed is None:
                    continue
                rows.append(
                    {
                        "panel": panel.title,
                        "series": series.label,
                        "strategy": series.strategy,
                        "rule": rule,
                        "flops_speedup": timed.cost_speedup,
                        "latency_speedup": timed.speedup["value"],
                        "low": timed.speedup["low"],
                        "high": timed.speedup["high"],
                        "samples_low": timed.sampling["low"],
                        "samples_high": timed.sampling["high"],
                        "realisation": timed.realisation,
                        "mean_ms": timed.mean_ms,
                        "machine": timed.machine,
                        "valid": timed.valid,
                    }
                )
    return rows


def curve_summaries(panel: Panel) -> list[Row]:
    """The numbers of :data:`bench.measure.areas.DEFINITIONS` for every early-exit series, means over seeds."""
    rows: list[Row] = []
    for series in panel.series:
        if not series.early:
            continue
        found = [_areas(run, series.split) for run in series.runs]
        means = {name: _mean([f[name] for f in found]) for name in areas.DEFINITIONS}
        rows.append({"series": series.label, "strategy": series.strategy, "upper_bound": series.upper_bound, **means})
    return rows


def _areas(run: Run, split: str) -> dict[str, Any]:
    curve, result = curve_of(run, split), run.result(split)
    full = result.full.metrics[run.metric].value
    return areas.summarise_areas(
        curve.speedup, curve.quality, full, run.layers, chance_of(run), result.per_exit[run.metric]
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None


def depth_rows(panel: Panel) -> list[Row]:
    """Return milliseconds a sample at every depth, averaged over length buckets: the layers, and the checks."""
    rows: list[Row] = []
    for series in panel.series:
        latency = series.first.record.latency
        if latency is None or latency.depth is None:
            continue
        for k, (bare, checks) in enumerate(zip(latency.depth.bare, latency.depth.checks, strict=True), start=1):
            cells = {"layers_ms": float(np.mean(bare) * 1e3), "checks_ms": float(np.mean(checks) * 1e3)}
            rows.append({"series": series.label, "exit": k, **cells, "valid": latency.depth.valid})
    return rows
