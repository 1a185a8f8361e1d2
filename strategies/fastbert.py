"""FastBERT: a self-distilling BERT with adaptive inference time (Liu et al., ACL 2020, arXiv 2004.02178).

Every exit is a small transformer-like classifier with self-attention of its own. The backbone and the last
exit, the teacher, are fine-tuned; then the other exits, the students, learn the teacher's probabilities without labels.
A sample leaves when its normalised uncertainty does not exceed the "speed".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import LayeredEncoder
from strategies.base import (
    Criterion,
    Head,
    Pooling,
    Recipe,
    ScoreEstimate,
    Seen,
    Stage,
    State,
    Strategy,
    compute_task_loss,
    pool,
)
from strategies.plain_numbers import estimate_entropy

STUDENT_WIDTH = 128
"""Width of the student classifier (paper Table 1)."""
ATTENTION_HEADS = 2
MASKED = -10000.0
"""Added to the attention score of padding, as released."""


class Student(nn.Module):
    """The classifier of one exit: narrow to 128, attend, take one vector, FC 128 -> 128, FC 128 -> C.

    No residual connection and no layer norm, as released; dropout on the attention weights only.
    """

    def __init__(self, hidden_size: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.narrow = nn.Linear(hidden_size, STUDENT_WIDTH)
        square = (nn.Linear(STUDENT_WIDTH, STUDENT_WIDTH) for _ in range(4))
        self.query, self.key, self.value, self.output = square
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(STUDENT_WIDTH, STUDENT_WIDTH)
        self.classifier = nn.Linear(STUDENT_WIDTH, num_outputs)

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return multi-head self-attention, [B, T, 128] -> [B, T, 128]; ``mask`` [B, T] with 1 for real tokens."""
        size, tokens, _ = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(size, tokens, ATTENTION_HEADS, -1).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(STUDENT_WIDTH // ATTENTION_HEADS)
        if mask is not None:
            scores = scores + (1 - mask.to(scores.dtype))[:, None, None, :] * MASKED
        weights = self.dropout(torch.softmax(scores, dim=-1))
        mixed: Tensor = self.output((weights @ value).transpose(1, 2).reshape(size, tokens, STUDENT_WIDTH))
        return mixed

    def forward(self, hidden: Tensor, mask: Tensor | None, pooling: Pooling) -> Tensor:
        """Return logits [B, C] from hidden states [B, T, H]."""
        attended = self.attend(torch.tanh(self.narrow(hidden)), mask)
        logits: Tensor = self.classifier(torch.tanh(self.dense(pool(attended, mask, pooling))))
        return logits


class StudentHead(Head):
    """FastBERT's classifier, one per exit; the last is the teacher and has the same shape (paper sec. 3.1)."""

    def __init__(self, encoder: LayeredEncoder, num_outputs: int, *, pooling: Pooling = "cls") -> None:
        super().__init__(encoder, num_outputs, pooling=pooling)
        self.exits = nn.ModuleList(
            Student(self.hidden_size, num_outputs, encoder.head_dropout) for _ in range(self.num_layers)
        )

    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        logits: Tensor = self.exits[layer - 1](hidden, mask, self.pooling)
        return logits

    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        return self.exits[layer - 1].parameters()

    def macs(self, tokens: int, layer: int) -> int:
        linear = count_published_head_macs(tokens, self.hidden_size, self.num_outputs)
        return linear + 2 * tokens * tokens * STUDENT_WIDTH  # queries on keys, weights on values


def count_published_head_macs(tokens: int = 128, hidden: int = 768, outputs: int = 2) -> int:
    """Return the MACs of an exit's classifier as the released code counts them: linear layers only."""
    width = STUDENT_WIDTH
    return tokens * (hidden * width + 4 * width * width) + width * width + width * outputs


class FastBertRecipe(Recipe):
    """Fine-tune backbone and teacher, then distil the teacher into the students (paper sec. 3.2-3.3).

    The students' loss is the sum over exits of KL(teacher || student), the batch's mean, without labels; backbone
    and teacher are frozen, and the learning rate is ten times the first stage's. ``distil_epochs`` None takes the
    run's own number of epochs.
    """

    distils = True

    def __init__(self, num_layers: int, *, distil_epochs: int | None = 5, distil_lr_scale: float = 10.0) -> None:
        super().__init__(num_layers)
        distil = Stage("distil", backbone=False, exits="early", lr_scale=distil_lr_scale, epochs=distil_epochs)
        self.stages = (Stage("fine-tune", exits="last"), distil)

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        if stage.exits == "last":
            return (compute_task_loss(logits[-1], labels),)
        teacher = torch.softmax(logits[-1].detach().float(), dim=-1)
        return tuple(
            F.kl_div(torch.log_softmax(z.float(), dim=-1), teacher, reduction="batchmean") for z in logits[:-1]
        )


def uncertainty(logits: Tensor) -> Tensor:
    """Return the normalised entropy [n] of softmax(logits) [n, C] as torch's Categorical computes it (paper eq. 6).

    The probability inside the logarithm is kept within [eps, 1 - eps], so saturated logits give about 1.7e-7 and not
    0: with speed 0 everything runs to the last exit, as published.
    """
    p = torch.softmax(logits, dim=-1)
    p = p / p.sum(dim=-1, keepdim=True)
    eps = torch.finfo(p.dtype).eps
    return -(p * p.clamp(eps, 1 - eps).log()).sum(dim=-1) / -math.log(1 / logits.shape[-1])


class Speed(Criterion):
    """Normalised uncertainty <= speed; ``strict=True`` for the < of the authors' PyPI package."""

    threshold_name = "speed"
    default_threshold = 0.5

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, uncertainty(seen.logits)

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        return estimate_entropy(exits[-1], math.log(len(exits[-1])))


class FastBert(Strategy):
    """FastBERT: self-attentive students that learn from the last exit (Liu et al., ACL 2020)."""

    name = "fastbert"
    head, recipe, criterion = StudentHead, FastBertRecipe, Speed
    citation = (
        "Weijie Liu, Peng Zhou, Zhe Zhao, Zhiruo Wang, Haotang Deng, Qi Ju: FastBERT: a Self-distilling BERT with "
        "Adaptive Inference Time. ACL 2020, arXiv 2004.02178."
    )
    equations = (
        "stage 1: L = CE(z_L, y), backbone and teacher (exit L)",
        "stage 2: L = sum_{i<L} KL(p_L || p_i), students only (eq. 5)",
        "leave at the first i with U(p_i) = H(p_i) / ln C <= speed (eq. 6)",
    )
    sources = {
        "speed": "0.5, the README's example; the paper reports 0.1, 0.5 and 0.8",
        "strict": "false, the released script leaves at U <= speed; the PyPI package at U < speed",
        "recipe.distil_epochs": "5, paper and README",
        "recipe.distil_lr_scale": "10, the released script: 2e-5, then 2e-4",
        "head": "width 128, 2 attention heads, paper Table 1; initialised as torch does, as released",
        "train.lr": "2e-5, the released script",
        "train.batch_size": "32, the README",
        "train.epochs": "3, the README",
        "train.warmup": "0.1 of the steps, the released script",
        "train.weight_decay": "0: the released script gives 0.01 under a name that its optimiser does not read",
    }
    differences = (
        "The paper's eq. 5 has the divergence the other way round; here KL(teacher || student), as released.",
        "The released schedule of the second stage is sized with the first stage's epochs, so its learning rate is 0 "
        "from epoch 4 on; here it covers the stage's own epochs.",
        "The released teacher keeps its dropout on while it teaches; here the frozen part runs in evaluation mode.",
        "The released optimiser is AdamW without bias correction, with epsilon 1e-6 and no clipping; here the bias is "
        "corrected, epsilon is 1e-8, and the preset alone leaves clipping out.",
        "The released first stage keeps the best epoch on the development set; here the last epoch is kept.",
        "The released backbone is UER's BERT with its own layer norm, segments and no [SEP] after single sentences; "
        "here it is whatever backbone is named.",
        "Costs count every matmul, the students' attention included; the released code counts linear layers only.",
    )
    presets = {
        "*": {
            "train.lr": 2e-5,
            "train.batch_size": 32,
            "train.epochs": 3,
            "train.warmup": 0.1,
            "train.weight_decay": 0.0,
            "train.clip": 1e9,  # none: the released code does not clip
            "max_length": 128,
            "recipe.distil_epochs": 5,
        },
    }
