"""A cell whose backbone is frozen: its states are kept from one pass, and the exits are fitted on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from time import monotonic
from typing import Any

import torch

from bench.cell.identify import Cell, Warn
from bench.cell.resolve import AUTO_POOLING, can_fit_on_states, find_usual_training
from bench.files import remove_leftovers
from bench.results.spec import hash_identity, identify_training
from bench.results.store import load_or_set_aside
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit
from bench.tasks.sampling import draw_rows
from bench.training.args import TrainArgs
from bench.training.exits import ExitFit, Fitted, fit_exits
from bench.training.states import PooledStates, identify_states, open_states, record_states
from bench.training.trainer import TrainLog
from strategies.base import ExitModel, Head, Recipe
from strategies.exits_only import find_early, soften_logits
from strategies.pooler import PooledHead
from strategies.state_fit import StateFit


def fit_on_states(
    cell: Cell, model: ExitModel, settings: StateFit, encode: Callable[[Split], EncodedSplit], warn: Warn
) -> dict[str, object]:
    """Fit the exits of ``model`` in place, on kept states of the training split; return what is kept of it.

    The last exit is left alone where it came with the model. Nothing else of the model changes.
    """
    begun = monotonic()
    split = draw_rows(cell.data.train, settings.samples, cell.spec.seed)
    encoded = encode(split)
    model.to(cell.spec.device)
    states = record_or_load_states(cell, model, encoded, warn)
    targets = torch.from_numpy(split.labels)
    if settings.targets == "model" and states.last is not None:
        targets = soften_logits(states.last)
    pooling = cell.spec.head_args.get("pooling", AUTO_POOLING)
    layers = range(1, model.num_layers + (not model.head.keeps_last))
    early, asked = find_early(model.head), None if pooling == AUTO_POOLING else pooling
    assert isinstance(early, PooledHead)  # others are never fitted here
    fitted = fit_exits(ExitFit(early, layers, settings, cell.spec.seed, asked), states, targets.to(cell.spec.device))
    cell.context.progress.say(describe_fit(cell, fitted))
    log = TrainLog(
        stages={"exits": [round(sum(fitted.held_out[fitted.pooling]), 5)]},
        steps={"exits": fitted.steps},
        recipe=fitted.describe(),
        seconds=round(monotonic() - begun, 2),
    )
    identity = identify_training(cell.spec, cell.facts)
    return {"identity": identity, "log": asdict(log), "truncated": encoded.truncated, "pooling": fitted.pooling}


def record_or_load_states(cell: Cell, model: ExitModel, encoded: EncodedSplit, warn: Warn) -> PooledStates:
    """Return the pooled states of ``encoded``: one pass, whose result all heads on the same backbone share."""
    store, progress = cell.context.store, cell.context.progress
    name = hash_identity(identify_states(model, encoded))
    path = store.cache("states", name) / "states.safetensors"
    with store.lock(f"states-{name}", progress):
        remove_leftovers(path.parent)
        found = load_or_set_aside(store, path, open_states, progress, warn)
        if found is None:
            record_states(model, encoded, path, progress)
    return found or open_states(path)


def describe_fit(cell: Cell, fitted: Fitted) -> str:
    """Return the line that says what the exits were fitted on, and which pooling was taken."""
    means = {name: sum(losses) / len(losses) for name, losses in fitted.held_out.items()}
    others = "".join(f", {means[name]:.3f} with {name}" for name in means if name != fitted.pooling)
    if fitted.probed:
        probes = [f"{sum(losses) / len(losses):.3f} with {name}" for name, losses in fitted.probed.items()]
        others = f"; linear exits lose {' and '.join(probes)}"
    return (
        f"Exits of head '{cell.spec.head}' are fitted on the kept states of {fitted.samples} samples, the backbone is "
        f"left as it is: {fitted.pooling} pooling, mean loss {means[fitted.pooling]:.3f} on a part "
        f"held out{others}."
    )


def describe_unused(cell: Cell, recipe: Recipe) -> list[str]:
    """Return what a record warns of where the backbone is frozen: samples that are left out, settings without effect.

    A setting is told where it is not the usual one: it is part of the run's identity all the same.
    """
    settings = recipe.state_fit
    if settings is None:
        return []
    if not can_fit_on_states(cell.parts.head, cell.parts.recipe):
        names = [f"recipe.{name}" for name in list_changes(settings, StateFit()) if name != "targets"]
        return [f"{' and '.join(names)} without effect: head '{cell.spec.head}' is trained by train.*"] if names else []
    usual = find_usual_training(cell.spec.init, cell.parts.task)
    names = [f"train.{name}" for name in list_changes(cell.spec.train, usual)]
    lines = [f"{' and '.join(names)} without effect: exits on kept states are fitted by recipe.*"] if names else []
    samples = len(cell.data.train)
    if samples > settings.samples:
        lines.append(f"exits are fitted on {settings.samples:,} of {samples:,} training samples (recipe.samples)")
    return lines


def list_changes(settings: StateFit | TrainArgs, usual: StateFit | TrainArgs) -> list[str]:
    """Return the names of the settings that are not the usual ones."""
    return [field.name for field in fields(settings) if getattr(settings, field.name) != getattr(usual, field.name)]


def take_pooling(head: Head, kept: Mapping[str, Any]) -> None:
    """Let the head pool as its exits were fitted, where that was chosen with them; ``kept`` is beside the weights."""
    if "pooling" in kept:
        head.pooling = find_early(head).pooling = kept["pooling"]


def drop_auto_pooling(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a head's arguments without a pooling that is still to be chosen."""
    return {name: value for name, value in arguments.items() if (name, value) != ("pooling", AUTO_POOLING)}
