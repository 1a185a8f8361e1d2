"""A rehearsal of somebody else's head, recipe and criterion on made-up numbers, before anything is trained.

What they may not give is then one line, and no training is lost to it.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from torch import Tensor

from backbones.errors import UsageError
from backbones.names import blame_maker, is_ours
from bench.errors import name_causes
from bench.measure.scores import score_exits
from strategies.base import Criterion, ExitModel, Head, Recipe, Stage
from strategies.contract import is_makers, name_class
from strategies.head import answer_exits

MADE_UP, MADE_UP_TOKENS = 4, 3  # samples, and tokens of each
MADE_UP_LENGTHS = (1, MADE_UP_TOKENS, 128)
"""Tokens that heads are asked the costs of."""


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
    """Ask ``head`` for its logits, parameters and costs at every exit of ``model``."""
    own = set(map(id, head.parameters()))
    for layer, logits in enumerate(answer_all(head, model), start=1):
        at = f"{name_class(head)} at exit {layer}"
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (MADE_UP, head.num_outputs):
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"{at}: logits of {MADE_UP} samples must be {(MADE_UP, head.num_outputs)}, not {what}.")
        if not logits.is_floating_point() or not bool(torch.isfinite(logits).all()):
            raise UsageError(f"{at}: logits must be finite numbers, and some are NaN, infinite or whole.")
        for tokens in MADE_UP_LENGTHS:
            check_macs(head.macs(tokens, layer), at)
        trained: Any = head.exit_parameters(layer)
        if not isinstance(trained, Iterable) or not all(id(part) in own for part in trained):
            raise UsageError(f"{at}: exit_parameters must be parameters of the head, for nothing else is kept.")


def check_macs(macs: object, where: str) -> None:
    """Raise UsageError where ``macs`` are no count."""
    if not isinstance(macs, int | np.integer) or macs < 0:
        raise UsageError(f"{where}: macs must be a whole number that is not negative, not {macs!r}.")


def check_stages(recipe: Recipe) -> None:
    """Raise UsageError where a recipe has no stages, others than Stage, or such as cannot be trained or told apart."""
    who = name_class(recipe)
    if not recipe.stages or not all(isinstance(stage, Stage) for stage in recipe.stages):
        raise UsageError(f"{who}: stages must be a tuple of one or more Stage.")
    names = [stage.name for stage in recipe.stages]
    for stage in recipe.stages:
        exits = get_args(get_type_hints(Stage)["exits"])
        for field, fits, wanted in (
            ("name", isinstance(stage.name, str) and stage.name.isprintable(), "a text on one line"),
            ("name", names.count(stage.name) == 1, "another one than any other stage's"),
            ("exits", stage.exits in exits, f"one of {', '.join(exits)}"),
            ("lr_scale", is_number(stage.lr_scale) and 0 < stage.lr_scale < math.inf, "a positive number"),
            ("epochs", stage.epochs is None or (is_count(stage.epochs) and stage.epochs > 0), "None or at least 1"),
        ):
            if not fits:
                raise UsageError(f"{who}: a stage's {field} must be {wanted}, not {getattr(stage, field)!r}.")


def rehearse_recipe(recipe: Recipe, head: Head, model: ExitModel) -> None:
    """Ask ``recipe`` for the losses of each of its stages on made-up logits."""
    who = name_class(recipe)
    if recipe.state_fit is not None:
        return
    rehearse_nodes(recipe, model)
    labels = torch.zeros(MADE_UP, dtype=torch.float32 if head.num_outputs == 1 else torch.int64)
    for stage in recipe.stages:
        logits = answer_all(head, model)
        losses: Any = recipe.losses(stage, logits[-1:] if stage.exits == "last" else logits, labels, 0)
        if not isinstance(losses, tuple | list) or not losses or not all(is_loss(loss) for loss in losses):
            raise UsageError(f"{who}, stage '{stage.name}': losses must be a tuple of tensors of one number each.")
        if not any(loss.requires_grad for loss in losses):
            raise UsageError(
                f"{who}, stage '{stage.name}': no loss depends on the logits, so nothing would be learned."
            )


def rehearse_nodes(recipe: Recipe, model: ExitModel) -> None:
    """Ask ``recipe`` what heads read of made-up states: the same numbers, layer by layer."""
    states = [make_states(model)[0].requires_grad_() * 1.0 for _ in range(model.num_layers)]
    nodes: Any = recipe.nodes(states)
    same = isinstance(nodes, Sequence) and len(nodes) == len(states)
    if not same or not all(isinstance(n, Tensor) and torch.equal(n, s) for n, s in zip(nodes, states, strict=True)):
        raise UsageError(f"{name_class(recipe)}: nodes must give the same numbers as the states, one tensor a layer.")


def rehearse_criterion(criterion: Criterion, exits: int, outputs: int) -> None:
    """Judge made-up logits with ``criterion``, where it needs nothing else, and ask what it says of thresholds."""
    who = name_class(criterion)
    said: Any = criterion.warnings(exits)
    if not isinstance(said, list | tuple) or not all(isinstance(line, str) for line in said):
        raise UsageError(f"{who}: warnings must be a list of texts, not {said!r}.")
    name: Any = criterion.threshold_name
    if not isinstance(name, str) or not re.fullmatch(r"[^\W\d][\w-]*", name):
        raise UsageError(f"{who}: the threshold_name must be of letters, digits, '_' and '-', not {name!r}.")
    for layer in range(1, exits):
        check_macs(criterion.macs(outputs, layer), f"{who} at exit {layer}")
    default: Any = criterion.default_threshold
    numbers = {"default_threshold": default, "loosest": criterion.loosest}
    if is_number(default):
        numbers["cut of the default threshold"] = criterion.cut_at(default)
        if is_number(numbers["cut of the default threshold"]):
            numbers["threshold of that cut"] = criterion.threshold(numbers["cut of the default threshold"])
    for what, number in numbers.items():
        if not is_number(number):
            raise UsageError(f"{who}: the {what} must be a number, not {number!r}.")
    if not criterion.fits and criterion.probe is None:
        rehearse_steps(criterion, torch.randn(MADE_UP, exits, outputs))


def rehearse_steps(criterion: Criterion, logits: Tensor, observed: Tensor | None = None) -> None:
    """Judge ``logits`` [N, L, C] with a criterion that has learned what it needs; ``observed`` is what its probe read.

    Raises UsageError where it changes them, or scores a sample by the others in its batch.
    """
    who = name_class(criterion)
    if not criterion.causal or criterion.needs_labels:
        return
    samples, before, keys = len(logits), logits.clone(), torch.arange(len(logits))
    together = torch.from_numpy(score_exits(criterion, logits, keys=keys, observed=observed))
    if not torch.equal(logits, before):
        raise UsageError(f"{who}: step changes the logits that it is given; work on a copy.")
    rows = [slice(i, i + 1) for i in range(samples)]
    alone = [
        score_exits(criterion, logits[r], keys=keys[r], observed=None if observed is None else observed[r])
        for r in rows
    ]
    if not torch.allclose(together, torch.cat([torch.from_numpy(one) for one in alone]), rtol=1e-3, atol=1e-4):
        raise UsageError(f"{who}: a sample's scores depend on the batch that it is in, or on chance.")
    leaving: Any = criterion.leaves(together[:, 0], 0.0)
    if not isinstance(leaving, Tensor) or leaving.dtype != torch.bool or tuple(leaving.shape) != (samples,):
        raise UsageError(f"{who}: leaves must give a bool tensor, one a sample.")


def answer_all(head: Head, model: ExitModel) -> Sequence[Tensor]:
    """Return what ``head`` answers at every exit of ``model`` to made-up hidden states, which it must not change."""
    hidden, mask = make_states(model)
    before = hidden.clone()
    _, answers = answer_exits(head, [hidden] * model.num_layers, mask)
    if not torch.equal(hidden, before):
        raise UsageError(f"{name_class(head)} changes the hidden states that it is given; work on a copy.")
    return answers


def make_states(model: ExitModel) -> tuple[Tensor, Tensor]:
    """Return made-up hidden states [B, T, H] of one layer and their mask [B, T]."""
    states = torch.randn(MADE_UP, MADE_UP_TOKENS, model.encoder.hidden_size)
    return states, torch.ones(MADE_UP, MADE_UP_TOKENS, dtype=torch.int64)


def is_loss(loss: object) -> bool:
    """Return whether ``loss`` is a tensor of one number."""
    return isinstance(loss, Tensor) and loss.ndim == 0


def is_count(value: object) -> bool:
    """Return whether ``value`` is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether ``value`` is a number, infinite or not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
