"""One sample's arithmetic in plain numbers, for what criteria estimate (:meth:`strategies.base.Criterion.estimate`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strategies.base import ScoreEstimate

ROUNDING = 1e-6
"""More than what single precision makes of a sum of probabilities near one or of an entropy's term: eight units in the
last place of 1."""

UNSURE = ScoreEstimate(0.0, math.inf)
"""Where a comparison is too close for its outcome to be known."""


def estimate_entropy(logits: Sequence[float], scale: float = 1.0) -> ScoreEstimate:
    """Return the entropy in nats of softmax(logits), divided by ``scale``."""
    top, total, spent = max(logits), 0.0, 0.0
    for value in logits:
        weight = math.exp(value - top)
        total += weight
        spent += weight * (value - top)
    return ScoreEstimate((math.log(total) - spent / total) / scale, ROUNDING * len(logits) / scale)


def compute_first_probability(logits: Sequence[float]) -> float:
    """Return the probability of class 0 of two."""
    odds = logits[1] - logits[0]
    return 1 / (1 + math.exp(odds)) if odds < 0 else 1 - 1 / (1 + math.exp(-odds))


def estimate_least(logits: Sequence[float]) -> ScoreEstimate:
    """Return the smallest probability of softmax(logits)."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    return ScoreEstimate(min(weights) / sum(weights), ROUNDING)


def weigh(excess: float) -> int:
    """Return 1 for what is surely above zero, -1 for what is surely below, 0 where rounding could turn it.

    With ``min`` for "and" and ``max`` for "or" it makes a logic of three values.
    """
    return (excess > ROUNDING) - (excess < -ROUNDING)
