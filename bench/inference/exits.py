"""One pass that records every exit: the logits that every criterion is replayed from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit, batch_by_length, collate_batch
from strategies.base import ExitModel, check_finite

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def compute_all_logits(
    model: ExitModel, encoded: EncodedSplit, rows: NDArray[np.int64], device: torch.device
) -> list[torch.Tensor]:
    """Compute logits [B, C] of every exit; in halves where the device has no memory for all rows at once.

    Raises UsageError where it has none for a single one.
    """
    try:
        return model(collate_batch(encoded, rows).to(device))
    except torch.OutOfMemoryError as error:
        if len(rows) == 1:
            raise UsageError(
                "The GPU has no memory for a single sample: take a smaller model or max_length."
            ) from error
    torch.cuda.empty_cache()
    halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
    first, second = (compute_all_logits(model, encoded, half, device) for half in halves)
    return [torch.cat(pair) for pair in zip(first, second, strict=True)]


@torch.inference_mode()
def record_exits(model: ExitModel, split: Split, encoded: EncodedSplit, progress: Progress) -> AllExits:
    """Run ``model``, where and in the precision in which it is, once over ``split`` with every exit on.

    Raises StrategyError on logits that are not finite.
    """
    device = next(model.parameters()).device
    logits = np.empty((len(split), model.num_layers, model.head.num_outputs), dtype=np.float32)
    with progress.work(f"All exits of {split.name}", len(split)) as work:
        for rows in batch_by_length(encoded.lengths, 64):
            found = compute_all_logits(model, encoded, rows, device)
            for layer, z in enumerate(found, start=1):
                check_finite(z, layer, [split.ids[i] for i in rows])
                logits[rows, layer - 1] = z.float().cpu().numpy()
            work.advance(len(rows))
    return AllExits(split.ids, split.labels, logits, encoded.lengths)
