"""The tables of a report: operating points, whole curves, cells. The page draws the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.cli.display import counted
from bench.measure.areas import DEFINITIONS
from bench.report import content, numbers
from bench.report.captions import caption, seeds
from bench.report.content import metric_name
from bench.report.formats import Row, Table
from bench.report.provenance import Revision, machine_of, provenance_key
from bench.report.series import Panel, Series
from bench.results.data import StoreData

AREA_NAMES = {
    "area": "area",
    "hypervolume": "hypervolume",
    "speedup_no_loss": "speed-up, no loss",
    "speedup_minus_1": "speed-up, −1 point",
    "quality_2x": "best at 2×",
    "quality_3x": "best at 3×",
    "elue": "ELUE-style",
}


def points_tables(panels: Sequence[Panel], marks: Mapping[str, Revision]) -> list[Table]:
    """Operating points, a table a panel."""
    return [_points_table(panel, marks) for panel in panels]


def _points_table(panel: Panel, marks: Mapping[str, Revision]) -> Table:
    metric = panel.metric
    columns = [
        "strategy",
        "recipe / head",
        "seeds",
        "point",
        "threshold",
        metric_name(metric),
        "mean exit",
        "FLOPs speed-up",
        "measured speed-up",
    ]
    rows: list[list[str]] = []
    values: list[Row] = []
    speedups = {id(star.series): star.speedup for star in content.stars(panel)}
    for series in panel.series:
        head = [series.full_name + mark_of(series, marks), trained_as(series), str(len(series.seeds))]
        full, layers = series.full(metric), series.first.view.layers
        alone = speedups.get(id(series))
        flops = numbers.MISSING if alone is None else f"{alone:.2f}×"
        whole = ["all layers", numbers.MISSING, numbers.quality(full), f"{layers}", flops, numbers.MISSING]
        rows.append([*head, *whole])
        values.append(_value_row(panel, series, "all layers", full, {"flops_speedup": alone, "mean_exit": layers}))
        for rule in series.rules:
            point = series.point(rule, metric)
            if point is None:
                rows.append([*head, numbers.rule(rule), "not reached", *[numbers.MISSING] * 4])
                values.append(_value_row(panel, series, rule, None, {"reason": series.reason(rule)}))
                continue
            rows.append([*head, *_point_cells(point, rule)])
            values.append(_value_row(panel, series, rule, point["quality"], _numbers_of(point)))
    words = f"{metric_name(metric)} with 95 % intervals over samples on {panel.title}. {caption(panel)}"
    letters = {m.letter for m in _marks_of(panel, marks)}
    if len(marks) > 1 and letters:
        words += " Marks in brackets: code revision (" + ", ".join(sorted(letters)) + "), see the provenance."
    return Table(f"points-{panel.slug}", panel.title, columns, rows, words, values)


def _point_cells(point: Mapping[str, Any], rule: str) -> list[str]:
    reached = "" if point["reached"] == point["seeds"] else f" ({point['reached']} of {point['seeds']} seeds)"
    given = "" if point["chosen_on"] in ("select", "given", "default") else f" (on {point['chosen_on']})"
    thresholds = [numbers.threshold(t) for t in point["thresholds"]]
    measured = numbers.times(point["latency"])
    if point["latency"]:
        measured += f" ({numbers.bounds(point['latency_samples'])})" + ("" if point["valid"] else " INVALID")
    return [
        numbers.rule(rule) + reached + given,
        ", ".join(thresholds),
        numbers.quality(point["quality"]),
        f"{point['mean_layer']:.2f}",
        numbers.times(point["speedup"]),
        measured,
    ]


def _numbers_of(point: Mapping[str, Any]) -> Row:
    latency, samples = point["latency"] or {}, point.get("latency_samples", {})
    return {
        "threshold": point["thresholds"][0] if len(point["thresholds"]) == 1 else None,
        "thresholds_chosen_on": point["chosen_on"],
        "mean_exit": point["mean_layer"],
        "flops_speedup": point["speedup"]["value"],
        "flops_speedup_low": point["speedup"]["low"],
        "flops_speedup_high": point["speedup"]["high"],
        "measured_speedup": latency.get("value"),
        "measured_speedup_low": latency.get("low"),
        "measured_speedup_high": latency.get("high"),
        "measured_speedup_samples_low": samples.get("low"),
        "measured_speedup_samples_high": samples.get("high"),
        "realisation": point.get("realisation"),
        "latency_valid": point.get("valid"),
        "machine": point.get("machine"),
    }


VALUE_COLUMNS = (
    "task", "split", "backbone", "panel", "strategy", "series", "recipe", "head", "seeds", "samples",
    "samples_available", "trained_on", "trained_on_available", "point", "metric", "value", "low", "high",
    "std_over_seeds", "lowest_seed", "highest_seed", "both_low", "both_high", "threshold", "thresholds_chosen_on",
    "mean_exit", "flops_speedup", "flops_speedup_low", "flops_speedup_high", "measured_speedup", "measured_speedup_low",
    "measured_speedup_high", "measured_speedup_samples_low", "measured_speedup_samples_high", "realisation",
    "latency_valid", "machine", "reason",
)  # fmt: skip


def _value_row(panel: Panel, series: Series, rule: str, quality: Mapping[str, Any] | None, more: Row) -> Row:
    found: Row = dict.fromkeys(VALUE_COLUMNS)
    spec, rows = series.first.view.spec, series.first.view.record["task"].get("rows", {})
    used, train = rows.get(panel.split, {}), rows.get("train", {})
    found |= {"task": panel.task, "split": panel.split, "backbone": panel.backbone, "panel": panel.title}
    found |= {"strategy": series.strategy, "series": series.label, "seeds": seeds(series)}
    found |= {"recipe": spec.get("recipe"), "head": spec.get("head")}
    found |= {"samples": panel.samples, "samples_available": used.get("available")}
    found |= {"trained_on": train.get("used"), "trained_on_available": train.get("available")}
    if quality:
        both = quality.get("both", (None, None))
        found |= {name: quality[name] for name in ("value", "low", "high")}
        found |= {"std_over_seeds": quality.get("std"), "both_low": both[0], "both_high": both[1]}
        found |= {"lowest_seed": quality.get("lowest"), "highest_seed": quality.get("highest")}
    return found | {"point": rule, "metric": panel.metric, **more}


def trained_as(series: Series) -> str:
    """Recipe and head: what the criterion reads."""
    spec = series.first.view.spec
    return f"{spec.get('recipe')} / {spec.get('head')}"


def curves_table(panels: Sequence[Panel]) -> Table:
    """One number for a whole curve, several ways."""
    columns = ["task", "n", "strategy", *AREA_NAMES.values()]
    rows: list[list[str]] = []
    values: list[Row] = []
    for panel in panels:
        samples = counted(panel.series[0].first.view.record, panel.split)
        for found in content.curve_summaries(panel):
            bound = " (upper bound)" if found["upper_bound"] else ""
            cells = [numbers.number(found[k]) if k not in _FACTORS else _factor(found[k]) for k in AREA_NAMES]
            rows.append([panel.title, samples, found["series"] + bound, *cells])
            values.append({"panel": panel.title, "samples": panel.samples, **found})
    words = "Whole curves on the reported split, thresholds picked on it: they compare curves and promise nothing. "
    words += " ".join(f"{AREA_NAMES[k]}: {DEFINITIONS[k]}." for k in AREA_NAMES)
    words += " The reference of the ELUE-style score is every exit of the same model alone, at cost k / L."
    return Table("curves", "Curves in one number", columns, rows, words, values)


_FACTORS = ("speedup_no_loss", "speedup_minus_1")


def _factor(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:.2f}×"


def cells_table(data: StoreData, marks: Mapping[str, Revision]) -> Table:
    """Every cell with its status and the exact command behind it."""
    columns = ["cell", "status", "code", "machine", "created", "command"]
    rows, values = [], []
    for view in data.cells:
        mark = marks[provenance_key(view)].letter
        machine, created = machine_of(view), str(view.record.get("created", ""))
        status = view.status + (", latency INVALID" if view.latency_problem else "")
        rows.append([view.name, status, mark, machine, created, view.command])
        values.append(dict(zip(columns, rows[-1], strict=True)) | {"error": view.error})
    rows += [[name, "damaged", numbers.MISSING, numbers.MISSING, numbers.MISSING, why] for name, why in data.damaged]
    return Table("cells", "Cells", columns, rows, "Every cell of the store and the command that made it.", values)


def mark_of(series: Series, marks: Mapping[str, Revision]) -> str:
    """`` [a,b]`` where the store has results of several code revisions, else nothing."""
    if len(marks) < 2:
        return ""
    found = sorted({marks[provenance_key(r.view)].letter for r in series.results})
    return f" [{','.join(found)}]"


def _marks_of(panel: Panel, marks: Mapping[str, Revision]) -> list[Revision]:
    return [marks[provenance_key(r.view)] for r in panel.results]
