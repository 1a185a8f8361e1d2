"""`bench run --config` and `--dry-run`: many cells on an engine, or what they would take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.cell.request import Context, Request
from bench.cli.display import NAMES, console, print_json
from bench.errors import OK
from bench.sweep import Outcome, failures, make_engine, make_plan, run_plan
from bench.sweep.estimate import Total, estimate
from bench.sweep.plan import Plan
from bench.sweep.remote import Remote

STATUS = {
    "recorded": "recorded",
    "trained": "checkpoint there",
    "missing": "missing",
    "unknown": "unknown",
}


def run_sweep(
    requests: Sequence[Request],
    context: Context,
    *,
    engine: str,
    workers: int | None,
    threads: int | None,
    sync: str | None,
    dry_run: bool,
    json: bool,
) -> int:
    """Plan ``requests`` and run the plan, or with ``dry_run`` say what it would take. Exit code 5: some failed."""
    remote = None if sync is None else Remote(sync, context.store, context.progress)
    if remote is not None:
        context.progress.say(f"{remote.fetch_cells()} cells fetched from {sync}.")
    plan = make_plan(requests, context)
    if dry_run:
        show_plan(plan, estimate(plan, context), json)
        return OK
    chosen = make_engine(engine, workers, threads)
    missing = sum(cell.status != "recorded" for cell in plan.cells)
    context.progress.say(
        f"{len(plan.cells)} cells, {len(plan.cells) - missing} recorded, {missing} to run; "
        f"{len(plan.trainings())} trainings."
    )
    outcomes = run_plan(plan, context, chosen, sync)
    if remote is not None:
        remote.fetch_cells()  # what other machines made
    show_outcomes(outcomes, json)
    failed = failures(outcomes)
    if failed is not None:
        raise failed
    return OK


def show_plan(plan: Plan, total: Total, json: bool) -> None:
    """The cells of a plan, what is there already, and an estimate of the rest."""
    rows: list[dict[str, Any]] = [
        {
            "cell": cell.label,
            "training": cell.training,
            "status": cell.status,
            "why": cell.why,
            "seconds": None if cost.seconds is None else round(cost.seconds, 1),
            "disk": cost.disk,
            "estimated": cost.how,
        }
        for cell, cost in zip(plan.cells, total.cells, strict=True)
    ]
    if json:
        sums = {"seconds": total.seconds, "disk": total.disk, "free": total.free}
        print_json({"cells": rows, "trainings": len(plan.trainings()), "total": sums, "notes": list(total.notes)})
        return
    numbers = {training: i for i, training in enumerate(plan.trainings(), start=1)}
    table = Table(title=f"{len(rows)} cells, {len(numbers)} trainings", title_justify="left")
    for column in ("cell", "training", "there", "time", "disk"):
        table.add_column(column, justify="left" if column in ("cell", "there") else "right", overflow="fold")
    for row in rows:
        there = STATUS[row["status"]]
        table.add_row(
            row["cell"], str(numbers[row["training"]]), there, in_words(row["seconds"]), in_bytes(row["disk"])
        )
    out = console()
    out.print(table)
    counts = {name: sum(row["status"] == key for row in rows) for key, name in STATUS.items()}
    lines = [", ".join(f"{n} {name}" for name, n in counts.items() if n) + "."]
    lines.append(f"In all {in_words(total.seconds)} and {in_bytes(total.disk)} ({in_bytes(total.free)} free).")
    lines += [f"Unknown: {why}" for why in dict.fromkeys(row["why"] for row in rows if row["why"])]
    out.print("\n".join([*lines, *total.notes]))


def show_outcomes(outcomes: Sequence[Outcome], json: bool) -> None:
    """A line for every cell, or with ``json`` its outcome as data."""
    if json:
        print_json([outcome.note() for outcome in outcomes])
        return
    table = Table(title=f"{sum(o.ok for o in outcomes)} of {len(outcomes)} cells", title_justify="left")
    for column in ("cell", "status", "all layers", "record"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.cell.label, outcome.status, quality(outcome), str(outcome.folder or "-"))
    console().print(table)


def quality(outcome: Outcome) -> str:
    """The primary metric with all layers, or why there is none."""
    record_file = None if outcome.folder is None else Path(outcome.folder) / "record.json"
    if not outcome.ok or record_file is None or not record_file.exists():
        return outcome.error
    from bench.results.store import read_record

    record: Any = read_record(record_file)
    metric = record["task"]["metrics"][0]
    full = record["evaluation"][record["task"]["evaluation"][0]]["full"]
    return f"{NAMES.get(metric, metric)} {full['metrics'][metric]['value']:.3f}"


def in_words(seconds: float | None) -> str:
    """``25 s``, ``3 min``, ``7.5 h``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def in_bytes(count: float | None) -> str:
    """``1.5 GiB``, ``320 KiB``, or ``unknown``."""
    if count is None:
        return "unknown"
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 2**10:.0f} KiB"
