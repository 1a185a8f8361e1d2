"""Every exit's logits over a split, as plain arrays: what every criterion is replayed from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AllExits:
    """Every exit's logits over a split, in the split's order.

    ``logits`` float32 [N, L, C]; ``labels`` int64 or float32 [N]; ``ids`` N stable sample ids; ``lengths`` int64 [N]
    tokens with special ones; ``observed`` float32 [N, L, K], what the criterion's probe read, where it has one.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64] | NDArray[np.float32]
    logits: NDArray[np.float32]
    lengths: NDArray[np.int64]
    observed: NDArray[np.float32] | None = None

    @property
    def predictions(self) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return what each exit answers, [N, L]: the class of the largest logit (first maximum), or the value."""
        return self.logits[:, :, 0] if self.logits.shape[2] == 1 else self.logits.argmax(axis=2)

    def take(self, rows: NDArray[np.int64]) -> AllExits:
        """Return some of the samples, by row."""
        observed = None if self.observed is None else self.observed[rows]
        ids = tuple(self.ids[i] for i in rows)
        return AllExits(ids, self.labels[rows], self.logits[rows], self.lengths[rows], observed)

    def checksum(self) -> str:
        """Return the SHA-256, hex, of everything in it."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for values in (self.labels, self.lengths):
            digest.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
        for numbers in (self.logits, self.observed):
            if numbers is not None:
                digest.update(str(numbers.shape).encode() + numbers.astype(np.float32).tobytes())
        return digest.hexdigest()
