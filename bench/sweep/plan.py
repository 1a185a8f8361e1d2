"""From a list of requests to a plan: every cell resolved, what is there already, what shares a training."""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from backbones.load import BackboneRequest
from bench.cell.identify import Cell, identify_cell, request_backbone
from bench.cell.request import Context, Request
from bench.cell.resolve import Parts, find_overrides, is_timed, resolve_request
from bench.cell.run import find_finished
from bench.environment import check_threads
from bench.errors import Damaged, DataError, Newer, UsageError, UserError
from bench.results.places import locate_times
from bench.results.run import Run
from bench.results.spec import Facts, RunSpec, hash_identity, identify_training
from bench.results.times import read_times
from bench.tasks.base import LoadOptions, TaskData
from bench.tasks.contract import load_task
from bench.tasks.folder import FolderTask

Status = Literal["recorded", "trained", "missing", "unknown"]
"""Recorded: nothing to do. Trained: the checkpoint is there. Unknown: data or backbone have not been fetched yet."""


@dataclass(frozen=True)
class Planned:
    """One cell of a plan.

    ``label`` names it for people. ``training`` groups the cells that share a training; ``checkpoint`` says whether its
    result is there. ``data`` may be those of another seed. ``identified`` is None, and ``why`` says why, where
    the cell's identity cannot be known before its data and backbone are at hand. ``spoilt`` says what was recorded and
    cannot be read.
    """

    request: Request
    spec: RunSpec
    parts: Parts
    label: str
    backbone: BackboneRequest
    training: str
    status: Status
    checkpoint: bool = False
    data: TaskData | None = None
    identified: Cell | None = None
    why: str = ""
    spoilt: str = ""

    @property
    def timed(self) -> bool:
        """Whether the cell measures time, and so must have its machine to itself."""
        return is_timed(self.spec, self.parts)


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep in the order they were asked for, each once."""

    cells: tuple[Planned, ...]

    @cached_property
    def key(self) -> str:
        """16 hex digits for what is asked, whatever is there already."""
        return hash_identity({"cells": [repr(dataclasses.astuple(cell.request)) for cell in self.cells]})

    def trainings(self) -> dict[str, list[Planned]]:
        """Return the cells by the training that they share."""
        groups: dict[str, list[Planned]] = {}
        for cell in self.cells:
            groups.setdefault(cell.training, []).append(cell)
        return groups

    def refuse_threads(self) -> None:
        """Raise UsageError where a cell is to be timed on more threads than this machine has cores."""
        for cell in self.cells:
            if cell.timed and cell.status != "recorded" and cell.spec.latency is not None:
                check_threads(cell.spec.latency.threads or None, "latency.threads")


def make_plan(requests: Sequence[Request], context: Context) -> Plan:
    """Resolve all ``requests``, look at what the store has, and put cells that share a training into one group.

    Downloads nothing: what has not been fetched leaves a cell's status "unknown". Two requests for the same spec are
    one cell. Raises UsageError, naming the cell, for the first request that makes no sense.
    """
    resolved: dict[str, tuple[Request, RunSpec, Parts]] = {}
    for request in requests:
        try:
            spec, parts = resolve_request(request)
        except UserError as error:
            if len(requests) == 1:
                raise
            raise UsageError(f"{request.strategy}, {request.task}, seed {request.seed}: {error}") from error
        # folders of the same name are different tasks, and a folder is one task, however its path is spelled
        place = os.path.realpath(parts.task.folder) if isinstance(parts.task, FolderTask) else request.task
        resolved.setdefault(repr((spec, place)), (request, spec, parts))
    lookup = Lookup(context)
    found = list(resolved.values())
    labels = label_cells([(request, spec) for request, spec, _ in found])
    return Plan(tuple(lookup.plan_cell(*cell, label) for cell, label in zip(found, labels, strict=True)))


def label_cells(cells: Sequence[tuple[Request, RunSpec]]) -> list[str]:
    """Return for each cell ``entropy, sst2, bert-base, seed 0`` with what else was asked, but for what all cells have.

    A recipe and a head that were asked for are always said. Of folders of one name the paths are.
    """
    folders: dict[str, set[str]] = defaultdict(set)
    for request, spec in cells:
        folders[spec.task].add(request.task)
    asked = [_flatten_request(request) for request, _ in cells]
    differ = {name for one in asked for name in one if any(other.get(name) != one[name] for other in asked)}
    labels = []
    for (request, spec), flat in zip(cells, asked, strict=True):
        task = spec.task if len(folders[spec.task]) == 1 else request.task
        words = [
            f"{k}={v}" for k, v in flat.items() if v not in (None, ()) and (k in differ or k in ("recipe", "head"))
        ]
        labels.append(", ".join([spec.strategy, task, spec.backbone, f"seed {spec.seed}", *words]))
    return labels


def _flatten_request(request: Request) -> dict[str, object]:
    """Return what was asked for besides strategy, task, backbone and seed."""
    named = ("strategy", "task", "backbone", "seed", "settings")
    own = {f.name: getattr(request, f.name) for f in dataclasses.fields(request) if f.name not in named}
    return {"recipe": None, "head": None, **request.settings, **own}


class Lookup:
    """What was looked up for a plan, once for each data set and each backbone."""

    def __init__(self, context: Context) -> None:
        self.context = dataclasses.replace(context, offline=True)
        self._data: dict[object, TaskData | str] = {}

    def plan_cell(self, request: Request, spec: RunSpec, parts: Parts, label: str) -> Planned:
        """Return the cell with what is known of it."""
        data, backbone = self.find_data(request, parts), request_backbone(spec, parts, self.context)
        at_hand: TaskData | None = None
        try:
            if isinstance(data, str):
                raise DataError(data)
            at_hand = data
            cell = identify_cell(spec, parts, data, self.context)
        except UserError as error:
            own = find_overrides(parts.strategy, spec.criterion_args)
            versions = parts.versions(2)  # a training has no part of what depends on the number of classes
            group = "unknown-" + hash_identity(
                identify_training(spec, Facts(repr(own), request.task, versions))
            )  # by its names
            return Planned(request, spec, parts, label, backbone, group, "unknown", data=at_hand, why=str(error))
        training = cell.keys.training
        checkpoint = (self.context.store.cache("checkpoints", training) / "model.safetensors").exists()
        status: Status = "trained" if checkpoint else "missing"
        spoilt = find_spoilt(cell)
        if not spoilt and find_finished(cell) is not None:
            status = "recorded"
        return Planned(
            request, spec, parts, label, backbone, training, status, checkpoint, at_hand, cell, spoilt=spoilt
        )

    def find_data(self, request: Request, parts: Parts) -> TaskData | str:
        """Return the task's data, or why they are not at hand; those of any seed will do."""
        place = (request.task, request.limit)
        if place not in self._data:
            options = LoadOptions(0, request.limit, self.context.hub_root, offline=True)
            try:
                self._data[place] = load_task(parts.task, options)
            except UserError as error:
                self._data[place] = str(error)
        return self._data[place]


def find_spoilt(cell: Cell) -> str:
    """Return what is recorded of ``cell`` and cannot be read, and what becomes of it; the empty string for nothing."""
    if cell.context.overwrite == "always":
        return ""
    try:
        run = Run.load(cell.folder)
        if cell.context.overwrite == "never" or not run.is_finished():
            return ""
        if damaged := run.find_damaged_logits():
            return f"{damaged[0]}, would be measured again."
        if cell.keys.speed is not None:
            read_times(locate_times(cell.folder, cell.keys.speed))
    except FileNotFoundError:
        return ""
    except Newer as error:
        return str(error)
    except Damaged as error:
        return f"{error.what}, would be measured again."
    return ""


def plan_again(cell: Planned, context: Context) -> Planned:
    """Return the cell as the store has it now; what was unknown when it was planned may have been fetched since."""
    return Lookup(context).plan_cell(cell.request, cell.spec, cell.parts, cell.label)
