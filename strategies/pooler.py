"""Heads on the pooled state; of these, those like a stock classifier's: a pooler, tanh, dropout, a linear classifier.

Papers differ in what exits share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from backbones.base import LayeredEncoder
from strategies.base import Head, Pooling, apply_linear, apply_wide_linear, make_linear, pool


class PooledHead(Head):
    """A head whose exits look at the pooled state alone, so that they can be fitted on states kept from one pass."""

    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        return self.read_pooled(pool(hidden, mask, self.pooling), layer)

    @abstractmethod
    def read_pooled(self, pooled: Tensor, layer: int) -> Tensor:
        """Return logits [B, C] of exit ``layer`` from pooled states [B, H]."""


def make_pooler(encoder: LayeredEncoder, std: float = 0.02) -> nn.Linear:
    """Return a pooler Linear(H, H) that starts from the pretrained one where the checkpoint has it, else N(0, std)."""
    linear = make_linear(encoder.hidden_size, encoder.hidden_size, std)
    pretrained = encoder.pretrained_pooler()
    if pretrained is not None:
        linear.load_state_dict(pretrained.state_dict())
    return linear


class PoolerHead(PooledHead):
    """Pooler, tanh, dropout and classifier at every exit; all poolers start from the pretrained one."""

    shares_pooler: ClassVar[bool] = True
    shares_classifier: ClassVar[bool] = True

    def __init__(self, encoder: LayeredEncoder, num_outputs: int, *, pooling: Pooling = "cls") -> None:
        super().__init__(encoder, num_outputs, pooling=pooling)
        exits = self.num_layers
        poolers = [make_pooler(encoder) for _ in range(1 if self.shares_pooler else exits)]
        classifiers = [
            make_linear(self.hidden_size, num_outputs) for _ in range(1 if self.shares_classifier else exits)
        ]
        if self.shares_pooler:
            self.pooler, poolers = poolers[0], poolers * exits
        else:
            self.poolers = nn.ModuleList(poolers)
        if self.shares_classifier:
            self.classifier, classifiers = classifiers[0], classifiers * exits
        else:
            self.classifiers = nn.ModuleList(classifiers)
        self._exits = tuple(
            zip(poolers, classifiers, strict=True)
        )  # a module's attributes and lists are slow to look up

    def read_pooled(self, pooled: Tensor, layer: int) -> Tensor:
        pooler, classifier = self._exits[layer - 1]
        return apply_linear(classifier, self.dropped(torch.tanh(apply_wide_linear(pooler, pooled))))

    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        return [parameter for linear in self._exits[layer - 1] for parameter in linear.parameters()]

    def macs(self, tokens: int, layer: int) -> int:
        return self.hidden_size * (self.hidden_size + self.num_outputs)
