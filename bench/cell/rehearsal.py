"""A rehearsal of somebody else's head, recipe and criterion on made-up numbers, before anything is trained.

What they may not give is then one line, and no training is lost to it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.errors import UsageError
from backbones.names import blame_maker, is_ours
from bench.errors import name_causes
from bench.measure.scores import score_exits
from strategies.base import Criterion, ExitModel, Head, Recipe, Stage
from strategies.contract import is_makers, name_class

MADE_UP, MADE_UP_TOKENS = 4, 3  # samples, and tokens of each


def rehearse_parts(model: ExitModel, recipe: Recipe, criterion: Criterion) -> None:
    """Raise UsageError for what a head, a recipe or a criterion that is not ours gives and may not.

    The parts stay as they are; random numbers are drawn.
    """
    head, outputs = model.head, model.head.num_outputs
    with name_causes():
        if not is_ours(type(head)):
            with blame_maker(type(head), name_class(head)):
                rehearse_head(copy.deepcopy(head).eval(), model)
        if not is_ours(type(recipe)):
            with blame_maker(type(recipe), name_class(recipe)):
                rehearse_recipe(copy.deepcopy(recipe), copy.deepcopy(head), model)
        if is_makers(criterion):
            rehearse_criterion(criterion, model.num_layers, outputs)


def rehearse_head(head: Head, model: ExitModel) -> None:
    """Ask ``head`` for its logits and costs at every exit of ``model``."""
    for layer, logits in enumerate(answer_all(head, model), start=1):
        at = f"{name_class(head)} at exit {layer}"
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (MADE_UP, head.num_outputs):
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"{at}: logits of {MADE_UP} samples must be {(MADE_UP, head.num_outputs)}, not {what}.")
        if not logits.is_floating_point() or not bool(torch.isfinite(logits).all()):
            raise UsageError(f"{at}: logits must be finite numbers, and some are NaN, infinite or whole.")
        macs: Any = head.macs(MADE_UP_TOKENS, layer)
        if not isinstance(macs, int) or macs < 0:
            raise UsageError(f"{at}: macs must be a whole number that is not negative, not {macs!r}.")


def check_stages(recipe: Recipe) -> None:
    """Raise UsageError where a recipe has no stages, or others than Stage."""
    if not recipe.stages or not all(isinstance(stage, Stage) for stage in recipe.stages):
        raise UsageError(f"{name_class(recipe)}: stages must be a tuple of one or more Stage.")


def rehearse_recipe(recipe: Recipe, head: Head, model: ExitModel) -> None:
    """Ask ``recipe`` for the losses of each of its stages on made-up logits."""
    who = name_class(recipe)
    if recipe.state_fit is not None:
        return
    labels = torch.zeros(MADE_UP, dtype=torch.float32 if head.num_outputs == 1 else torch.int64)
    for stage in recipe.stages:
        logits = answer_all(head, model)
        losses: Any = recipe.losses(stage, logits[-1:] if stage.exits == "last" else logits, labels, 0)
        if not isinstance(losses, tuple) or not losses or not all(is_loss(loss) for loss in losses):
            raise UsageError(f"{who}, stage '{stage.name}': losses must be a tuple of tensors of one number each.")
        if not any(loss.requires_grad for loss in losses):
            raise UsageError(
                f"{who}, stage '{stage.name}': no loss depends on the logits, so nothing would be learned."
            )


def rehearse_criterion(criterion: Criterion, exits: int, outputs: int) -> None:
    """Judge made-up logits with ``criterion``, where it needs nothing else, and ask what it says of thresholds."""
    who = name_class(criterion)
    said: Any = criterion.warnings(exits)
    if not isinstance(said, list | tuple) or not all(isinstance(line, str) for line in said):
        raise UsageError(f"{who}: warnings must be a list of texts, not {said!r}.")
    default: Any = criterion.default_threshold
    numbers = {"default_threshold": default}
    if is_number(default):
        numbers["cut of the default threshold"] = criterion.cut_at(default)
        if is_number(numbers["cut of the default threshold"]):
            numbers["threshold of that cut"] = criterion.threshold(numbers["cut of the default threshold"])
    for what, number in numbers.items():
        if not is_number(number):
            raise UsageError(f"{who}: the {what} must be a number, not {number!r}.")
    if criterion.fits or criterion.probe is not None or not criterion.causal or criterion.needs_labels:
        return
    logits = torch.randn(MADE_UP, exits, outputs)
    before, keys = logits.clone(), torch.arange(MADE_UP)
    together = torch.from_numpy(score_exits(criterion, logits, keys=keys))
    if not torch.equal(logits, before):
        raise UsageError(f"{who}: step changes the logits that it is given; work on a copy.")
    alone = [score_exits(criterion, logits[i : i + 1], keys=keys[i : i + 1]) for i in range(MADE_UP)]
    if not torch.allclose(together, torch.cat([torch.from_numpy(one) for one in alone]), rtol=1e-3, atol=1e-4):
        raise UsageError(f"{who}: a sample's scores depend on the batch that it is in, or on chance.")


def answer_all(head: Head, model: ExitModel) -> Sequence[Tensor]:
    """Return what ``head`` answers at every exit of ``model`` to made-up hidden states."""
    hidden, mask = (
        torch.randn(MADE_UP, MADE_UP_TOKENS, model.encoder.hidden_size),
        torch.ones(MADE_UP, MADE_UP_TOKENS, dtype=torch.int64),
    )
    return [head(hidden, mask, layer) for layer in range(1, model.num_layers + 1)]


def is_loss(loss: object) -> bool:
    """Return whether ``loss`` is a tensor of one number."""
    return isinstance(loss, Tensor) and loss.ndim == 0


def is_number(value: object) -> bool:
    """Return whether ``value`` is a number, infinite or not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
