"""Voting: early exiting with ensemble internal classifiers (Sun et al., 2021, arXiv 2105.13792).

All exits passed so far vote; a sample leaves when one class has enough votes for the number of exits that were asked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, Start, State, Strategy, StrategyError
from strategies.entropy import JointRecipe, LinearHead


class Votes(Criterion):
    """max_c (votes for c at exits 1..i) / i^attenuation >= threshold.

    The first exit alone has 1 / 1 = 1, so that thresholds up to 1 leave there. With attenuation 1 nothing could ever
    exceed that, which is why it must stay below. After exit 1 a threshold is first reached at an exit that has just
    voted for the winner (otherwise the value does not rise), so that the exit's own answer is the vote's answer.
    """

    default_threshold = 2.0
    strict = False

    def __init__(self, *, attenuation: float = 0.5) -> None:
        if not 0 <= attenuation < 1:
            raise StrategyError(f"attenuation must be in [0, 1), not {attenuation}.")
        self.attenuation = attenuation

    def cut(self, threshold: float) -> float:
        return -threshold

    def threshold(self, cut: float) -> float:
        return max(0.0, -cut)  # all that lies below the first exit's 1 leaves there

    def start(self, start: Start) -> State:
        shape = (start.samples, start.num_outputs)
        return {"votes": torch.zeros(shape, dtype=start.dtype, device=start.device)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        answer = seen.logits.argmax(dim=-1, keepdim=True)
        votes = state["votes"].scatter_add(1, answer, torch.ones_like(seen.logits[:, :1]))
        return {"votes": votes}, votes.amax(dim=-1) / -(seen.layer**self.attenuation)


class Voting(Strategy):
    """Voting: leave when one class has enough votes of the exits so far (Sun et al., 2021)."""

    name = "voting"
    head, recipe, criterion = LinearHead, JointRecipe, Votes
    family = "windows and patience"
    citation = (
        "Tianxiang Sun, Yunhua Zhou, Xiangyang Liu, Xinyu Zhang, Hao Jiang, Zhao Cao, Xuanjing Huang, Xipeng Qiu: "
        "Early Exiting with Ensemble Internal Classifiers. 2021, arXiv 2105.13792."
    )
    equations = (
        "L = sum_i CE(z_i, y)",
        "V_i = max_c #{j <= i: argmax z_j = c} / i^attenuation",
        "leave at the first i with V_i >= threshold",
    )
    sources = {
        "threshold": "2, our choice: four exits of one mind with attenuation 0.5",
        "attenuation": "0.5, our choice: i exits of one mind have sqrt(i); the paper treats it as a hyper-parameter",
    }
    differences = (
        "The paper's answer is the class with most votes. At an early exit that is the exit's own answer; at the last "
        "exit, where nobody had enough votes, the model's own classifier answers here.",
        "The paper's diversity term in the loss is left out: the criterion is put on the common baseline's checkpoint.",
        "Written from the paper's abstract and its accounts in later papers; the form of the normalisation and its "
        "defaults were not checked against the text.",
    )
