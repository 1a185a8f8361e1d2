"""Results over time: an append-only file, one line a measured cell, and where the numbers took a step.

    RESULTS/history.jsonl    {"at", "commit", "dirty", "series", "machine", "quality_key", "values": {...}, "doubts"}

A series is one cell's settings without versions (see :mod:`bench.compare.pairing`): what `bench compare` would pair.
Lines are never changed or removed; what was recorded already (same series, same time of making) is not added again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from bench.files import make_folder
from bench.latency import is_former_protocol
from bench.latency.names import write_over
from bench.results.doubts import Doubt
from bench.results.groups import label_runs, list_asked_settings
from bench.results.measures import OperatingPoint
from bench.results.part import Estimate, describe_error
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, describe_doubts
from bench.results.store import LeftOut

FILE = "history.jsonl"


@dataclass(frozen=True)
class Value:
    """A number with the standard error of its 95 % interval, 0 where it is exact."""

    value: FiniteFloat
    error: FiniteFloat = 0.0


@dataclass(frozen=True)
class Entry:
    """One cell at one time; ``doubts`` are None in a line from before they were kept."""

    at: str
    commit: str
    dirty: bool
    series: str
    label: str
    machine: str
    quality_key: str
    values: Mapping[str, Value]
    doubts: tuple[Doubt, ...] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """What makes an entry the same as one recorded before."""
        return self.series, self.at

    def mark_number(self, name: str, digits: int = 5) -> str:
        """Return the number ``name`` with the doubts about it in short."""
        rule = name.rpartition(" at ")[2]
        marks = [doubt.mark for doubt in self.doubts or () if not doubt.rules or rule in doubt.rules]
        return f"{self.values[name].value:.{digits}g}" + (f" ({', '.join(marks)})" if marks else "")


@dataclass(frozen=True)
class Step:
    """A lasting change: from entry number ``at`` (from 0) on, the level is ``after`` instead of ``before``."""

    at: int
    before: float
    after: float


def make_entry(run: Run, label: str) -> Entry:
    """Return what history keeps of a finished run, which is called ``label``."""
    head, source = run.head, run.head.environment.source
    flat = json.dumps(list_asked_settings(run), sort_keys=True)
    return Entry(
        at=head.created,
        commit="" if source is None else source.commit,
        dirty=source is not None and source.dirty,
        series=hashlib.sha256(flat.encode()).hexdigest()[:16],
        label=label,
        machine=head.environment.machine_id,
        quality_key=head.quality_key,
        values=collect_values(run),
        doubts=run.doubts,
    )


def collect_values(run: Run) -> dict[str, Value]:
    """Return the primary metric and the speed-ups of all layers and every operating point of the primary split.

    A latency that is not valid is none: it would be taken for a step. Those of two protocols, or over two
    plain models, have two names, for the same reason.
    """
    latency = run.record.latency
    by = "" if latency is None or is_former_protocol(latency.protocol) else f", {latency.protocol}"
    found: dict[str, Value] = {}
    for rule, point in run.result().performances.items():
        found[f"{run.metric} at {rule}"] = _make_value(point.metrics[run.metric])
        found[f"{point.cost_unit} speed-up at {rule}"] = _make_value(point.cost_speedup)
        if isinstance(point, OperatingPoint) and point.latency and not run.timing_problem:
            found[f"latency speed-up{write_over(run.timing_baseline)} at {rule}{by}"] = _make_value(
                point.latency.speedup
            )
    return found


def _make_value(of: Estimate) -> Value:
    return Value(of.value, (of.high - of.low) / 2 / 1.96)


def read_history(path: Path) -> tuple[list[Entry], list[LeftOut]]:
    """Return all entries in the file's order, none where there is no file, and the lines that are damaged."""
    found, left_out, entry = [], [], TypeAdapter(Entry)
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), start=1):
        try:
            if line.strip():
                found.append(entry.validate_json(line, strict=True))
        except ValidationError as error:
            left_out.append(LeftOut(f"{path}, line {number}", f"it is damaged ({describe_error(error)})"))
    return found, left_out


def find_fresh(path: Path, runs: Iterable[Run]) -> list[Entry]:
    """Return an entry for each finished cell that is not in the file yet, in order of time."""
    known = {e.identity for e in read_history(path)[0]}
    labels = label_runs([run for run in runs if run.is_finished()])
    fresh = [make_entry(run, label) for run, label in labels.items()]
    return sorted((e for e in fresh if e.identity not in known), key=lambda e: (e.at, e.series))


def append_runs(path: Path, runs: Iterable[Run]) -> list[Entry]:
    """Add finished cells that are not there yet, in order of time; returns what was added."""
    added = find_fresh(path, runs)
    if added:
        make_folder(path.parent)
        with path.open("a+b") as file:
            half = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * half)  # what a kill left of a line stays one of its own
            file.writelines(json.dumps(asdict(e), sort_keys=True, allow_nan=False) + "\n" for e in added)
    return added


def group_by_series(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each series in order of time, series by label."""
    found: dict[str, list[Entry]] = {}
    for e in sorted(entries, key=lambda e: (e.label, e.at)):
        found.setdefault(e.series, []).append(e)
    return found


def describe_entry_doubts(entries: Iterable[Entry]) -> list[str]:
    """Return a sentence for each kind of doubt about the first and the last entry of each series."""
    rows = []
    for series in group_by_series(entries).values():
        first, last = series[0], series[-1]
        if first.doubts == last.doubts:
            ends = [(last.label, last)]
        else:
            ends = [(f"{last.label}, {end}", entry) for end, entry in (("first", first), ("last", last))]
        rows += [(name, [SeriesDoubt(doubt, (), 0) for doubt in entry.doubts or ()]) for name, entry in ends]
    return describe_doubts(rows)


def follow_numbers(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry], list[Step]]]:
    """Yield every number of each series, series by label: its name, the entries that have it, the steps it took."""
    for series in group_by_series(entries).values():
        for name in dict.fromkeys(name for e in series for name in e.values):
            kept = [e for e in series if name in e.values]
            values = [e.values[name] for e in kept]
            yield name, kept, find_steps(values, choose_margin(name, values[0].value))


def find_steps(series: Sequence[Value], margin: float) -> list[Step]:
    """Find where a sequence of values takes a step: the piecewise constant fit of least penalised squares.

    Squares are in units of the values' noise; each further piece costs 5 ln n, more than the Bayesian information
    criterion's, because a false mark costs more than a late one. Noise is the values' own scatter between neighbours
    (median of |differences| / 0.954, which steps hardly touch), at least a third of the margin. Steps of at most
    ``margin`` are not marked. Exact by dynamic programming, O(n^2): the "Potts" fit of change detection (Killick,
    Fearnhead & Eckley 2012).
    """
    x = np.array([v.value for v in series], dtype=np.float64)
    n = len(x)
    if n < 2:
        return []
    noise = max(float(np.median(np.abs(np.diff(x)))) / 0.954, margin / 3, 1e-12) if n > 2 else max(margin / 3, 1e-12)
    x0 = (x - x.mean()) / noise
    sums, squares = np.append(0.0, x0.cumsum()), np.append(0.0, (x0 * x0).cumsum())
    penalty = 5 * math.log(n)
    best, origin = np.zeros(n + 1), np.zeros(n + 1, dtype=int)
    for end in range(1, n + 1):
        starts = np.arange(end)
        total = sums[end] - sums[starts]
        cost = best[starts] + squares[end] - squares[starts] - total**2 / (end - starts) + penalty
        origin[end] = int(np.argmin(cost))
        best[end] = cost[origin[end]]
    bounds = [n]
    while bounds[-1] > 0:
        bounds.append(int(origin[bounds[-1]]))
    bounds.reverse()
    levels = [float(x[a:b].mean()) for a, b in pairwise(bounds)]
    found = []
    for at, (before, after) in zip(bounds[1:-1], pairwise(levels), strict=True):
        if abs(after - before) > margin:
            found.append(Step(at, before, after))
    return found


def choose_margin(name: str, level: float) -> float:
    """Return what counts as a step: half a point of quality, 5 % of a latency speed-up, 1 % of another."""
    if "speed-up" not in name:
        return 0.005
    return abs(level) * (0.05 if name.startswith("latency") else 0.01)
