"""DE3-BERT: distance-enhanced early exiting by class prototypes (He et al., 2024, arXiv 2402.05948).

How sure an exit is, and how much nearer the sample lies to one class's prototype than to the next: both must be low.
The formula alone; the paper's prototypes are learned with the model, here they are the classes' means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy, StrategyError
from strategies.entropy import JointRecipe, LinearHead, normalised_entropy
from strategies.probe import Probe
from strategies.prototypes import ClassDistances, measure_distances


class PrototypeDistances(Probe):
    """||h_i - m_{i,c}|| for every class c, m_{i,c} the mean of the class's training samples at exit i."""

    means: Tensor
    """[L, C, H]"""

    def width(self, num_outputs: int) -> int:
        return num_outputs

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        fitted = ClassDistances()
        numbers = fitted.fit(features, logits, labels)
        self.register_buffer("means", fitted.means)
        return numbers

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        return memory, measure_distances(features, self.means[layer - 1])

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return num_outputs * hidden_size


def measure_distance_ratio(distances: Tensor) -> Tensor:
    """Return r1 / (2 r2) of the two smallest distances [n, C] -> [n], in [0, 1/2]: 1/2 where both are the same.

    The paper's (1 + (r1 - r2) / max(r1, r2)) / 2. Two distances of 0 have 1/2.
    """
    nearest = distances.topk(2, dim=-1, largest=False).values
    tiny = torch.finfo(distances.dtype).tiny
    ratio = nearest[:, 0] / nearest[:, 1].clamp_min(tiny) / 2
    return torch.where(nearest[:, 1] > 0, ratio, 0.5)


class DistanceEnhanced(Criterion):
    """EDR_i < threshold: the harmonic mean of distance ratio and normalised entropy, weighted lambda to 1."""

    default_threshold = 0.2

    def __init__(self, *, weight: float = 1.0) -> None:
        if not weight >= 0:
            raise StrategyError(f"weight must not be negative, not {weight}.")
        self.weight, self.probe = weight, PrototypeDistances()

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        ratio = measure_distance_ratio(seen.observed).to(seen.logits.dtype)
        unsure = normalised_entropy(seen.logits).clamp_min(0)
        tiny = torch.finfo(unsure.dtype).tiny
        # (w + 1) / (w / DR + 1 / H) = (w + 1) DR H / (w H + DR), which is 0 where either is
        return state, (self.weight + 1) * ratio * unsure / (self.weight * unsure + ratio).clamp_min(tiny)


class De3Bert(Strategy):
    """DE3-BERT: leave where the exit is sure and the state is near one class's prototype alone (He et al., 2024)."""

    name = "de3-bert"
    head, recipe, criterion = LinearHead, JointRecipe, DistanceEnhanced
    family = "learned"
    citation = (
        "Jianing He, Qi Zhang, Weiping Ding, Duoqian Miao, Jun Zhao, Liang Hu, Longbing Cao: DE3-BERT: "
        "Distance-Enhanced Early Exiting for BERT based on Prototypical Networks. 2024, arXiv 2402.05948."
    )
    equations = (
        "r1 <= r2 the distances of h_i to its two nearest class prototypes at exit i",
        "DR_i = (1 + (r1 - r2) / max(r1, r2)) / 2 = r1 / (2 r2)",
        "EDR_i = (weight + 1) / (weight / DR_i + 1 / H_i), H_i = H(p_i) / ln C",
        "leave at the first i < L with EDR_i < threshold (strict)",
    )
    sources = {
        "threshold": "0.2, our choice; every threshold is on the exact curve",
        "weight": "1, our choice: the paper's lambda, whose value was not at hand",
    }
    differences = (
        "The two formulas alone are the paper's, from an account of it; no released code was found. That entropy is "
        "divided by ln C, and that the comparison is strict, are our choices.",
        "The paper learns a metric space and its prototypes together with the model, with a loss on distances; here "
        "prototypes are the means of at most 4,096 training samples' pooled states, as in `prototypes`.",
        "Where a distance or the entropy is 0, EDR is 0, the limit of the harmonic mean.",
        "The head and the loss are the common baseline's (linear, joint).",
    )
