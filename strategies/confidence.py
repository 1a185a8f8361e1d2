"""Maximum probability: leave when the most probable class is probable enough.

The soft-max response of Geifman & El-Yaniv (NeurIPS 2017) and of Hendrycks & Gimpel (ICLR 2017), the measure by which
MSDNet (Huang et al., ICLR 2018) and most vision models leave early.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead


def measure_unsureness(logits: Tensor) -> Tensor:
    """Return 1 - max_c p(c) of softmax(logits), [n, C] -> [n], in [0, 1 - 1/C]."""
    return 1 - torch.softmax(logits, dim=-1).amax(dim=-1)


class MaxProbability(Criterion):
    """1 - max_c p(c) < threshold: the probability of being wrong, as the exit itself sees it."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, measure_unsureness(seen.logits)


class MaximumProbability(Strategy):
    """Maximum probability: leave when 1 - max p is below the threshold (soft-max response)."""

    name = "max-probability"
    head, recipe, criterion = LinearHead, JointRecipe, MaxProbability
    citation = (
        "Dan Hendrycks, Kevin Gimpel: A Baseline for Detecting Misclassified and Out-of-Distribution Examples in "
        "Neural Networks. ICLR 2017, arXiv 1610.02136; as an exit rule, Gao Huang et al.: Multi-Scale Dense Networks "
        "for Resource Efficient Image Classification. ICLR 2018, arXiv 1703.09844."
    )
    equations = (
        "L = sum_i CE(z_i, y)",
        "leave at the first i with 1 - max_c p_i(c) < threshold (strict)",
    )
    sources = {"threshold": "0.1, our choice: 90 % sure; every threshold is on the exact curve"}
    differences = (
        "Papers write max p > t; here t = 1 - threshold, so that lower is readier.",
        "For two classes it orders samples as entropy and margin do: the curve is the same but for rounding.",
    )
