"""Small exit models, batches and the brute-force replay, for the tests of the engines."""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.base import Batch
from bench.inference.live import LiveResult
from bench.inference.probing import probe_batch
from bench.selfcheck.tiny import EXTRA, PAD
from bench.selfcheck.tiny import make_tiny_batch as make_batch
from bench.selfcheck.tiny import make_tiny_model as make_model
from strategies.base import Criterion, ExitModel, Seen, Start

__all__ = ["EXTRA", "PAD", "POOLED", "make_batch", "make_model", "replay", "single"]

POOLED = ("albert", "bert", "roberta")
"""The types whose stock model has a pooler; heads on the others start theirs from random weights."""


def single(batch: Batch, row: int) -> Batch:
    """One sample of a batch, without its padding."""
    if batch.attention_mask is None:
        return Batch(batch.input_ids[row : row + 1])
    return Batch(batch.input_ids[row : row + 1, : int(batch.attention_mask[row].sum())])


def replay(model: ExitModel, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None) -> LiveResult:
    """All exits computed, then the criterion stepped over them: what live must equal."""
    with torch.inference_mode():
        logits = [z.float() if z.dtype == torch.bfloat16 else z for z in model(batch)]
        observed = None if criterion.probe is None else probe_batch(model, criterion.probe, batch)

        def seen(layer: int, z: Tensor) -> Seen:
            return Seen(layer, z, None if observed is None else observed[:, layer - 1])

        size, outputs = logits[0].shape
        state = criterion.start(Start(size, model.num_layers, outputs, logits[0].dtype, keys=keys))
        layer = torch.full((size,), model.num_layers)
        answer = logits[-1].clone()
        inside = torch.ones(size, dtype=torch.bool)
        for index, z in enumerate(logits[:-1], start=1):
            state, score = criterion.step(state, seen(index, z))
            leaves = criterion.leaves(score, cut) & inside
            layer[leaves], answer[leaves] = index, z[leaves]
            inside &= ~leaves
    return LiveResult(layer, answer)
