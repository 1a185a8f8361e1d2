"""F-PABEE: flexible-patience-based early exiting (Gao et al., ICASSP 2023, arXiv 2305.11916).

PABEE with a softer comparison: not whether neighbouring exits predict the same class, but whether their distributions
are alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Seen, Start, State, Strategy
from strategies.entropy import JointRecipe, LinearHead
from strategies.patient import Consecutive


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in nats of probabilities p, q [n, C] -> [n], in [0, ln 2].

    (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2. With t = (p - q) / (p + q) it is half the sum of
    p ln(1 + t) + q ln(1 - t): exactly 0 for equal distributions, and without NaN for impossible classes.
    """
    t = (p - q) / (p + q).clamp_min(torch.finfo(p.dtype).tiny)
    parts = torch.special.xlog1py(p, t) + torch.special.xlog1py(q, -t)
    return parts.sum(dim=-1).div(2).clamp_min(0)


class DivergencePatience(Consecutive):
    """JS(p_i, p_{i-1}) is below the threshold ``patience`` times in a row: at exit ``patience`` + 1 at the earliest."""

    default_threshold = 0.01
    comparisons = 1

    def start(self, start: Start) -> State:
        shape = (start.samples, start.num_outputs)
        return {**super().start(start), "last": torch.zeros(shape, dtype=start.dtype, device=start.device)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        p = torch.softmax(seen.logits, dim=-1)
        if seen.layer == 1:  # nothing to compare with
            return {"recent": state["recent"], "last": p}, state["recent"].amax(dim=1)
        recent, score = self.latest(state, jensen_shannon(p, state["last"]))
        return {"recent": recent, "last": p}, score


class FlexiblePatience(Strategy):
    """F-PABEE: leave when neighbouring exits' distributions stay alike (Gao et al., ICASSP 2023)."""

    name = "divergence-patience"
    head = LinearHead
    recipe = JointRecipe
    criterion = DivergencePatience
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
