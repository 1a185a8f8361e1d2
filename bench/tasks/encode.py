"""From texts to batches: tokenise once, pad each batch to its own longest sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.base import Batch
from bench.tasks.base import Split

# Batches per pool of the training sampler: enough to group by length, too few to order the epoch by it.
POOL = 50


@dataclass(frozen=True)
class EncodedSplit:
    """Token ids of N samples, unpadded.

    ``lengths`` int64 [N] counts real tokens with special ones; ``truncated`` is the number of samples
    that were cut to the maximal length; ``token_type_ids`` is None where all of them are 0, which
    is what models assume then; ``pad_id`` fills up the shorter samples of a batch.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    lengths: NDArray[np.int64]
    truncated: int
    pad_id: int

    def __len__(self) -> int:
        return len(self.input_ids)


def encode_split(split: Split, tokenizer: Any, max_length: int) -> EncodedSplit:
    """Tokenise ``split`` (a pair where it has a second text), cutting at ``max_length`` tokens.

    ``tokenizer`` is a transformers tokenizer with a padding token. Pairs are cut longest text first, its default.
    """
    first, second = list(split.first), None if split.second is None else list(split.second)
    found = tokenizer(first, second, truncation=True, max_length=max_length)
    ids = [list(map(int, row)) for row in found["input_ids"]]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    types = [list(map(int, row)) for row in found.get("token_type_ids", ())]
    # Only a sample of full length can have been cut, so only those are tokenised a second time.
    full = np.flatnonzero(lengths >= max_length)
    truncated = 0
    if len(full):
        again = tokenizer(
            [first[i] for i in full],
            None if second is None else [second[i] for i in full],
            truncation=False,
            verbose=False,  # else the tokenizer warns of the very lengths that are asked for
        )
        truncated = sum(len(row) > max_length for row in again["input_ids"])
    return EncodedSplit(ids, types if any(map(any, types)) else None, lengths, truncated, int(tokenizer.pad_token_id))


def collate_batch(encoded: EncodedSplit, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
    """Return the given rows as one batch [B, T], T the longest of them; no mask where nothing is padded."""
    chosen = [int(row) for row in rows]
    longest = int(encoded.lengths[chosen].max())
    input_ids = torch.tensor([_pad(encoded.input_ids[row], longest, encoded.pad_id) for row in chosen])
    types = None
    if encoded.token_type_ids is not None:
        types = torch.tensor([_pad(encoded.token_type_ids[row], longest, 0) for row in chosen])
    lengths = torch.from_numpy(encoded.lengths[chosen])
    if bool((lengths == longest).all()):
        return Batch(input_ids, None, types)
    mask = (torch.arange(longest)[None, :] < lengths[:, None]).long()
    return Batch(input_ids, mask, types)


def _pad(ids: list[int], length: int, pad_id: int) -> list[int]:
    return ids + [pad_id] * (length - len(ids))


def batch_by_length(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return row numbers in batches of samples of like length, longest first (memory runs out at once or never)."""
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    return _cut(order, batch_size)


def batch_for_training(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the row numbers of one epoch in random batches of samples of like length.

    Samples are shuffled, sorted by length within pools of 50 batches, and the batches shuffled again.
    The order depends on (seed, epoch) and the lengths alone. Every row occurs once; one batch may be smaller.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order = random.permutation(len(lengths))
    batches = []
    for pool in _cut(order, POOL * batch_size):
        batches += _cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)
    return [batches[i] for i in random.permutation(len(batches))]


def _cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]
