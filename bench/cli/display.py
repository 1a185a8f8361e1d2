"""Records and curves as tables on a terminal, and as the JSON that ``--json`` prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.text import TextConsole, escape_json

NAMES = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews", "pearson": "Pearson", "spearman": "Spearman"}


def console() -> TextConsole:
    """Stdout, at least 100 wide so that piped tables are not cut."""
    plain = TextConsole()
    return plain if plain.is_terminal else TextConsole(width=max(plain.width, 140))


def print_json(value: object) -> None:
    """``value`` on stdout as JSON."""
    sys.stdout.write(escape_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n")


def counted(record: Mapping[str, Any], split: str) -> str:
    """How many samples of a split were used of how many there are: ``500/872``; bare where that is not recorded."""
    rows = record["task"].get("rows", {}).get(split, {})
    if "used" not in rows:
        return str(record["evaluation"][split]["samples"]) if split in record.get("evaluation", {}) else "unknown"
    return f"{rows['used']}/{rows['available']}" if rows.get("available") else str(rows["used"])


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
