"""Controls: what every early-exit method must be compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from strategies.base import Criterion, Recipe, Seen, Stage, State, Strategy, task_loss
from strategies.elbert import SharedHead


class FinetuneRecipe(Recipe):
    """Ordinary fine-tuning: the loss of the last exit alone."""

    stages = (Stage("train", exits="last"),)

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return (task_loss(logits[-1], labels),)


class NeverLeave(Criterion):
    """No early exit: every sample passes all layers."""

    regression = True
    uses_early_exits = False
    default_threshold = 0.0

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, torch.full_like(seen.logits[:, 0], math.inf)


class Full(Strategy):
    """The original model: all layers, fine-tuned on its last exit only."""

    name = "full"
    head = SharedHead
    recipe = FinetuneRecipe
    criterion = NeverLeave
    equations = ("L = CE(z_L, y)", "leave at exit L")
