"""The pooled states of a frozen backbone, kept from one pass: what exits are fitted on without another.

One safetensors file, filled in place through a memory map and read through one, so that it need not fit into memory.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.progress import Progress
from bench.tasks.encode import EncodedSplit, batch_by_length, collate_batch
from bench.training.checkpoint import fill_tensors, hash_checkpoint, load_tensors
from strategies.base import ExitModel, Pooling, StrategyError, pool

POOLINGS: tuple[Pooling, ...] = ("cls", "mean")
BATCH = 64


@dataclass(frozen=True)
class PooledStates:
    """Pooled hidden states of N samples at each of L exits, float32 [2, L, N, H]: the first token's, and the mean.

    ``last`` are the last exit's logits [N, C], where that exit came with the model.
    """

    values: Tensor
    last: Tensor | None = None

    def __len__(self) -> int:
        return int(self.values.shape[2])

    def at(self, pooling: Pooling, layer: int) -> Tensor:
        """Return the states [N, H] at exit ``layer``; nothing is copied."""
        return self.values[POOLINGS.index(pooling), layer - 1]


def identify_states(model: ExitModel, encoded: EncodedSplit) -> dict[str, object]:
    """Return all that makes the states of ``encoded``: weights and configuration of the backbone, tokens, arithmetic.

    Where the last exit came with the model, it is part of this: its logits are kept beside the states.
    """
    encoder = model.encoder
    config = {k: v for k, v in encoder.model.config.to_dict().items() if not k.startswith(("_", "transformers"))}
    last: dict[str, Tensor] = {str(i): p for i, p in enumerate(model.head.exit_parameters(model.num_layers))}
    last |= dict(model.head.named_buffers(recurse=False))  # such as the order of the classes
    return {
        "backbone": hash_checkpoint(encoder.state_dict()),
        "config": hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest(),
        "tokens": digest_tokens(encoded),
        "last": hash_checkpoint(last) if model.head.keeps_last else None,
        "device": next(encoder.parameters()).device.type,
        "batch": BATCH,
        "poolings": list(POOLINGS),
    }


def digest_tokens(encoded: EncodedSplit) -> str:
    """Return the SHA-256, hex, of the token ids, segments and padding of a split."""
    digest = hashlib.sha256(f"{len(encoded)} {encoded.pad_id}".encode())
    for rows in (encoded.input_ids, encoded.token_type_ids or ()):
        digest.update(b";")
        for row in rows:
            digest.update(np.array([len(row), *row], dtype=np.int64).tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def record_states(model: ExitModel, encoded: EncodedSplit, path: Path, progress: Progress) -> None:
    """Pass ``encoded`` through ``model``, in fp32 where it is, and keep the pooled states of every exit in ``path``.

    The file is whole or absent. Raises DiskFull where there is no room for it, StrategyError for states that are not
    finite.
    """
    samples, layers = len(encoded), model.num_layers
    shapes: dict[str, tuple[int, ...]] = {"states": (len(POOLINGS), layers, samples, model.encoder.hidden_size)}
    if model.head.keeps_last:
        shapes["last"] = (samples, model.head.num_outputs)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with fill_tensors(path, shapes, {}) as kept, progress.work("Pooled states of every exit", samples) as work:
        for rows in batch_by_length(encoded.lengths, BATCH):
            batch = collate_batch(encoded, rows).to(device)
            hidden, mask = model.encoder.embed(batch)
            for layer in range(1, layers + 1):
                hidden = model.encoder.layer(layer, hidden, mask)
                for number, pooling in enumerate(POOLINGS):
                    pooled = pool(hidden, batch.attention_mask, pooling)
                    if not bool(torch.isfinite(pooled).all()):
                        raise StrategyError(f"The backbone's states at exit {layer} are not finite.")
                    kept["states"][number, layer - 1, torch.from_numpy(rows)] = pooled.float().cpu()
            if "last" in kept:
                kept["last"][torch.from_numpy(rows)] = model.head(hidden, batch.attention_mask, layers).float().cpu()
            work.advance(len(rows))
    model.train(training)


def open_states(path: Path) -> PooledStates:
    """Map the states that :func:`record_states` kept. Raises Damaged for anything else."""
    tensors, _ = load_tensors(path)
    return PooledStates(tensors["states"], tensors.get("last"))
