"""Records and curves as tables on a terminal, and as the JSON that ``--json`` prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from bench.text import TextConsole, escape_json

if TYPE_CHECKING:
    from bench.sweep import Outcome, Plan
    from bench.sweep.estimate import Total

NAMES = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman"}


def console() -> TextConsole:
    """Stdout, at least 100 wide so that piped tables are not cut."""
    plain = TextConsole()
    return plain if plain.is_terminal else TextConsole(width=max(plain.width, 140))


def print_json(value: object) -> None:
    """``value`` on stdout as JSON."""
    sys.stdout.write(escape_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n")


def with_interval(value: Mapping[str, float], digits: int = 3) -> str:
    """``0.912 [0.890, 0.930]``."""
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def speedup(value: Mapping[str, float]) -> str:
    """``2.13x [2.05, 2.21]``."""
    return f"{value['value']:.2f}x [{value['low']:.2f}, {value['high']:.2f}]"


def points_table(
    title: str, summary: Mapping[str, Any], metrics: Sequence[str], latency_of_all: Mapping[str, Any] | None = None
) -> Table:
    """Operating points of one evaluation split: the table that `bench run`, `show` and `replay` end with."""
    full = summary["full"]
    unit = {"flops": "FLOPs", "layers": "layers"}[full["cost_unit"]]
    timed = latency_of_all is not None or any("latency" in p for p in summary["points"])
    table = Table(title=Text(title), title_justify="left")
    table.add_column("point")
    table.add_column("threshold", justify="right")
    for name in metrics:
        table.add_column(NAMES.get(name, name), justify="right")
    table.add_column("mean exit", justify="right")
    table.add_column(f"{unit} speed-up", justify="right")
    if timed:
        table.add_column("latency speed-up", justify="right")
        table.add_column("realisation", justify="right")
    whole = {"rule": "all layers", "threshold": None, "latency": latency_of_all, **full}
    for point in [whole, *summary["points"]]:
        if "reason" in point:
            table.add_row(point["rule"], "", *["not reached"] * len(metrics))
            continue
        threshold = "-" if point.get("threshold") is None else f"{point['threshold']:.4g}"
        row = [point["rule"], threshold]
        row += [with_interval(point["metrics"][name]) for name in metrics]
        row += [f"{point['mean_layer']:.2f} / {len(point['exit_counts'])}", speedup(point["cost_speedup"])]
        if timed:
            latency = point.get("latency")
            row += [speedup(latency["speedup"]), f"{latency['realisation']:.2f}"] if latency else ["-", "-"]
        table.add_row(*row)
    return table


def print_record(record: Mapping[str, Any], where: str) -> None:
    """A cell's result: what was run, one table per evaluation split, checks, warnings, where it lies."""
    out = console()
    spec = record["spec"]
    if record["status"] != "success":
        out.print(f"{spec['strategy']} on {spec['backbone']} for {spec['task']}: {record['status']}")
        if "error" in record:
            out.print(record["error"]["message"])
        return
    task, backbone = record["task"], record["backbone"]
    for split, summary in record["evaluation"].items():
        rows = task["rows"][split]
        used = f"n = {rows['used']}" + ("" if rows["used"] == rows["available"] else f" of {rows['available']}")
        bound = ", upper bound: knows the labels" if record["upper_bound"] else ""
        name = f"{spec['strategy']}{bound}"
        model = f"{backbone['name']} ({backbone['layers']} layers)"
        title = f"{name} | {model} | {task['name']} {split}, {used}, seed {spec['seed']}"
        latency = (record["latency"] or {}).get("configurations", {}).get("all layers")
        out.print(points_table(title, summary, task["metrics"], latency))
    out.print("\n".join(notes(record)))
    out.print(f"Record: {where}")


def notes(record: Mapping[str, Any]) -> list[str]:
    """The lines under the table: thresholds' origin, training, truncation, live check, warnings."""
    spec, task, training = record["spec"], record["task"], record["training"]
    rows = task["rows"]
    held = rows[task["select"]]["used"]
    lines = [
        f"Thresholds chosen on {held} samples held out of train, reported on the split above. "
        "Intervals: 95 %, over samples.",
        f"Trained {sum(training['steps'].values())} steps in {training['seconds']:.0f} s ({spec['recipe']} recipe, "
        f"{spec['head']} head, {record['backbone']['pooling']} pooling)"
        + (", checkpoint reused." if training["reused"] else "."),
    ]
    cut = {name: row["truncated"] for name, row in rows.items() if row.get("truncated")}
    if training["truncated"]:
        cut["train"] = training["truncated"]
    lines.append(
        f"Truncated to {spec['max_length']} tokens: "
        + (", ".join(f"{v} of {k}" for k, v in cut.items()) or "none")
        + "."
    )
    reasons = [p["reason"] for s in record["evaluation"].values() for p in s["points"] if "reason" in p]
    lines += [f"Not reached: {reason}" for reason in dict.fromkeys(reasons)]
    live = record["live_check"]
    if live is not None:
        lines.append(
            f"Live check ({live['dtype']}, batch 1): {live['other_exit']} of {live['samples']} exits and "
            f"{live['other_prediction']} predictions differ from replay" + ("." if live["ok"] else ": TOO MANY.")
        )
    lines += changes_by_precision(record)
    latency = record["latency"]
    if latency is not None:
        lines += [*latency["notes"], *latency_over_samples(record)]
    lines += [f"Warning: {w}" for w in record["warnings"]]
    return lines


def latency_over_samples(record: Mapping[str, Any]) -> list[str]:
    """The other interval of each speed-up: how well these samples stand for all, not how well the clock knows it."""
    timed = record["latency"].get("configurations", {})
    rules = ["all layers", *(point["rule"] for summary in record["evaluation"].values() for point in summary["points"])]
    found = {rule: timed[rule]["sampling"] for rule in rules if timed.get(rule, {}).get("sampling")}
    if not found:
        return []
    each = ", ".join(f"{rule} [{s['low']:.2f}, {s['high']:.2f}]" for rule, s in found.items())
    return [f"Latency speed-up, 95 % over samples instead of rounds: {each}."]


def changes_by_precision(record: Mapping[str, Any]) -> list[str]:
    """What half precision changed, a line a split; none for a run in full precision or from before it was counted."""
    lines = []
    for split, found in (record.get("precision") or {}).items():
        line = (
            f"Changed by {record['spec']['dtype']} against {found['against']} ({split}): {found['all_layers']} of "
            f"{found['samples']} predictions with all layers"
        )
        if found["points"]:
            most = {k: max(point[k] for point in found["points"].values()) for k in ("predictions", "exits")}
            line += f"; at the points at most {most['predictions']} predictions and {most['exits']} exits"
        lines.append(f"{line}.")
    return lines


def name_table(title: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Named things, a line each; the columns are the keys of the first row."""
    table = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ["nothing"]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*["" if v is None else str(v) for v in row.values()])
    return table


# --------------------------------------------------------------------------- many cells

STATUS = {"recorded": "recorded", "trained": "checkpoint there", "missing": "missing", "unknown": "unknown"}


def print_plan(plan: Plan, total: Total, json: bool) -> None:
    """Print the cells of a plan, what is there already, and an estimate of the rest."""
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
            row["cell"],
            str(numbers[row["training"]]),
            there,
            format_seconds(row["seconds"]),
            format_bytes(row["disk"]),
        )
    out = console()
    out.print(table)
    counts = {name: sum(row["status"] == key for row in rows) for key, name in STATUS.items()}
    lines = [", ".join(f"{n} {name}" for name, n in counts.items() if n) + "."]
    lines.append(
        f"In all {format_seconds(total.seconds)} and {format_bytes(total.disk)} ({format_bytes(total.free)} free)."
    )
    lines += [f"Unknown: {why}" for why in dict.fromkeys(row["why"] for row in rows if row["why"])]
    out.print("\n".join([*lines, *total.notes]))


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return folder and record of one cell of many; of one that failed its name, and why instead of the record."""
    folder = None if outcome.folder is None else str(outcome.folder)
    if not outcome.ok:
        return {"cell": outcome.cell.label, "folder": folder, "error": outcome.error}
    return {"folder": folder, "record": _read_outcome(outcome)}


def print_outcome(outcome: Outcome) -> None:
    """Print the record of a cell that has ended; of one that failed, the command's end says why."""
    if outcome.ok:
        print_record(_read_outcome(outcome), str(outcome.folder))


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print a line for every cell: its primary metric with all layers, or why there is none."""
    table = Table(title=f"{sum(o.ok for o in outcomes)} of {len(outcomes)} cells", title_justify="left")
    for column in ("cell", "status", "all layers", "record"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        found = _quality(_read_outcome(outcome)) if outcome.ok else outcome.error
        table.add_row(outcome.cell.label, outcome.status, found, str(outcome.folder or "-"))
    console().print(table)


def _read_outcome(outcome: Outcome) -> dict[str, Any]:
    from bench.results.store import read_record

    return read_record(Path(str(outcome.folder)) / "record.json")


def _quality(record: Mapping[str, Any]) -> str:
    metric = record["task"]["metrics"][0]
    full = record["evaluation"][record["task"]["evaluation"][0]]["full"]
    return f"{NAMES.get(metric, metric)} {full['metrics'][metric]['value']:.3f}"


def format_seconds(seconds: float | None) -> str:
    """Return ``25 s``, ``3 min``, ``7.5 h``, or ``unknown``."""
    if seconds is None:
        return "unknown"
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def format_bytes(count: float | None) -> str:
    """Return ``1.5 GiB``, ``320 KiB``, or ``unknown``."""
    if count is None:
        return "unknown"
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 2**10:.0f} KiB"
