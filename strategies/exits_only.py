"""Exits for a model that stays as it is: the backbone is frozen, and only the heads are fitted.

What DeeBERT (Xin et al., ACL 2020) does in its second stage, on a model that somebody else has fine-tuned. A frozen
backbone says the same of a text each time, so its pooled states are kept from one pass and the heads are fitted on
those; heads that look at the tokens are fitted by the ordinary trainer, pass by pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Head, Recipe, Stage, compute_task_loss
from strategies.pooler import PooledHead
from strategies.state_fit import StateFit, Targets


class ExitsOnlyRecipe(Recipe):
    """The plain sum of the exits' losses with the backbone frozen, and with it the last exit where it is the model's.

    Each exit learns the labels, or with ``targets="model"`` the probabilities that the model's own last exit gives
    (its value in regression), by cross-entropy (squared error), so that no label is needed.
    """

    version = 3
    state_fit = StateFit()
    lr_scale = 10.0  # FastBERT's: heads alone bear more than a backbone

    def __init__(
        self,
        num_layers: int,
        *,
        targets: Targets = "labels",
        samples: int = 20_000,
        l2: float | None = None,
        epochs: int = 6,
        lr: float = 1e-3,
        batch_size: int = 128,
    ) -> None:
        super().__init__(num_layers)
        self.state_fit = StateFit(targets, samples, l2, epochs, lr, batch_size)
        self.stages = (Stage("exits", backbone=False, exits="all", lr_scale=self.lr_scale),)

    def adapt_to(self, head: Head) -> None:
        exits: Literal["early", "all"] = "early" if head.keeps_last else "all"
        self.stages = (Stage("exits", backbone=False, exits=exits, lr_scale=self.lr_scale),)

    def refuse(self, head: Head) -> str | None:
        if self.state_fit.targets == "model" and not head.keeps_last:
            return (
                "recipe.targets=model has the exits learn from a fine-tuned last exit, and this one is new: take a "
                "backbone with its own classifier, or recipe.targets=labels"
            )
        return super().refuse(head)

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        fitted = logits[:-1] if stage.exits == "early" else logits
        targets = labels if self.state_fit.targets == "labels" else soften_logits(logits[-1].detach())
        return tuple(compute_target_loss(z, targets) for z in fitted)


def can_read_pooled(head: type[Head]) -> bool:
    """Return whether the pooled state is all that an exit of such a head looks at."""
    return head.forward is PooledHead.forward


def find_early(head: Head) -> Head:
    """Return the head of the exits that are fitted: ``head`` itself, or the part beside a last exit that is kept."""
    early: Head = getattr(head, "early", head)
    return early


def soften_logits(logits: Tensor) -> Tensor:
    """Return what others learn from logits [N, C]: their probabilities [N, C], or the values [N] where C = 1."""
    return logits.squeeze(-1) if logits.shape[-1] == 1 else torch.softmax(logits.float(), dim=-1)


def compute_target_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of logits [N, C]: cross-entropy to classes int64 [N] or probabilities [N, C]; squared error.

    The error is to values [N], where C = 1.
    """
    if targets.ndim == 1:
        return compute_task_loss(logits, targets)
    return F.cross_entropy(logits.float(), targets)
