"""SWEET: separating weights in early exit transformers (Rotem et al., ACL 2023, arXiv 2306.02307).

Where exits are trained together their gradients quarrel over the layers below. Here each layer learns from the next
exit alone: what goes on to the layers behind is detached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from strategies.base import Criterion, Evidence, Seen, State, Strategy
from strategies.deebert import SCRIPTS
from strategies.entropy import JointRecipe, LinearHead
from strategies.temperature import fit_temperatures


class SweetRecipe(JointRecipe):
    """The plain sum of the exits' losses, whose gradients end at the exit before.

    The same numbers as ``joint``, with the gradient of exits behind a layer's own cut off. Weights that serve several
    depths (a shared pooler, ALBERT's layers) still learn from all of them, as released.
    """

    def nodes(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the states, with hooks that let through the gradient of the exit there and no other."""
        read = []
        for state in states[:-1]:
            kept: list[Tensor] = []
            branch = state.view_as(state)
            branch.register_hook(keep_in(kept))
            state.register_hook(replace_by(kept))
            read.append(branch)
        return [*read, states[-1]]


def keep_in(kept: list[Tensor]) -> Callable[[Tensor], None]:
    """Return a hook that keeps the gradient that comes by in ``kept``."""
    return kept.append


def replace_by(kept: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a hook that gives, for the gradient of all that reads a state, the one in ``kept``; zeros without one."""
    return lambda gradient: kept.pop() if kept else torch.zeros_like(gradient)


class CalibratedConfidence(Criterion):
    """max softmax(z_i / T_i) >= threshold, the T_i fitted on the held-out split; unfitted, all T_i are 1.

    Thresholds up to 1/C leave at exit 1 always.
    """

    default_threshold = 0.9
    strict = False
    fits = True

    def __init__(self) -> None:
        self.temperatures: Sequence[float] = ()

    def warnings(self, num_layers: int) -> list[str]:
        return [] if self.temperatures else ["no held-out split to fit on: all temperatures are 1"]

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        self.temperatures = fit_temperatures(evidence.logits, evidence.labels)
        return {"temperatures": list(self.temperatures)}

    def cut(self, threshold: float) -> float:
        return -threshold

    def threshold(self, cut: float) -> float:
        return -cut

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        scale = self.temperatures[seen.layer - 1] if self.temperatures else 1.0
        return state, -torch.softmax(seen.logits / scale, dim=-1).amax(dim=-1)


class Sweet(Strategy):
    """SWEET: exits whose gradients do not meet, left where the calibrated probability is high (Rotem et al., 2023)."""

    name = "sweet"
    head, recipe, criterion = LinearHead, SweetRecipe, CalibratedConfidence
    citation = (
        "Daniel Rotem, Michael Hassid, Jonathan Mamou, Roy Schwartz: Finding the SWEET Spot: Analysis and Improvement "
        "of Adaptive Inference in Low Resource Settings. ACL 2023, arXiv 2306.02307."
    )
    equations = (
        "L = sum_i CE(z_i, y), the hidden state detached behind every exit",
        "T_i = argmin_T of the negative log-likelihood on the held-out split",
        "leave at the first i with max softmax(z_i / T_i) >= threshold",
    )
    sources = {
        "threshold": "0.9, our choice; the released sweep goes from 1/C to 1, and every threshold is on the curve",
        "train.lr": "5e-5, the README",
        "train.batch_size": "16, the README",
        "train.epochs": "2, the README",
    }
    differences = (
        "The paper has few exits (layers 1, 4, 6 and 12) and so blocks of several layers; here every layer has one.",
        "The released exits read the pooler of BERT, one for all, which learns from every exit; here each exit has a "
        "linear classifier on the first token and shares nothing.",
        "The released temperatures are fitted on the samples that are reported; here on held-out ones.",
        "The gradient is cut by hooks, so that all layers are run backwards at once; the numbers are the same.",
        "The released learning-to-exit variant is `learned-exit`, on any checkpoint.",
    )
    presets = {"*": {**SCRIPTS, "train.lr": 5e-5, "train.batch_size": 16, "train.epochs": 2, "max_length": 256}}
