"""Recorded runs, plans and what became of them, as tables on a terminal and as the JSON that ``--json`` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from backbones.names import trust_names
from bench.advise.note import AdviceNote, read_advice_note
from bench.cli.class_tables import list_plain_metrics, measure_asked, print_classes
from bench.cli.display import format_seconds, make_console, print_json
from bench.cli.next_steps import suggest_steps
from bench.cli.ranking_tables import print_rankings, rank_runs
from bench.compare.sentences import say_run
from bench.errors import Damaged
from bench.latency.names import write_over
from bench.measure.metrics import title_metric
from bench.measure.rules import shorten_rule
from bench.results.doubts import Doubt
from bench.results.facts import ExternalLogits
from bench.results.measures import Performance, SplitResult, UnreachedPoint
from bench.results.record import RunRecord
from bench.results.reuse import find_origin
from bench.results.run import Run
from bench.results.series_doubts import add_marks, describe_doubts, find_series_doubts
from bench.results.times import Latency, TimedPoint
from bench.text import build_table, format_bytes, show_line

if TYPE_CHECKING:
    from bench.measure.judges import AskedMetric
    from bench.sweep import Outcome, Plan
    from bench.sweep.estimate import PlanCost


def tabulate_points(
    title: str,
    result: SplitResult,
    metrics: Sequence[str],
    latency_of_all: TimedPoint | None = None,
    doubts: Sequence[Doubt] = (),
    chosen: str | None = None,
    baseline: str = "",
) -> Table:
    """Return the operating points of one evaluation split: the table that `bench run`, `show` and `replay` end with.

    Beside a point stands what is doubted of it, beside all layers what is doubted of everything; beside the ``chosen``
    one that it is.
    """
    times = {"all layers": latency_of_all, **{rule: point.latency for rule, point in result.reached.items()}}
    timed = any(times.values())
    cost = f"{'FLOPs' if result.full.cost_unit == 'flops' else 'layers'} speed-up"
    columns = ["point", "threshold", *map(title_metric, metrics), "mean exit", cost]
    columns += [f"latency speed-up{write_over(baseline)}"] if timed else []

    def describe(rule: str, threshold: float | None, found: Performance) -> list[str]:
        marks = ["chosen"] if rule == chosen else []
        marks += [doubt.mark for doubt in doubts if rule in (doubt.rules or ("all layers",))]
        name = shorten_rule(rule) + (f" ({', '.join(marks)})" if marks else "")
        row = [name, "-" if threshold is None else f"{threshold:.4g}"]
        row += [found.metrics[name].write() for name in metrics]
        row += [f"{found.mean_layer:.2f} / {len(found.exit_counts)}", found.cost_speedup.write_times()]
        if timed:
            time = times[rule]
            row.append("-" if time is None else time.speedup.write_times())
        return row

    rows = [describe("all layers", None, result.full)]
    for point in result.points:
        if isinstance(point, UnreachedPoint):
            rows.append([shorten_rule(point.rule), "", *["not reached"] * len(metrics)])
        else:
            rows.append(describe(point.rule, point.threshold, point))
    return build_table(title, columns, merge_equal(rows), right=columns[1:])


def tabulate_times(latency: Latency) -> Table:
    """Return all that was timed, the fastest first: plain models, baselines that were asked for, operating points."""
    per = "ms" if latency.batch_size == 1 else f"ms a batch of {latency.batch_size}"
    rows = []
    for name, timing in sorted(latency.configurations.items(), key=lambda one: one[1].mean_ms):
        speedup = "1.00x" if name == latency.baseline else "-"
        if isinstance(timing, TimedPoint):
            speedup = timing.speedup.write_times()
        rows.append([shorten_rule(name), f"{timing.mean_ms:.2f}", speedup])
    against = f"speed-ups against {latency.baseline}, the fastest with all layers and no exits"
    title = f"Timed on {latency.threads} thread{'s' if latency.threads != 1 else ''}: {against}"
    return build_table(title, ["configuration", per, "latency speed-up"], rows, right=[per, "latency speed-up"])


def merge_equal(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows; of neighbours that differ in their name alone one, with all names."""
    merged: list[list[str]] = []
    for row in rows:
        if merged and merged[-1][1:] == [*row[1:]]:
            merged[-1][0] += f", {row[0]}"
        else:
            merged.append([*row])
    return merged


def make_plain_run(run: Run, asked: Sequence[AskedMetric] = ()) -> dict[str, Any]:
    """Return the run as ``--json`` prints it: folder, record as it is on disk, doubts, its origin if reused.

    Metrics that are ``asked`` for, too, are under ``metrics``, by split and point.
    """
    splits = run.record.evaluation if run.is_finished() else ()
    doubts = [{"split": split, **doubt.to_plain()} for split in splits for doubt in run.find_doubts(split)]
    found = {"folder": str(run.folder), "record": run.head.to_plain(), "doubts": doubts}
    if asked:
        found["metrics"] = list_plain_metrics(run.finished(), asked)
    return {**found, "reused": find_origin(run)} if run.reused else found


def print_run(run: Run, asked: Sequence[AskedMetric] = ()) -> None:
    """Print what was run, one table per evaluation split, checks, warnings, the record's place, and what was found.

    The tables have the task's metrics, and those that are ``asked`` for. Where classes are unbalanced a table says what
    becomes of each.
    """
    out = make_console()
    if not run.is_finished():
        out.print(f"{run.strategy} on {run.backbone} for {run.task}: {run.status}")
        if run.error:
            out.print(run.error)
        return
    record, note = run.record, find_advice_note(run)
    chosen = find_advised(run, note)
    task, backbone = record.task, record.backbone
    for split in record.evaluation:
        result, metrics = measure_asked(run, split, asked)
        rows = task.rows[split]
        used = f"n = {rows.used}" + ("" if rows.available in (None, rows.used) else f" of {rows.available}")
        bound = ", upper bound: knows the labels" if record.upper_bound else ""
        model = f"{run.backbone} ({backbone.layers} layers)"
        title = f"{run.strategy}{bound} | {model} | {task.name} {split}, {used}, seed {run.seed}"
        plain = None if record.latency is None else record.latency.configurations.get("all layers")
        doubts, timed = run.find_doubts(split), plain if isinstance(plain, TimedPoint) else None
        out.print(tabulate_points(title, result, metrics, timed, doubts, chosen, run.timing_baseline))
        for doubt in doubts:
            out.print(f"{doubt.said}.")
        print_classes(run, split)
    out.print("\n".join(describe_run(run, advised=chosen is not None)))
    if record.latency is not None and record.spec.latency is not None and record.spec.latency.baselines:
        out.print(tabulate_times(record.latency))
    if note is not None and note.ways:
        title = "As advised: early exit, and what else makes the model faster, at batch 1"
        out.print(build_table(title, note.columns, note.ways))
        out.print("\n".join(note.notes))
    out.print(f"Record: {run.folder}\n")
    out.print(say_run(run) if note is None else note.verdict)


def find_advice_note(run: Run) -> AdviceNote | None:
    """Return what `bench advise` said of a run, if anything; of a damaged note say on stderr that it is left unread."""
    try:
        return read_advice_note(run)
    except Damaged as error:
        print(show_line(f"Left unread: {error.what}"), file=sys.stderr)
    return None


def find_advised(run: Run, note: AdviceNote | None) -> str | None:
    """Return the operating point that `bench advise` chose; None for other runs. Its first versions left no note."""
    if note is not None:
        return note.point
    advised = run.head.command.startswith("bench advise ")
    return next((p.rule for p in run.result().reached.values() if advised and p.chosen_on == "given"), None)


def describe_run(run: Run, *, advised: bool = False) -> list[str]:
    """Return the lines under the table: thresholds' origin, training, truncation, live check, warnings.

    Exits of a run that was ``advised`` were fitted just before its cell was run, which found them there.
    """
    record = run.record
    task, training, spec = record.task, record.training, record.spec
    if record.external is not None:
        lines = [*_describe_external(run, record.external), *_describe_fit(record)]
        return [*lines, *_list_unreached(record), *(f"Warning: {warning}" for warning in record.warnings)]
    lines = [
        f"Thresholds chosen on {run.chosen_on} samples held out of train, reported on the split above. "
        "Intervals: 95 %, over samples.",
        *_describe_fit(record),
        *_describe_own_exit(record),
        f"Trained {sum(training.steps.values())} steps in {training.seconds:.0f} s ({spec.recipe} recipe, "
        f"{spec.head} head, {record.backbone.pooling} pooling)"
        + (", checkpoint reused." if training.reused and not advised else "."),
    ]
    cut = {name: rows.truncated for name, rows in task.rows.items() if rows.truncated}
    if training.truncated:
        cut["train"] = training.truncated
    lost = ", ".join(f"{count} of {name}" for name, count in cut.items()) or "none"
    lines.append(f"Truncated to {task.max_length or spec.max_length} tokens: {lost}.")
    lines += _list_unreached(record)
    live = record.live_check
    if live is not None:
        lines.append(
            f"Live check ({live.dtype}, batch 1): {live.other_exit} of {live.samples} exits and "
            f"{live.other_prediction} predictions differ from replay" + ("." if live.ok else ": TOO MANY.")
        )
    lines += _describe_precision(record)
    if record.latency is not None:
        lines += [*record.latency.notes, *_caution(record.latency), *_describe_sampling(record, record.latency)]
        lines += [said] if record.counts is not None and (said := record.counts.describe()) else []
    return lines + [f"Warning: {warning}" for warning in record.warnings]


def _caution(latency: Latency) -> list[str]:
    return [f"Latency is {latency.caution}."] if latency.caution else []


def _describe_own_exit(record: RunRecord) -> list[str]:
    """Say that the last exit is the backbone's own classifier, and how its classes were found."""
    own = record.backbone.classifier
    if own is None:
        return []
    ways = {"name": "by name", "case": "by name, but for upper case", "position": "by number"}
    how = f", its classes matched {ways[own.matched]}" if own.matched in ways else ""
    return [f"Exit {record.backbone.layers} is the classifier that the backbone came with (--init finetuned){how}."]


def _list_unreached(record: RunRecord) -> list[str]:
    reasons = [point.reason for result in record.evaluation.values() for point in result.unreached.values()]
    return [f"Not reached: {reason}" for reason in dict.fromkeys(reasons)]


def _describe_external(run: Run, found: ExternalLogits) -> list[str]:
    """Say whose logits these are, and on which samples thresholds were chosen."""
    where = f"of {found.held_out}" if found.held_out else f"of {found.file} that are not reported"
    model = f"{found.backbone}, {found.head} head" if found.head else found.backbone
    return [
        f"External: {found.name}, imported from {found.file} (sha256 {found.digest[:12]})"
        + (f", counted as {model}" if model else "")
        + "; nothing was trained or timed here.",
        f"Thresholds chosen on {run.chosen_on} samples {where}. Intervals: 95 %, over samples.",
    ]


def _describe_fit(record: RunRecord) -> list[str]:
    """Which held-out samples a criterion with numbers of its own learned them from."""
    shared = None if record.criterion is None else record.criterion.held_out
    if shared is None:
        return []
    if shared.apart:
        return [f"The criterion itself was fitted on {shared.fitted_on} other held-out samples."]
    return ["The criterion itself was fitted on the same samples, too few to share out: its points are optimistic."]


def _describe_sampling(record: RunRecord, latency: Latency) -> list[str]:
    """The other interval of each speed-up: how well these samples stand for all, not how well the clock knows it."""
    rules = ["all layers", *(point.rule for result in record.evaluation.values() for point in result.points)]
    timed = {rule: latency.configurations.get(rule) for rule in rules}
    each = [
        f"{rule} [{one.sampling.low:.2f}, {one.sampling.high:.2f}]"
        for rule, one in timed.items()
        if isinstance(one, TimedPoint)
    ]
    over = write_over(latency.baseline)
    kept = [f"{rule} {one.realisation:.2f}" for rule, one in timed.items() if isinstance(one, TimedPoint)]
    lines = []
    if kept:
        lines.append(f"Realisation, the share of the FLOPs speed-up that the clock keeps{over}: {', '.join(kept)}.")
    if each:
        lines.append(f"Latency speed-up{over}, 95 % over samples instead of rounds: {', '.join(each)}.")
    return lines


def _describe_precision(record: RunRecord) -> list[str]:
    """What half precision changed, a line a split; none for a run in full precision or from before it was counted."""
    lines = []
    for split, found in (record.precision or {}).items():
        line = (
            f"Changed by {record.spec.dtype} against {found.against} ({split}): {found.all_layers} of "
            f"{found.samples} predictions with all layers"
        )
        if found.points:
            predictions = max(point.predictions for point in found.points.values())
            exits = max(point.exits for point in found.points.values())
            line += f"; at the points at most {predictions} predictions and {exits} exits"
        lines.append(f"{line}.")
    return lines


# --------------------------------------------------------------------------- many cells

STATUS = {"recorded": "recorded", "trained": "checkpoint there", "missing": "missing", "unknown": "unknown"}


def print_plan(plan: Plan, total: PlanCost, json: bool) -> None:
    """Print the cells of a plan, what is there already, and an estimate of the rest."""
    rows: list[dict[str, Any]] = [
        {
            "cell": cell.label,
            "training": cell.training,
            "status": cell.status,
            "why": cell.why,
            "spoilt": cell.spoilt,
            "seconds": None if cost.seconds is None else round(cost.seconds, 1),
            "disk": cost.disk,
            "estimated": cost.how,
        }
        for cell, cost in zip(plan.cells, total.cells, strict=True)
    ]
    for row in rows:
        if row["spoilt"]:
            print(show_line(f"{row['cell']}: {row['spoilt']}"), file=sys.stderr)
    if json:
        sums = {"seconds": total.seconds, "disk": total.disk, "free": total.free}
        print_json({"cells": rows, "trainings": len(plan.trainings()), "total": sums, "notes": list(total.notes)})
        return
    numbers = {training: i for i, training in enumerate(plan.trainings(), start=1)}
    cells = []
    for row in rows:
        there, seconds, disk = STATUS[row["status"]], format_seconds(row["seconds"]), format_bytes(row["disk"])
        cells.append((row["cell"], numbers[row["training"]], there, seconds, disk))
    columns = ("cell", "training", "there", "time", "disk")
    title = ", ".join(f"{n} {what}{'s' * (n != 1)}" for n, what in ((len(rows), "cell"), (len(numbers), "training")))
    out = make_console()
    out.print(build_table(title, columns, cells, right=("training", "time", "disk")))
    counts = {name: sum(row["status"] == key for row in rows) for key, name in STATUS.items()}
    lines = [", ".join(f"{n} {name}" for name, n in counts.items() if n) + "."]
    lines.append(
        f"In all {format_seconds(total.seconds)} and {format_bytes(total.disk)} ({format_bytes(total.free)} free)."
    )
    lines += [f"Unknown: {why}" for why in dict.fromkeys(row["why"] for row in rows if row["why"])]
    out.print("\n".join([*lines, *total.notes]))


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return folder and record of one cell of many; of one that failed its name, and why instead of the record."""
    if outcome.ok and outcome.folder is not None:
        from bench.cell.sources import find_changed_sources

        run, cell = Run.load(outcome.folder), outcome.cell
        if outcome.status == "recorded":
            own = {} if cell.identified is None else cell.identified.sources
            run = replace(run, reused=True, changed=tuple(find_changed_sources(run.record, own)))
        return make_plain_run(run)
    folder = None if outcome.folder is None else str(outcome.folder)
    return {"cell": outcome.cell.label, "folder": folder, "error": outcome.error}


def print_outcome(outcome: Outcome) -> None:
    """Print the record of a cell that has ended; of one that failed, the command's end says why."""
    if outcome.ok and outcome.folder is not None:
        print_run(Run.load(outcome.folder))


def print_side_by_side(outcomes: Sequence[Outcome], results_dir: Path) -> None:
    """Print finished cells as one table at matched cost for each panel, what it says, and what to try next.

    Of a single one, which has been printed, only what to try next.
    """
    runs = [Run.load(one.folder) for one in outcomes if one.ok and one.folder is not None]
    if len(runs) > 1:
        make_console().print()
        with trust_names(True):  # the command itself asked for them
            print_rankings(rank_runs(runs, None))
    failed = [one.cell.label for one in outcomes if not one.ok]
    if failed and runs:
        make_console().print(f"Not in it, because it failed: {', '.join(failed)}.")
    if runs:
        print_next_steps(runs, results_dir)


def print_next_steps(runs: Sequence[Run], results_dir: Path) -> None:
    """Print commands that go on from what has just been recorded."""
    make_console().print("\n".join(["\nWhat to try next:", *suggest_steps(runs, results_dir)]))


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print a line for every cell: its primary metric with all layers, or why there is none."""
    rows, doubted = [], []
    for outcome in outcomes:
        found = outcome.error
        if outcome.ok and outcome.folder is not None:
            run = Run.load(outcome.folder)
            doubts = find_series_doubts([run], run.primary)
            value = f"{title_metric(run.metric)} {run.result().full.metrics[run.metric].value:.3f}"
            found = add_marks(value, doubts)
            doubted.append((outcome.cell.label, doubts))
        rows.append((outcome.cell.label, outcome.status, found, outcome.folder or "-"))
    title = f"{sum(o.ok for o in outcomes)} of {len(outcomes)} cells"
    out = make_console()
    out.print(build_table(title, ("cell", "status", "all layers", "record"), rows))
    for sentence in describe_doubts(doubted):
        out.print(sentence)
