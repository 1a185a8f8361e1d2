"""What a run's samples did at a point: the exits' shares and scores that new texts are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.results.run import Run

MOST_KEPT = 1000
"""Scores kept of an exit: as many quantiles where there are more."""
LARGEST = 3e38
"""Stands for an infinite score, which JSON does not have."""


def describe_traffic(run: Run, cut: float) -> dict[str, Any]:
    """Return where the samples of the run's first split leave at ``cut``, and the scores of those who were asked.

    ``exit_counts`` [L]; ``scores`` of exit 1..L-1, in ascending order.
    """
    curve, exits = run.trade_off(), run.layers
    layers = curve.layers_at(cut)
    scores = [thin_scores(curve.scores[layers > passed, passed]) for passed in range(exits - 1)]
    return {
        "split": run.primary,
        "samples": len(layers),
        "exit_counts": count_leavers(layers, exits),
        "asked": [int((layers > passed).sum()) for passed in range(exits - 1)],
        "scores": scores,
    }


def count_leavers(layers: ArrayLike, exits: int) -> list[int]:
    """Return how many samples leave at exit 1, 2, ... ``exits``, from their exit ``layers`` [N], 1-based."""
    found: list[int] = np.bincount(np.asarray(layers, dtype=np.int64), minlength=exits + 1)[1:].tolist()
    return found


def thin_scores(scores: Sequence[float] | NDArray[Any]) -> list[float]:
    """Return scores in ascending order and to six digits: all of them, or :data:`MOST_KEPT` of their quantiles."""
    ordered = np.sort(np.clip(np.asarray(scores, dtype=np.float64), -LARGEST, LARGEST))
    if len(ordered) > MOST_KEPT:
        ordered = np.quantile(ordered, (np.arange(MOST_KEPT) + 0.5) / MOST_KEPT, method="nearest")
    return [float(f"{score:.6g}") for score in ordered]
