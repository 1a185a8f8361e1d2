"""One cell, from question to record. Reads top to bottom like the method section of a paper.

Every stage is kept under the identity of what makes it, so that a run that was killed goes on where it stopped and
runs that share a stage share its work.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from backbones.load import BackboneRequest, Loaded, describe, load_backbone
from bench.cell.fitting import Probing
from bench.cell.live_check import live_check
from bench.cell.precision import precision_changes
from bench.cell.record import backbone_facts, record_head, summary, task_facts, usable_record
from bench.cell.request import Context, Request
from bench.cell.resolve import Parts, refuse_nonsense, resolve_request
from bench.cell.timing import measure_latency, read_times
from bench.environment import machine_id
from bench.errors import UserError
from bench.files import remove_leftovers
from bench.inference.exits import DTYPES, collect
from bench.inference.replay import fit_criterion, make_evidence
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.points import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff, default_point, given_points, operating_points
from bench.results.exits import read_exits, write_exits
from bench.results.migrations import SCHEMA_VERSION
from bench.results.quarantine import damaged, sound
from bench.results.spec import (
    Facts,
    RunSpec,
    exits_identity,
    key,
    quality_identity,
    resolved_precision,
    speed_identity,
    training_identity,
)
from bench.results.store import Cell, Record
from bench.tasks.base import LoadOptions, Split, TaskData
from bench.tasks.encode import EncodedSplit, encode
from bench.training.checkpoint import load_tensors, save_tensors
from bench.training.trainer import TrainingPlan, train
from strategies.base import Criterion, ExitModel, Recipe


@dataclass
class Work:
    """What the stages of one cell hand to each other."""

    spec: RunSpec
    parts: Parts
    facts: Facts
    data: TaskData
    backbone: Mapping[str, object]
    cell: Cell
    context: Context
    warnings: list[str] = field(default_factory=list)


def run(request: Request, context: Context) -> tuple[Cell, Record]:
    """Measure one cell, or return its record if it is there already. Raises UserError for what cannot be run."""
    return run_work(prepared(request, context))


def prepared(request: Request, context: Context) -> Work:
    """The cell with its data, before any of its work is done."""
    spec, parts = resolve_request(request)
    data = parts.task.load(LoadOptions(spec.seed, spec.limit, context.hub_root, context.offline))
    return found_out(spec, parts, data, context)


def run_work(work: Work) -> tuple[Cell, Record]:
    """Measure what was prepared, or return its record if it is there already."""
    context = work.context
    cell, quality = work.cell, key(quality_identity(work.spec, work.facts))
    finished = finished_record(work)
    if finished is not None:
        return cell, finished
    with context.store.lock(quality, context.progress):
        finished = finished_record(work)  # another process may have been at it while this one waited
        if finished is not None:
            return cell, finished
        return cell, measured(work, quality)


def found_out(spec: RunSpec, parts: Parts, data: TaskData, context: Context) -> Work:
    """What is known of a cell before any of its work is done: its identity and its place. Loads no weights."""
    backbone = describe(backbone_request(spec, parts, context))
    facts = Facts(cast(str, backbone["digest"]), data.revision, parts.versions, parts.wrapped_versions(spec))
    quality = key(quality_identity(spec, facts))
    cell = context.store.cell(spec.task, spec.backbone, spec.strategy, spec.seed, quality)
    return Work(spec, parts, facts, data, backbone, cell, context)


def finished_record(work: Work) -> Record | None:
    """The record on disk if it already answers what is asked."""
    if work.context.overwrite == "always" or damaged(work.cell.record_file, usable_record):
        return None
    record = work.cell.read()
    if record is None:
        return None
    if work.context.overwrite == "never" and record["status"] == "success":
        return record
    wanted = (_json_thresholds(work.spec), list(work.spec.select))
    asked = (record.get("thresholds"), record.get("selected", [])) == wanted
    same = record["status"] == "success" and asked
    if wants_latency(work):
        same &= record.get("speed_key") == speed_key(work) and not damaged(times_file(work), read_times)
    return record if same else None


def measured(work: Work, quality: str) -> Record:
    """Do the work of a cell; whatever happens, the record says so."""
    head = record_head(work.spec, work.facts, work.context.command)
    remove_leftovers(work.cell.folder)
    previous = sound(work.context.store, work.cell.record_file, usable_record, work.context.progress, work.warnings)
    if previous is None or previous["status"] != "success":  # a finished record stays until a better one replaces it
        work.cell.write("started", head)
    try:
        record = {**head, **measure_cell(work)}
    except KeyboardInterrupt:
        if previous is None or previous["status"] != "success":
            work.cell.write("cancelled", head)
        raise
    except Exception as error:
        kind = "user" if isinstance(error, UserError) else "internal"
        detail = {"kind": kind, "message": str(error), "traceback": traceback.format_exc(limit=-8)}
        if previous is None or previous["status"] != "success":
            work.cell.write("error", {**head, "error": detail if kind == "internal" else {**detail, "traceback": ""}})
        raise
    work.cell.write("success", record)
    return {"schema_version": SCHEMA_VERSION, "status": "success", **record}


def measure_cell(work: Work) -> Record:
    """Fit, run once over the data with every exit on, replay, check live, time."""
    spec, parts, data = work.spec, work.parts, work.data
    texts = [*data.train.first, *(data.train.second or ())]
    loaded = load_backbone(backbone_request(spec, parts, work.context), texts, seed=spec.seed)
    work.warnings += [*data.warnings, *loaded.warnings]
    model, recipe, criterion = build(work, loaded)
    training = fitted(work, model, recipe, loaded)

    encoded = {
        s.name: encode(s, loaded.tokenizer, length(work, loaded)) for s in (data.select, *data.evaluation.values())
    }
    full = {name: recorded(in_full(work), model, loaded, s, encoded) for name, s in halved(work).items()}
    exits = {s.name: recorded(work, model, loaded, s, encoded) for s in (data.select, *data.evaluation.values())}
    exits, learned = fitted_criterion(work, model, criterion, loaded, encoded, exits)

    cost, whole = CostModel(model.encoder, model.head, criterion), whole_model(work, model, texts)
    plain = CostModel(whole.encoder, whole.head).plain
    curves = {
        name: TradeOff(criterion, e, Costs(cost.flops_table(e.lengths), plain(e.lengths)), data.metrics)
        for name, e in exits.items()
    }
    select = curves[data.select.name]
    has_threshold = len(select.curve) > 2  # else it has one way to leave early, and there is nothing to choose
    rules = [Rule.parse(text) for text in dict.fromkeys((*STANDARD, *spec.select))] if has_threshold else []
    evaluation: dict[str, object] = {}
    precision: dict[str, object] = {}
    for name in data.evaluation:
        report = curves[name]
        points = default_point(report) + operating_points(select, report, rules)
        points += given_points(report, spec.thresholds or ())
        evaluation[name] = summary(curves[name], points)
        write_exits(exits[name], work.cell.exits_file(name))
        if name in full:
            precision[name] = precision_changes(report, full[name], points)
    write_exits(exits[data.select.name], work.cell.exits_file(data.select.name))

    primary = next(iter(data.evaluation))
    points = cast(list[dict[str, object]], cast(dict[str, object], evaluation[primary])["points"])
    live = live_check(model, criterion, curves[primary], points, encoded[primary], spec) if criterion.causal else None
    latency = None
    if spec.latency is not None and wants_latency(work):
        times = times_file(work)
        known = sound(work.context.store, times, read_times, work.context.progress, work.warnings)
        latency = measure_latency(
            model, whole, criterion, points, curves[primary], encoded[primary], spec, spec.latency, times,
            speed_key(work), work.context.progress, None if work.context.overwrite == "always" else known,
        )  # fmt: skip
    return {
        "speed_key": speed_key(work) if latency is not None else None,
        "task": task_facts(data, encoded),
        "backbone": backbone_facts(spec, loaded, model, whole.num_layers),
        "training": training,
        "criterion": learned,
        "thresholds": _json_thresholds(spec),
        "selected": list(spec.select),
        "upper_bound": work.parts.strategy.upper_bound,
        "select": {"split": data.select.name, "full": select.at(-float("inf"))["metrics"]},
        "evaluation": evaluation,
        "precision": precision or None,
        "live_check": live,
        "latency": latency,
        "warnings": work.warnings + criterion.warnings(model.num_layers),
    }


# --------------------------------------------------------------------------- stages


def build(work: Work, loaded: Loaded) -> tuple[ExitModel, Recipe, Criterion]:
    """The model with its heads, the recipe and the criterion; new weights are drawn from the seed."""
    spec, parts = work.spec, work.parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        head = parts.head(loaded.encoder, work.data.num_outputs, **cast(Any, spec.head_args))
        recipe = parts.recipe(loaded.encoder.num_layers, **cast(Any, spec.recipe_args))
    criterion = parts.criterion(spec)
    refuse_nonsense(spec, parts, criterion, recipe, head)
    return ExitModel(loaded.encoder, head), recipe, criterion


def fitted(work: Work, model: ExitModel, recipe: Recipe, loaded: Loaded) -> Record:
    """Train ``model``, or load the checkpoint that an earlier run with the same training identity left."""
    spec, context = work.spec, work.context
    identity = training_identity(spec, work.facts)
    name = key(identity)
    folder = context.store.cache("checkpoints", name)
    weights = folder / "model.safetensors"
    device = torch.device(spec.device)
    with context.store.lock(f"train-{name}", context.progress):
        remove_leftovers(folder)
        found = sound(context.store, weights, load_tensors, context.progress, work.warnings)
        reused = found is not None
        if found is None:
            sound(context.store, folder / "progress.safetensors", load_tensors, context.progress, work.warnings)
            encoded = encode(work.data.train, loaded.tokenizer, length(work, loaded))
            context.progress.say(
                f"Training {spec.recipe} on {spec.backbone} for {spec.task}: {len(encoded)} samples, seed {spec.seed}."
            )
            fit = TrainingPlan(
                encoded,
                work.data.train.labels,
                spec.train,
                resolved_precision(spec),
                spec.seed,
                device,
                folder / "progress.safetensors",
                context.save_every,
            )
            log = train(model, recipe, fit, context.progress)
            facts = {"identity": identity, "log": asdict(log), "truncated": encoded.truncated}
            save_tensors(weights, model.state_dict(), facts)
        (folder / "progress.safetensors").unlink(missing_ok=True)  # also one that a kill left beside the weights
    tensors, saved = found or load_tensors(weights)
    model.load_state_dict(tensors)
    stored = cast(dict[str, object], saved)
    logged = cast(dict[str, object], stored["log"])
    if logged.get("micro_batch") is not None:
        work.warnings.append(
            f"memory did not suffice for batches of {spec.train.batch_size}: {logged['micro_batch']} samples were "
            "trained on at a time, their gradients accumulated to the same batch"
        )
    return {"key": name, "reused": reused, "truncated": stored["truncated"], **logged}


def length(work: Work, loaded: Loaded) -> int:
    """The longest input in tokens: what is asked, or what the backbone has positions for."""
    most = int(loaded.tokenizer.model_max_length)
    if work.spec.max_length > most:
        warning = f"max_length {work.spec.max_length} is more than the backbone's {most} positions, which is used"
        work.warnings += [warning] if warning not in work.warnings else []
    return min(work.spec.max_length, most)


def recorded(
    work: Work, model: ExitModel, loaded: Loaded, split: Split, encoded: Mapping[str, EncodedSplit]
) -> AllExits:
    """Every exit's logits over ``split``, computed once for all criteria."""
    spec, context = work.spec, work.context
    name = key(exits_identity(spec, work.facts))
    path = context.store.cache("exits", name) / f"{split.name}.parquet"
    with context.store.lock(f"exits-{name}", context.progress):
        remove_leftovers(path.parent)
        found = sound(context.store, path, read_exits, context.progress, work.warnings)
        if found is None:
            device = torch.device(spec.device)
            passed = collect(
                model, split, encoded[split.name], device=device, dtype=spec.dtype, progress=context.progress
            )
            write_exits(passed, path)
    model.to(device=spec.device, dtype=DTYPES[spec.dtype]).eval()
    return found or read_exits(path)


def fitted_criterion(
    work: Work,
    model: ExitModel,
    criterion: Criterion,
    loaded: Loaded,
    encoded: Mapping[str, EncodedSplit],
    exits: dict[str, AllExits],
) -> tuple[dict[str, AllExits], Record]:
    """Fit the criterion's probe and the criterion, where there is anything to; the exits with what the probe reads."""
    spec, data, probed = work.spec, work.data, None
    if criterion.probe is not None:
        identity = exits_identity(spec, work.facts)
        probing = Probing(model, criterion.probe, work.context.store, identity, work.context.progress)
        probed = probing.fit(data.train, lambda s: encode(s, loaded.tokenizer, length(work, loaded)), spec.seed)
        splits = (data.select, *data.evaluation.values())
        exits = {s.name: probing.read(exits[s.name], s, encoded[s.name]) for s in splits}
    return exits, {"probe": probed, "fitted": fit_criterion(criterion, make_evidence(exits[data.select.name]))}


def halved(work: Work) -> Mapping[str, Split]:
    """The reported splits whose decisions half precision may change: none in a run in full precision."""
    return work.data.evaluation if work.spec.dtype in ("bf16", "fp16") else {}


def in_full(work: Work) -> Work:
    """The same cell in fp32; to be recorded first, for a model that was rounded cannot go back."""
    return replace(work, spec=replace(work.spec, dtype="fp32"))


def backbone_request(spec: RunSpec, parts: Parts, context: Context, *, whole: bool = False) -> BackboneRequest:
    """What :mod:`backbones` is asked for; ``whole`` leaves out what the strategy takes away from it."""
    own = {} if whole else parts.strategy.backbone_overrides(spec.criterion_args)
    return BackboneRequest(spec.backbone, spec.init, {**spec.backbone_args, **own}, context.hub_root, context.offline)


def whole_model(work: Work, model: ExitModel, texts: list[str]) -> ExitModel:
    """The model that costs are compared with: ``model`` itself, or one of the backbone's full depth if that was cut.

    Only its shape matters, for counting and for timing, so its head is new.
    """
    request = backbone_request(work.spec, work.parts, work.context, whole=True)
    if describe(request)["digest"] == work.backbone["digest"]:
        return model
    loaded = load_backbone(request, texts, seed=work.spec.seed)
    head = work.parts.head(loaded.encoder, work.data.num_outputs, **cast(Any, work.spec.head_args))
    whole = ExitModel(loaded.encoder, head)
    return whole.to(device=work.spec.device, dtype=DTYPES[work.spec.dtype]).eval()


def wants_latency(work: Work) -> bool:
    """Whether time is asked for and can be measured: an oracle cannot run live."""
    return work.spec.latency is not None and work.parts.strategy.criterion.causal


def speed_key(work: Work) -> str:
    """The identity that a latency is filed under."""
    return key(speed_identity(work.spec, work.facts, machine_id()))


def times_file(work: Work) -> Path:
    """Where this machine's raw times are."""
    return work.cell.latency_file(speed_key(work))


def _json_thresholds(spec: RunSpec) -> list[float] | None:
    return None if spec.thresholds is None else list(spec.thresholds)
