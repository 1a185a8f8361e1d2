"""Energy: leave when the free energy of the logits is low enough (Liu et al., NeurIPS 2020, arXiv 2010.03759).

The paper tells inputs like the training data from others by it. Unlike every measure on probabilities it sees how large
the logits are, not only how far apart: adding a constant to all of them lowers it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead


class FreeEnergy(Criterion):
    """E(z) = -ln sum_c exp(z_c) < threshold: in nats, unbounded, about -max z where one logit dominates."""

    default_threshold = -2.0

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, -torch.logsumexp(seen.logits, dim=-1)


class Energy(Strategy):
    """Energy: leave when the free energy -logsumexp(z) is below the threshold (Liu et al., NeurIPS 2020)."""

    name = "energy"
    head, recipe, criterion = LinearHead, JointRecipe, FreeEnergy
    citation = (
        "Weitang Liu, Xiaoyun Wang, John D. Owens, Yixuan Li: Energy-based Out-of-distribution Detection. "
        "NeurIPS 2020, arXiv 2010.03759."
    )
    equations = (
        "L = sum_i CE(z_i, y)",
        "E(z) = -T ln sum_c exp(z_c / T) with T = 1",
        "leave at the first i with E(z_i) < threshold (strict)",
    )
    sources = {
        "threshold": "-2, our choice: an exit whose logits have learned nothing (0, 0) has -0.69; the scale is the "
        "model's own, so read a threshold off the curve"
    }
    differences = (
        "The paper rejects inputs of high energy as unlike the training data; leaving early at low energy is our use.",
        "The paper also fine-tunes with an energy margin; here the logits are those of the recipe.",
        "Cross-entropy leaves a logit's common offset free, and each exit has its own: one threshold for all exits "
        "compares energies of different scales (budget with of=energy has a threshold per exit).",
    )
