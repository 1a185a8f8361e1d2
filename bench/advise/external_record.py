"""The records of imported logits: the spec of each criterion, its replay, and where the logits are from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.advise.external_data import ExternalData
from bench.advise.external_model import NOT_NAMED, ExternalModel
from bench.cell.facts import begin_record
from bench.cell.request import Context
from bench.cell.resolve import list_wrapped
from bench.cell.sources import digest_sources
from bench.cell.splits import explain_void, measure_split
from bench.errors import UsageError
from bench.files import remove_leftovers
from bench.inference.replay import fit_criterion, make_evidence
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.measure.rules import Rule
from bench.measure.trade_off import TradeOff
from bench.results.doubts import check_skill
from bench.results.facts import ExternalLogits, FittedCriterion, Training
from bench.results.measures import HeldOut
from bench.results.packed.packing import hold_logits, replace_logits
from bench.results.places import RECORD, locate_exits
from bench.results.points import measure_performance
from bench.results.record import RunRecord
from bench.results.record_file import write_record
from bench.results.run import Run
from bench.results.spec import Facts, RunSpec, hash_identity, identify_quality
from bench.settings import bind_arguments
from strategies import STRATEGIES
from strategies.base import Criterion, Strategy


@dataclass(frozen=True)
class ImportRequest:
    """What `bench import` was given; None and nothing mean "choose for me".

    ``logits`` are reported, ``held_out`` is what thresholds are chosen on. ``points`` are more rules, as `bench run
    --select` takes them. ``data`` names data that are no task's. With ``checkpoint``, ``logits`` is the
    folder of a released one.
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
    checkpoint: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Imported:
    """What every record of one import shares."""

    asked: ImportRequest
    data: ExternalData
    model: ExternalModel
    digests: Mapping[str, str | None]
    max_length: int


def plan_cell(shared: Imported, name: str, settings: Mapping[str, object]) -> tuple[RunSpec, type[Strategy], Criterion]:
    """Return the spec of one strategy on the imported logits, and its criterion.

    Raises UsageError where these logits are not enough for it.
    """
    asked, data, model = shared.asked, shared.data, shared.model
    strategy = STRATEGIES.load(name)
    arguments = bind_arguments(strategy.criterion, settings, f"strategy '{strategy.name}'")
    criterion = strategy.criterion(**arguments)
    if reason := criterion.refuse(data.outputs):
        raise UsageError(f"Strategy '{name}' cannot be used for these logits: {reason}. Name others with --strategy.")
    if strategy.backbone_overrides(arguments):
        raise UsageError(
            f"Strategy '{name}' changes the model itself, and there are only its logits here: name others with "
            "--strategy."
        )
    if criterion.probe is not None and data.report.observed is None:
        raise UsageError(
            f"Strategy '{name}' reads hidden states too: both files need what it read of them as 'observed'."
        )
    spec = RunSpec(
        strategy=strategy.name if name in STRATEGIES else name,
        task=data.task.name,
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
        TradeOff(criterion, exits, model.count_costs(criterion, exits, lengths), data.task.metrics)
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
        status="success",
        **begin_record(spec, identity, context.command),
        speed_key=None,
        task=data.task,
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
        with hold_logits(context.store, folder.parent, context.progress):
            remove_leftovers(folder)
        for split, exits in ((data.split, reported), ("select", data.select)):
            replace_logits(context.store, exits, locate_exits(folder, split), context.progress)
        return Run(folder, write_record(folder / RECORD, record), folder.name)


def identify_external(shared: Imported, spec: RunSpec, strategy: type[Strategy]) -> dict[str, object]:
    """Return the identity of a record: like our own, but that files stand in the place of a training."""
    data, model = shared.data, shared.model
    versions = {"strategy": strategy.version_for(data.outputs), "head": model.head_version, "recipe": 1}
    wrapped = tuple(
        inner.version_for(data.outputs) for inner in list_wrapped(strategy.criterion, spec.criterion_args.get("of"))
    )
    digest = NOT_NAMED if model.resolved is None else model.resolved.digest
    facts = Facts(digest, data.task.revision, versions, wrapped, model.backbone)
    return {**identify_quality(spec, facts), "train": {**shared.digests, "metrics": list(data.task.metrics)}}


def describe_files(shared: Imported) -> ExternalLogits:
    """Return the mark of a record whose logits were made elsewhere."""
    asked, model = shared.asked, shared.model
    held_out = None if asked.held_out is None else asked.held_out.name
    if asked.checkpoint:
        held_out = "the task's held-out split"
    return ExternalLogits(
        name=asked.name,
        file=asked.logits.name,
        digest=str(shared.digests["logits"]),
        held_out=held_out,
        held_out_digest=shared.digests["held_out"],
        backbone=None if model.resolved is None else model.backbone,
        head=None if model.shape is None else model.head,
    )
