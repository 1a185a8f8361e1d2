"""BERxiT: early exiting for BERT with better fine-tuning (Xin et al., EACL 2021): its training routines.

The routines are recipes for any head. Two more of the paper's are recipes already: "two-stage" is ``deebert``,
"joint" is ``joint``, and "weight-linear" is ``patience``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strategies.base import Head, Recipe, Stage, StrategyError, task_loss

ROUTINES = ("alternate", "alternate-lte", "self-distil")


class BerxitRecipe(Recipe):
    """Alternating fine-tuning: the last exit alone on even steps, all exits on odd ones (paper sec. 3.2).

    ``routine="alternate-lte"`` leaves the last exit out on odd steps, as released for learning to exit.
    ``routine="self-distil"`` has no alternation: all exits learn the labels, and the early ones also the last one's
    probabilities, by cross-entropy *summed* over the batch, as released. Steps count from the start of the stage; the
    released script counts from the start of the epoch.
    """

    def __init__(self, num_layers: int, *, routine: str = "alternate") -> None:
        super().__init__(num_layers)
        if routine not in ROUTINES:
            raise StrategyError(f"routine must be one of {', '.join(ROUTINES)}, not '{routine}'.")
        self.routine = routine

    def refuse(self, head: Head) -> str | None:
        if self.routine == "self-distil" and head.num_outputs == 1:
            return "self-distillation needs class probabilities, and a regression task has none"
        return super().refuse(head)

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        last = task_loss(logits[-1], labels)
        if self.routine != "self-distil" and step % 2 == 0:
            return (last,)
        early = [task_loss(z, labels) for z in logits[:-1]]
        if self.routine == "alternate-lte":
            return tuple(early)
        if self.routine == "alternate":
            return (*early, last)
        teacher = torch.softmax(logits[-1].detach().float(), dim=-1)
        return (*early, last, *(-(teacher * torch.log_softmax(z.float(), dim=-1)).sum() for z in logits[:-1]))
