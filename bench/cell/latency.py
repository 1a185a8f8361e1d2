"""Latency of a cell: which operating points are timed, and what the record says about it.

The measuring itself is :mod:`bench.latency`; raw times stay beside the record in a file of their own, so that a
run that was killed after timing does not time again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.cell.identify import Cell, Warn
from bench.cell.live import LiveSplit
from bench.errors import Damaged
from bench.inference.executors import make_executor
from bench.latency.baselines import describe_requested, make_requested
from bench.latency.depth import ShallowModel, measure_depth_table
from bench.latency.names import parse_baselines
from bench.latency.queries import fix_threads, make_baselines, make_plain_query, measure_interleaved
from bench.latency.result import LatencyOptions
from bench.measure.scores import hash_ids
from bench.measure.trade_off import TradeOff
from bench.progress import LINE_EVERY, Progress
from bench.results.measures import OperatingPoint, SplitResult
from bench.results.part import Estimate
from bench.results.places import locate_times
from bench.results.spec import LatencyArgs
from bench.results.store import load_or_set_aside
from bench.results.times import (
    Latency,
    Ratio,
    RawConfiguration,
    RawTimes,
    TimedPoint,
    Timing,
    read_times,
    write_times,
)
from bench.tasks.encode import collate_batch
from strategies.base import ExitModel

TIMED = ("no-loss", "2x", "3x", "1.5x", "-1", "4x", "-0.5", "default")
"""Operating points in the order in which they are timed; the first three with different cuts are."""


def measure_latency(cell: Cell, live: LiveSplit, whole: ExitModel, result: SplitResult, warn: Warn) -> Latency:
    """Return the latency of the plain model ``whole`` and of up to three points of ``result``, the split ``live``.

    Raw times of an earlier run are summarised again instead of being taken again.
    """
    context, args, speed_key = cell.context, cell.spec.latency, cell.keys.speed
    if args is None or speed_key is None:
        raise ValueError("A cell without a speed key is not timed.")
    path = locate_times(cell.folder, speed_key)
    raw = load_or_set_aside(context.store, path, partial(read_own_times, live=live), context.progress, warn)
    if raw is None or context.overwrite == "always":
        cuts = choose_timed_points(result.reached.values())
        times = take_times(live, whole, cuts, args, context.progress, context.wait_quiet)
        write_times(path, {"speed_key": speed_key, **times})
        raw = read_times(path)
    return summarise_times(raw, result, live.replayed, path.name)


def read_own_times(path: Path, live: LiveSplit) -> RawTimes:
    """Return the raw times in ``path`` of the split ``live``. Raises Damaged, also for rows that it does not have."""
    raw, there = read_times(path), len(live.encoded)
    last = max(max(query) for query in raw.queries)
    if last >= there:
        raise Damaged(path, f"it has row {last} of a split of {there}")
    return raw


def choose_timed_points(points: Iterable[OperatingPoint]) -> dict[str, float]:
    """Return rule and cut of at most three points with different cuts; all layers where there is none."""
    cuts = {p.rule: p.cut for p in points if math.isfinite(p.cut) and p.chosen_on != "given"}
    chosen: dict[str, float] = {}
    for rule in TIMED:
        if rule in cuts and cuts[rule] not in chosen.values() and len(chosen) < 3:
            chosen[rule] = cuts[rule]
    return chosen or {"all layers": -math.inf}


def take_times(
    live: LiveSplit,
    whole: ExitModel,
    cuts: Mapping[str, float],
    args: LatencyArgs,
    progress: Progress,
    wait_quiet: float = 0.0,
) -> dict[str, object]:
    """Time ``whole`` without early exit and ``cuts`` by their rules; return the raw times as plain JSON values.

    Of the baselines that ``args`` ask for those with all layers may be what speed-ups are against. ``wait_quiet`` is
    how many seconds to wait at most for a quiet machine.
    """
    asked = parse_baselines(args.baselines)
    named = ", ".join(("plain", *asked, *cuts))
    progress.say(f"Timing {named} ({args.protocol}, about {args.seconds:.0f} s of rounds at most).")
    size = args.samples_per_query
    options = LatencyOptions(
        protocol=args.protocol,
        samples=max(1, args.samples // size),
        seconds=args.seconds,
        streak=8 if size == 1 else 1,
        executor=args.executor,
        wait_quiet=wait_quiet,
        threads=args.threads or None,
    )
    queries = draw_queries(len(live.encoded), size)
    batches = [collate_batch(live.encoded, rows) for rows in queries]
    keys = hash_ids(live.replayed.exits.ids)
    with fix_threads(options.threads):
        plain = make_baselines(whole, make_executor(whole, args.executor))
        rivals = make_requested(asked, whole, batches[0])
        running = {one.name: one.call for one in rivals if one.call is not None}
        first = {
            one.name: make_plain_query(ShallowModel(whole, one.layers), running[one.name], batches)
            for one in rivals
            if one.name in running and one.layers < whole.num_layers
        }
        found = measure_interleaved(
            live.model,
            {rule: (live.criterion, cut) for rule, cut in cuts.items()},
            batches,
            options,
            baselines=plain | {name: call for name, call in running.items() if name not in first},
            extra=first,
            keys=[keys[rows] for rows in queries],
            progress=throttle_messages(progress),
        )
        notes = describe_requested(rivals, plain["stock"], [batches[i] for i in found.samples])
    raw = {**found.to_json(), "rows": [queries[i] for i in found.samples], "notes": [*found.notes, *notes]}
    if args.depth:
        progress.say("Timing forced exits at every layer.")
        raw["depth"] = measure_depth_table(live.model, live.criterion, cuts, batches, options).to_json()
    return raw


def draw_queries(samples: int, size: int) -> list[list[int]]:
    """Return the rows of each query: all samples one by one, or batches drawn at random, the same for everybody.

    A last batch that is not full is left out, unless it is the only one.
    """
    if size == 1:
        return [[row] for row in range(samples)]
    order = np.random.default_rng(0).permutation(samples).tolist()
    full = max(size, samples - samples % size)
    return [order[i : i + size] for i in range(0, min(full, samples), size)]


def throttle_messages(progress: Progress) -> Callable[[str], None]:
    """Return a function that passes a message on at most every ten seconds."""
    last = time.monotonic()

    def say(message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            progress.say(f"Timing: {message}.")

    return say


def summarise_times(raw: RawTimes, result: SplitResult, replayed: TradeOff, file: str) -> Latency:
    """Return what the record keeps of the raw times in ``file``."""
    rows = np.array([row for query in raw.queries for row in query])
    plain = float(replayed.costs.plain[rows].sum())
    configurations: dict[str, Timing] = {}
    for label, figures in raw.summary.items():
        if figures.timer is None or figures.sampling is None:
            configurations[label] = Timing(mean_ms=_write_milliseconds(figures), percentiles=figures.percentiles)
            continue
        if len(rows) == len(raw.queries):
            layers = np.array(raw.layers[label], dtype=np.int64)
        else:  # a batch reports its mean exit only; its samples' own are the replay's
            cut = result.reached[label].cut if label in result.reached else -math.inf
            layers = replayed.layers_at(cut)[rows]
        flops = plain / float(replayed.costs.early[rows, layers - 1].sum())
        configurations[label] = TimedPoint(
            mean_ms=_write_milliseconds(figures),
            percentiles=figures.percentiles,
            speedup=_convert_ratio(figures.timer),
            sampling=_convert_ratio(figures.sampling),
            mean_layer=figures.mean_layer,
            cost_speedup=flops,
            realisation=figures.timer.estimate / flops,
            **({} if figures.robust is None else {"robust": _convert_ratio(figures.robust)}),
        )
    later: dict[str, Any] = {} if raw.depth is None else {"depth": raw.depth}
    later |= {} if raw.parts is None else {"repeated": len(raw.repeated)}
    later |= {} if raw.moved is None else {"moved": raw.moved}
    return Latency(
        protocol=raw.protocol,
        valid=raw.validity == "VALID",
        reasons=raw.reasons,
        stop=raw.stop,
        rounds=len(raw.rounds),
        samples=len(rows),
        batch_size=max(map(len, raw.queries)),
        device=raw.device,
        dtype=raw.dtype,
        threads=raw.threads,
        executor=raw.options.executor,
        baseline=raw.baseline,
        file=file,
        configurations=configurations,
        notes=tuple(write_notes(raw, configurations[raw.baseline])),
        **later,
    )


def add_latency(result: SplitResult, latency: Latency) -> SplitResult:
    """Return ``result`` with their times beside the points that were timed."""
    points = []
    for point in result.points:
        timed = latency.configurations.get(point.rule)
        measured = isinstance(point, OperatingPoint) and isinstance(timed, TimedPoint)
        points.append(point.model_copy(update={"latency": timed}) if measured else point)
    fields = {name: getattr(result, name) for name in result.model_fields_set}  # a copy would keep what was cached
    return SplitResult(**{**fields, "points": tuple(points)})


def write_notes(raw: RawTimes, plain: Timing) -> list[str]:
    """Return the lines that a reader needs to judge the figures; ``plain`` is the baseline."""
    threads = f"{raw.threads} thread{'s' if raw.threads != 1 else ''}"
    per = "a sample" if max(raw.sizes) == 1 else f"a batch of {max(raw.sizes)}"
    lines = [
        f"Latency ({raw.protocol}, {raw.options.executor}, {raw.device}, {threads}, {raw.dtype}): "
        f"plain model {plain.mean_ms:.2f} ms {per} ({raw.baseline}), {sum(raw.sizes)} samples, "
        f"{_describe_rounds(raw)}. Intervals: 95 %, over rounds."
    ]
    if raw.reasons:
        lines.append("Latency is INVALID: " + "; ".join(raw.reasons) + ".")
    for label, point in ({} if raw.depth is None else raw.depth.points).items():
        ratio = point.ratio
        lines.append(
            f"Depth table's prediction of {label}: measured / predicted {ratio.estimate:.3f} "
            f"[{ratio.low:.3f}, {ratio.high:.3f}]."
        )
    return lines + [f"Latency: {note}." for note in raw.notes]


def _describe_rounds(raw: RawTimes) -> str:
    """Return how many rounds there were of what, and what ended them."""
    said = f"{len(raw.rounds)} interleaved rounds"
    if len(raw.part_sizes) > 1:
        fewest, most = min(raw.part_sizes), max(raw.part_sizes)
        said += f" of {fewest if fewest == most else f'{fewest} or {most}'} queries"
    return f"{said}, stopped by {raw.stop}"


def _write_milliseconds(figures: RawConfiguration) -> float:
    return round(figures.mean * 1e3, 4)


def _convert_ratio(ratio: Ratio) -> Estimate:
    return Estimate(value=ratio.estimate, low=ratio.low, high=ratio.high)
