"""Latency of a cell: which operating points are timed, and what the record says about it.

The measuring itself is :mod:`bench.latency`; raw times stay beside the record in a file of their own, so that a
run that was killed after timing does not time again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from bench.files import Shape, check_shape, read_object, write_json
from bench.inference.executors import make_executor
from bench.inference.replay import hash_ids
from bench.latency.depth import measure_depth_table
from bench.latency.queries import make_baselines, measure
from bench.latency.result import LatencyOptions
from bench.measure.trade_off import TradeOff
from bench.progress import LINE_EVERY, Progress
from bench.results.spec import LatencyArgs, RunSpec
from bench.tasks.encode import EncodedSplit, collate
from strategies.base import Criterion, ExitModel

TIMED = ("no-loss", "2x", "3x", "1.5x", "-1", "4x", "-0.5", "default")
"""Operating points in the order in which they are timed; the first three with different cuts are."""


def timed_points(points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Rule and cut of at most three operating points with different cuts; all layers where there is none."""
    by_rule = {p["rule"]: p["cut"] for p in points if p.get("cut") is not None and p["chosen_on"] != "given"}
    chosen: dict[str, float] = {}
    for rule in TIMED:
        if rule in by_rule and by_rule[rule] not in chosen.values() and len(chosen) < 3:
            chosen[rule] = by_rule[rule]
    return chosen or {"all layers": -math.inf}


def measure_latency(
    model: ExitModel,
    whole: ExitModel,
    criterion: Criterion,
    points: list[dict[str, Any]],
    replayed: TradeOff,
    encoded: EncodedSplit,
    spec: RunSpec,
    args: LatencyArgs,
    path: Path,
    key: str,
    progress: Progress,
    known: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Time the plain model and up to three points; adds ``latency`` to those points and returns the summary.

    ``whole`` is the model without early exit that speed-ups are against. Raw times are written to ``path``, unless
    those of an earlier run are ``known``.
    """
    raw = known
    if raw is None:
        chosen = timed_points(points)
        progress.say(f"Timing plain and {', '.join(chosen)} ({args.protocol}, {args.seconds:.0f} s of rounds at most).")
        size = args.samples_per_query
        options = LatencyOptions(
            protocol=args.protocol,
            samples=max(1, args.samples // size),
            seconds=args.seconds,
            streak=8 if size == 1 else 1,
            executor=args.executor,
        )
        queries = query_rows(len(encoded), size)
        batches = [collate(encoded, rows) for rows in queries]
        keys = hash_ids(replayed.exits.ids)
        found = measure(
            model,
            {rule: (criterion, cut) for rule, cut in chosen.items()},
            batches,
            options,
            baselines=make_baselines(whole, make_executor(whole, args.executor)),
            keys=[keys[rows] for rows in queries],
            progress=None if progress.quiet else sparingly(progress),
        )
        raw = {"speed_key": key, **found.to_json(), "rows": [queries[i] for i in found.samples]}
        if args.depth:
            progress.say("Timing forced exits at every layer.")
            raw["depth"] = measure_depth_table(model, criterion, chosen, batches, options).to_json()
        write_json(path, raw, compact=True)
    return summary(raw, points, replayed, path)


TIMES: Shape = {
    **dict.fromkeys(("protocol", "device", "dtype", "validity", "stop", "baseline"), str),
    **dict.fromkeys(("samples", "rounds", "reasons", "notes"), list),
    "options": {"executor": str},
    "threads": int,
    "layers": {"*": list},
    "summary": {"*": {"mean": (int, float), "percentiles": dict, "timer": (dict, NoneType)}},
}
"""What a record's summary is made of."""


def read_times(path: Path) -> dict[str, Any]:
    """The raw times in ``path``. Raises Damaged for what no summary can be made of."""
    raw = read_object(path)
    check_shape(path, raw, TIMES)
    return raw


def query_rows(samples: int, size: int) -> list[list[int]]:
    """The rows of each query: all samples one by one, or batches of ``size`` drawn at random, the same for everybody.

    A last batch that is not full is left out, unless it is the only one.
    """
    if size == 1:
        return [[row] for row in range(samples)]
    order = np.random.default_rng(0).permutation(samples).tolist()
    full = max(size, samples - samples % size)
    return [order[i : i + size] for i in range(0, min(full, samples), size)]


def sparingly(progress: Progress) -> Callable[[str], None]:
    """Pass a message on at most every ten seconds."""
    last = time.monotonic()

    def say(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            progress.say(f"Timing: {message}.")

    return say


def summary(raw: Mapping[str, Any], points: list[dict[str, Any]], replayed: TradeOff, path: Path) -> dict[str, Any]:
    """What the record keeps of the raw times; the points that were timed get their speed-up."""
    queries = raw.get("rows", [[row] for row in raw["samples"]])  # one row a query before there were batches
    rows = np.array([row for query in queries for row in query])
    cuts = {point["rule"]: point["cut"] for point in points if point.get("cut") is not None}
    plain = float(replayed.costs.plain[rows].sum())
    configurations = {}
    for label, figures in raw["summary"].items():
        kept = {"mean_ms": round(figures["mean"] * 1e3, 4), "percentiles": figures["percentiles"]}
        if figures["timer"] is not None:
            if len(rows) == len(queries):
                layers = np.array(raw["layers"][label], dtype=np.int64)
            else:  # a batch reports its mean exit only; its samples' own are the replay's
                layers = replayed.layers_at(cuts.get(label, -math.inf))[rows]
            flops = plain / float(replayed.costs.early[rows, layers - 1].sum())
            kept |= {
                "speedup": _interval(figures["timer"]),
                "sampling": _interval(figures["sampling"]),
                "mean_layer": figures["mean_layer"],
                "cost_speedup": flops,
                "realisation": figures["timer"]["estimate"] / flops,
            }
        configurations[label] = kept
    for point in points:
        timed = configurations.get(point["rule"])
        if timed is not None and "realisation" in timed and "metrics" in point:
            point["latency"] = timed
    baseline = raw["baseline"]
    return {
        "protocol": raw["protocol"],
        "valid": raw["validity"] == "VALID",
        "reasons": raw["reasons"],
        "stop": raw["stop"],
        "rounds": len(raw["rounds"]),
        "samples": len(rows),
        "batch_size": max(map(len, queries)),
        "device": raw["device"],
        "dtype": raw["dtype"],
        "threads": raw["threads"],
        "executor": raw["options"]["executor"],
        "baseline": baseline,
        "file": path.name,
        "configurations": configurations,
        "notes": notes(raw, configurations),
        **({"depth": raw["depth"]} if "depth" in raw else {}),
    }


def notes(raw: Mapping[str, Any], configurations: Mapping[str, Any]) -> list[str]:
    """The lines a reader needs to judge the figures."""
    baseline = raw["baseline"]
    per_core = f"{raw['threads']} thread{'s' if raw['threads'] != 1 else ''}"
    sizes = raw.get("sizes", [1])
    per = "a sample" if max(sizes) == 1 else f"a batch of {max(sizes)}"
    lines = [
        f"Latency ({raw['protocol']}, {raw['options']['executor']}, {raw['device']}, {per_core}, {raw['dtype']}): "
        f"plain model {configurations[baseline]['mean_ms']:.2f} ms {per} ({baseline}), {sum(sizes)} samples, "
        f"{len(raw['rounds'])} interleaved rounds, stopped by {raw['stop']}. Intervals: 95 %, over rounds."
    ]
    if raw["reasons"]:
        lines.append("Latency is INVALID: " + "; ".join(raw["reasons"]) + ".")
    for label, point in raw.get("depth", {}).get("points", {}).items():
        ratio = point["ratio"]
        lines.append(
            f"Depth table's prediction of {label}: measured / predicted {ratio['estimate']:.3f} "
            f"[{ratio['low']:.3f}, {ratio['high']:.3f}]."
        )
    return lines + [f"Latency: {note}." for note in raw["notes"]]


def _interval(found: Mapping[str, float]) -> dict[str, float]:
    return {"value": found["estimate"], "low": found["low"], "high": found["high"]}
