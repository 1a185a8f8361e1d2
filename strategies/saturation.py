"""Hidden-state saturation: leave when a layer no longer changes the representation (CALM, NeurIPS 2022).

The cosine of the pooled hidden states at two neighbouring exits. It needs no trained module and no class probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Criterion, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead
from strategies.probe import Probe


class NeighbourCosine(Probe):
    """cos(h_i, h_{i-1}) of the pooled hidden states; -1, the least there is, at exit 1, which has no neighbour."""

    trains = False

    def width(self, num_outputs: int) -> int:
        return 1

    def start(self, samples: int, hidden_size: int, dtype: torch.dtype, device: torch.device | str) -> State:
        return {"previous": torch.zeros(samples, hidden_size, dtype=dtype, device=device)}

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        if layer == 1:
            return {"previous": features}, features.new_full((len(features), 1), -1.0)
        cosine = F.cosine_similarity(features, memory["previous"], dim=-1)
        return {"previous": features}, cosine.unsqueeze(-1)

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return 0 if layer == 1 else 3 * hidden_size  # one product of the two, two norms


class Saturated(Criterion):
    """1 - cos(h_i, h_{i-1}) < threshold, in [0, 2]. Exit 1 has the score 2, below no setting of the method."""

    default_threshold = 0.05
    regression = True
    loosest = 2.0

    def __init__(self) -> None:
        self.probe = NeighbourCosine()

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        return state, 1 - seen.observed[:, 0]


class Saturation(Strategy):
    """Hidden-state saturation: leave when neighbouring exits see almost the same (CALM: Schuster et al., 2022)."""

    name = "saturation"
    head, recipe, criterion = LinearHead, JointRecipe, Saturated
    family = "windows and patience"
    citation = (
        "Tal Schuster, Adam Fisch, Jai Gupta, Mostafa Dehghani, Dara Bahri, Vinh Q. Tran, Yi Tay, Donald Metzler: "
        "Confident Adaptive Language Modeling. NeurIPS 2022, arXiv 2207.07061."
    )
    equations = (
        "c_i = cos(h_i, h_{i-1}), h_i the pooled hidden state at exit i",
        "leave at the first i >= 2 with 1 - c_i < threshold (strict)",
    )
    sources = {"threshold": "0.05, our choice; the paper calibrates its own, and every one is on the exact curve"}
    differences = (
        "The paper generates text and compares a token's state after two layers; here it is the pooled state that the "
        "exit's head reads, of an encoder.",
        "The paper leaves where the cosine exceeds a threshold; here what it lacks to 1 must be below one.",
        "Exit 1 has no exit before it and is never taken.",
    )
