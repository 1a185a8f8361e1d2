"""The tables of a report: operating points, whole curves, cells. The page draws the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.measure.areas import DEFINITIONS
from bench.measure.metrics import metric_title
from bench.report import content, numbers
from bench.report.formats import Row, Table
from bench.report.provenance import (
    Revision,
    StoreContents,
    describe_source,
    find_machine,
    find_timing_problem,
    make_revision_key,
)
from bench.report.series import Panel, Series, SeriesPoint
from bench.results.groups import OverSeeds
from bench.results.run import Run

AREA_NAMES = {
    "area": "area",
    "hypervolume": "hypervolume",
    "speedup_no_loss": "speed-up, no loss",
    "speedup_minus_1": "speed-up, −1 point",
    "quality_2x": "best at 2×",
    "quality_3x": "best at 3×",
    "elue": "ELUE-style",
}


def build_points_table(panel: Panel, marks: Mapping[str, Revision]) -> Table:
    """Build the table of a panel's operating points."""
    columns = ["strategy", "recipe / head", "seeds", "point", "threshold", metric_title(panel.metric), "mean exit",
               "FLOPs speed-up", "measured speed-up"]  # fmt: skip
    rows: list[list[str]] = []
    values: list[Row] = []
    speedups = {id(star.series): star.speedup for star in content.find_stars(panel)}
    for series in panel.series:
        head = [series.full_name + describe_revisions(series, marks), series.trained_as, str(len(series.runs))]
        full, layers = series.full, series.first.layers
        alone = speedups.get(id(series))
        flops = numbers.MISSING if alone is None else f"{alone:.2f}×"
        whole = ["all layers", numbers.MISSING, numbers.format_quality(full), f"{layers}", flops, numbers.MISSING]
        rows.append([*head, *whole])
        values.append(_value_row(panel, series, "all layers", full, {"flops_speedup": alone, "mean_exit": layers}))
        for rule in series.rules:
            point = series.points.get(rule)
            if point is None:
                rows.append([*head, numbers.format_rule(rule), "not reached", *[numbers.MISSING] * 4])
                values.append(_value_row(panel, series, rule, None, {"reason": series.reason(rule)}))
                continue
            rows.append([*head, *_point_cells(point, rule, len(series.runs))])
            values.append(_value_row(panel, series, rule, point.quality, _numbers_of(point)))
    words = f"{metric_title(panel.metric)} with 95 % intervals over samples on {panel.title}. {describe_source(panel)}"
    if len(marks) > 1:
        words += f" Marks in brackets: code revision ({', '.join(_letters(panel.runs, marks))}), see the provenance."
    return Table(f"points-{panel.slug}", panel.title, columns, rows, words, values)


def _point_cells(point: SeriesPoint, rule: str, seeds: int) -> list[str]:
    reached = "" if point.reached == seeds else f" ({point.reached} of {seeds} seeds)"
    timed = point.timed
    measured = numbers.MISSING
    if timed:
        measured = f"{numbers.format_times(timed.speedup)} ({timed.sampling.low:.2f} to {timed.sampling.high:.2f})"
        measured += "" if timed.valid else " INVALID"
    return [
        numbers.format_rule(rule) + reached,
        ", ".join(numbers.format_threshold(t) for t in point.thresholds),
        numbers.format_quality(point.quality),
        f"{point.mean_layer:.2f}",
        numbers.format_times(point.speedup),
        measured,
    ]


def _numbers_of(point: SeriesPoint) -> Row:
    row = {"threshold": point.threshold, "thresholds_chosen_on": point.chosen_on, "mean_exit": point.mean_layer}
    row |= _columns("flops_speedup", point.speedup)
    timed = point.timed
    if timed is not None:
        row |= _columns("measured_speedup_samples", timed.sampling) | _columns("measured_speedup", timed.speedup)
        row |= {"realisation": timed.realisation, "latency_valid": timed.valid, "machine": timed.machine}
        del row["measured_speedup_samples"]
    return row


def _columns(name: str, value: OverSeeds) -> Row:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


VALUE_COLUMNS = (
    "task", "split", "backbone", "panel", "strategy", "series", "recipe", "head", "seeds", "samples",
    "samples_available", "trained_on", "trained_on_available", "point", "metric", "value", "low", "high",
    "std_over_seeds", "lowest_seed", "highest_seed", "both_low", "both_high", "threshold", "thresholds_chosen_on",
    "mean_exit", "flops_speedup", "flops_speedup_low", "flops_speedup_high", "measured_speedup", "measured_speedup_low",
    "measured_speedup_high", "measured_speedup_samples_low", "measured_speedup_samples_high", "realisation",
    "latency_valid", "machine", "reason",
)  # fmt: skip


def _value_row(panel: Panel, series: Series, rule: str, quality: OverSeeds | None, more: Row) -> Row:
    found: Row = dict.fromkeys(VALUE_COLUMNS)
    spec, rows = series.first.spec, series.first.record.task.rows
    used, train = rows.get(panel.split), rows.get("train")
    found |= {"task": panel.task, "split": panel.split, "backbone": panel.backbone, "panel": panel.title}
    found |= {"strategy": series.strategy, "series": series.label, "seeds": series.seeds}
    found |= {"recipe": spec.recipe, "head": spec.head, "samples": panel.samples}
    found |= {"samples_available": used.available if used else None}
    found |= {"trained_on": train.used if train else None, "trained_on_available": train.available if train else None}
    if quality is not None:
        low, high = quality.both or (None, None)
        found |= {"value": quality.value, "low": quality.low, "high": quality.high, "std_over_seeds": quality.std}
        found |= {"lowest_seed": quality.lowest, "highest_seed": quality.highest, "both_low": low, "both_high": high}
    return found | {"point": rule, "metric": panel.metric, **more}


def build_curves_table(panels: Sequence[Panel]) -> Table:
    """Build the table of one number for a whole curve, several ways."""
    columns = ["task", "n", "strategy", *AREA_NAMES.values()]
    rows: list[list[str]] = []
    values: list[Row] = []
    for panel in panels:
        samples = panel.series[0].first.count_used(panel.split)
        for found in content.tabulate_summaries(panel):
            bound = " (upper bound)" if found["upper_bound"] else ""
            cells = [numbers.format_number(found[k]) if k not in _FACTORS else _factor(found[k]) for k in AREA_NAMES]
            rows.append([panel.title, samples, found["series"] + bound, *cells])
            values.append({"panel": panel.title, "samples": panel.samples, **found})
    words = "Whole curves on the reported split, thresholds picked on it: they compare curves and promise nothing. "
    words += " ".join(f"{AREA_NAMES[k]}: {DEFINITIONS[k]}." for k in AREA_NAMES)
    words += " The reference of the ELUE-style score is every exit of the same model alone, at cost k / L."
    return Table("curves", "Curves in one number", columns, rows, words, values)


_FACTORS = ("speedup_no_loss", "speedup_minus_1")


def _factor(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:.2f}×"


def build_cells_table(contents: StoreContents, marks: Mapping[str, Revision]) -> Table:
    """Build the table of every cell with its status and the exact command behind it."""
    columns = ["cell", "status", "code", "machine", "created", "command"]
    rows, values = [], []
    for run in contents.runs:
        status = run.status + (", latency INVALID" if find_timing_problem(run) else "")
        letter = marks[make_revision_key(run)].letter
        rows.append([run.name, status, letter, find_machine(run), run.head.created, run.head.command])
        values.append(dict(zip(columns, rows[-1], strict=True)) | {"error": run.error})
    rows += [[bad.name, "damaged", *[numbers.MISSING] * 3, bad.why] for bad in contents.left_out]
    return Table("cells", "Cells", columns, rows, "Every cell of the store and the command that made it.", values)


def describe_revisions(series: Series, marks: Mapping[str, Revision]) -> str:
    """Return `` [a,b]`` where the store has results of several code revisions, else nothing."""
    if len(marks) < 2:
        return ""
    return f" [{','.join(_letters(series.runs, marks))}]"


def _letters(runs: Iterable[Run], marks: Mapping[str, Revision]) -> list[str]:
    return sorted({marks[make_revision_key(run)].letter for run in runs})
