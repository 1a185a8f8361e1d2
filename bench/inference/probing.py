"""What a criterion sees at an exit: the logits, and what its probe reads from the hidden states there."""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.base import Batch
from strategies.base import ExitModel, Seen, Start, State, pool
from strategies.probe import Probe


def judged(values: Tensor) -> Tensor:
    """Logits and features as criteria and answers see them: float32 where the model computes in half precision."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def remember(model: ExitModel, probe: Probe | None, start: Start) -> State:
    """What ``probe`` remembers before exit 1."""
    if probe is None:
        return {}
    return probe.start(start.samples, model.encoder.hidden_size, start.dtype, start.device)


def look(
    model: ExitModel, probe: Probe, memory: State, hidden: Tensor, attention: Tensor | None, layer: int, logits: Tensor
) -> tuple[State, Seen]:
    """What is seen at exit ``layer``: hidden states [n, T, H] read by the probe, beside the logits [n, C]."""
    memory, observed = probe.read(memory, judged(pool(hidden, attention, model.head.pooling)), layer)
    return memory, Seen(layer, logits, observed)


@torch.inference_mode()
def observe(model: ExitModel, probe: Probe, batch: Batch) -> Tensor:
    """What ``probe`` reads at every exit of a batch, [B, L, K]; no exit is taken."""
    states = [judged(pool(hidden, batch.attention_mask, model.head.pooling)) for hidden in model.encoder(batch)]
    first = states[0]
    memory = probe.start(len(batch), first.shape[-1], first.dtype, first.device)
    read = []
    for layer, features in enumerate(states, start=1):
        memory, observed = probe.read(memory, features, layer)
        read.append(observed)
    return torch.stack(read, dim=1)
