"""A recorded cell's model, rebuilt from its record and the checkpoint that the run left in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from backbones.load import describe, load_backbone
from bench.cell import run as runner
from bench.cell.fitting import Probing, refit
from bench.cell.request import Context
from bench.cell.resolve import Parts
from bench.errors import UsageError
from bench.progress import Progress
from bench.results.spec import Facts, RunSpec, exits_identity, key, training_identity
from bench.results.store import Cell, Store
from bench.tasks import TASKS, get_task
from bench.tasks.base import LoadOptions, Task, TaskData
from bench.training.args import TrainArgs
from bench.training.checkpoint import load_tensors
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.base import Criterion, ExitModel


@dataclass(frozen=True)
class Reloaded:
    """A cell that can answer again: float32, on the CPU."""

    spec: RunSpec
    data: TaskData
    model: ExitModel
    criterion: Criterion
    tokenizer: Any
    max_length: int


def spec_of(record: Mapping[str, Any]) -> RunSpec:
    """The spec that a record keeps. Raises UsageError for one that this version cannot read."""
    asked = dict(record["spec"])
    known = {f.name for f in fields(RunSpec)}
    train = dict(asked.pop("train", {}))
    thresholds = asked.pop("thresholds", None)
    try:
        return RunSpec(
            **{name: value for name, value in asked.items() if name in known and name != "latency"},
            train=TrainArgs(**train),
            thresholds=None if thresholds is None else tuple(thresholds),
            latency=None,
        )
    except TypeError as error:
        raise UsageError(
            f"The record was written by another version and its settings cannot be read ({error})."
        ) from error


def task_of(record: Mapping[str, Any]) -> Task:
    """The task of a record, by its name. Raises UsageError for the user's own files where they are out of sight."""
    name, source = str(record["spec"]["task"]), str(record["task"].get("source", ""))
    if name not in TASKS and source.startswith("folder ") and not Path(name).is_dir():
        raise UsageError(f"The run's data is a folder named '{name}', which is not here: run this where it lies.")
    return get_task(name)


def parts_of(record: Mapping[str, Any]) -> Parts:
    """The classes behind a record's names; heads and recipes that are not listed are their strategy's own."""
    spec = spec_of(record)
    strategy = STRATEGIES.load(spec.strategy)
    head = HEADS.load(spec.head) if spec.head in HEADS else STRATEGIES.load(spec.head).head
    recipe = RECIPES.load(spec.recipe) if spec.recipe in RECIPES else STRATEGIES.load(spec.recipe).recipe
    return Parts(strategy, head, recipe, task_of(record))


def load_task(record: Mapping[str, Any], hub_root: Path | None, offline: bool) -> TaskData:
    """The data of a cell. Raises DataError where it cannot be had, UsageError where it is no longer the same."""
    spec = spec_of(record)
    data = task_of(record).load(LoadOptions(spec.seed, spec.limit, hub_root, offline))
    recorded = record["task"]["revision"]
    if data.revision != recorded:
        raise UsageError(f"Task '{spec.task}' has other data now ({data.revision}) than the run had ({recorded}).")
    return data


def reload(
    cell: Cell,
    record: Mapping[str, Any],
    store: Store,
    progress: Progress,
    hub_root: Path | None = None,
    offline: bool = False,
    *,
    attention: str = "eager",
) -> Reloaded:
    """Rebuild the model of ``cell``; only ``eager`` attention lets its maps be seen, ``sdpa`` is fast.

    Raises UsageError, in one line, for an unfinished cell, a checkpoint that is gone, and data or a backbone that are
    no longer those of the run.
    """
    if record.get("status") != "success":
        raise UsageError(f"{cell.folder.name} is not finished ({record.get('status')}): there is nothing to explain.")
    spec = replace(spec_of(record), device="cpu", dtype="fp32")
    name = str(record["training"]["key"])
    weights = store.cache("checkpoints", name) / "model.safetensors"
    if not weights.exists():
        raise UsageError(
            f"The checkpoint of {cell.folder.name} is gone from {store.root / '.cache'}. "
            f"Train it again with: {record.get('command')} --overwrite always"
        )
    parts, data = parts_of(record), load_task(record, hub_root, offline)
    context = Context(store, progress, hub_root, offline)
    request = runner.backbone_request(spec, parts, context)
    backbone = describe(request)
    facts = Facts(cast(str, backbone["digest"]), data.revision, parts.versions)
    if key(training_identity(spec_of(record), facts)) != name:
        raise UsageError(
            f"{cell.folder.name} was made with another backbone, strategy version or data than are here now, "
            "so its checkpoint would not fit. Run it again."
        )
    texts = [*data.train.first, *(data.train.second or ())]
    loaded = load_backbone(replace(request, attention=attention), texts, seed=spec.seed)
    work = runner.Work(spec, parts, facts, data, backbone, cell, context)
    model, _, criterion = runner.build(work, loaded)
    tensors, _ = load_tensors(weights)
    model.load_state_dict(tensors)
    model = model.to(torch.device("cpu")).eval()
    if criterion.probe is not None:
        identity = exits_identity(spec_of(record), facts)
        Probing(model, criterion.probe, store, identity, progress).load()
    refit(criterion, cell.folder, record)
    return Reloaded(spec, data, model, criterion, loaded.tokenizer, runner.length(work, loaded))
