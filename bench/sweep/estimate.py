"""What a plan will take in time, disk and memory, and how that is known.

Time of a training: that of a recorded one of the same backbone, recipe, task and batch size on this machine, by steps;
else its FLOPs (3 x forward where the backbone is trained, as the backward pass costs twice the forward) over what this
machine does in a training step of one layer of that width. Exits on kept states take one pass and little more. Rows and
tokens come from the data, or from the published sizes and the longest input where the data are not at hand. What is not
known is None, never a guess of zero.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from backbones import ENCODERS
from backbones.base import LayeredEncoder
from backbones.catalog import BACKBONES
from backbones.load import outline_backbone
from bench.cell.exits_only import drop_auto_pooling
from bench.cell.request import Context
from bench.cell.resolve import can_fit_on_states
from bench.environment import identify_machine
from bench.errors import UserError
from bench.results.store import Store
from bench.sweep.engines.shares import TrainingLoad
from bench.sweep.plan import Plan, Planned
from bench.sweep.speed import measure_layer_speed
from bench.tasks.base import TaskData
from strategies.state_fit import StateFit

TOKENS_A_WORD = 1.3  # of word pieces in English
FIT_SHARE = 0.25  # of the pass that keeps states: what fitting exits on them takes beside it, at most
FIXED = 8.0  # seconds of a cell besides training and timing: start, data, the pass over all exits, intervals
NO_TRAINING = "nothing to train"
PROCESS = 2**30  # bytes of a process that has imported everything
UNKNOWN = 4 * 2**30  # bytes that a cell is given whose backbone is not at hand
RECORD_BYTES = 200_000  # bytes of a record with its curve


@dataclass(frozen=True)
class Size:
    """Rows to train on, rows to run through once, mean tokens, outputs; ``exact`` is False for an upper bound."""

    train: int
    passed: int
    tokens: float
    outputs: int
    exact: bool


@dataclass(frozen=True)
class CellCost:
    """Seconds and bytes of one cell, None where unknown; ``how`` says what the time was taken from."""

    seconds: float | None
    disk: int | None
    how: str


@dataclass(frozen=True)
class PlanCost:
    """The sums over the cells that are to be run; None where any part is unknown."""

    cells: tuple[CellCost, ...]
    seconds: float | None
    disk: int | None
    free: int
    notes: tuple[str, ...]


def estimate_plan(plan: Plan, context: Context) -> PlanCost:
    """Return time and disk of every cell of ``plan``; a training counts for the first of the cells that share it."""
    known = read_step_times(context.store)
    paid: set[str] = {cell.training for cell in plan.cells if cell.checkpoint}
    found = []
    for cell in plan.cells:
        if cell.status == "recorded":
            found.append(CellCost(0.0, 0, "recorded"))
            continue
        found.append(estimate_cell(cell, cell.training not in paid, known))
        paid.add(cell.training)
    seconds, disk = _sum([e.seconds for e in found]), _sum([e.disk for e in found])
    root = context.store.root.resolve()
    free = shutil.disk_usage(next(folder for folder in (root, *root.parents) if folder.exists())).free
    return PlanCost(tuple(found), seconds, None if disk is None else int(disk), free, explain_total(found, disk, free))


def explain_total(found: Sequence[CellCost], disk: float | None, free: int) -> tuple[str, ...]:
    """Return how the figures came about, and what is in the way, as lines."""
    ways = list(dict.fromkeys(e.how for e in found if e.how != "recorded"))
    lines = [f"Time: {way}." for way in ways if way != NO_TRAINING or len(ways) == 1]
    if ways:
        lines.append(
            f"Every cell adds {FIXED:.0f} s, and timing what latency.seconds allows. One worker; more share it."
        )
    if disk is not None and disk > free:
        lines.append(f"The disk is too small: {disk / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free.")
    return tuple(lines)


def estimate_cell(cell: Planned, trains: bool, known: Mapping[tuple[object, ...], float]) -> CellCost:
    """Return the estimate of one cell; ``trains`` where no earlier cell makes its checkpoint."""
    encoder, size = outline_cell(cell), count_rows(cell)
    if encoder is None or size is None:
        return CellCost(None, None, "unknown until data and backbone are at hand")
    args = cell.spec.latency
    with torch.device("meta"):
        head = cell.parts.head(encoder, size.outputs, **drop_auto_pooling(cell.spec.head_args))
    weights = sum(p.numel() for p in (*encoder.parameters(), *head.parameters()))
    disk = 2 * 4 * size.passed * encoder.num_layers * size.outputs + RECORD_BYTES + (4 * weights if trains else 0)
    seconds, how = FIXED, NO_TRAINING
    fit = find_state_fit(cell, encoder)
    if trains and fit is not None:
        disk += 2 * 4 * min(fit.samples, size.train) * encoder.num_layers * encoder.hidden_size
    if trains:
        train, how = estimate_training(cell, encoder, size, known)
        seconds += train
    if cell.timed and args is not None:
        seconds += args.seconds * (2 if args.depth else 1)
    return CellCost(seconds, disk, how)


def estimate_training(
    cell: Planned, encoder: LayeredEncoder, size: Size, known: Mapping[tuple[object, ...], float]
) -> tuple[float, str]:
    """Return the seconds of a training and where the figure is from."""
    spec = cell.spec
    tokens = max(1, round(size.tokens))
    forward = 2 * (encoder.embed_macs(tokens) + encoder.num_layers * encoder.layer_macs(tokens))
    bound = "" if size.exact else "; rows as published, every input at max_length: at most that"
    fit = find_state_fit(cell, encoder)
    if fit is not None:
        speed = measure_layer_speed(encoder.hidden_size, spec.device)
        how = f"one pass that keeps states and a quarter more for the fit, {_tell_speed(speed, encoder)}{bound}"
        return (1 + FIT_SHARE) * min(fit.samples, size.train) * forward / speed, how
    stages = count_stage_steps(cell, encoder, size)
    updates = sum(steps for _, steps in stages)
    rows = spec.train.batch_size * spec.train.accumulate
    step = known.get((spec.backbone, spec.task, spec.recipe, rows))
    if step is not None:
        return updates * step, "the step time of recorded cells of the same backbone, task, recipe and batch size"
    flops = sum((3 if trained else 1) * steps * rows * forward for trained, steps in stages)
    speed = measure_layer_speed(encoder.hidden_size, spec.device)
    return flops / speed, f"FLOPs over {_tell_speed(speed, encoder)}{bound}"


def _tell_speed(speed: float, encoder: LayeredEncoder) -> str:
    return f"{speed / 1e9:.3g} GFLOP/s, measured here on a layer of {encoder.hidden_size}"


def find_state_fit(cell: Planned, encoder: LayeredEncoder) -> StateFit | None:
    """Return how a cell's exits are fitted on kept states; None where it trains pass by pass."""
    if not can_fit_on_states(cell.parts.head, cell.parts.recipe):
        return None
    return cell.parts.recipe(encoder.num_layers, **cell.spec.recipe_args).state_fit


def count_stage_steps(cell: Planned, encoder: LayeredEncoder, size: Size) -> list[tuple[bool, int]]:
    """Return for each stage of the recipe whether it trains the backbone, and its number of optimiser steps."""
    train = cell.spec.train
    recipe = cell.parts.recipe(encoder.num_layers, **cell.spec.recipe_args)
    per_epoch = math.ceil(math.ceil(size.train / train.batch_size) / train.accumulate)
    found = []
    for stage in recipe.stages:
        epochs = train.epochs if stage.epochs is None else stage.epochs
        found.append((stage.backbone, train.steps or max(1, math.ceil(epochs * per_epoch))))
    return found


def read_step_times(store: Store) -> dict[tuple[object, ...], float]:
    """Return seconds a step of what was trained on this machine, by what makes steps take equally long, near enough.

    That is the backbone, the task, the recipe and the rows of a step.
    """
    found: dict[tuple[object, ...], float] = {}
    here = identify_machine()
    for run in store.runs()[0] if store.root.is_dir() else ():
        if not run.is_finished() or run.record.environment.machine_id != here:
            continue
        spec, training = run.spec, run.record.training
        steps = sum(training.steps.values())
        on_states = any(name.startswith("held_out_") for name in training.recipe)  # no steps of the backbone
        if steps and training.seconds and not training.resumed and not on_states:
            rows = spec.train.batch_size * spec.train.accumulate
            found[spec.backbone, spec.task, spec.recipe, rows] = training.seconds / steps
    return found


def estimate_memory(cell: Planned) -> int:
    """Return the bytes a cell is given: weights, gradients, Adam's two moments, and what backward keeps."""
    encoder = outline_cell(cell)
    if encoder is None:
        return UNKNOWN
    weights = 16 * sum(p.numel() for p in encoder.parameters())
    # about twenty tensors of the hidden states' size a layer are kept for the backward pass
    spec = cell.spec if cell.identified is None else cell.identified.spec
    kept = 20 * 4 * spec.train.batch_size * spec.max_length * encoder.hidden_size * encoder.num_layers
    return PROCESS + weights + kept


_SHAPES: dict[str, LayeredEncoder | None] = {}


def estimate_load(cell: Planned) -> TrainingLoad | None:
    """Return what a training step of a cell asks of the machine; None where the backbone is not known."""
    encoder, size = outline_cell(cell), count_rows(cell)
    if encoder is None:
        return None
    tokens = cell.spec.max_length if size is None else max(1, round(size.tokens))
    return TrainingLoad(encoder.hidden_size, cell.spec.train.batch_size, tokens, estimate_memory(cell))


def outline_cell(cell: Planned) -> LayeredEncoder | None:
    """Return the backbone without weights, by its configuration or the catalog's shape; None if unknown."""
    name = repr(cell.backbone)
    if name not in _SHAPES:
        try:
            _SHAPES[name] = outline_backbone(cell.backbone)
        except UserError:
            _SHAPES[name] = _read_catalog_shape(cell)
    return _SHAPES[name]


def _read_catalog_shape(cell: Planned) -> LayeredEncoder | None:
    named = BACKBONES.get(cell.spec.backbone)
    if named is None:
        return None
    kind = ENCODERS.load(named.model_type)
    shape = {"hidden_size": named.hidden, "num_hidden_layers": named.layers, "intermediate_size": 4 * named.hidden}
    config: Any = kind.model_class.config_class
    with torch.device("meta"):
        model: Any = kind.model_class
        return kind(model(config(num_attention_heads=max(1, named.hidden // 64), **shape), add_pooling_layer=False))


def count_rows(cell: Planned) -> Size | None:
    """Return rows and tokens from the data, else from the published sizes, else None."""
    spec, task = cell.spec, cell.parts.task
    data = cell.data
    if data is not None:
        passed = len(data.select) + sum(map(len, data.evaluation.values()))
        return Size(len(data.train), passed, estimate_tokens(data, spec.max_length), data.num_outputs, True)
    rows: Mapping[str, int] | None = getattr(task, "published_rows", None)
    if not rows:
        return None
    limited = {name: min(count, spec.limit or count) for name, count in rows.items()}
    outputs = max(1, len(getattr(task, "label_names", ())))
    return Size(limited.pop("train"), sum(limited.values()), float(spec.max_length), outputs, False)


def estimate_tokens(data: TaskData, most: int) -> float:
    """Return the mean tokens of a training sample, from its words, over the first thousand."""
    first, second = data.train.first[:1000], (data.train.second or ())[:1000]
    words = [len(f"{one} {other}".split()) for one, other in zip_longest(first, second, fillvalue="")]
    return sum(min(most, 3 + TOKENS_A_WORD * count) for count in words) / max(1, len(words))


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)
