"""PABEE: BERT loses patience: fast and robust inference with early exit (Zhou et al., NeurIPS 2020, arXiv 2006.04152).

One pooler for all exits, one classifier each, trained together with weights that grow with depth. A sample leaves
when enough consecutive exits have said the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from strategies.base import (
    Criterion,
    Recipe,
    ScoreEstimate,
    Seen,
    Stage,
    Start,
    State,
    Strategy,
    StrategyError,
    compute_task_loss,
    predict,
)
from strategies.deebert import SCRIPTS
from strategies.plain_numbers import ROUNDING, UNSURE
from strategies.pooler import PoolerHead


class SharedPoolerHead(PoolerHead):
    """PABEE's head: one pretrained pooler shared by all exits, a classifier per exit (paper sec. 3.3)."""

    shares_parameters = True
    shares_classifier = False


class PatienceRecipe(Recipe):
    """All exits at once, exit i with weight i, divided by the sum of the weights (paper eq. 4)."""

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        total = len(logits) * (len(logits) + 1) / 2
        return tuple(i / total * compute_task_loss(z, labels) for i, z in enumerate(logits, start=1))


class Patience(Criterion):
    """The prediction has been the same as at the exit before it, ``patience`` times in a row (paper sec. 3.2).

    Regression: two exits agree where |y_l - y_{l-1}| < ``tolerance`` (strict). Exit 1 has nothing to agree with, so
    patience t leaves at exit t + 1 at the earliest. Patience 0 is the full model, a branch of its own in the
    released code. A negative patience leaves at exit 1: no setting of the paper, it only closes the trade-off curve.
    """

    threshold_name = "patience"
    default_threshold = 6
    integer = True
    strict = False
    regression = True
    loosest = -0.5  # patience 1; beyond it lies only "always exit 1"

    def __init__(self, *, tolerance: float = 0.1) -> None:
        if not tolerance >= 0:
            raise StrategyError(f"tolerance must not be negative, not {tolerance}.")
        self.tolerance = tolerance

    def cut(self, threshold: float) -> float:
        return -math.inf if threshold == 0 else -threshold

    def threshold(self, cut: float) -> float:
        if cut >= 0:
            return -1
        return 0 if cut == -math.inf else math.ceil(-cut)

    def start(self, start: Start) -> State:
        # NaN agrees with no number and -1 with no class
        nothing, dtype = (math.nan, start.dtype) if start.num_outputs == 1 else (-1, torch.long)
        last = torch.full((start.samples,), nothing, dtype=dtype, device=start.device)
        return {"last": last, "agreed": torch.zeros(start.samples, dtype=torch.long, device=start.device)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        answer, last = predict(seen.logits), state["last"]
        agrees = (answer - last).abs() < self.tolerance if seen.logits.shape[-1] == 1 else answer == last
        agreed = torch.where(agrees, state["agreed"] + 1, 0)
        return {"last": answer, "agreed": agreed}, -agreed.to(torch.float32)

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        agreed = 0
        for before, after in zip(exits[-2::-1], exits[:0:-1], strict=True):
            if len(after) > 1:
                agrees = before.index(max(before)) == after.index(max(after))
            else:
                nearer = self.tolerance - abs(after[0] - before[0])
                if abs(nearer) <= ROUNDING * max(1.0, abs(before[0]), abs(after[0])):
                    return UNSURE
                agrees = nearer > 0
            if not agrees:
                break
            agreed += 1
        return ScoreEstimate(-agreed)


class Pabee(Strategy):
    """PABEE: leave after enough consecutive exits that agree (Zhou et al., NeurIPS 2020)."""

    name = "patience"
    head, recipe, criterion = SharedPoolerHead, PatienceRecipe, Patience
    family = "windows and patience"
    citation = (
        "Wangchunshu Zhou, Canwen Xu, Tao Ge, Julian McAuley, Ke Xu, Furu Wei: BERT Loses Patience: Fast and Robust "
        "Inference with Early Exit. NeurIPS 2020, arXiv 2006.04152."
    )
    equations = (
        "L = sum_i i * CE(z_i, y) / sum_i i (MSE for regression, eq. 4)",
        "c_1 = 0; c_i = c_{i-1} + 1 if y_i = y_{i-1} else 0 (regression: |y_i - y_{i-1}| < tolerance)",
        "leave at the first i with c_i = patience",
    )
    sources = {
        "patience": "6, the paper's overall setting; the released scripts sweep 3..8",
        "tolerance": "0.1, the README of the port in transformers for STS-B; the released default 0 never leaves",
        "train.lr": "2e-5, the released scripts",
        "train.batch_size": "32, the released scripts",
        "train.epochs": "5, the released scripts",
    }
    differences = (
        "The released code leaves with a whole batch only when all its samples agree; here every sample has its own "
        "counter, which is the same for batch 1.",
        "The released tolerance defaults to 0, with which regression never leaves early.",
        "The released training keeps the checkpoint that is best on the development set; here the last is kept.",
    )
    presets = {"*": {**SCRIPTS, "train.batch_size": 32, "train.epochs": 5}}
