"""F-PABEE: flexible-patience-based early exiting (Gao et al., ICASSP 2023, arXiv 2305.11916).

PABEE with a softer comparison: not whether neighbouring exits predict the same class, but whether their distributions
are alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from strategies.base import Seen, Start, State, Strategy
from strategies.entropy import JointRecipe, LinearHead
from strategies.patient import Consecutive

LN2 = math.log(2)
IMPOSSIBLE = -1e4
"""Log-probability of what has none; its exponential is 0 in every number format."""


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in nats, [n] in [0, ln 2], of log-probabilities [n, C].

    (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, where ln p - ln m = ln 2 - ln(1 + q / p): exactly 0 for equal
    distributions and ln 2 for those that have nothing in common, however sure both are.
    """
    log_p, log_q = (x.clamp_min(IMPOSSIBLE) for x in (log_p, log_q))
    ratio, zero = log_q - log_p, torch.zeros_like(log_p)
    parts = log_p.exp() * (LN2 - torch.logaddexp(zero, ratio)) + log_q.exp() * (LN2 - torch.logaddexp(zero, -ratio))
    return parts.sum(dim=-1).div(2).clamp(0, LN2)


class DivergencePatience(Consecutive):
    """JS(p_i, p_{i-1}) is below the threshold ``patience`` times in a row: at exit ``patience`` + 1 at the earliest."""

    default_threshold = 0.01
    comparisons = 1

    def start(self, start: Start) -> State:
        shape = (start.samples, start.num_outputs)
        return {**super().start(start), "last": torch.zeros(shape, dtype=torch.float64, device=start.device)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        log_p = torch.log_softmax(seen.logits.double(), dim=-1)
        if seen.layer == 1:  # nothing to compare with
            return {"recent": state["recent"], "last": log_p}, state["recent"].amax(dim=1)
        recent, score = self.remember_measure(state, jensen_shannon(log_p, state["last"]).to(state["recent"].dtype))
        return {"recent": recent, "last": log_p}, score


class FlexiblePatience(Strategy):
    """F-PABEE: leave when neighbouring exits' distributions stay alike (Gao et al., ICASSP 2023)."""

    name = "divergence-patience"
    version = 2  # 1: in float32, where exits that are sure of different classes had a divergence of 0
    head, recipe, criterion = LinearHead, JointRecipe, DivergencePatience
    family = "windows and patience"
    citation = (
        "Xiangxiang Gao, Wei Zhu, Jiasheng Gao, Congrui Yin: F-PABEE: Flexible-patience-based Early Exiting for "
        "Single-label and Multi-label Text Classification Tasks. ICASSP 2023, arXiv 2305.11916."
    )
    equations = (
        "JS(p, q) = (KL(p || m) + KL(q || m)) / 2, m = (p + q) / 2, in nats",
        "c_1 = 0; c_i = c_{i-1} + 1 if JS(p_i, p_{i-1}) < threshold else 0",
        "leave at the first i with c_i = patience",
    )
    sources = {
        "threshold": "0.01, our choice: p = 0.90 and then 0.97 of two classes; every threshold is on the exact curve",
        "patience": "2, our choice; the paper tunes it with the threshold",
    }
    differences = (
        "The paper compares several measures of similarity and finds the Jensen-Shannon one best; it alone is here.",
        "The multi-label form of the paper, a divergence per label, is left out: no task here has several labels.",
        "The head and the loss are the common baseline's (linear, joint), for comparison on one checkpoint.",
        "Written from the paper's abstract and introduction; its defaults were not at hand.",
    )
