"""A cell whose backbone is frozen: its states are kept from one pass, and the exits are fitted on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from time import monotonic
from typing import Any

import torch

from bench.cell.identify import Cell, Warn
from bench.cell.resolve import AUTO_POOLING
from bench.files import remove_leftovers
from bench.results.spec import hash_identity, identify_training
from bench.results.store import load_or_set_aside
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit
from bench.tasks.sampling import draw_rows
from bench.training.exits import ExitFit, Fitted, fit_exits
from bench.training.states import PooledStates, identify_states, open_states, record_states
from bench.training.trainer import TrainLog
from strategies.base import ExitModel, Head
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
    return (
        f"Exits of head '{cell.spec.head}' are fitted on the kept states of {fitted.samples} samples, the backbone is "
        f"left as it is: {fitted.pooling} pooling, mean loss {means[fitted.pooling]:.3f} on a part "
        f"held out{others}."
    )


def take_pooling(head: Head, kept: Mapping[str, Any]) -> None:
    """Pool as the exits were fitted, where that was chosen with them; ``kept`` is what is beside the weights."""
    if "pooling" in kept:
        head.pooling = find_early(head).pooling = kept["pooling"]


def drop_auto_pooling(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a head's arguments without a pooling that is still to be chosen."""
    return {name: value for name, value in arguments.items() if (name, value) != ("pooling", AUTO_POOLING)}
