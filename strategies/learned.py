"""BERxiT: early exiting for BERT with better fine-tuning and learning to exit (Xin et al., EACL 2021).

Its training routines are recipes for any head. Two more of the paper's are recipes already: "two-stage" is ``deebert``,
"joint" is ``joint``, and "weight-linear" is ``patience``.

Learning to exit: one linear layer and a sigmoid, shared by all exits, read the hidden state and say how likely the
answer there is wrong. It needs no class probabilities, so it serves regression too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strategies.base import Criterion, Recipe, Seen, Stage, State, Strategy, StrategyError, compute_task_loss, predict
from strategies.deebert import SCRIPTS, HighwayHead
from strategies.probe import Probe

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
        self.routine, self.distils = routine, routine == "self-distil"

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        last = compute_task_loss(logits[-1], labels)
        if self.routine != "self-distil" and step % 2 == 0:
            return (last,)
        early = [compute_task_loss(z, labels) for z in logits[:-1]]
        if self.routine == "alternate-lte":
            return tuple(early)
        if self.routine == "alternate":
            return (*early, last)
        teacher = torch.softmax(logits[-1].detach().float(), dim=-1)
        return (*early, last, *(-(teacher * torch.log_softmax(z.float(), dim=-1)).sum() for z in logits[:-1]))


def mark_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return what is learned, [N, L, C] -> [N, L]: 1 where an exit answers wrongly, else 0.

    Where C = 1: |tanh(y_hat - y)|.
    """
    answers = predict(logits)
    if logits.shape[-1] == 1:
        return torch.tanh(answers - labels[:, None]).abs()
    return (answers != labels[:, None]).to(logits.dtype)


class LearnedExit(Probe):
    """u = sigmoid(c.h + b), the same c [H] and b at every exit, fitted by mean squared error.

    The last exit, which always answers, is not learned from. All samples at once and from zero, so that the result
    depends on nothing but the data: 300 steps of Adam.
    """

    weight: Tensor
    bias: Tensor
    STEPS, LR = 300, 1e-2

    def width(self, num_outputs: int) -> int:
        return 1

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        early = max(1, features.shape[1] - 1)
        h, wrong = features[:, :early].flatten(0, 1), mark_wrong(logits, labels)[:, :early]
        target = wrong.flatten().to(h.dtype)
        weight, bias = torch.zeros(h.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.Adam([weight, bias], lr=self.LR)
        for _ in range(self.STEPS):
            optimizer.zero_grad()
            loss = (torch.sigmoid(h @ weight + bias) - target).square().mean()
            loss.backward()
            optimizer.step()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", bias.detach())
        return {"loss": [loss.item()], "wrong": wrong.mean(dim=0).tolist()}

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        return memory, torch.sigmoid(features @ self.weight + self.bias).unsqueeze(-1)

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return hidden_size


class LearningToExit(Criterion):
    """u < threshold: leave where the exit is unlikely to be wrong."""

    default_threshold = 0.005
    regression = True

    def __init__(self) -> None:
        self.probe = LearnedExit()

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        return state, seen.observed[:, 0]


class Berxit(Strategy):
    """BERxiT's learning to exit: leave where a learned module expects no error (Xin et al., EACL 2021)."""

    name = "learned-exit"
    head, recipe, criterion = HighwayHead, BerxitRecipe, LearningToExit
    family = "learned"
    citation = (
        "Ji Xin, Raphael Tang, Yaoliang Yu, Jimmy Lin: BERxiT: Early Exiting for BERT with Better Fine-Tuning and "
        "Extension to Regression. EACL 2021."
    )
    equations = (
        "u_i = sigmoid(c.h_i + b), h_i the pooled hidden state at exit i, c and b shared by all exits",
        "t_i = 1 if the answer at exit i is wrong, else 0; for regression t_i = |tanh(y_i - y)|",
        "J = mean_{i<L} (u_i - t_i)^2",
        "leave at the first i < L with u_i < threshold (strict)",
    )
    sources = {
        "threshold": "0.005, the released default",
        "recipe.routine": "alternate, the paper's; the preset takes alternate-lte, as released for learning to exit",
        "head": "DeeBERT's highway, as released",
        "train.lr": "2e-5, the released scripts",
        "train.batch_size": "8, the released scripts",
        "train.epochs": "3 for BERT (10 for RoBERTa), the released scripts",
    }
    differences = (
        "The paper trains the module together with the model; here it is fitted afterwards, on the frozen features of "
        "at most 4,096 training samples, so that any checkpoint can be given one.",
        "The paper's u is the certainty to be right and exceeds its threshold; here, as in the released code, it is "
        "the complement, the chance to be wrong, and falls below it.",
        "The module reads the pooled hidden state, as the paper writes it; the released code gives it the output of "
        "the exit's own pooler.",
    )
    presets = {"*": {**SCRIPTS, "recipe.routine": "alternate-lte"}}
