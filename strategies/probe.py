"""What a criterion may read besides the logits: a few numbers per exit, from the hidden states there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn


class Probe(nn.Module, ABC):
    """K numbers at every exit, read from what the head pools there.

    The features of a sample at an exit are its hidden states pooled as the head pools them (first token or mean),
    float32, or float64 where the model computes in it. A probe that :attr:`trains` is fitted once, after the model and
    with the model frozen, on samples of the training split; what it learns are buffers (``register_buffer``), which
    are stored and moved to the model's device. Everything is per sample, so that batches may be compacted.
    """

    version: ClassVar[int] = 1
    """Raised, with that of its strategies, when its numbers change."""
    trains: ClassVar[bool] = True
    """Whether :meth:`fit` has something to learn."""
    settings: Mapping[str, object] = {}
    """What its numbers depend on besides the model, JSON-able: part of the identity that they are kept under."""

    @abstractmethod
    def width(self, num_outputs: int) -> int:
        """Return K on a task with ``num_outputs`` logits."""

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        """Learn from features [N, L, H], logits [N, L, C], labels int64 or float [N]; the numbers are for the record.

        The same input must give the same buffers. Raises StrategyError where there is too little to learn from.
        """
        return {}

    def start(
        self, samples: int, hidden_size: int, dtype: torch.dtype, device: torch.device | str
    ) -> dict[str, Tensor]:
        """Return the memory before the first exit: tensors whose first dimension is the sample."""
        return {}

    @abstractmethod
    def read(self, memory: dict[str, Tensor], features: Tensor, layer: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return the memory after exit ``layer`` (1-based) and the numbers [n, K] there, from features [n, H]."""

    @abstractmethod
    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        """Return the multiply-accumulates of :meth:`read` at exit ``layer`` for one sample."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back the buffers that a fitted probe had."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
