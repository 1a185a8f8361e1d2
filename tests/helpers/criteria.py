"""Criteria as the tests of the registry make them: what a probe would have read, samples to be fitted on."""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Evidence, ExitModel


def reads(criterion: Criterion, logits: Tensor) -> Tensor | None:
    """Made-up observations [N, L, K] in [0, 1] for logits [N, L, C], or None for a criterion without a probe.

    They follow from the logits at the same exit, so that they stay with their sample however it is sliced or moved.
    """
    if criterion.probe is None:
        return None
    width = criterion.probe.width(logits.shape[-1])
    mixed = logits.double().sum(dim=-1, keepdim=True) * torch.arange(1, width + 1)
    return torch.sin(mixed).abs().to(logits.dtype)


def fitted(criterion: Criterion, model: ExitModel, samples: int = 64) -> Criterion:
    """``criterion`` and its probe, fitted on random samples of the shape and in the precision of ``model``."""
    generator = torch.Generator().manual_seed(20_210_701)
    outputs, dtype = model.head.num_outputs, next(model.parameters()).dtype
    labels = torch.arange(samples) % max(outputs, 2)
    features = torch.randn(samples, model.num_layers, model.encoder.hidden_size, generator=generator)
    logits = 3 * torch.randn(samples, model.num_layers, outputs, generator=generator)
    if criterion.probe is not None:
        criterion.probe.fit(features, logits, labels)
        criterion.probe.to(dtype)
    if criterion.fits:
        criterion.fit(Evidence(logits, labels, reads(criterion, logits)))
    return criterion
