"""The tables of a report: operating points, whole curves, cells. The page draws the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bench.errors import UserError
from bench.measure.areas import DEFINITIONS
from bench.measure.metrics import title_metric
from bench.report import content, numbers, provenance
from bench.report.formats import DataRow, TextTable
from bench.report.provenance import Revision, StoreContents, list_letters
from bench.report.series import Panel, Series, SeriesPoint
from bench.results.groups import OverSeeds
from bench.results.judged_by.unbalanced import ClassNumbers, list_columns, measure_classes

AREA_NAMES = {
    "area": "area",
    "hypervolume": "hypervolume",
    "speedup_no_loss": "speed-up, no loss",
    "speedup_minus_1": "speed-up, −1 point",
    "quality_2x": "best at 2×",
    "quality_3x": "best at 3×",
    "elue": "ELUE-style",
}


def build_points_table(panel: Panel, marks: Mapping[str, Revision]) -> TextTable:
    """Build the table of a panel's operating points."""
    columns = ["strategy", "recipe / head", "seeds", "point", "threshold", title_metric(panel.metric), "mean exit",
               "FLOPs speed-up", "measured speed-up"]  # fmt: skip
    rows: list[list[str]] = []
    values: list[DataRow] = []
    speedups = content.find_stars(panel)
    for series in panel.series:
        head = [series.full_name + describe_revisions(series, marks), series.trained_as, str(len(series.runs))]
        full, layers, alone = series.full, series.first.layers, speedups.get(series)
        whole = [numbers.format_quality(full), f"{layers}", numbers.format_factor(alone), numbers.MISSING]
        rows.append([*head, "all layers", numbers.MISSING, *whole])
        values.append(_make_value_row(panel, series, "all layers", full, mean_exit=layers, flops_speedup=alone))
        for rule in series.rules:
            point = series.points.get(rule)
            if point is None:
                rows.append([*head, numbers.format_rule(rule), "not reached", *[numbers.MISSING] * 4])
                values.append(_make_value_row(panel, series, rule, reason=series.reason(rule)))
            else:
                rows.append([*head, *_format_point(point, rule, len(series.runs))])
                values.append(_make_value_row(panel, series, rule, point.quality, point))
    words = f"{title_metric(panel.metric)} with 95 % intervals over samples on {panel.title}. "
    words += " ".join([provenance.describe_source(panel.series), *panel.doubts])
    timed = (point.timed for series in panel.series for point in series.points.values())
    words += provenance.describe_protocols(one.protocol for one in timed if one is not None)
    if len(marks) > 1:
        letters = ", ".join(list_letters(panel.runs, marks))
        words += f" Marks in brackets: code revision ({letters}), see the provenance."
    return TextTable(f"points-{panel.slug}", panel.title, columns, rows, words, values)


def _format_point(point: SeriesPoint, rule: str, seeds: int) -> list[str]:
    reached = len(point.thresholds)
    timed, measured = point.timed, numbers.MISSING
    if timed:
        measured = f"{numbers.format_times(timed.speedup)} ({timed.sampling.low:.2f} to {timed.sampling.high:.2f})"
        measured += timed.mark
    return [
        numbers.format_rule(rule) + ("" if reached == seeds else f" ({reached} of {seeds} seeds)"),
        ", ".join(numbers.format_threshold(t) for t in point.thresholds),
        numbers.format_quality(point.quality),
        f"{point.mean_layer:.2f}",
        numbers.format_times(point.speedup),
        measured,
    ]


def _make_value_row(
    panel: Panel,
    series: Series,
    rule: str,
    quality: OverSeeds | None = None,
    point: SeriesPoint | None = None,
    **known: object,
) -> DataRow:
    """Return a row of numbers under their full names, in the order of the CSV file; None for what there is not."""
    spec, rows, timed = series.first.spec, series.first.record.task.rows, point and point.timed
    used, train, both = rows.get(panel.split), rows.get("train"), (quality and quality.both) or (None, None)
    row = {
        "task": panel.task, "split": panel.split, "backbone": panel.backbone, "panel": panel.title,
        "strategy": series.strategy, "series": series.label, "recipe": spec.recipe, "head": spec.head,
        "seeds": series.seeds, "samples": panel.samples, "samples_available": used and used.available,
        "trained_on": train and train.used, "trained_on_available": train and train.available,
        "point": rule, "metric": panel.metric, "value": quality and quality.value, "low": quality and quality.low,
        "high": quality and quality.high, "std_over_seeds": quality and quality.std,
        "lowest_seed": quality and quality.lowest, "highest_seed": quality and quality.highest,
        "both_low": both[0], "both_high": both[1], "threshold": point and point.threshold,
        "thresholds_chosen_on": point and point.chosen_on, "mean_exit": point and point.mean_layer,
        **_make_speedup_columns("flops_speedup", point.speedup if point else None),
        **_make_speedup_columns("measured_speedup", timed.speedup if timed else None),
        "measured_speedup_samples_low": timed and timed.sampling.low,
        "measured_speedup_samples_high": timed and timed.sampling.high, "realisation": timed and timed.realisation,
        "latency_valid": timed and timed.valid, "latency_protocol": timed and timed.protocol,
        "machine": timed and timed.machine, "reason": None,
        "doubts": series.said_doubts or None,
    }  # fmt: skip
    return row | known


def _make_speedup_columns(name: str, value: OverSeeds | None) -> DataRow:
    return {name: value and value.value, f"{name}_low": value and value.low, f"{name}_high": value and value.high}


def build_curves_table(panels: Sequence[Panel]) -> TextTable:
    """Build the table of one number for a whole curve, several ways."""
    columns = ["task", "n", "strategy", *AREA_NAMES.values()]
    rows: list[list[str]] = []
    values: list[DataRow] = []
    for panel in panels:
        samples = panel.series[0].first.describe_used(panel.split)
        named = {series.label: series for series in panel.series}
        for found in content.tabulate_summaries(panel):
            speedups = {k: numbers.format_factor(found[k]) for k in AREA_NAMES if k.startswith("speedup")}
            cells = [speedups.get(k) or numbers.format_number(found[k]) for k in AREA_NAMES]
            series = named[found["series"]]
            rows.append([panel.title, samples, series.full_name, *cells])
            doubts = series.said_doubts or None
            values.append({"panel": panel.title, "samples": panel.samples, **found, "doubts": doubts})
    words = "Whole curves on the reported split, thresholds picked on it: they compare curves and promise nothing. "
    words += " ".join(f"{AREA_NAMES[k]}: {DEFINITIONS[k]}." for k in AREA_NAMES)
    words += " The reference of the ELUE-style score is every exit of the same model alone, at cost k / L."
    return TextTable("curves", "Curves in one number", columns, rows, words, values)


def build_cells_table(contents: StoreContents, marks: Mapping[str, Revision]) -> TextTable:
    """Build the table of every cell with its status and the exact command behind it."""
    columns = ["cell", "status", "code", "machine", "created", "command"]
    rows: list[list[str]] = []
    values: list[DataRow] = []
    for run in contents.runs:
        status = run.status + (", latency INVALID" if provenance.find_timing_problem(run) else "")
        made = [*list_letters([run], marks), provenance.find_machine(run), run.head.created, run.head.command]
        rows.append([run.name, status, *made])
        splits = run.record.evaluation if run.is_finished() else ()
        doubts = dict.fromkeys(one.said for split in splits for one in run.find_doubts(split))
        more = {"error": run.error, "doubts": "; ".join(doubts) or None}
        values.append({**dict(zip(columns, rows[-1], strict=True)), **more})
    rows += [[bad.name, bad.state, *[numbers.MISSING] * 3, bad.why] for bad in contents.left_out]
    return TextTable("cells", "Cells", columns, rows, "Every cell of the store and the command that made it.", values)


def describe_revisions(series: Series, marks: Mapping[str, Revision]) -> str:
    """Return `` [a,b]`` where the store has results of several code revisions, else nothing."""
    return f" [{','.join(list_letters(series.runs, marks))}]" if len(marks) > 1 else ""


def build_class_table(panel: Panel) -> TextTable | None:
    """Build the table of a panel's unbalanced classes; None where they are balanced, or no logits are stored."""
    measured = {series: found for series in panel.series if (found := _measure_series(series))}
    if not measured:
        return None
    first = next(iter(measured.values()))[0]
    names = list_columns(first)
    columns = ["strategy", "point", *(title_metric(name).partition(" (")[0] for name in names)]
    rows: list[list[str]] = []
    values: list[DataRow] = []
    for series, found in measured.items():
        for point in ("all layers", *series.points):
            seeds = [one.points[point] for one in found if point in one.points]
            if not seeds:
                continue
            means = {name: float(np.mean([seed[name] for seed in seeds])) for name in names}
            shown = point if point == "all layers" else numbers.format_rule(point)
            printed = [*map(numbers.format_number, means.values())]
            same = next((row for row in rows if (row[0], row[2:]) == (series.full_name, printed)), None)
            if same:
                same[1] += f", {shown}"
            else:
                rows.append([series.full_name, shown, *printed])
            about = {"panel": panel.title, "series": series.label, "point": point, "seeds": len(seeds)}
            values += [{**about, "metric": name, "value": value} for name, value in means.items()]
    words = (
        f"{first.said}. Means over seeds of what the stored logits say; of log-loss and Brier score less is better. "
    )
    words += f"Intervals: bench table --metric NAME. {provenance.describe_source(list(measured))}"
    missing = dict.fromkeys(
        f"{s.label}: {one.missing}" for s, found in measured.items() for one in found if one.missing
    )
    words += "".join(f" No operating points of {said}." for said in missing)
    return TextTable(f"classes-{panel.slug}", f"Unbalanced classes: {panel.title}", columns, rows, words, values)


def _measure_series(series: Series) -> Sequence[ClassNumbers]:
    found = []
    for run in series.runs:
        try:
            found.append(measure_classes(run, series.split))
        except UserError:  # damaged logits, of which the page has a line of its own
            continue
    return [one for one in found if one is not None]
