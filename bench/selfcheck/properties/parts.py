"""What every head and every recipe must do, on a tiny model with random weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from backbones.errors import UserError
from bench.progress import Progress
from bench.selfcheck.properties.contract import ODD_VALUES, Property
from bench.selfcheck.properties.live import LIVE_LENGTHS, find_live_difference
from bench.selfcheck.tiny import PAD, TINY, make_tiny_model
from bench.settings import bind_arguments, list_settable
from bench.tasks.encode import EncodedSplit
from bench.training.args import TrainArgs
from bench.training.states import POOLINGS
from bench.training.trainer import TrainingPlan, train_model
from strategies.base import Head, Recipe, Stage
from strategies.deebert import HighwayHead
from strategies.elbert import SharedHead
from strategies.entropy import Entropy, LinearHead
from strategies.head import Pooling, answer_exits

HEAD_TOKENS, HEAD_BATCH, TINY_LAYERS = 9, 4, int(str(TINY["num_hidden_layers"]))
OUTPUTS = (1, 2, 3, 1000)


@dataclass(frozen=True)
class JudgedHead:
    """A head, on a tiny BERT."""

    kind: type[Head]

    def make(self, outputs: int, pooling: Pooling = "cls") -> Head:
        """Return one in float64, with random weights, as it answers."""
        encoder = make_tiny_model("bert").encoder
        torch.manual_seed(1)
        return self.kind(encoder, outputs, pooling=pooling).double().eval()


def draw_hidden(rows: int = HEAD_BATCH) -> Tensor:
    """Return hidden states [B, T, H] of a tiny model, in float64."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(rows, HEAD_TOKENS, int(str(TINY["hidden_size"])), generator=generator, dtype=torch.float64)


@torch.no_grad()
def find_odd_logits(judged: JudgedHead, outputs: int) -> str | None:
    """Return where logits are not finite numbers [B, C] in the model's precision, or change when asked again."""
    head, hidden = judged.make(outputs), draw_hidden()
    before = hidden.clone()
    torch.manual_seed(0)
    answers = answer_exits(head, [hidden] * head.num_layers, None)[1]
    torch.manual_seed(1)
    again = answer_exits(head, [hidden] * head.num_layers, None)[1]
    for layer, (logits, repeated) in enumerate(zip(answers, again, strict=True), start=1):
        wanted = (HEAD_BATCH, outputs), hidden.dtype
        if not isinstance(logits, Tensor) or (tuple(logits.shape), logits.dtype) != wanted:
            what = f"{list(logits.shape)} {logits.dtype}" if isinstance(logits, Tensor) else type(logits).__name__
            return f"the logits of exit {layer} are {what}, not [{HEAD_BATCH}, {outputs}] {hidden.dtype}"
        if not bool(logits.isfinite().all()):
            return f"a logit of exit {layer} is not finite"
        if not torch.equal(repeated, logits):
            return f"exit {layer} has other logits the second time"
    return None if torch.equal(before, hidden) else "an exit changes the hidden states that it is given, in place"


@torch.no_grad()
def find_padding_effect(judged: JudgedHead, pooling: Pooling) -> str | None:
    """Return at which exit padding, or the others in a batch, change an answer."""
    head, hidden = judged.make(3, pooling), draw_hidden(2)
    mask = (torch.arange(HEAD_TOKENS) < torch.tensor([[HEAD_TOKENS], [4]])).long()
    padded = answer_exits(head, [hidden] * head.num_layers, mask)[1]
    for row, tokens in enumerate((HEAD_TOKENS, 4)):
        alone = answer_exits(head, [hidden[row : row + 1, :tokens]] * head.num_layers, None)[1]
        for layer, (there, here) in enumerate(zip(padded, alone, strict=True), start=1):
            if not torch.allclose(there[row], here[0], rtol=1e-9, atol=1e-9):
                return f"at exit {layer} sample {row}, {tokens} tokens, has other logits beside another than alone"
    return None


def find_wrong_parameters(judged: JudgedHead, outputs: int) -> str | None:
    """Return which exit's parameters are not those that it uses, or that sharing is not as the class says."""
    head = judged.make(outputs)
    sets = []
    for layer in range(1, head.num_layers + 1):
        head.zero_grad(set_to_none=True)
        head(draw_hidden(2), None, layer).sum().backward()
        used = {name for name, p in head.named_parameters() if p.grad is not None}
        listed = {id(p) for p in head.exit_parameters(layer)}
        named = {name for name, p in head.named_parameters() if id(p) in listed}
        if wrong := sorted(used ^ named):
            return f"exit_parameters({layer}) and what exit {layer} uses differ by {', '.join(wrong)}"
        sets.append(listed)
    shares = bool(sets[0] & sets[-1])
    if shares != judged.kind.shares_parameters:
        return f"shares_parameters is {not shares}, and the exits say otherwise"
    return None


def find_wrong_macs(judged: JudgedHead, layer: int) -> str | None:
    """Return how ``macs`` differs from the multiply-accumulates that torch counts."""
    head = judged.make(3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head(draw_hidden(1), None, layer)
    said, counted = head.macs(HEAD_TOKENS, layer), counter.get_total_flops() / 2
    return (
        None
        if said == counted
        else f"macs({HEAD_TOKENS} tokens, exit {layer}) is {said:,}, torch counts {counted:,.0f}"
    )


def find_live_head_fault(judged: JudgedHead, lengths: tuple[int, ...]) -> str | None:
    """Return where a model with this head that really stops decides otherwise than its replay."""
    kind = type("Judged", (Entropy,), {"head": judged.kind})
    return find_live_difference(kind, {}, lengths)[0]


def _range(*found: object) -> Callable[[Any], Iterable[Any]]:
    return lambda judged: found


HEAD_PROPERTIES: tuple[Property[JudgedHead, Any], ...] = (
    Property("logits", "Every exit gives finite logits [B, C], for 1, 2, 3 and 1,000 classes, the same each time.",
             find_odd_logits, _range(*OUTPUTS)),
    Property("padding", "Padding and the others in a batch change no answer, pooled either way.",
             find_padding_effect, _range(*POOLINGS)),
    Property("parameters", "An exit's parameters are those that it uses; shared where the class says so.",
             find_wrong_parameters, _range(3)),
    Property("macs", "It costs what torch counts.", find_wrong_macs, _range(1, TINY_LAYERS)),
    Property("live", "A model that really stops decides as a replay of its logits, in float64.",
             find_live_head_fault, _range(LIVE_LENGTHS)),
)  # fmt: skip


# ---------------------------------------------------------------- recipes


@dataclass(frozen=True)
class JudgedRecipe:
    """A recipe with its arguments; ``head`` is its strategy's, if it comes with one."""

    kind: type[Recipe]
    arguments: Mapping[str, object] = field(default_factory=dict)
    head: type[Head] | None = None

    def make(self, more: Mapping[str, object] | None = None) -> Recipe:
        """Return one of its own, with ``more`` arguments."""
        given = bind_arguments(self.kind, {**self.arguments, **(more or {})}, f"recipe '{self.kind.__name__}'")
        return self.kind(TINY_LAYERS, **given)

    def list_heads(self) -> list[type[Head]]:
        """Return the heads that it may be asked to train, its strategy's first."""
        return [*([self.head] if self.head else []), HighwayHead, LinearHead, SharedHead]

    def list_outputs(self) -> list[int]:
        """Return the numbers of logits that it can train, of 1, 2, 3 and 1,000."""
        return [outputs for outputs in OUTPUTS if self._find_served(outputs)]

    def make_with_head(self, outputs: int) -> tuple[Recipe, Head, Any]:
        """Return one, a head that it accepts, and the tiny model of it. Raises UserError where it accepts none."""
        head = self._find_served(outputs)
        if head is None:
            raise UserError(f"It refuses every head on a task with {outputs} outputs.")
        model = make_tiny_model("bert", head, outputs)
        recipe = self.make()
        recipe.adapt_to(model.head)
        return recipe, model.head, model

    def _find_served(self, outputs: int) -> type[Head] | None:
        for kind in self.list_heads():
            recipe, head = self.make(), make_tiny_model("bert", kind, outputs).head
            recipe.adapt_to(head)
            if recipe.refuse(head) is None:
                return kind
        return None


def find_odd_loss(judged: JudgedRecipe, example: tuple[int, float]) -> str | None:
    """Return where losses are no finite scalars, change the logits, differ when repeated, or leave out an exit."""
    outputs, scale = example
    recipe, _, _ = judged.make_with_head(outputs)
    if not recipe.stages:
        return "it has no stage"
    for stage in recipe.stages:
        recipe.take_schedule(stage, 8, 4)
        reached: set[int] = set()
        for step in range(4):
            logits = _draw_exits(stage, outputs, scale, step)
            before = [z.detach().clone() for z in logits]
            labels = torch.arange(HEAD_BATCH) % outputs if outputs > 1 else torch.arange(HEAD_BATCH) / HEAD_BATCH
            torch.manual_seed(step)
            terms = recipe.losses(stage, logits, labels, step)
            if not isinstance(terms, tuple) or any(not isinstance(t, Tensor) or t.ndim for t in terms) or not terms:
                return f"stage '{stage.name}': losses gives {type(terms).__name__}, not a tuple of scalars"
            if not all(math.isfinite(float(t.detach())) for t in terms):
                return f"stage '{stage.name}', step {step}: the losses are {[float(t.detach()) for t in terms]}"
            if any(not torch.equal(a, z.detach()) for a, z in zip(before, logits, strict=True)):
                return f"stage '{stage.name}': losses changes the logits that it is given, in place"
            torch.manual_seed(step)
            again = recipe.losses(stage, logits, labels, step)
            if [float(t.detach()) for t in again] != [float(t.detach()) for t in terms]:
                return f"stage '{stage.name}', step {step}: the same logits have another loss the second time"
            torch.stack(terms).sum().backward()
            reached |= {at for at, z in enumerate(logits) if z.grad is not None}
        missing = sorted(set(_list_trained(stage)) - reached)
        if missing:
            return f"stage '{stage.name}' trains exit {missing[0] + 1}, and no loss depends on it in four steps"
    return None


def _draw_exits(stage: Stage, outputs: int, scale: float, step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    exits = 1 if stage.exits == "last" else TINY_LAYERS
    drawn = [scale * torch.randn(HEAD_BATCH, outputs, generator=generator) for _ in range(exits)]
    return [z.requires_grad_(True) for z in drawn]


def _list_trained(stage: Stage) -> range:
    if stage.exits == "last":
        return range(1)
    return range(TINY_LAYERS - (stage.exits == "early"))


def find_training_fault(judged: JudgedRecipe, outputs: int) -> str | None:
    """Return what goes wrong in three optimiser steps of each stage on a tiny model."""
    recipe, _, model = judged.make_with_head(outputs)
    lengths = np.array([4, 9, 6, 5, 8, 7, 4, 6], dtype=np.int64)
    random = np.random.default_rng(5)
    ids = [random.integers(5, 50, n).tolist() for n in lengths]
    labels = random.integers(0, outputs, len(ids)) if outputs > 1 else random.normal(size=len(ids)).astype(np.float32)
    args = TrainArgs(steps=3, lr=1e-3, batch_size=4, warmup=0.0, precision="fp32")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with TemporaryDirectory() as folder:
        data = EncodedSplit(ids, None, lengths, 0, PAD)
        plan = TrainingPlan(data, labels, args, "fp32", 1, torch.device("cpu"), Path(folder) / "progress")
        train_model(model, recipe, plan, Progress(quiet=True))
    after = model.state_dict()
    if wrong := next((name for name, value in after.items() if not bool(value.isfinite().all())), None):
        return f"after three steps {wrong} is not finite"
    return "three steps change nothing" if all(torch.equal(before[name], after[name]) for name in before) else None


def find_bad_recipe_refusal(judged: JudgedRecipe, argument: str) -> str | None:
    """Return what is not said on one line: of a head or a task that it cannot train, or of an odd argument."""
    for kind, outputs in ((kind, outputs) for kind in judged.list_heads() for outputs in (1, 3) if not argument):
        recipe, head = judged.make(), make_tiny_model("bert", kind, outputs).head
        recipe.adapt_to(head)
        why = recipe.refuse(head)
        if why is not None and not (isinstance(why, str) and why.strip() and "\n" not in why):
            return f"refuse gives {why!r} for {kind.__name__}, not a reason on one line, or None"
        if outputs == 1 and why is None and (judged.kind.distils or not judged.kind.regression):
            return "it takes a regression task, and the class says that it distils, or serves none"
    for value in ODD_VALUES if argument else ():
        try:
            judged.make({argument: value})
        except UserError as error:
            if "\n" in str(error) or not str(error).strip():
                return f"{argument}={value!r} is refused with {str(error)!r}, not on one line"
    return None


def _draw_loss_examples(judged: JudgedRecipe) -> Iterator[tuple[int, float]]:
    yield from ((outputs, 1.0) for outputs in judged.list_outputs())
    yield (3, 1e3)


RECIPE_PROPERTIES: tuple[Property[JudgedRecipe, Any], ...] = (
    Property("losses", "Losses are finite scalars, the same each time, change nothing, and reach each trained exit.",
             find_odd_loss, _draw_loss_examples),
    Property("trains", "A tiny model is fitted, stage by stage.", find_training_fault,
             lambda judged: [outputs for outputs in judged.list_outputs() if outputs in (1, 3)]),
    Property("refusals", "What it cannot train is refused on one line.", find_bad_recipe_refusal,
             lambda judged: ["", *list_settable(judged.kind)]),
)  # fmt: skip
