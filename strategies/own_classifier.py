"""Somebody's fine-tuned model with exits: its own classifier stays the last one, whatever head the others have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from backbones.base import LayeredEncoder
from backbones.classifier import OwnClassifier
from strategies.base import Head, State, StrategyError


class OwnLastExit(Head):
    """Exits 1..L-1 are those of any other head; exit L is the classifier that the checkpoint came with.

    ``order`` gives for each of the task's classes the number that it has in the model: the logits come in the task's
    order, and are otherwise the stock model's bit for bit. What ``early`` has for exit L of its own is never used.
    The last exit can be trained apart from the others, even where those share parameters.
    """

    keeps_last = True
    order: Tensor

    def __init__(
        self, encoder: LayeredEncoder, early: Head, classifier: OwnClassifier, order: Sequence[int] = ()
    ) -> None:
        super().__init__(encoder, early.num_outputs, pooling=early.pooling)
        if classifier.num_outputs != early.num_outputs:
            raise StrategyError(f"the classifier has {classifier.num_outputs} outputs, the task {early.num_outputs}.")
        self.early, self.classifier = early, classifier
        places = list(order) or list(range(self.num_outputs))
        self._sorted = places == list(range(self.num_outputs))
        self.register_buffer("order", torch.tensor(places), persistent=False)

    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        if layer < self.num_layers:
            return self.early.forward(hidden, mask, layer)
        logits: Tensor = self.classifier(hidden, mask)
        return logits if self._sorted else logits.index_select(1, self.order)

    def start(self, samples: int, dtype: torch.dtype, device: torch.device | str) -> State:
        return self.early.start(samples, dtype, device)

    def step(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> tuple[State, Tensor]:
        if layer < self.num_layers:
            return self.early.step(memory, hidden, mask, layer)
        return memory, self.forward(hidden, mask, layer)

    def exit_parameters(self, layer: int) -> Iterable[torch.nn.Parameter]:
        return self.early.exit_parameters(layer) if layer < self.num_layers else self.classifier.parameters()

    def macs(self, tokens: int, layer: int) -> int:
        return self.early.macs(tokens, layer) if layer < self.num_layers else self.classifier.macs(tokens)
