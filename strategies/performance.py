"""Performance-control early exiting (Mofakhami et al., 2024, arXiv 2412.19325).

A threshold that is an accuracy: what share of held-out samples was right, at this exit, that were about as sure. No
relation to PCEE-BERT, which is patient and confident.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Evidence, Seen, State, Strategy, StrategyError
from strategies.entropy import JointRecipe, LinearHead

EMPTY = 1.0
"""Score of a bin that no held-out sample is in: beyond every setting of the method."""


class ReliabilityDiagram(Criterion):
    """The held-out accuracy of the confidence's bin, at this exit, is at least the threshold.

    ``bins`` of equal width on [0, 1]; a sample in a bin that no held-out sample was in stays. A negative threshold
    leaves at exit 1 all the same: no setting of the method, it only closes the trade-off curve. Unfitted, all bins are
    empty.
    """

    default_threshold = 0.9
    strict = False
    fits = True
    loosest = 0.0

    def __init__(self, *, bins: int = 10) -> None:
        if bins < 1:
            raise StrategyError(f"bins must be at least 1, not {bins}.")
        self.bins = bins
        self.scores: Tensor | None = None
        """Minus the accuracy of each bin, :data:`EMPTY` without one, [L, bins]."""

    def warnings(self, num_layers: int) -> list[str]:
        return [] if self.scores is not None else ["no held-out split to fit on: all bins are empty, and all stay"]

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        probabilities = torch.softmax(evidence.logits, dim=-1)
        right = evidence.logits.argmax(dim=-1) == evidence.labels[:, None]
        counts = self.fill_bins(probabilities.amax(dim=-1), right)
        return {f"samples at exit {i}": row.tolist() for i, row in enumerate(counts, start=1)}

    def fill_bins(self, confidence: Tensor, right: Tensor) -> Tensor:
        """Take the accuracy of each bin from confidences [N, L] and bool [N, L]; return the samples in each [L, bins].

        The last exit's are kept for the record; it is asked nothing.
        """
        rows, width = self.find_bins(confidence).T, (confidence.shape[1], self.bins)
        counts = torch.zeros(width, dtype=torch.float64).scatter_add_(1, rows, torch.ones(rows.shape).double())
        hits = torch.zeros(width, dtype=torch.float64).scatter_add_(1, rows, right.T.double())
        self.scores = torch.where(counts > 0, -hits / counts.clamp_min(1), EMPTY)
        return counts

    def find_bins(self, confidence: Tensor) -> Tensor:
        """Return the bins, 0 .. bins - 1, that confidences are in, int64 of the same shape."""
        return (confidence.double() * self.bins).long().clamp(max=self.bins - 1)

    def cut(self, threshold: float) -> float:
        return -threshold

    def threshold(self, cut: float) -> float:
        return -cut

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        confidence = torch.softmax(seen.logits, dim=-1).amax(dim=-1)
        if self.scores is None:
            return state, torch.full_like(confidence, EMPTY)
        if self.scores.device != confidence.device:
            self.scores = self.scores.to(confidence.device)  # once: the way there cannot be recorded in a graph
        return state, self.scores[seen.layer - 1][self.find_bins(confidence)].to(confidence.dtype)


class PerformanceControl(Strategy):
    """Performance control: leave where samples as sure as this one were right often enough (Mofakhami et al., 2024)."""

    name = "perfcontrol"
    head, recipe, criterion = LinearHead, JointRecipe, ReliabilityDiagram
    family = "learned"
    citation = (
        "Mehrnaz Mofakhami, Reza Bayat, Ioannis Mitliagkas, Joao Monteiro, Valentina Zantedeschi: Performance Control "
        "in Early Exiting to Deploy Large Models at the Same Cost of Smaller Ones. 2024, arXiv 2412.19325."
    )
    equations = (
        "c_i = max softmax(z_i), b_i(c) the bin of c among `bins` of equal width",
        "acc_i(b) = share of right answers of exit i among the held-out samples whose c_i is in b",
        "leave at the first i with acc_i(b_i(c_i)) >= threshold",
    )
    sources = {
        "threshold": "0.9, our choice: the accuracy that is asked for",
        "bins": "10, our choice; the paper's number was not at hand",
    }
    differences = (
        "Written from the paper's abstract and an account of its figure, without released code: bins of equal width, "
        "their number, and that empty bins stay are our choices.",
        "The paper's smoothed variant is left out.",
        "An accuracy is that of all held-out samples in the bin, not of those still inside: it is not a guarantee "
        "(`--select risk=` is one).",
        "The paper's experiments are on images; the head and the loss are the common baseline's (linear, joint).",
        "Half of the held-out samples serve to fit, and points are chosen on the other half; fewer than 32 serve both.",
    )
