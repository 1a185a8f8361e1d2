"""Distance to class prototypes: leave when the hidden state lies by the mean of the class that the exit answers.

The means of the classes' training samples, at every exit, as in E2CM (Görmez et al., IJCNN 2022): nothing is trained
by gradient. Here they say when to leave; what is answered stays with the exit's head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy, StrategyError, predict
from strategies.entropy import JointRecipe, LinearHead
from strategies.probe import Probe


class ClassDistances(Probe):
    """||h_i - m_{i,c}|| for every class c, over its mean on the training samples: about 1, near the class below it.

    m_{i,c} is the mean of the pooled hidden states h_i of the training samples of class c.
    """

    means: Tensor
    """[L, C, H]"""
    scale: Tensor
    """Mean distance of all training samples to each mean, [L, C]."""

    def width(self, num_outputs: int) -> int:
        return num_outputs

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        classes = range(logits.shape[-1])
        counts = [int((labels == c).sum()) for c in classes]
        if 0 in counts:
            raise StrategyError(f"Class {counts.index(0)} has no sample to make a prototype of: train on more.")
        means = torch.stack([features[labels == c].mean(dim=0) for c in classes], dim=1)
        layers = range(len(means))
        scale = torch.stack([measure_distances(features[:, i], means[i]).mean(dim=0) for i in layers])
        self.register_buffer("means", means)
        self.register_buffer("scale", scale.clamp_min(torch.finfo(scale.dtype).tiny))
        return {"samples": [float(n) for n in counts]}

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        return memory, measure_distances(features, self.means[layer - 1]) / self.scale[layer - 1]

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return num_outputs * hidden_size


def measure_distances(features: Tensor, means: Tensor) -> Tensor:
    """Return Euclidean distances [n, C] of features [n, H] to means [C, H]; a sample's do not depend on its batch."""
    return torch.cdist(features, means, compute_mode="donot_use_mm_for_euclid_dist")


class FarFromPrototype(Criterion):
    """1 - softmax(-d)[y] < threshold, d the normalised distances to the prototypes and y the exit's own answer."""

    default_threshold = 0.4

    def __init__(self) -> None:
        self.probe = ClassDistances()

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        near = torch.softmax(-seen.observed, dim=-1)
        return state, 1 - near.gather(1, predict(seen.logits).unsqueeze(1)).squeeze(1)


class Prototypes(Strategy):
    """Class prototypes: leave when the state is near the answer's class mean (after E2CM: Görmez et al., 2022)."""

    name = "prototypes"
    head, recipe, criterion = LinearHead, JointRecipe, FarFromPrototype
    family = "learned"
    citation = (
        "Alperen Görmez, Venkat R. Dasari, Erdem Koyuncu: E2CM: Early Exit via Class Means for Efficient Supervised "
        "and Unsupervised Learning. IJCNN 2022, arXiv 2103.01148."
    )
    equations = (
        "m_{i,c} = mean of h_i over the training samples of class c, h_i the pooled hidden state at exit i",
        "d_{i,c} = ||h_i - m_{i,c}|| / mean over all training samples of the same",
        "q_i = softmax(-d_i)",
        "leave at the first i with 1 - q_i[y_i] < threshold (strict), y_i the answer of the head at exit i",
    )
    sources = {"threshold": "0.4, our choice: a fifth of the way from no preference between two classes to certainty"}
    differences = (
        "The paper answers with the nearest class mean and has no heads; here the exit's head answers, and the "
        "distances only say whether the state agrees with it.",
        "The paper takes the means over the whole training set; here over at most 4,096 samples of it.",
    )
