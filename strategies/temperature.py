"""Temperature scaling per exit, around any criterion (Guo et al., ICML 2017, arXiv 1706.04599).

Exits are over- or underconfident each in its own way, and one threshold for all of them compares numbers that mean
different things. One temperature per exit, fitted on the held-out split, makes them comparable; no answer changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from strategies.base import Evidence, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead
from strategies.wrapper import Wrapper

HOTTEST = 100.0
"""Temperatures lie in [1/100, 100]: an exit that is always right, or no better than chance, has none of its own."""


def fit_temperatures(logits: Tensor, labels: Tensor) -> list[float]:
    """Return the temperature of each exit that minimises the mean of -ln softmax(z / T)[y].

    ``logits`` [N, L, C], ``labels`` int64 [N]. The loss is convex in b = 1/T, and its derivative is the mean of
    E_p[z] - z_y with p = softmax(b z): where it changes sign is found by halving ln b.
    """
    z = logits.double()
    z = z - z.mean(dim=-1, keepdim=True)  # softmax does not see it; smaller numbers to add up
    right = z.gather(2, labels[:, None, None].expand(-1, z.shape[1], 1)).squeeze(-1).mean(dim=0)
    low = torch.full((z.shape[1],), -math.log(HOTTEST), dtype=torch.float64)
    high = -low
    for _ in range(45):
        middle = (low + high) / 2
        p = torch.softmax(z * middle.exp()[:, None], dim=-1)
        too_sharp = (p * z).sum(dim=-1).mean(dim=0) > right
        low, high = torch.where(too_sharp, low, middle), torch.where(too_sharp, middle, high)
    return torch.exp(-(low + high) / 2).tolist()


class TemperatureScaled(Wrapper):
    """The criterion of the strategy ``of`` on logits z_i / T_i. Unfitted, all T_i are 1."""

    follows = (*Wrapper.follows, "threshold_name", "default_threshold", "integer")

    def __init__(self, *, of: str = "entropy", **inner: object) -> None:
        super().__init__(of=of, **inner)
        self.temperatures: Sequence[float] = ()

    def refuse(self, num_outputs: int) -> str | None:
        if num_outputs == 1:
            return "it scales class logits, and a regression task has none"
        return super().refuse(num_outputs)

    def warnings(self, num_layers: int) -> list[str]:
        unfitted = [] if self.temperatures else ["no held-out split to fit on: all temperatures are 1"]
        return [*unfitted, *super().warnings(num_layers)]

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        self.temperatures = fit_temperatures(evidence.logits, evidence.labels)
        scaled = evidence.logits / evidence.logits.new_tensor(self.temperatures)[:, None]
        inner = super().fit(replace(evidence, logits=scaled))
        self.copy_attributes()
        return {"temperatures": list(self.temperatures), **inner}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        if self.temperatures:
            seen = replace(seen, logits=seen.logits / self.temperatures[seen.layer - 1])
        return self.inner.step(state, seen)


class Temperature(Strategy):
    """Temperature scaling per exit around any criterion: of=entropy by default (Guo et al., ICML 2017)."""

    name = "temperature"
    version = 2  # 1: fitted on all held-out samples, those that points are chosen on among them
    head, recipe, criterion = LinearHead, JointRecipe, TemperatureScaled
    citation = (
        "Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger: On Calibration of Modern Neural Networks. ICML 2017, "
        "arXiv 1706.04599."
    )
    equations = (
        "T_i = argmin_T sum_n -ln softmax(z_i^n / T)[y^n] on the held-out split, one per exit",
        "the criterion of the strategy `of`, on z_i / T_i in place of z_i",
    )
    sources = {
        "of": "entropy, the common baseline; further arguments are that strategy's own (of=elbert-label window=4)",
        "threshold": "the wrapped criterion's",
    }
    differences = (
        "Half of the held-out samples serve to fit, and points are chosen on the other half; fewer than 32 serve both.",
        "The paper has one classifier and one temperature; here every exit has its own.",
        "Temperatures are kept within [1/100, 100].",
        "Criteria that see nothing but the predicted class (patience, voting) are left as they are.",
        "Head and recipe are the common baseline's, whatever is wrapped: --head and --recipe take others.",
    )
