"""Logits that were made elsewhere become ordinary records, marked external: `bench import`.

Every criterion is replayed on them as on our own, thresholds are chosen on held-out logits, and the same logits give
the same numbers as a run of ours. Nothing is trained or timed, for there is no model.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
from bench.advise.external_model import NOT_NAMED, ExternalModel, outline_model
from bench.cell.command import write_from_here
from bench.cell.points import explain_void, measure_split
from bench.cell.request import Context
from bench.cell.resolve import list_wrapped
from bench.cell.sources import digest_sources
from bench.environment import describe_environment
from bench.errors import UsageError
from bench.files import remove_leftovers
from bench.inference.replay import fit_criterion, list_criteria, make_evidence
from bench.measure.exits import AllExits
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.measure.metrics import METRICS
from bench.measure.points import Rule
from bench.measure.trade_off import TradeOff
from bench.results.doubts import check_skill
from bench.results.exits import write_exits
from bench.results.facts import Environment, ExternalLogits, FittedCriterion, Identity, Rows, TaskFacts, Training
from bench.results.measures import HeldOut
from bench.results.places import RECORD, locate_exits
from bench.results.points import measure_performance
from bench.results.record import SCHEMA_VERSION, RunRecord
from bench.results.record_file import write_record
from bench.results.run import Run
from bench.results.spec import Facts, RunSpec, hash_identity, identify_quality
from bench.settings import bind_arguments, split_settings
from bench.tasks import TASKS, get_task
from bench.tasks.base import LoadOptions, Task, TaskData
from strategies import STRATEGIES
from strategies.base import Criterion, Strategy

USUAL_CRITERIA = ("entropy", "max-probability", "margin", "patience", "elbert-mono")
"""Criteria that are replayed where none is named: one of each kind that logits are enough for."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ImportRequest:
    """What `bench import` was given; None and nothing mean "choose for me".

    ``logits`` are reported, ``held_out`` is what thresholds are chosen on. ``points`` are more rules, as `bench run
    --select` takes them. ``data`` names data that are no task's.
    """

    logits: Path
    name: str
    held_out: Path | None = None
    task: str | None = None
    data: str | None = None
    backbone: str | None = None
    head: str | None = None
    strategies: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    thresholds: tuple[float, ...] | None = None
    points: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Imported:
    """What every record of one import shares."""

    asked: ImportRequest
    data: ExternalData
    model: ExternalModel
    digests: Mapping[str, str | None]
    max_length: int


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
    report, named = read_external(asked.logits)
    held = None if asked.held_out is None else read_external(asked.held_out)
    warnings = []
    if held is not None and asked.held_out is not None:
        check_alike(asked.logits, report, asked.held_out, held[0])
        if named and held[1]:
            check_ids_apart(asked.logits, report, asked.held_out, held[0])
        warnings += warn_of_leaks(asked.logits, report, asked.held_out, held[0], named=named and held[1])
        if not held[1]:
            held = prefix_ids(held[0], "held-out"), held[1]
    task, loaded = None, None
    if asked.task is not None:
        task = get_task(asked.task)
        loaded = task.load(LoadOptions(asked.seed, asked.limit, context.hub_root, context.offline))
    elif asked.limit is not None:
        raise UsageError("--limit takes the part of a task that `bench run --limit` took: name the --task.")
    elif not named:
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
    longest = check_max_length(task, max_length)
    if loaded is not None and model.encoder is not None:
        known = model.count_tokens(loaded, longest)
        report, select = fill_lengths(report, known), fill_lengths(select, known)
    metrics = choose_metrics(asked.metrics, loaded, outputs)
    data = ExternalData(
        name=loaded.name if loaded else asked.data or asked.name,
        kind="regression" if outputs == 1 else "classification",
        label_names=loaded.label_names if loaded else tuple(map(str, range(outputs))) if outputs > 1 else (),
        metrics=metrics,
        revision=revision,
        source=loaded.source if loaded else f"file {asked.logits.name}",
        split=split,
        report=report,
        select=select,
        available=available,
        warnings=(),
    )
    data = replace(data, warnings=(*warnings, *explain_layers(data, model)))
    digests = {"logits": digest_file(asked.logits), "held_out": digest_file(asked.held_out)}
    return Imported(asked, data, model, digests, longest)


def choose_metrics(asked: tuple[str, ...], task: TaskData | None, outputs: int) -> tuple[str, ...]:
    """Return the metrics that are asked for, else the task's, else the usual ones; the first is what points are
    chosen by.

    Raises UsageError for one that is not known, or that is of another kind of task.
    """
    fitting = ("pearson", "spearman") if outputs == 1 else tuple(m for m in METRICS if m not in ("pearson", "spearman"))
    for name in asked:
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


def plan_cell(shared: Imported, name: str, settings: Mapping[str, object]) -> tuple[RunSpec, type[Strategy], Criterion]:
    """Return the spec of one strategy on the imported logits, and its criterion.

    Raises UsageError where these logits are not enough for it.
    """
    asked, data, model = shared.asked, shared.data, shared.model
    strategy = STRATEGIES.load(name)
    arguments = bind_arguments(strategy.criterion, settings, f"strategy '{strategy.name}'")
    criterion = strategy.criterion(**arguments)
    if reason := criterion.refuse(data.outputs):
        raise UsageError(f"Strategy '{name}' cannot be used for these logits: {reason}.")
    if strategy.backbone_overrides(arguments):
        raise UsageError(f"Strategy '{name}' changes the model itself, and there are only its logits here.")
    if criterion.probe is not None and data.report.observed is None:
        raise UsageError(
            f"Strategy '{name}' reads hidden states too: both files need what it read of them as 'observed'."
        )
    spec = RunSpec(
        strategy=strategy.name if name in STRATEGIES else name,
        task=data.name,
        backbone=asked.backbone or asked.name,
        head=model.head,
        recipe=f"external-{asked.name}",
        init=model.init,
        criterion_args=arguments,
        head_args=model.head_args,
        backbone_args=model.backbone_args,
        max_length=shared.max_length,
        limit=asked.limit,
        seed=asked.seed,
        thresholds=asked.thresholds,
        select=tuple(Rule.parse(text).format() for text in asked.points),
        latency=None,
    )
    for threshold in asked.thresholds or ():
        criterion.cut_at(threshold)  # raises before anything is recorded
    return spec, strategy, criterion


def record_cell(
    shared: Imported, spec: RunSpec, strategy: type[Strategy], criterion: Criterion, context: Context
) -> Run:
    """Replay ``criterion`` on the logits and record what it reaches, in place of an earlier record of the same."""
    data, model = shared.data, shared.model
    shares = share_held_out(data.select, spec.seed) if criterion.fits else HeldOutShares(data.select, data.select)
    fitted = fit_criterion(criterion, make_evidence(shares.fit))
    chosen, reported = shares.choose, data.report
    lengths = data.has_lengths()
    select, report = (
        TradeOff(criterion, exits, model.count_costs(criterion, exits, lengths), data.metrics)
        for exits in (chosen, reported)
    )
    result = measure_split(select, report, spec, explain_void(criterion, shares))
    identity = identify_external(shared, spec, strategy)
    quality = hash_identity(identity)
    learned: dict[str, Any] = {"probe": None, "fitted": fitted}
    if criterion.fits:
        counts = {"fitted_on": len(shares.fit.ids), "chosen_on": len(chosen.ids), "apart": shares.apart}
        learned |= {"held_out": counts}
    record = RunRecord(
        schema_version=SCHEMA_VERSION,
        status="success",
        quality_key=quality,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=context.command,
        spec=spec,
        identity=Identity.from_plain(identity),
        environment=Environment.from_plain(describe_environment()),
        speed_key=None,
        task=describe_data(shared),
        backbone=model.describe(spec.backbone, data.exits),
        training=Training(
            key=hash_identity({"external": shared.digests}),
            reused=False,
            truncated=0,
            stages={},
            steps={},
            recipe={},
            seconds=0,
            resumed=0,
            micro_batch=None,
        ),
        sources=digest_sources({"strategy": strategy, "criterion": strategy.criterion}),
        criterion=FittedCriterion.from_plain(learned),
        thresholds=spec.thresholds,
        selected=spec.select,
        upper_bound=strategy.upper_bound,
        select=HeldOut(split="select", full=measure_performance(select, -math.inf).metrics),
        evaluation={data.split: result},
        skill={data.split: check_skill(reported)},
        precision=None,
        live_check=None,
        latency=None,
        warnings=(*data.warnings, *criterion.warnings(data.exits)),
        external=describe_files(shared),
    )
    folder = context.store.place(spec.task, model.backbone, spec.strategy, spec.seed, quality)
    with context.store.lock(quality, context.progress):
        remove_leftovers(folder)
        write_exits(reported, locate_exits(folder, data.split))
        write_exits(data.select, locate_exits(folder, "select"))
        return Run(folder, write_record(folder / RECORD, record), folder.name)


def identify_external(shared: Imported, spec: RunSpec, strategy: type[Strategy]) -> dict[str, object]:
    """Return the identity of a record: like our own, but that files stand in the place of a training."""
    data, model = shared.data, shared.model
    versions = {"strategy": strategy.version_for(data.outputs), "head": model.head_version, "recipe": 1}
    wrapped = tuple(
        inner.version_for(data.outputs) for inner in list_wrapped(strategy.criterion, spec.criterion_args.get("of"))
    )
    digest = NOT_NAMED if model.resolved is None else model.resolved.digest
    facts = Facts(digest, data.revision, versions, wrapped, model.backbone)
    return {**identify_quality(spec, facts), "train": {**shared.digests, "metrics": list(data.metrics)}}


def describe_data(shared: Imported) -> TaskFacts:
    """Return what a record says of the data."""
    asked, data = shared.asked, shared.data
    listed = asked.task is None or asked.task in TASKS
    given = {} if listed else {"given": write_from_here(str(asked.task))}
    rows = {
        "select": Rows(used=len(data.select.ids), available=None),
        data.split: Rows(used=len(data.report.ids), available=data.available),
    }
    return TaskFacts(
        name=data.name,
        kind=data.kind,
        labels=data.label_names,
        metrics=data.metrics,
        revision=data.revision,
        source=data.source,
        select="select",
        evaluation=(data.split,),
        rows=rows,
        max_length=shared.max_length,
        **given,
    )


def describe_files(shared: Imported) -> ExternalLogits:
    """Return the mark of a record whose logits were made elsewhere."""
    asked, model = shared.asked, shared.model
    return ExternalLogits(
        name=asked.name,
        file=asked.logits.name,
        digest=str(shared.digests["logits"]),
        held_out=None if asked.held_out is None else asked.held_out.name,
        held_out_digest=shared.digests["held_out"],
        backbone=None if model.resolved is None else model.backbone,
        head=None if model.shape is None else model.head,
    )


def digest_file(path: Path | None) -> str | None:
    """Return the SHA-256, hex, of a file."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def digest_labels(exits: AllExits) -> str:
    """Return 16 hex digits of ids and labels: they stand for data that no task is named for."""
    digest = hashlib.sha256("\n".join(exits.ids).encode())
    digest.update(np.ascontiguousarray(exits.labels).tobytes())
    return digest.hexdigest()[:16]
