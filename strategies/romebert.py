"""RomeBERT: robust training of multi-exit BERT (Geng et al., 2021, arXiv 2101.09755).

DeeBERT's exits trained in one stage: the early exits learn the labels a little and the last exit's softened
probabilities a lot (self-distillation), and where the two objectives pull the layers in opposite directions one of
the gradients is projected onto the other's normal plane (gradient regularisation).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import LayeredEncoder
from strategies.base import Recipe, Stage, Strategy, StrategyError, compute_task_loss
from strategies.deebert import SCRIPTS, HighwayHead, NatsEntropy

LOSS_KINDS = ("raw", "ta", "bidir", "group")
PROJECTIONS = ("none", "paper", "origin")


def list_layer_weights(encoder: LayeredEncoder) -> list[nn.Parameter]:
    """Return the weight matrices of all layers but the last: where the early exits' gradient meets the last exit's.

    Biases and layer norms are left out, as released. A layer whose weights serve other depths too (ALBERT's) has no
    "last" of its own and is kept.
    """
    stack = next((m for m in encoder.model.modules() if isinstance(m, nn.ModuleList)), None)
    if stack is None:
        return []
    layers = list(stack)[:-1] if len(stack) == encoder.num_layers else list(stack)
    return [p for layer in layers for p in layer.parameters() if p.dim() == 2 and p.requires_grad]


def project_gradient(gradient: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """Return ``gradient`` without its component against ``reference``, both taken as one long vector.

    g - min(<g, r> / <r, r>, 0) r: unchanged where the two agree, else on the normal plane of r.
    """
    inner = sum(((g * r).sum() for g, r in zip(gradient, reference, strict=True)), torch.zeros(()))
    square = sum(((r * r).sum() for r in reference), torch.zeros(()))
    if float(square) == 0:
        return list(gradient)
    scale = (inner / square).clamp(max=0)
    return [g - scale.to(g) * r for g, r in zip(gradient, reference, strict=True)]


class RomeBertRecipe(Recipe):
    """One stage: the last exit's loss, plus (1 - gamma) CE_i + gamma T^2 KL_i for every early exit.

    KL_i is between the last exit's probabilities and exit i's, both softened by ``temperature``, *averaged over
    classes too* as released (torch's ``mean``), so that more classes weaken it.

    ``kind`` names the released losses: ``raw`` as above; ``ta``: the teacher is the next exit; ``bidir``: minus
    the dot product of the two exits' logits instead of the divergence; ``group``: the labels are learned from
    sums of ``span`` neighbouring early exits' logits, with weight ``beta`` in place of 1 - gamma.

    ``projection``: "paper" projects the last exit's gradient onto the normal plane of the early exits'; "origin" the
    early exits' onto that of the last (released for MNLI and QQP); "none" adds them up.
    """

    distils = True

    def __init__(
        self,
        num_layers: int,
        *,
        gamma: float = 0.9,
        temperature: float = 3.0,
        kind: str = "raw",
        projection: str = "paper",
        beta: float = 0.5,
        span: int = 2,
    ) -> None:
        super().__init__(num_layers)
        if kind not in LOSS_KINDS:
            raise StrategyError(f"kind must be one of {', '.join(LOSS_KINDS)}, not '{kind}'.")
        if projection not in PROJECTIONS:
            raise StrategyError(f"projection must be one of {', '.join(PROJECTIONS)}, not '{projection}'.")
        if not 0 <= gamma <= 1 or not temperature > 0 or span < 1:
            raise StrategyError("gamma must be in [0, 1], temperature positive and span at least 1.")
        self.gamma, self.temperature, self.kind = gamma, temperature, kind
        self.projection, self.beta, self.span = projection, beta, span

    def label_losses(self, early: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
        """Return what the early exits learn from the labels."""
        if self.kind == "group":
            sums = [sum(early[i : i + self.span]) for i in range(len(early) - self.span + 1)]
            return [self.beta * compute_task_loss(z, labels) for z in sums if isinstance(z, Tensor)]
        return [(1 - self.gamma) * compute_task_loss(z, labels) for z in early]

    def teacher_losses(self, early: Sequence[Tensor], last: Tensor) -> list[Tensor]:
        """Return what the early exits learn from a teacher, which gets no gradient from it."""
        if self.kind == "bidir":
            return [-self.gamma * (z * last.detach()).sum() for z in early]
        teachers = [*early[1:], last] if self.kind == "ta" else [last] * len(early)
        t = self.temperature
        losses = []
        for student, teacher in zip(early, teachers, strict=True):
            target = torch.softmax(teacher.detach() / t, dim=-1)
            divergence = F.kl_div(torch.log_softmax(student / t, dim=-1), target, reduction="sum") / target.numel()
            losses.append(self.gamma * t * t * divergence)
        return losses

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        *early, last = [z.float() for z in logits]
        terms = [*self.label_losses(early, labels), *self.teacher_losses(early, last)]
        return compute_task_loss(last, labels), sum(terms, torch.zeros((), device=last.device))

    def backward(self, losses: tuple[Tensor, ...], encoder: LayeredEncoder) -> None:
        shared = [] if self.projection == "none" else list_layer_weights(encoder)
        if not shared:
            return super().backward(losses, encoder)
        last, early = losses
        reference, projected = (early, last) if self.projection == "paper" else (last, early)
        before = [p.grad for p in shared]
        gradients = []
        for loss in (reference, projected):
            for p in shared:
                p.grad = None
            loss.backward(retain_graph=loss is reference)
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in shared])
        kept = project_gradient(gradients[1], gradients[0])
        for p, old, first, second in zip(shared, before, gradients[0], kept, strict=True):
            p.grad = first + second if old is None else old + first + second
        return None


class RomeEntropy(NatsEntropy):
    """DeeBERT's rule with the threshold of RomeBERT's test scripts."""

    default_threshold = 0.15
    estimate = NatsEntropy.estimate


class RomeBert(Strategy):
    """RomeBERT: DeeBERT's exits, self-distilled in one stage with gradient regularisation (Geng et al., 2021)."""

    name = "romebert"
    head, recipe, criterion = HighwayHead, RomeBertRecipe, RomeEntropy
    citation = (
        "Shijie Geng, Peng Gao, Zuohui Fu, Yongfeng Zhang: RomeBERT: Robust Training of Multi-Exit BERT. 2021, "
        "arXiv 2101.09755."
    )
    equations = (
        "L_f = CE(z_L, y)",
        "L_s = sum_{i<L} (1 - gamma) CE(z_i, y) + gamma T^2 mean(KL(p_L^T || p_i^T))",
        "g = g_s + g_f - min(<g_f, g_s> / <g_s, g_s>, 0) g_s over the layers' weight matrices, plain sum elsewhere",
        "leave at the first i < L with H(p_i) < threshold, H in nats (strict)",
    )
    sources = {
        "threshold": "0.15, the released test scripts",
        "recipe.gamma": "0.9, the released scripts",
        "recipe.temperature": "3, the released scripts",
        "recipe.kind": "raw, the released scripts; the other kinds are in the released code only",
        "recipe.projection": "paper: the last exit's gradient is projected, as in the paper",
        "recipe.beta": "0.5, our choice: used by kind=group only, which no released script uses",
        "recipe.span": "2, our choice: used by kind=group only, which no released script uses",
        "train.lr": "2e-5, the released scripts",
        "train.batch_size": "8, the released scripts",
        "train.epochs": "3 in all for BERT (10 for RoBERTa), the released scripts",
    }
    differences = (
        "The released code swaps the roles of the projection for MNLI and QQP; here the paper's holds for every task, "
        "and recipe.projection=origin gives the other.",
        "The released code leaves layer 11 out of the projection by name; here the last layer, whatever its number, "
        "unless its weights serve all depths (ALBERT).",
        "The divergence is averaged over classes too, as released; the paper does not say.",
        "The released last highway is never trained but may answer; here exit L is the model's own classifier.",
        "Entropy is computed through log-softmax: saturated logits give exactly 0 and leave at any positive threshold; "
        "the released formula overflows for logits beyond about 84.",
    )
    presets = {
        "*": SCRIPTS,
        "mnli": {"recipe.projection": "origin"},
        "qqp": {"recipe.projection": "origin"},
    }
