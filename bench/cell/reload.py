"""A recorded run's model, rebuilt from its record and the checkpoint that the run left in the cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backbones.names import distrust_names, expand_home
from bench.cell.exits_only import take_pooling
from bench.cell.fitting import Probing
from bench.cell.identify import identify_cell, load_data
from bench.cell.request import Context
from bench.cell.resolve import Parts, find_part
from bench.cell.sources import find_changed_sources
from bench.cell.stages import build_model, load_cell_backbone, make_reader
from bench.errors import UsageError
from bench.inference.replay import fit_criterion, make_evidence
from bench.results.run import Run
from bench.results.spec import RunSpec, hash_identity, identify_training
from bench.tasks import get_task
from bench.tasks.base import Task, TaskData
from bench.tasks.file import find_file_task
from bench.tasks.folder import FolderTask
from bench.training.checkpoint import load_tensors
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.base import Criterion, ExitModel


@dataclass(frozen=True)
class RunModel:
    """A run that can answer again: float32, on the CPU."""

    spec: RunSpec
    data: TaskData
    model: ExitModel
    criterion: Criterion
    tokenizer: Any
    max_length: int


@distrust_names()
def load_run_model(run: Run, context: Context, *, attention: str = "eager") -> RunModel:
    """Rebuild the model of ``run`` with its trained weights, on the CPU in float32, and its criterion as it was fitted.

    The one way to a run's model, for diagnose, explain and serve. Only ``eager`` attention lets its maps be seen,
    ``sdpa`` is fast. Raises UsageError, in one line, for an unfinished run, a checkpoint that is gone, and data or a
    backbone that are no longer those of the run.
    """
    record = run.record
    refuse_external(run)
    weights = context.store.cache("checkpoints", record.training.key) / "model.safetensors"
    if not weights.exists():
        again = " --overwrite always" if record.command.startswith("bench run") else ""  # others have no such option
        raise UsageError(
            f"The checkpoint of {run.folder.name} is not in {context.store.root / '.cache'} (any more). "
            f"Train it again with: {record.command}{again}"
        )
    asked = replace(run.spec, backbone=find_backbone(run))
    cell = identify_cell(asked, find_parts(run), load_run_data(run, context), context)
    older = record.sources is None and record.training.key == hash_identity(identify_training(cell.spec, cell.facts))
    changed = find_changed_sources(record, cell.sources)
    if (cell.keys.training != record.training.key and not older) or changed:
        raise UsageError(
            f"{run.folder.name} was made with another backbone, strategy version, source or data than are here now, "
            "so its checkpoint would not fit. Run it again."
        )

    def ignore(warning: str) -> None:
        """The record has the warning already."""

    loaded = load_cell_backbone(cell, ignore, attention=attention)
    reader = make_reader(cell, loaded, ignore)
    model, _ = build_model(cell, loaded)
    tensors, kept = load_tensors(weights)
    model.load_state_dict(tensors)
    take_pooling(model.head, kept)
    model = model.to("cpu").eval()
    criterion = cell.parts.criterion(cell.spec)
    if criterion.probe is not None:
        Probing.of_cell(cell, model, criterion.probe).load()
    if criterion.fits:
        fit_criterion(criterion, make_evidence(run.fitting_exits()))
    spec = replace(cell.spec, backbone=run.spec.backbone, device="cpu", dtype="fp32", latency=None)
    return RunModel(spec, cell.data, model, criterion, reader.tokenizer, reader.max_length)


def refuse_external(run: Run) -> None:
    """Raise UsageError for a run of imported logits, which has no model to ask."""
    found = run.record.external
    if found is not None:
        raise UsageError(
            f"{run.folder.name} was imported from the logits in {found.file}: there is no model of it here, only what "
            "its logits tell (show, table, report, criteria, compare, diagnose --stored)."
        )


@distrust_names()
def find_parts(run: Run) -> Parts:
    """Return the classes behind a record's names; heads and recipes that are not listed are their strategy's own."""
    spec = run.spec
    strategy = STRATEGIES.load(spec.strategy)
    _, head = find_part(HEADS, spec.head, strategy, "head")
    _, recipe = find_part(RECIPES, spec.recipe, strategy, "recipe")
    return Parts(strategy, head, recipe, find_task(run))


@distrust_names()
def find_task(run: Run) -> Task:
    """Return the task of a run, by its name or by what was typed.

    The user's own files are looked for as they were given, from here and from the folder that the results folder is in.
    Raises UsageError where they are in neither.
    """
    given = run.record.task.given or run.spec.task
    kind = run.record.task.source.partition(" ")[0]
    if kind not in ("folder", "file"):
        return get_task(given)
    for root in list_roots(run):
        folder = root / expand_home(given)
        if kind == "folder" and folder.is_dir():
            return FolderTask(folder)
        if kind == "file" and (found := find_file_task(given, root)) is not None:
            return found
    raise UsageError(
        f"The run's data is the {kind} '{given}', which is neither here nor beside the results: run this where it lies."
    )


def find_backbone(run: Run) -> str:
    """Return the name of a run's backbone, or the path of the folder that it was given as, found as data are.

    Raises UsageError where it is neither here nor beside the results.
    """
    given = run.spec.backbone
    if not run.record.backbone.source.startswith("folder:") or expand_home(given).is_dir():
        return given
    for root in list_roots(run):
        if (root / expand_home(given)).is_dir():
            return str(root / expand_home(given))
    raise UsageError(
        f"The run's backbone is the folder '{given}', which is neither here nor beside the results: run this where it "
        "lies."
    )


def list_roots(run: Run) -> list[Path]:
    """Return the folders that a run's own files may lie below: the current one, and that of the results folder."""
    return [Path(), *run.folder.resolve().parents[3:4]]


def load_run_data(run: Run, context: Context) -> TaskData:
    """Load the data of a run. Raises DataError where they cannot be had, UsageError where they are not the same now."""
    refuse_external(run)
    data = load_data(run.spec, find_parts(run), context)
    recorded = run.record.task.revision
    if data.revision != recorded:
        raise UsageError(f"Task '{run.spec.task}' has other data now ({data.revision}) than the run had ({recorded}).")
    return data
