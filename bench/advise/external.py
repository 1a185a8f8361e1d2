"""Logits that were made elsewhere become ordinary records, marked external: `bench import`.

Every criterion is replayed on them as on our own, thresholds are chosen on held-out logits, and the same logits give
the same numbers as a run of ours. Nothing is trained or timed, for there is no model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from backbones.names import make_unknown_error
from bench.advise.external_data import (
    ExternalData,
    check_alike,
    check_ids_apart,
    check_outputs,
    fill_lengths,
    find_split,
    prefix_ids,
    read_external,
    set_apart,
    warn_of_leaks,
)
from bench.advise.external_model import ExternalModel, outline_model
from bench.advise.external_record import Imported, ImportRequest, plan_cell, record_cell
from bench.advise.released import ReleasedLogits, find_weights, record_released
from bench.cell.command import write_task_from_here
from bench.cell.request import Context
from bench.errors import UsageError
from bench.files import hash_file
from bench.inference.replay import list_criteria
from bench.measure.exits import AllExits
from bench.measure.judges import JUDGES
from bench.measure.metrics import METRICS
from bench.results.facts import Rows, TaskFacts
from bench.results.packed.references import follow_reference
from bench.results.run import Run
from bench.results.spec import RunSpec
from bench.settings import split_settings
from bench.tasks import TASKS, get_task
from bench.tasks.base import LoadOptions, Task, TaskData
from bench.tasks.contract import load_task

USUAL_CRITERIA = ("entropy", "max-probability", "margin", "patience", "elbert-mono")
"""Criteria that are replayed where none is named: one of each kind that logits are enough for."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def import_logits(asked: ImportRequest, context: Context) -> list[Run]:
    """Record each strategy of ``asked`` on its logits, and return the runs. Raises UsageError, DataError.

    All are checked before the first is recorded.
    """
    if not NAME.fullmatch(asked.name):
        raise UsageError(
            f"--name takes up to 64 letters, digits, dots, dashes and underscores, not '{asked.name[:64]}'."
        )
    if asked.task is not None and asked.data is not None:
        raise UsageError("--data names data of no task, and --task names one: leave one of them out.")
    groups = split_settings(asked.settings, ("criterion", "head", "backbone"))
    max_length = groups[""].pop("max_length", None)
    shared = read_request(asked, groups, max_length, context)
    names = choose_strategies(asked, shared.data.outputs, context)
    own = {**groups[""], **groups["criterion"]}
    plans = [plan_cell(shared, name, own) for name in names]
    return [record_cell(shared, spec, strategy, criterion, context) for spec, strategy, criterion in plans]


def choose_strategies(asked: ImportRequest, outputs: int, context: Context) -> list[str]:
    """Return the strategies that are asked for, or those of the usual ones that can judge such logits."""
    if asked.strategies:
        return list(asked.strategies)
    if asked.thresholds is not None:
        raise UsageError("--thresholds belong to one criterion: name it with --strategy.")
    found = list(list_criteria(USUAL_CRITERIA, outputs))
    context.progress.say(f"Criteria: {', '.join(found)}; --strategy takes others.")
    return found


def read_request(
    asked: ImportRequest, groups: Mapping[str, Mapping[str, object]], max_length: object, context: Context
) -> Imported:
    """Read the files and the task, match them, and find out what is known of the model."""
    task, loaded = None, None
    if asked.task is not None:
        task = get_task(asked.task)
        loaded = load_task(task, LoadOptions(asked.seed, asked.limit, context.hub_root, context.offline))
    elif asked.limit is not None:
        raise UsageError("--limit takes the part of a task that `bench run --limit` took: name the --task.")
    longest = check_max_length(task, max_length)
    warnings: list[str] = []
    held: tuple[AllExits, bool] | None
    if asked.checkpoint:
        weights, asked, released = read_checkpoint(asked, loaded, longest, groups["backbone"], context)
        report, named, held = released.report, True, (released.select, True)
        warnings += released.warnings
        digests = {"logits": hash_file(weights), "held_out": None}
    else:
        report, named = read_external(asked.logits)
        held = None if asked.held_out is None else read_external(asked.held_out)
        held_out = None if asked.held_out is None else hash_file(follow_reference(asked.held_out))
        digests = {"logits": hash_file(follow_reference(asked.logits)), "held_out": held_out}
    if held is not None and asked.held_out is not None:
        check_alike(asked.logits, report, asked.held_out, held[0])
        if named and held[1]:
            check_ids_apart(asked.logits, report, asked.held_out, held[0])
        warnings += warn_of_leaks(asked.logits, report, asked.held_out, held[0], named=named and held[1])
        if not held[1]:
            held = prefix_ids(held[0], "held-out"), held[1]
    if loaded is None and not named:
        report = prefix_ids(report, "row")
    what = "" if loaded is None else f"task '{loaded.name}'"
    check_outputs(asked.logits, report, None if loaded is None else loaded.num_outputs, what)
    split, available = "reported", None
    revision = f"sha256-{digest_labels(report)}"
    if loaded is not None:
        warnings += loaded.warnings
        of_task, report = find_split(asked.logits, report, named, loaded)
        split, available, revision = of_task.name, len(of_task), loaded.revision
        if len(report.ids) < len(of_task):
            warnings.append(f"{len(report.ids)} of the {len(of_task)} samples of {loaded.name} {split} are in the file")
    if held is None:
        select, report = set_apart(report, asked.seed)
        warnings.append(
            f"no held-out logits were given: {len(select.ids)} of {len(select.ids) + len(report.ids)} samples, drawn "
            f"by seed {asked.seed}, are used to choose thresholds and are not reported"
        )
    else:
        select = held[0]
    _, exits, outputs = report.logits.shape
    model = outline_model(asked.name, asked.backbone, asked.head, groups, exits, outputs, context)
    if loaded is not None and model.encoder is not None:
        known = model.count_tokens(loaded, longest)
        report, select = fill_lengths(report, known), fill_lengths(select, known)
    given = None if asked.task is None or asked.task in TASKS else write_task_from_here(asked.task)
    facts = TaskFacts(
        name=loaded.name if loaded else asked.data or asked.name,
        kind="regression" if outputs == 1 else "classification",
        labels=loaded.label_names if loaded else tuple(map(str, range(outputs))) if outputs > 1 else (),
        metrics=choose_metrics(asked.metrics, loaded, outputs),
        revision=revision,
        source=loaded.source if loaded else f"file {asked.logits.name}",
        select="select",
        evaluation=(split,),
        rows={
            "select": Rows(used=len(select.ids), available=None),
            split: Rows(used=len(report.ids), available=available),
        },
        max_length=longest,
        **({} if given is None else {"given": given}),
    )
    data = ExternalData(facts, report, select, ())
    data = replace(data, warnings=(*warnings, *explain_layers(data, model)))
    return Imported(asked, data, model, digests, longest)


def read_checkpoint(
    asked: ImportRequest, task: TaskData | None, max_length: int, settings: Mapping[str, object], context: Context
) -> tuple[Path, ImportRequest, ReleasedLogits]:
    """Return the weights of a released checkpoint, what is asked with its backbone and head named, and its logits."""
    if task is None:
        raise UsageError("--checkpoint is run on the texts of a task: name the --task.")
    if asked.held_out is not None or asked.backbone is not None or asked.head is not None:
        raise UsageError(
            "--checkpoint brings its own backbone and head, and its task samples to choose on: leave "
            "--select, --backbone and --head out."
        )
    weights = find_weights(asked.logits)
    released = record_released(asked.logits, task, max_length, settings, context)
    return weights, replace(asked, backbone=str(asked.logits), head=released.head), released


def choose_metrics(asked: tuple[str, ...], task: TaskData | None, outputs: int) -> tuple[str, ...]:
    """Return the metrics that are asked for, else the task's, else the usual ones; the first is what points are
    chosen by.

    Raises UsageError for one that is not known, or that is of another kind of task.
    """
    fitting = ("pearson", "spearman") if outputs == 1 else tuple(m for m in METRICS if m not in ("pearson", "spearman"))
    for name in asked:
        if name not in fitting and name not in METRICS and (name in JUDGES or ":" in name):
            raise UsageError(
                f"A record holds metrics of predictions: {name} is computed of its logits whenever it is asked for, by "
                f"`bench show RUN --metric {name}`."
            )
        if name not in fitting:
            raise make_unknown_error("metric", name, fitting, " for regression" if outputs == 1 else " for classes")
    return asked or (task.metrics if task else fitting if outputs == 1 else ("accuracy",))


def check_max_length(task: Task | None, asked: object) -> int:
    """Return how many tokens longer samples were cut to: as asked, else the task's. Raises UsageError for no number."""
    if asked is None:
        return task.max_length if task else RunSpec.max_length
    if isinstance(asked, bool) or not isinstance(asked, int):
        raise UsageError(f"max_length must be a whole number, not '{asked}'.")
    return asked


def explain_layers(data: ExternalData, model: ExternalModel) -> list[str]:
    """Return why costs are layers and not FLOPs, where they are."""
    if model.encoder is None:
        return ["costs are layers: name --backbone and --head for FLOPs"]
    if model.shape is None:
        return ["costs are layers: name --head too for FLOPs"]
    return [] if data.has_lengths() else ["costs are layers: for FLOPs both files need 'tokens', or ids of the --task"]


def digest_labels(exits: AllExits) -> str:
    """Return 16 hex digits of ids and labels: they stand for data that no task is named for."""
    digest = hashlib.sha256("\n".join(exits.ids).encode())
    digest.update(np.ascontiguousarray(exits.labels).tobytes())
    return digest.hexdigest()[:16]
