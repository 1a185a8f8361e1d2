"""The numbers behind every chart and table, once, for the page, the figures and their CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.cli.display import NAMES
from bench.errors import DataError
from bench.measure import areas
from bench.measure.calibration import Calibration, Headroom, calibration, headroom
from bench.measure.stats import wilson
from bench.report.captions import seeds
from bench.report.formats import Row
from bench.report.series import Panel, Series
from bench.results.data import Result

MOST_DRAWN = 8  # lines that can be told apart in one chart
MOST_OFFERED = 32  # lines that a legend on the page can switch on


def metric_name(name: str) -> str:
    """A metric for readers."""
    return NAMES.get(name, name)


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
    speedup, quality, _, _ = series.first.curve
    return areas.hypervolume(areas.envelope(speedup, quality), series.first.chance)


@dataclass(frozen=True)
class Star:
    """A model without early exits as a point: its cost against the whole plain backbone's."""

    series: Series
    speedup: float
    quality: Mapping[str, Any]


def plain_cost(panel: Panel) -> float | None:
    """Mean cost of the plain whole backbone on these samples; None where no result has all its layers."""
    whole = [r for r in panel.results if r.view.layers == panel.layers and "cost_mean" in r.full]
    return float(whole[0].full["cost_mean"]) * float(whole[0].full["cost_speedup"]["value"]) if whole else None


def stars(panel: Panel) -> list[Star]:
    """Plain compression: models that always run to their own last layer."""
    base = plain_cost(panel)
    if base is None:
        return []
    return [
        Star(s, float(np.mean([base / float(r.full["cost_mean"]) for r in s.results])), s.full(panel.metric))
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


def diagnoses(panel: Panel) -> list[Diagnosis]:
    """Every checkpoint of a panel once; several criteria that read the same logits share a diagnosis."""
    sharing: dict[str, list[Series]] = {}
    for series in panel.series:
        sharing.setdefault(series.first.view.exits_key, []).append(series)
    return [_diagnosis(panel, found) for found in sharing.values()]


def _diagnosis(panel: Panel, sharing: Sequence[Series]) -> Diagnosis:
    first = sharing[0]
    others = len({s.label for s in sharing}) - 1
    label = first.label + (f" and {others} more" if others else "")
    result = first.first
    if result.view.record["task"].get("kind") == "regression":
        return Diagnosis(label, first, None, None, "not defined for regression")
    try:
        exits = next((e for s in sharing for e in (s.first.view.exits(panel.split),) if e is not None), None)
    except DataError:
        return Diagnosis(label, first, None, None, "the file of the exits' logits is damaged")
    if exits is None:
        return Diagnosis(label, first, None, None, "logits of the exits are not in the store")
    return Diagnosis(label, first, calibration(exits.logits, exits.labels), headroom(exits.logits, exits.labels))


def per_exit(result: Result) -> list[Row]:
    """Primary metric of every exit alone, with Wilson's interval for accuracy."""
    rows = []
    for layer, value in enumerate(result.summary["per_exit"][result.metric], start=1):
        low = high = None
        if result.metric == "accuracy":
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
        line = series.line
        head = {"kind": "curve", "series": series.label, "seeds": seeds(series)}
        for k in range(len(line.speedup)):
            rows.append(
                {
                    **head,
                    **blank,
                    "speedup": round(float(line.speedup[k]), 6),
                    "quality": round(float(line.quality[k]), 6),
                    "low": round(float(line.low[k]), 6),
                    "high": round(float(line.high[k]), 6),
                    "lowest_seed": None if line.lowest is None else round(float(line.lowest[k]), 6),
                    "highest_seed": None if line.highest is None else round(float(line.highest[k]), 6),
                    "threshold": line.thresholds[k],
                    "pareto": bool(line.pareto[k]),
                }
            )
        for rule in series.rules:
            point = series.point(rule, panel.metric)
            if point:
                rows.append({**head, **blank, "kind": "point", "rule": rule, **_flat(point)})
    for star in stars(panel):
        quality = {"quality": star.quality["value"], "low": star.quality["low"], "high": star.quality["high"]}
        head = {"kind": "no early exit", "series": star.series.label, "seeds": seeds(star.series)}
        rows.append({**head, **blank, "speedup": star.speedup, **quality})
    return rows


def _flat(point: Mapping[str, Any]) -> Row:
    quality = point["quality"]
    thresholds = point["thresholds"]
    return {
        "speedup": point["speedup"]["value"],
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
        shares = {rule: p["exit_counts"] for rule in series.rules if (p := series.point(rule, panel.metric))}
        for row in per_exit(series.first):
            k = row["exit"] - 1
            rows.append({"series": series.label, **row, **{f"left at {r}": c[k] for r, c in shares.items()}})
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
            for rule in series.rules:
                point = series.point(rule, panel.metric)
                if point is None or not point.get("latency"):
                    continue
                latency, samples = point["latency"], point["latency_samples"]
                rows.append(
                    {
                        "panel": panel.title,
                        "series": series.label,
                        "strategy": series.strategy,
                        "rule": rule,
                        "flops_speedup": point["latency_flops"],
                        "latency_speedup": latency["value"],
                        "low": latency["low"],
                        "high": latency["high"],
                        "samples_low": samples["low"],
                        "samples_high": samples["high"],
                        "realisation": point["realisation"],
                        "mean_ms": point["mean_ms"],
                        "machine": point["machine"],
                        "valid": point["valid"],
                    }
                )
    return rows


def curve_summaries(panel: Panel) -> list[Row]:
    """The numbers of :data:`bench.measure.areas.DEFINITIONS` for every early-exit series, means over seeds."""
    rows: list[Row] = []
    for series in panel.series:
        if not series.early:
            continue
        found = [_areas(r) for r in series.results]
        means = {name: _mean([f[name] for f in found]) for name in areas.DEFINITIONS}
        rows.append({"series": series.label, "strategy": series.strategy, "upper_bound": series.upper_bound, **means})
    return rows


def _areas(result: Result) -> dict[str, Any]:
    speedup, quality, _, _ = result.curve
    full = float(result.full["metrics"][result.metric]["value"])
    alone = result.summary["per_exit"][result.metric]
    return areas.summary(speedup, quality, full, result.view.layers, result.chance, alone)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None


def depth_of(result: Result) -> Mapping[str, Any] | None:
    """The depth table of a result where one was measured: seconds of leaving at each exit, with and without checks."""
    latency = result.view.latency
    found = (latency or {}).get("depth") or result.view.record.get("depth")
    if not isinstance(found, Mapping) or not found.get("bare") or not found.get("checks"):
        return None
    return found


def depth_rows(panel: Panel) -> list[Row]:
    """Milliseconds per sample at every depth, averaged over length buckets: the layers, and the checks on the way."""
    rows: list[Row] = []
    for series in panel.series:
        found = depth_of(series.first)
        if found is None:
            continue
        bare, checks = np.array(found["bare"], dtype=float), np.array(found["checks"], dtype=float)
        for k in range(len(bare)):
            cells = {"layers_ms": float(bare[k].mean() * 1e3), "checks_ms": float(checks[k].mean() * 1e3)}
            rows.append({"series": series.label, "exit": k + 1, **cells, "valid": bool(found.get("valid", True))})
    return rows
