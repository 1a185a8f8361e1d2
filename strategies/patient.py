"""PCEE-BERT: patient and confident early exiting (Zhang et al., Findings of NAACL 2022).

Confidence and patience at once: a sample leaves when enough consecutive exits are each confident.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, Start, State, Strategy, StrategyError
from strategies.confidence import measure_unsureness
from strategies.entropy import JointRecipe, LinearHead, normalised_entropy

UNREADY = 2.0
"""Stands for an exit that was not there; beyond every measure used here, all of which are at most 1."""


class Consecutive(Criterion):
    """A measure, in [0, 1], is below the threshold at ``patience`` consecutive exits.

    "Each of the last N is below the cut" says the same as "their largest is": the score is the largest of the last N
    measures, and one cut draws the whole curve. Before there are N measures the score is :data:`UNREADY`. A cut
    beyond it leaves at exit 1: no setting of the method, it only closes the trade-off curve.
    """

    loosest = UNREADY
    comparisons: int = 0
    """How many exits must have passed before the first measure."""

    def __init__(self, *, patience: int = 2) -> None:
        if patience < 1:
            raise StrategyError(f"patience must be at least 1, not {patience}.")
        self.patience = patience

    def warnings(self, num_layers: int) -> list[str]:
        first = self.patience + self.comparisons
        if first > num_layers:
            return [f"patience {self.patience} needs {first} exits, and the backbone has {num_layers}: nobody leaves"]
        if first == num_layers:
            return [f"patience {self.patience} is reached at the last of the backbone's {num_layers} exits only"]
        return []

    def start(self, start: Start) -> State:
        shape = (start.samples, self.patience)
        return {"recent": torch.full(shape, UNREADY, dtype=start.dtype, device=start.device)}

    def remember_measure(self, state: State, measure: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last N measures [n, N] with ``measure`` [n] among them, and their largest, the score [n]."""
        recent = torch.cat([state["recent"][:, 1:], measure.unsqueeze(1)], dim=1)
        return recent, recent.amax(dim=1)


class PatientConfidence(Consecutive):
    """The entropy (or 1 - max p) is below the threshold at ``patience`` consecutive exits."""

    def __init__(self, *, patience: int = 2, measure: Literal["entropy", "max-probability"] = "entropy") -> None:
        super().__init__(patience=patience)
        if measure not in ("entropy", "max-probability"):
            raise StrategyError(f"measure must be 'entropy' or 'max-probability', not '{measure}'.")
        self.measure = normalised_entropy if measure == "entropy" else measure_unsureness

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        recent, score = self.remember_measure(state, self.measure(seen.logits))
        return {"recent": recent}, score


class PatientAndConfident(Strategy):
    """PCEE-BERT: leave after enough consecutive exits that are each confident (Zhang et al., NAACL Findings 2022)."""

    name = "patient-and-confident"
    head, recipe, criterion = LinearHead, JointRecipe, PatientConfidence
    family = "windows and patience"
    citation = (
        "Zhen Zhang, Wei Zhu, Jinfan Zhang, Peng Wang, Rize Jin, Tae-Sun Chung: PCEE-BERT: Accelerating BERT Inference "
        "via Patient and Confident Early Exiting. Findings of NAACL 2022."
    )
    equations = (
        "c_0 = 0; c_i = c_{i-1} + 1 if H(p_i) / ln C < threshold else 0",
        "leave at the first i with c_i = patience",
        "equivalently: i >= patience and max_{i-patience < j <= i} H(p_j) / ln C < threshold (strict)",
    )
    sources = {
        "threshold": "0.1, as the plain entropy's here; every threshold is on the exact curve",
        "patience": "2, our choice: the smallest that is not plain confidence; the paper tunes it with the threshold",
        "measure": "entropy, the paper's; max-probability is our alternative",
    }
    differences = (
        "The consecutive exits need not agree on the class: the paper's abstract asks for confident exits only.",
        "Entropy is divided by ln C, so that thresholds mean the same for any number of classes.",
        "The head and the loss are the common baseline's (linear, joint), for comparison on one checkpoint.",
        "Written from the paper's abstract and its accounts in later papers; its defaults were not at hand.",
    )
