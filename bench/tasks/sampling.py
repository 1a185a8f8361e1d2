"""Which rows are used: ``--limit`` and the split that is held out of train to choose thresholds on.

All draws come from numpy's PCG64 and are the same on every platform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.base import LoadOptions, Split

# A limited data set is the same smaller data set for every seed, so runs with different seeds stay comparable.
LIMIT_SEED = 20210701


def limit_split(split: Split, limit: int | None) -> Split:
    """Return at most ``limit`` rows in stored order: a fixed random subset, nested for growing limits."""
    if limit is None or limit >= len(split):
        return split
    if limit < 1:
        raise DataError(f"A limit of {limit} rows leaves nothing of '{split.name}'. Use a limit of at least 2.")
    order = np.random.Generator(np.random.PCG64(LIMIT_SEED)).permutation(len(split))
    return split.take(np.sort(order[:limit]))


def hold_out(train: Split, options: LoadOptions) -> tuple[Split, Split]:
    """Part ``train`` into (train, select): min(select_fraction * N, select_max) rows, at least 1, drawn by the seed.

    Classes keep their proportions (largest remainder), and a class is only emptied out of train when nothing
    else is left to take. Regression rows are drawn uniformly.
    """
    total = len(train)
    if total < 2:
        raise DataError(f"'{train.name}' has {total} row: at least 2 are needed, one of them to choose thresholds on.")
    size = min(max(1, min(int(options.select_fraction * total), options.select_max)), total - 1)
    order = np.random.Generator(np.random.PCG64(options.seed)).permutation(total)
    if np.issubdtype(train.labels.dtype, np.integer):
        labels = train.labels.astype(np.int64)
        quota = _share_out(np.bincount(labels), size)
        by_class = [order[labels[order] == c][:count] for c, count in enumerate(quota)]
        chosen = np.concatenate(by_class).astype(np.int64)
    else:
        chosen = order[:size]
    held = np.zeros(total, dtype=bool)
    held[chosen] = True
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held), "select")


def draw_rows(train: Split, most: int, seed: int) -> Split:
    """Return at most ``most`` rows of ``train``, drawn by ``seed``, in stored order."""
    if len(train) <= most:
        return train
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, most]))).permutation(len(train))
    return train.take(np.sort(order[:most]))


def _share_out(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the rows to take of each class, ``size`` in all: proportional, leaving one of each where possible."""
    spare = np.maximum(counts - 1, 0)
    room = spare if spare.sum() >= size else counts
    exact = size * counts / counts.sum()
    quota = np.minimum(np.floor(exact).astype(np.int64), room)
    while quota.sum() < size:
        wanting = np.where(quota < room, exact - quota, -np.inf)
        quota[int(np.argmax(wanting))] += 1
    return quota
