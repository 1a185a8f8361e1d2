"""Budgeted batch classification (MSDNet: Huang et al., ICLR 2018, arXiv 1703.09844), around any criterion.

One threshold per exit, chosen on the held-out split such that a wanted share of the samples leaves at each exit. All
shares follow from one number, and that from the budget: the mean exit layer, as a fraction of the depth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from strategies.base import Criterion, Evidence, Seen, State, Strategy, StrategyError
from strategies.entropy import JointRecipe, LinearHead
from strategies.wrapper import Wrapper, score_evidence

BUDGET_STEPS = 100
"""Steps between all layers and one; thresholds are kept for every one of them."""


def compute_shares(log_q: Tensor, exits: int) -> Tensor:
    """Return the share of samples to leave at each exit, p_k = q^k / sum_j q^j: ln q float64 [R] -> [R, L]."""
    return torch.softmax(log_q[:, None] * torch.arange(1, exits + 1, dtype=torch.float64), dim=-1)


def solve_shares(mean_layers: Tensor, exits: int) -> Tensor:
    """Return the shares [R, L] whose mean exit layer is ``mean_layers``, float64 [R] within (1, L).

    ln q is found by halving.
    """
    layers = torch.arange(1, exits + 1, dtype=torch.float64)
    low = torch.full_like(mean_layers, -50.0)
    high = -low
    for _ in range(60):
        middle = (low + high) / 2
        too_deep = compute_shares(middle, exits) @ layers > mean_layers
        low, high = torch.where(too_deep, low, middle), torch.where(too_deep, middle, high)
    return compute_shares((low + high) / 2, exits)


def exit_cuts(scores: Tensor, shares: Tensor, most: float = math.inf) -> tuple[Tensor, Tensor]:
    """Return cuts [R, L] for scores [N, L], and what they spend there: the mean exit layer over L, float64 [R].

    Row r gives exit k the cut below which round(N * shares[r, k]) of the samples still inside have their score (fewer
    where scores tie). Rows go from the largest budget to the smallest. A cut never falls from one row to the next,
    so that a smaller budget lets nobody stay longer; no cut exceeds ``most``.
    """
    samples, exits = scores.shape
    finite = torch.finfo(scores.dtype)
    wanted = (samples * shares).round().long()
    inside = torch.ones(len(shares), samples, dtype=torch.bool)
    beyond = scores.new_full((len(shares), 1), math.inf)
    cuts, layers = [], torch.zeros(len(shares), dtype=torch.float64)
    for k in range(exits):
        layers += inside.sum(dim=1)
        waiting = torch.where(inside, scores[:, k], math.inf).sort(dim=1).values  # who has left comes last
        first_to_stay = torch.cat([waiting, beyond], dim=1).gather(1, wanted[:, k : k + 1]).squeeze(1)
        first_to_stay[wanted[:, k] == 0] = finite.min  # but a score of -inf leaves at any budget
        cut = first_to_stay.clamp(finite.min, min(most, finite.max)).cummax(dim=0).values
        inside &= scores[:, k] >= cut[:, None]
        cuts.append(cut)
    return torch.stack(cuts, dim=1), layers / (samples * exits)


class Budget(Wrapper):
    """The criterion of the strategy ``of`` with one threshold per exit, all of them moved by the budget.

    A sample's score at an exit says with how large a budget it may still leave there: minus what the next larger
    budget spends on the held-out split. A budget b leaves where the score is below -b, so that the thresholds in use
    are the loosest needed to spend at most b there. Unfitted, it is the wrapped criterion and its threshold.
    """

    threshold_name = "budget"
    default_threshold = 0.5

    def __init__(self, *, of: str = "max-probability", **inner: object) -> None:
        self.cuts: Tensor | None = None
        self.scale = torch.empty(0)
        self.tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        super().__init__(of=of, **inner)

    @classmethod
    def find_criterion(cls, of: str) -> type[Criterion]:
        kind = super().find_criterion(of)
        if kind.integer:
            raise StrategyError(f"'{of}' cannot have a budget: its threshold is a whole number, with too few values.")
        return kind

    def copy_attributes(self) -> None:
        super().copy_attributes()
        if self.cuts is not None:
            self.strict, self.loosest = True, math.inf  # type: ignore[misc]

    def warnings(self, num_layers: int) -> list[str]:
        unfitted = "no held-out split to fit on: one threshold for all exits, on the wrapped criterion's scale"
        return [*([unfitted] if self.cuts is None else []), *super().warnings(num_layers)]

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        inner = super().fit(evidence)
        scores = score_evidence(self.inner, evidence)
        exits = scores.shape[1]
        targets = torch.linspace(exits, 1, BUDGET_STEPS + 1, dtype=torch.float64)[1:-1]
        cuts, spent = exit_cuts(scores, solve_shares(targets, exits), self.inner.loosest)
        last = min(self.inner.loosest, torch.finfo(scores.dtype).max)  # the smallest budget of all: leave when you may
        self.cuts = torch.cat([cuts, torch.full((1, exits), last, dtype=cuts.dtype)])
        self.scale = torch.cat([torch.tensor([-1.0]), -spent, torch.tensor([math.inf])])
        self.tables.clear()
        self.copy_attributes()
        by_exit = {f"cuts_{k}": cuts[:, k - 1].tolist() for k in range(1, exits)}
        return {"budgets": spent.tolist(), **by_exit, **inner}

    def cut(self, threshold: float) -> float:
        return super().cut(threshold) if self.cuts is None else -threshold

    def threshold(self, cut: float) -> float:
        if self.cuts is None:
            return super().threshold(cut)
        return max(0.0, -cut)  # one layer is spent at least, so that all smaller budgets are the same

    def table(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cuts by exit [L, R + 1] and the scale [R + 2], as ``score`` needs them."""
        assert self.cuts is not None
        key = (score.dtype, score.device)
        if key not in self.tables:
            self.tables[key] = (self.cuts.T.contiguous().to(score), self.scale.to(score))
        return self.tables[key]

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = self.inner.step(state, seen)
        if self.cuts is None:
            return state, score
        cuts, scale = self.table(score)
        return state, scale[torch.searchsorted(cuts[seen.layer - 1], score, right=True)]


class BudgetedBatch(Strategy):
    """Budget: thresholds per exit for a mean exit layer, around any continuous criterion (MSDNet, ICLR 2018)."""

    name = "budget"
    version = 2  # 1: fitted on all held-out samples, those that points are chosen on among them
    head, recipe, criterion = LinearHead, JointRecipe, Budget
    citation = (
        "Gao Huang, Danlu Chen, Tianhong Li, Felix Wu, Laurens van der Maaten, Kilian Q. Weinberger: Multi-Scale Dense "
        "Networks for Resource Efficient Image Classification. ICLR 2018, arXiv 1703.09844."
    )
    equations = (
        "p_k = q^k / sum_j q^j: the share of the held-out samples that leaves at exit k",
        "theta_k(q): the score below which N p_k of the held-out samples lie that have not left before exit k",
        "q for the budget b: sum_k k p_k = b L",
        "leave at the first k with s_k < theta_k, s the score of the strategy `of`",
    )
    sources = {
        "budget": "0.5, our choice: half of the layers on average",
        "of": "max-probability, the paper's; further arguments are that strategy's own",
    }
    differences = (
        "Half of the held-out samples serve to fit, and points are chosen on the other half; fewer than 32 serve both.",
        "The paper writes p_k = z q (1 - q)^(k-1), which favours early exits only; the released code's q^k, with q "
        "up to 2, is the same family and favours late ones too.",
        "The paper's cost of an exit is its FLOPs; here its layers, all of which cost the same in an encoder.",
        "A threshold that would tighten while the budget shrinks is kept at its loosest so far, and later exits allow "
        "for it. It happens where an exit's score says little about the next one's, and where samples are few.",
        "A budget is met by what the thresholds spend on the held-out split, found by counting, not by the shares "
        "asked for: ties and rounding move it by a few samples.",
        "Held-out and reported samples differ: what is spent on the latter is reported, and is near the budget only.",
        "Thresholds for 99 budgets are kept, evenly spaced between one layer and all.",
    )
