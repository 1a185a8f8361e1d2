"""A criterion's scores of recorded logits: the same step function as live, layer after layer, all samples at once."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bench.errors import UsageError
from bench.measure.exits import AllExits
from strategies.base import Criterion, check_finite, step_through
from strategies.contract import check_scores


@torch.inference_mode()
def score_exits(
    criterion: Criterion,
    logits: Tensor,
    *,
    keys: Tensor | None = None,
    labels: ArrayLike | None = None,
    observed: ArrayLike | Tensor | None = None,
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return the criterion's score of every sample at every exit, [N, L], from logits [N, L, C].

    ``observed`` [N, L, K] is what its probe read, where it has one. Raises UsageError where something is missing.
    """
    samples, exits, outputs = logits.shape
    refused = criterion.refuse(outputs)
    if refused:
        raise UsageError(f"The criterion cannot be used here: {refused}.")
    if criterion.needs_labels and labels is None:
        raise UsageError("This strategy is an oracle and needs the labels.")
    read = _check_observed(criterion, observed, logits)
    for layer in range(1, exits + 1):
        check_finite(logits[:, layer - 1], layer)
    given = None if labels is None or not criterion.needs_labels else torch.as_tensor(np.array(labels))
    if not criterion.causal:
        scores = criterion.acausal_scores(logits, given)
        check_scores(criterion, scores, (samples, exits))
        return scores.numpy()
    found = torch.empty((samples, exits), dtype=logits.dtype)
    for at, (_, score) in enumerate(step_through(criterion, logits, keys=keys, labels=given, observed=read)):
        found[:, at] = score
    return found.numpy()


def score_recorded(criterion: Criterion, exits: AllExits) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return the criterion's scores [N, L] of recorded exits."""
    z, keys = torch.from_numpy(np.array(exits.logits)), hash_ids(exits.ids)
    return score_exits(criterion, z, keys=keys, labels=exits.labels, observed=exits.observed)


def _check_observed(criterion: Criterion, observed: ArrayLike | Tensor | None, logits: Tensor) -> Tensor | None:
    """What the probe read, checked and in the logits' dtype; None where the criterion has no probe."""
    if criterion.probe is None:
        return None
    samples, exits, outputs = logits.shape
    wanted = (samples, exits, criterion.probe.width(outputs))
    if observed is None:
        raise UsageError(f"This criterion reads hidden states: it needs `observed` {wanted} beside the logits.")
    read = observed if isinstance(observed, Tensor) else torch.from_numpy(np.array(observed))
    if tuple(read.shape) != wanted:
        raise UsageError(f"observed must be samples x exits x numbers {wanted}, not {tuple(read.shape)}.")
    return read.to(logits.dtype)


def hash_ids(ids: NDArray[np.str_] | tuple[str, ...]) -> Tensor:
    """Return a stable number for each sample id, int64 [N]: independent of the order and of the rest of the data."""
    return torch.tensor([zlib.crc32(str(i).encode()) for i in ids], dtype=torch.int64)
