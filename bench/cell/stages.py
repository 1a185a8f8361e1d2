"""The stages of a cell that make the model and its logits: load, train, record every exit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backbones.load import Loaded, load_backbone
from backbones.names import blame_maker
from backbones.resolve import resolve_backbone
from bench.cell.exits_only import describe_unused, drop_auto_pooling, fit_on_states, take_pooling
from bench.cell.identify import Cell, Warn, request_backbone
from bench.cell.own_exit import describe_own_exit
from bench.cell.rehearsal import check_stages, rehearse_parts
from bench.cell.resolve import can_fit_on_states, refuse_nonsense
from bench.errors import Damaged
from bench.files import remove_leftovers
from bench.inference.exits import DTYPES, record_exits
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from bench.results.facts import Training
from bench.results.packed.packing import replace_logits
from bench.results.places import locate_exits
from bench.results.spec import RunSpec, identify_training, resolve_precision
from bench.results.store import load_or_set_aside
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit, encode_split
from bench.training.checkpoint import load_tensors, save_tensors
from bench.training.trainer import TrainingPlan, train_model
from strategies.base import ExitModel, Head, Recipe
from strategies.own_classifier import OwnLastExit


@dataclass(frozen=True)
class Reader:
    """Turns texts into token ids: the backbone's tokenizer, and the longest input in tokens."""

    tokenizer: Any
    max_length: int

    def encode(self, split: Split) -> EncodedSplit:
        """Tokenise ``split``."""
        return encode_split(split, self.tokenizer, self.max_length)


def load_cell_backbone(cell: Cell, warn: Warn, *, attention: str = "sdpa") -> Loaded:
    """Load the backbone; warn of what its data and its weights lack."""
    request = replace(request_backbone(cell.spec, cell.parts, cell.context), attention=attention)
    loaded = load_backbone(request, cell.texts, seed=cell.spec.seed)
    for warning in (*cell.data.warnings, *loaded.warnings, *cell.notes):
        warn(warning)
    return loaded


def make_reader(cell: Cell, loaded: Loaded, warn: Warn) -> Reader:
    """Return the reader with the longest input that is asked for, or that the backbone has positions for."""
    asked, most = cell.spec.max_length, int(loaded.tokenizer.model_max_length)
    if asked > most:
        warn(f"max_length {asked} is more than the backbone's {most} positions, which is used")
    return Reader(loaded.tokenizer, min(asked, most))


def make_head(cell: Cell, loaded: Loaded) -> Head:
    """Return a new head for the backbone, whose own classifier is the last exit where it came with one."""
    with blame_maker(cell.parts.head, f"Head '{cell.spec.head}'"):
        head = cell.parts.head(loaded.encoder, cell.data.num_outputs, **drop_auto_pooling(cell.spec.head_args))
    if cell.own is None or loaded.classifier is None:
        return head
    return OwnLastExit(loaded.encoder, head, loaded.classifier, cell.own.match.order)


def build_model(cell: Cell, loaded: Loaded) -> tuple[ExitModel, Recipe]:
    """Return the model with its heads, and the recipe; new weights are drawn from the seed.

    Raises UsageError, with the reason, for a combination that makes no sense.
    """
    spec, parts = cell.spec, cell.parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        head = make_head(cell, loaded)
        with blame_maker(parts.recipe, f"Recipe '{spec.recipe}'"):
            recipe = parts.recipe(loaded.encoder.num_layers, **spec.recipe_args)
        check_stages(recipe)
        recipe.adapt_to(head)
        criterion, model = parts.criterion(spec), ExitModel(loaded.encoder, head)
        refuse_nonsense(spec, criterion, recipe, head)
        rehearse_parts(model, recipe, criterion)
    return model, recipe


def train_or_load(cell: Cell, loaded: Loaded, reader: Reader, warn: Warn) -> tuple[ExitModel, Training]:
    """Return the trained model, in fp32 on its device, and how it was trained.

    It is made of the encoder in ``loaded``, whose weights change. What an earlier run with the same training identity
    left is loaded instead of being trained.
    """
    model, recipe = build_model(cell, loaded)
    for line in describe_unused(cell, recipe):
        warn(line)
    store, progress, key = cell.context.store, cell.context.progress, cell.keys.training
    folder = store.cache("checkpoints", key)
    weights, unfinished = folder / "model.safetensors", folder / "progress.safetensors"
    with store.lock(f"train-{key}", progress):
        remove_leftovers(folder)
        found = load_or_set_aside(store, weights, load_tensors, progress, warn)
        if found is None:
            load_or_set_aside(store, unfinished, load_tensors, progress, warn)
            facts = fit_model(cell, model, recipe, reader, unfinished, warn)
            save_tensors(weights, model.state_dict(), facts)
        unfinished.unlink(missing_ok=True)  # also one that a kill left beside the weights
    tensors, kept = found or load_tensors(weights)
    model.load_state_dict(tensors)
    take_pooling(model.head, kept)
    training = Training.from_plain(
        {"key": key, "reused": found is not None, "truncated": kept["truncated"], **kept["log"]}
    )
    if training.micro_batch is not None:
        warn(
            f"memory did not suffice for batches of {cell.spec.train.batch_size}: {training.micro_batch} samples were "
            "trained on at a time, their gradients accumulated to the same batch"
        )
    return model.to(cell.spec.device).eval(), training


def fit_model(
    cell: Cell, model: ExitModel, recipe: Recipe, reader: Reader, unfinished: Path, warn: Warn
) -> dict[str, object]:
    """Train ``model`` in place, going on from ``unfinished``; return what is kept beside the weights."""
    spec, progress = cell.spec, cell.context.progress
    if cell.own is not None:
        progress.say(describe_own_exit(cell.own, spec.backbone, model.num_layers))
    if recipe.state_fit is not None and can_fit_on_states(cell.parts.head, cell.parts.recipe):
        return fit_on_states(cell, model, recipe.state_fit, reader.encode, warn)
    if recipe.state_fit is not None:
        progress.say(f"Head '{spec.head}' reads tokens: its exits are trained pass by pass on the frozen backbone.")
    encoded = reader.encode(cell.data.train)
    progress.say(
        f"Training {spec.recipe} on {spec.backbone} for {spec.task}: {len(encoded)} samples, seed {spec.seed}."
    )
    plan = TrainingPlan(
        data=encoded,
        labels=cell.data.train.labels,
        args=spec.train,
        precision=resolve_precision(spec),
        seed=spec.seed,
        device=torch.device(spec.device),
        progress_file=unfinished,
        save_every=cell.context.save_every,
    )
    log = train_model(model, recipe, plan, progress)
    return {"identity": identify_training(spec, cell.facts), "log": asdict(log), "truncated": encoded.truncated}


def cast_model(model: ExitModel, spec: RunSpec) -> ExitModel:
    """Return the model in the precision that is asked for.

    ``model`` itself where that is fp32; else a copy, for a model that was rounded cannot go back.
    """
    return model if spec.dtype == "fp32" else copy.deepcopy(model).to(DTYPES[spec.dtype])


def record_splits(cell: Cell, model: ExitModel, encoded: Mapping[str, EncodedSplit], warn: Warn) -> dict[str, AllExits]:
    """Return every exit's logits over the held-out split and the reported ones."""
    key = cell.keys.exits
    return {s.name: record_or_load_exits(cell, key, model, s, encoded[s.name], warn) for s in cell.splits}


def record_reference(
    cell: Cell, model: ExitModel, encoded: Mapping[str, EncodedSplit], warn: Warn
) -> dict[str, AllExits]:
    """Return every exit's logits in fp32 over the reported splits of a run in half precision; of others nothing.

    ``model`` is in fp32.
    """
    key, reported = cell.keys.reference, cell.data.evaluation.values() if cell.spec.dtype in ("bf16", "fp16") else ()
    return {s.name: record_or_load_exits(cell, key, model, s, encoded[s.name], warn) for s in reported}


def record_or_load_exits(
    cell: Cell, key: str, model: ExitModel, split: Split, encoded: EncodedSplit, warn: Warn
) -> AllExits:
    """Return every exit's logits over ``split``, computed once for all criteria and kept under ``key``."""
    store, progress = cell.context.store, cell.context.progress
    path = store.cache("exits", key) / f"{split.name}.parquet"
    with store.lock(f"exits-{key}", progress):
        remove_leftovers(path.parent)
        found = load_or_set_aside(store, path, partial(read_split_exits, split=split, model=model), progress, warn)
        if found is None:
            write_exits(record_exits(model, split, encoded, progress), path)
    return found or read_exits(path)


def read_split_exits(path: Path, split: Split, model: ExitModel) -> AllExits:
    """Return the logits at ``path``. Raises Damaged, too, for other samples or a model of another shape."""
    found = read_exits(path)
    shape = (len(split), model.num_layers, model.head.num_outputs)
    if found.ids != split.ids or found.logits.shape != shape or not np.array_equal(found.labels, split.labels):
        raise Damaged(path, "it is of other samples, or of a model of another shape")
    return found


def keep_exits(cell: Cell, exits: Mapping[str, AllExits]) -> None:
    """Write the logits, with what the criterion's probe read, beside the record: the reported splits first."""
    for name in (*cell.data.evaluation, cell.data.select.name):
        replace_logits(cell.context.store, exits[name], locate_exits(cell.folder, name), cell.context.progress)


def load_whole_model(cell: Cell, model: ExitModel) -> ExitModel:
    """Return the model that costs are compared with: ``model``, or one of the backbone's full depth if that was cut.

    Only its shape matters, for counting and for timing, so its head is new.
    """
    request = request_backbone(cell.spec, cell.parts, cell.context, whole=True)
    if resolve_backbone(request).digest == cell.facts.backbone:
        return model
    loaded = load_backbone(request, cell.texts, seed=cell.spec.seed)
    whole = ExitModel(loaded.encoder, make_head(cell, loaded))
    return whole.to(device=cell.spec.device, dtype=DTYPES[cell.spec.dtype]).eval()
