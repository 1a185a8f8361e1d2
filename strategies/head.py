"""Heads: logits at every exit from the hidden states there; and the backbone that has one at each of its layers.

A head may remember what earlier exits said or saw. Its memory goes from exit to exit as a criterion's state does:
tensors whose first dimension is the sample, made by :meth:`Head.start`, so that samples may leave a batch on the way.
Most heads remember nothing, and their :meth:`Head.step` is their :meth:`Head.forward`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import Batch, LayeredEncoder
from backbones.errors import UserError

State = dict[str, Tensor]
"""A criterion's or a head's memory: tensors whose first dimension is the sample."""

Pooling = Literal["cls", "mean"]


class StrategyError(UserError):
    """A strategy that cannot do what is asked; the message is one line for the user."""


def pool(hidden: Tensor, mask: Tensor | None, pooling: Pooling) -> Tensor:
    """Return one vector per sample from [B, T, H]: the first token's, or the mean over real tokens -> [B, H].

    ``mask`` is the attention mask [B, T] (1 = real token) or None when nothing is padded.
    """
    if pooling == "cls":
        return hidden.select(1, 0)  # hidden[:, 0] without taking all samples first
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


def apply_wide_linear(linear: nn.Linear, features: Tensor) -> Tensor:
    """Return :func:`apply_linear` of a layer of many outputs, in half the time for a single sample on the host.

    A product of a matrix and one vector reads weights that are in no cache at half the speed of the same product in two
    halves (MKL 2024.2 on Zen 4, 768 x 768 in float32: 240 and 130 microseconds with one thread or two).
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return apply_linear(linear, features)  # one graph may serve any number of samples
    if len(features) != 1 or features.dtype != torch.float32 or not features.is_cpu or torch.is_grad_enabled():
        return apply_linear(linear, features)
    weight, bias = linear._parameters.values()
    outputs, inputs = weight.shape  # type: ignore[union-attr]
    if bias is None or outputs % 2:
        return apply_linear(linear, features)
    halves = weight.view(2, outputs // 2, inputs), bias.view(2, outputs // 2, 1)  # type: ignore[union-attr]
    return torch.baddbmm(halves[1], halves[0], features.t().expand(2, inputs, 1)).view(1, outputs)


class Head(nn.Module, ABC):
    """Logits at every exit from the hidden states there."""

    shares_parameters: ClassVar[bool] = False
    """Whether exits share parameters, so that the last cannot be trained apart from the others."""
    keeps_last: bool = False
    """Whether the last exit came with the model, fitted."""
    last_remembers: bool = False
    """Whether the last exit reads the memory, so that a model without early exits needs :meth:`skip` on its way."""

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

    def start(self, samples: int, dtype: torch.dtype, device: torch.device | str) -> State:
        """Return the memory before exit 1 of so many samples, in the model's precision; empty if none is kept."""
        return {}

    def step(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> tuple[State, Tensor]:
        """Return the memory after exit ``layer`` and its logits [B, C]; exits are visited in order."""
        return memory, self.forward(hidden, mask, layer)

    def skip(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> State:
        """Return the memory after an exit that nobody asks, as far as the last exit needs it."""
        return memory

    @abstractmethod
    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        """Return the parameters that exit ``layer`` uses."""

    @abstractmethod
    def macs(self, tokens: int, layer: int) -> int:
        """Return the multiply-accumulates of exit ``layer`` for one sample of ``tokens`` tokens (matmuls only)."""

    def skip_macs(self, tokens: int, layer: int) -> int:
        """Return the multiply-accumulates of :meth:`skip` at exit ``layer`` for one sample."""
        return 0


class MemoryHead(Head, ABC):
    """A head that remembers: its definition is :meth:`step`."""

    @abstractmethod
    def start(self, samples: int, dtype: torch.dtype, device: torch.device | str) -> State: ...

    @abstractmethod
    def step(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> tuple[State, Tensor]: ...

    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        """Return the logits [B, C] of exit ``layer`` as if it were the first that is visited."""
        return self.step(self.start(len(hidden), hidden.dtype, hidden.device), hidden, mask, layer)[1]


def answer_exits(head: Head, states: Sequence[Tensor], mask: Tensor | None) -> tuple[State, list[Tensor]]:
    """Return the memory and the logits [B, C] of exits 1, 2, ... from the hidden states [B, T, H] of their layers."""
    memory, answers = head.start(len(states[0]), states[0].dtype, states[0].device), []
    for layer, hidden in enumerate(states, start=1):
        memory, logits = head.step(memory, hidden, mask, layer)
        answers.append(logits)
    return memory, answers


def answer_last(head: Head, states: Sequence[Tensor], mask: Tensor | None, layer: int) -> Tensor:
    """Return the logits [B, C] of exit ``layer``, the last, alone.

    ``states`` are the hidden states [B, T, H] of all layers; those of the last will do where it remembers nothing.
    """
    memory = head.start(len(states[-1]), states[-1].dtype, states[-1].device)
    for passed, hidden in enumerate(states[:-1], start=1):
        memory = head.skip(memory, hidden, mask, passed)
    return head.step(memory, states[-1], mask, layer)[1]


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
        return answer_exits(self.head, self.encoder(batch), batch.attention_mask)[1]

    def plain(self, batch: Batch) -> Tensor:
        """Return logits [B, C] of the model without early exits: all layers, then the last exit's head only."""
        hidden, mask = self.encoder.embed(batch)
        memory = self.head.start(len(hidden), hidden.dtype, hidden.device)
        for layer in range(1, self.num_layers):
            hidden = self.encoder.layer(layer, hidden, mask)
            memory = self.head.skip(memory, hidden, batch.attention_mask, layer)
        hidden = self.encoder.layer(self.num_layers, hidden, mask)
        return self.head.step(memory, hidden, batch.attention_mask, self.num_layers)[1]
