"""Self-distillation between neighbours: each exit learns from the next one.

The loss is that of Zhang et al., Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self
Distillation (ICCV 2019): labels and softened probabilities, weighted 1 - alpha to alpha. There the teacher of every
exit is the last one, and a third term compares features. Here, as in the released RomeBERT code's ``kind=ta``, it is
the next exit, which is nearer to what the student can do; there is no term on features. That combination, its
defaults, and the T² are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Recipe, Stage, StrategyError, compute_task_loss


class NeighbourDistillationRecipe(Recipe):
    """All exits at once; each but the last also learns the softened probabilities of the next one.

    L = CE(z_L, y) + sum_{i<L} (1 - alpha) CE(z_i, y) + alpha T² KL(softmax(z_{i+1} / T) || softmax(z_i / T)), the
    divergence summed over classes and averaged over the batch; teachers get no gradient from it. T² keeps its gradient
    as large as the labels' when T grows (Hinton et al., 2015, sec. 2). Defaults, alpha = 0.5 and T = 2: our choice.
    """

    distils = True

    def __init__(self, num_layers: int, *, alpha: float = 0.5, temperature: float = 2.0) -> None:
        super().__init__(num_layers)
        if not 0 <= alpha <= 1 or not temperature > 0:
            raise StrategyError("alpha must be in [0, 1] and temperature positive.")
        self.alpha, self.temperature = alpha, temperature

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        z = [exit_logits.float() for exit_logits in logits]
        labelled = [(1 - self.alpha) * compute_task_loss(early, labels) for early in z[:-1]]
        taught = [self.alpha * self.teacher_loss(early, after) for early, after in pairwise(z)]
        return (*labelled, compute_task_loss(z[-1], labels), *taught)

    def teacher_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return T² KL(teacher || student) of logits [B, C], softened, averaged over the batch."""
        t = self.temperature
        target = torch.softmax(teacher.detach() / t, dim=-1)
        return t * t * F.kl_div(torch.log_softmax(student / t, dim=-1), target, reduction="batchmean")
