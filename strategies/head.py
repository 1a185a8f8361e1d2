"""Heads: logits at every exit from the hidden states there; and the backbone that has one at each of its layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import Batch, LayeredEncoder
from backbones.errors import UserError

State = dict[str, Tensor]
"""A criterion's memory: tensors whose first dimension is the sample."""

Pooling = Literal["cls", "mean"]


class StrategyError(UserError):
    """A strategy that cannot do what is asked; the message is one line for the user."""


def pool(hidden: Tensor, mask: Tensor | None, pooling: Pooling) -> Tensor:
    """Return one vector per sample from [B, T, H]: the first token's, or the mean over real tokens -> [B, H].

    ``mask`` is the attention mask [B, T] (1 = real token) or None when nothing is padded.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1)
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def make_linear(inputs: int, outputs: int, std: float = 0.02) -> nn.Linear:
    """Return a Linear with weights N(0, std) and zero bias, as all the published heads initialise theirs."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return linear


def apply_linear(linear: nn.Linear, features: Tensor) -> Tensor:
    """Return ``linear(features)`` without the module's call and look-ups, which take longer than the product."""
    return F.linear(features, *linear._parameters.values())  # type: ignore[arg-type]  # weight and bias


class Head(nn.Module, ABC):
    """Logits at every exit from the hidden states there."""

    shares_parameters: ClassVar[bool] = False
    """Whether exits share parameters, so that the last cannot be trained apart from the others."""
    keeps_last: bool = False
    """Whether the last exit came with the model, fitted."""

    def __init__(self, encoder: LayeredEncoder, num_outputs: int, *, pooling: Pooling = "cls") -> None:
        super().__init__()
        if pooling not in ("cls", "mean"):
            raise StrategyError(f"pooling must be 'cls' or 'mean', not '{pooling}'.")
        self.num_layers = encoder.num_layers
        self.hidden_size = encoder.hidden_size
        self.num_outputs = num_outputs
        self.pooling = pooling
        self.dropout = nn.Dropout(encoder.head_dropout)

    def dropped(self, features: Tensor) -> Tensor:
        """Return ``features`` after dropout while training; else as they are, without so much as a module call."""
        return self.dropout(features) if self.training else features

    @abstractmethod
    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        """Return logits [B, C] of exit ``layer`` (1-based) from hidden states [B, T, H] and attention mask [B, T]."""

    @abstractmethod
    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        """Return the parameters that exit ``layer`` uses."""

    @abstractmethod
    def macs(self, tokens: int, layer: int) -> int:
        """Return the multiply-accumulates of exit ``layer`` for one sample of ``tokens`` tokens (matmuls only)."""


class ExitModel(nn.Module):
    """A backbone with a head at each of its layers."""

    def __init__(self, encoder: LayeredEncoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    @property
    def num_layers(self) -> int:
        """Number of exits L."""
        return self.encoder.num_layers

    def forward(self, batch: Batch) -> list[Tensor]:
        """Return logits [B, C] of every exit, in order of exits 1..L."""
        states = self.encoder(batch)
        return [self.head(h, batch.attention_mask, layer) for layer, h in enumerate(states, start=1)]

    def plain(self, batch: Batch) -> Tensor:
        """Return logits [B, C] of the model without early exits: all layers, then the last exit's head only."""
        hidden, mask = self.encoder.embed(batch)
        for layer in range(1, self.num_layers + 1):
            hidden = self.encoder.layer(layer, hidden, mask)
        return cast(Tensor, self.head(hidden, batch.attention_mask, self.num_layers))
