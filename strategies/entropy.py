"""Plain entropy: leave when the normalised entropy of the prediction is below the threshold.

The common baseline: one linear classifier per exit, all exits trained together with equal weight,
H(p) / ln C against a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from backbones.base import LayeredEncoder
from strategies.base import (
    Criterion,
    Pooling,
    Recipe,
    ScoreEstimate,
    Seen,
    Stage,
    State,
    Strategy,
    apply_linear,
    compute_task_loss,
    make_linear,
)
from strategies.plain_numbers import estimate_entropy
from strategies.pooler import PooledHead


def entropy(logits: Tensor) -> Tensor:
    """Return the Shannon entropy in nats of softmax(logits), [n, C] -> [n].

    Through log-softmax, so that saturated logits give exactly 0 instead of NaN.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    return (log_p.exp() * log_p).sum(dim=-1).neg()


def normalised_entropy(logits: Tensor) -> Tensor:
    """Return the entropy over its largest value ln C, [n, C] -> [n]: ELBERT's "puzzlement", FastBERT's uncertainty."""
    log_p = torch.log_softmax(logits, dim=-1)
    return (log_p.exp() * log_p).sum(dim=-1) / -math.log(logits.shape[-1])


class LinearHead(PooledHead):
    """One linear classifier per exit on the pooled hidden state."""

    def __init__(self, encoder: LayeredEncoder, num_outputs: int, *, pooling: Pooling = "cls") -> None:
        super().__init__(encoder, num_outputs, pooling=pooling)
        self._exit = tuple(make_linear(self.hidden_size, num_outputs) for _ in range(self.num_layers))
        self.exits = nn.ModuleList(self._exit)  # slow to index

    def read_pooled(self, pooled: Tensor, layer: int) -> Tensor:
        return apply_linear(self._exit[layer - 1], self.dropped(pooled))

    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        return self.exits[layer - 1].parameters()

    def macs(self, tokens: int, layer: int) -> int:
        return self.hidden_size * self.num_outputs


class JointRecipe(Recipe):
    """All exits at once: the plain sum of their losses."""

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return tuple(compute_task_loss(z, labels) for z in logits)


class NormalisedEntropy(Criterion):
    """H(p) / ln C < threshold, in [0, 1]."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, normalised_entropy(seen.logits)

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        return estimate_entropy(exits[-1], math.log(len(exits[-1])))


class Entropy(Strategy):
    """Normalised entropy on per-exit linear classifiers trained jointly (the common baseline)."""

    name = "entropy"
    head, recipe, criterion = LinearHead, JointRecipe, NormalisedEntropy
    citation = "The field's common baseline: BranchyNet (Teerapittayanon et al., ICPR 2016) on encoder layers."
    equations = (
        "L = sum_i CE(z_i, y)",
        "leave at the first i with H(p_i) / ln C < threshold (strict)",
    )
    sources = {"threshold": "0.1, as ELBERT's released default; every threshold is on the exact curve"}
    differences = ("Entropy is computed through log-softmax: saturated logits give exactly 0 and leave.",)
