"""Margin: leave when the most probable class is far enough ahead of the second.

Margin sampling (Scheffer, Decomain, Wrobel: Active Hidden Markov Models for Information Extraction, IDA 2001) turned
into an exit rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead


class SmallMargin(Criterion):
    """1 - (p_(1) - p_(2)) < threshold, in [0, 1]: the two largest probabilities are far apart."""

    default_threshold = 0.2

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        best = torch.softmax(seen.logits, dim=-1).topk(2, dim=-1).values
        return state, 1 - (best[:, 0] - best[:, 1])


class Margin(Strategy):
    """Margin: leave when 1 - (p1 - p2) is below the threshold."""

    name = "margin"
    head, recipe, criterion = LinearHead, JointRecipe, SmallMargin
    citation = (
        "Tobias Scheffer, Christian Decomain, Stefan Wrobel: Active Hidden Markov Models for Information Extraction. "
        "IDA 2001 (the measure); a common baseline as an exit rule."
    )
    equations = (
        "L = sum_i CE(z_i, y)",
        "leave at the first i with 1 - (p_i(1st) - p_i(2nd)) < threshold (strict)",
    )
    sources = {"threshold": "0.2, our choice: what max-probability's 0.1 is for two classes"}
    differences = (
        "The source asks for labels where the margin is small; leaving where it is large is the same rule, inverted.",
    )
