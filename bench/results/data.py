"""What a report is made of: every record of a store, read without a model.

Nothing here imports torch: a report is drawn on machines that could not run a single layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import Damaged, DataError, NothingComparable, UsageError
from bench.results import exits
from bench.results.store import ALL, Cell, Only, Store

Array = NDArray[Any]
Record = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Exits:
    """Every exit's ``logits`` float32 [N, L, C] over a split, its ``labels`` [N] and sample ``ids``."""

    ids: tuple[str, ...]
    labels: Array
    logits: Array


def read_exits(path: Path) -> Exits:
    """The stored logits of all exits. Raises DataError for a file that is not one of ours."""
    try:
        found = exits.read_exits(path)
    except Damaged as error:
        raise DataError(str(error)) from error
    return Exits(found.ids, found.labels, found.logits)


@dataclass(frozen=True, eq=False)
class CellView:
    """One cell of the store: where it lies (relative to the store) and its record."""

    name: str
    cell: Cell
    record: Record

    @property
    def status(self) -> str:
        """success, error, cancelled or started."""
        return str(self.record.get("status"))

    @property
    def spec(self) -> Record:
        """What was asked."""
        return self.record["spec"]

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return str(self.spec["strategy"])

    @property
    def seed(self) -> int:
        """The seed of training and of the select split."""
        return int(self.spec["seed"])

    @property
    def layers(self) -> int:
        """Number of exits L."""
        return int(self.record["backbone"]["layers"])

    @property
    def command(self) -> str:
        """The exact command that made the cell."""
        return str(self.record.get("command", ""))

    @property
    def error(self) -> str:
        """Why the cell failed, in one line; empty where it did not."""
        return str(self.record["error"]["message"]) if isinstance(self.record.get("error"), Mapping) else ""

    @property
    def latency(self) -> Record | None:
        """The summary of the timing, if there was one."""
        found = self.record.get("latency")
        return found if isinstance(found, Mapping) else None

    @property
    def latency_problem(self) -> str:
        """Why the timing is invalid; empty where it is valid or was not made."""
        if self.latency is None or self.latency.get("valid", True):
            return ""
        return "; ".join(map(str, self.latency.get("reasons", ()))) or "no reason given"

    def exits(self, split: str) -> Exits | None:
        """The stored logits of ``split``, None where the file is not there (it may be left out of a repository)."""
        path = self.cell.exits_file(split)
        return read_exits(path) if path.exists() else None

    @property
    def exits_key(self) -> str:
        """The same for cells that share their logits: one checkpoint, read by several criteria."""
        training = self.record.get("training")
        key = training.get("key", self.name) if isinstance(training, Mapping) else self.name
        return f"{key} {self.spec.get('dtype')} {self.spec.get('device')}"


@dataclass(frozen=True, eq=False)
class Result:
    """One cell on one evaluation split."""

    view: CellView
    split: str

    @property
    def summary(self) -> Record:
        """The record's part about this split."""
        return self.view.record["evaluation"][self.split]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the primary one first."""
        return list(self.view.record["task"]["metrics"])

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self.metrics[0]

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.summary["samples"])

    @property
    def full(self) -> Record:
        """All layers."""
        return self.summary["full"]

    @property
    def chance(self) -> float:
        """What guessing gives: 1 / classes for accuracy, 0 for the other metrics."""
        return 1 / max(1, len(self.view.record["task"]["labels"])) if self.metric == "accuracy" else 0.0

    @cached_property
    def points(self) -> dict[str, Record]:
        """Operating points by rule; those that were not reached have a ``reason``."""
        return {str(p["rule"]): p for p in self.summary["points"]}

    @cached_property
    def curve(self) -> tuple[Array, Array, list[float | None], Array]:
        """Speed-ups [K], qualities [K], thresholds (None: nobody leaves) and Pareto marks [K], cheapest last."""
        rows = sorted(self.summary["curve"], key=lambda r: (r["cost_speedup"], -r["quality"]))
        return (
            np.array([r["cost_speedup"] for r in rows], dtype=np.float64),
            np.array([r["quality"] for r in rows], dtype=np.float64),
            [r["threshold"] for r in rows],
            np.array([bool(r["pareto"]) for r in rows]),
        )


@dataclass(frozen=True)
class StoreData:
    """All that was found: cells in order of path, and what could not be read."""

    cells: tuple[CellView, ...]
    damaged: tuple[tuple[str, str], ...]

    def results(self) -> Iterator[Result]:
        """Every finished cell on every evaluation split."""
        for view in self.cells:
            if view.status == "success":
                for split in view.record["task"]["evaluation"]:
                    yield Result(view, split)

    def of_status(self, *statuses: str) -> list[CellView]:
        """The cells with one of ``statuses``."""
        return [view for view in self.cells if view.status in statuses]


def load_store(root: Path, only: Only = ALL) -> StoreData:
    """Read every record under ``root``, or those of ``only``. Damaged ones are listed, not raised.

    Raises UsageError where there is no folder, NothingComparable where it holds none of ``only``.
    """
    if not root.is_dir():
        raise UsageError(f"There is no results folder {root}. `bench run` makes one.")
    cells, damaged = [], []
    for cell in Store(root).cells():
        name = cell.folder.relative_to(root).as_posix()
        try:
            record = cell.read()
            if record is None:
                continue
            problem = _lacking(record)
        except (UsageError, OSError) as error:
            damaged.append((name, str(error).replace(str(root), root.name)))
            continue
        if problem:
            damaged.append((name, problem))
        elif only.holds(record):
            cells.append(CellView(name, cell, record))
    if only != ALL and not cells:
        raise NothingComparable(f"{root} has no run of these tasks and backbones.")
    return StoreData(tuple(cells), tuple(damaged))


def _lacking(record: Record) -> str:
    """Why a record cannot be shown, or the empty string."""
    spec = record.get("spec")
    if not isinstance(spec, Mapping) or not {"strategy", "task", "backbone", "seed"} <= set(spec):
        return "The record does not say what was run."
    if record.get("status") != "success":
        return ""
    needed = [part for part in ("task", "backbone", "evaluation", "training") if part not in record]
    return f"The record lacks {', '.join(needed)}." if needed else ""


def canonical(value: object) -> str:
    """A text that is the same for equal JSON values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
