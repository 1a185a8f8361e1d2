"""What a criterion sees at an exit: the logits, and what its probe reads from the hidden states there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from backbones.base import Batch
from bench.progress import Progress
from bench.tasks.encode import EncodedSplit, batch_by_length, collate_batch
from strategies.base import ExitModel, Seen, Start, State, pool
from strategies.head import answer_exits
from strategies.probe import Probe


def widen_half(values: Tensor) -> Tensor:
    """Return logits or features as criteria and answers see them: half precision widened to float32."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def start_probe(model: ExitModel, probe: Probe | None, start: Start) -> State:
    """Return what ``probe`` remembers before exit 1; nothing without a probe."""
    if probe is None:
        return {}
    return probe.start(start.samples, model.encoder.hidden_size, start.dtype, start.device)


def observe_exit(
    model: ExitModel,
    probe: Probe | None,
    memory: State,
    hidden: Tensor,
    attention: Tensor | None,
    layer: int,
    logits: Tensor,
) -> tuple[State, Seen]:
    """Return the probe's memory after exit ``layer`` and what is seen there: logits [n, C], and what it read."""
    if probe is None:
        return memory, Seen(layer, logits)
    memory, observed = probe.read(memory, widen_half(pool(hidden, attention, model.head.pooling)), layer)
    return memory, Seen(layer, logits, observed)


@torch.inference_mode()
def probe_batch(model: ExitModel, probe: Probe, batch: Batch) -> Tensor:
    """Return what ``probe`` reads at every exit of a batch, [B, L, K]; no exit is taken."""
    states = [widen_half(pool(hidden, batch.attention_mask, model.head.pooling)) for hidden in model.encoder(batch)]
    first = states[0]
    memory = probe.start(len(batch), first.shape[-1], first.dtype, first.device)
    read = []
    for layer, features in enumerate(states, start=1):
        memory, observed = probe.read(memory, features, layer)
        read.append(observed)
    return torch.stack(read, dim=1)


@torch.inference_mode()
def probe_split(model: ExitModel, probe: Probe, encoded: EncodedSplit, progress: Progress) -> Tensor:
    """Return what ``probe`` reads at every exit of a split, float32 [N, L, K] in its order, on the host."""
    width = probe.width(model.head.num_outputs)
    read = torch.empty(len(encoded), model.num_layers, width)
    for rows, batch in _draw_batches(model, encoded, progress, "Probing every exit"):
        read[rows] = probe_batch(model, probe, batch).float().cpu()
    return read


def record_features(model: ExitModel, encoded: EncodedSplit, progress: Progress) -> tuple[Tensor, Tensor]:
    """Return pooled hidden states float32 [N, L, H] and logits [N, L, C] of every exit over a split, on the host."""
    samples, layers = len(encoded), model.num_layers
    features = torch.empty(samples, layers, model.encoder.hidden_size)
    logits = torch.empty(samples, layers, model.head.num_outputs)
    with torch.inference_mode():
        for rows, batch in _draw_batches(model, encoded, progress, "Features for the probe"):
            states = model.encoder(batch)
            _, answers = answer_exits(model.head, states, batch.attention_mask)
            for layer, (hidden, answer) in enumerate(zip(states, answers, strict=True)):
                features[rows, layer] = pool(hidden, batch.attention_mask, model.head.pooling).float().cpu()
                logits[rows, layer] = answer.float().cpu()
    return features, logits


def _draw_batches(
    model: ExitModel, encoded: EncodedSplit, progress: Progress, what: str
) -> Iterator[tuple[Tensor, Batch]]:
    """Yield row numbers and batch, samples of like length together."""
    device = next(model.parameters()).device
    with progress.work(what, len(encoded)) as work:
        for rows in batch_by_length(encoded.lengths, 64):
            yield torch.from_numpy(rows), collate_batch(encoded, rows).to(device)
            work.advance(len(rows))
