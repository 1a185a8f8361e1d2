"""NSP and CAP: early exiting by null-space projection (He et al., IJCAI 2025, arXiv 2506.17249).

A linear classifier sees of a state what lies in the span of its rows, and is blind to the rest. The share of a state
that the classifier is blind to says that it is unlike what the classifier knows, however large the logits are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.base import Criterion, Seen, State, Strategy, StrategyError
from strategies.deebert import SCRIPTS
from strategies.entropy import JointRecipe, LinearHead
from strategies.probe import Probe

RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest belong to rows that say nothing of their own."""


class NullSpaceShare(Probe):
    """NSP_i = sqrt(1 - |P x|^2 / |x|^2), P the projection on the span of classifier i's rows, x = h_i + W_i^+ b_i.

    In [0, 1], 1 for x = 0. The classifiers are recovered from what they answer: the least squares of the logits on the
    pooled states, which is W_i and b_i themselves where the exits are linear, and the nearest linear exit elsewhere.
    """

    basis: Tensor
    """Orthonormal rows that span those of W_i, zeros where there are fewer, [L, C, H]."""
    offset: Tensor
    """W_i^+ b_i, which takes the bias away, [L, H]."""

    def width(self, num_outputs: int) -> int:
        return 1

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        weights, biases, explained = [], [], []
        for x, z in zip(features.double().unbind(dim=1), logits.double().unbind(dim=1), strict=True):
            x0, z0 = x.mean(dim=0), z.mean(dim=0)
            centred = x - x0
            solved = torch.linalg.pinv(centred.T @ centred, hermitian=True) @ (centred.T @ (z - z0))
            left = (z - z0 - centred @ solved).square().sum() / (z - z0).square().sum().clamp_min(1e-300)
            weights.append(solved.T)
            biases.append(z0 - solved.T @ x0)
            explained.append(1 - float(left))
        self.take_classifiers(torch.stack(weights), torch.stack(biases))
        self.to(features.dtype)
        return {"explained": explained}

    def take_classifiers(self, weights: Tensor, biases: Tensor) -> None:
        """Read from classifiers with ``weights`` [L, C, H] and ``biases`` [L, C]."""
        left, values, rows = torch.linalg.svd(weights, full_matrices=False)
        kept = values > RANK_TOLERANCE * values[:, :1].clamp_min(torch.finfo(values.dtype).tiny)
        basis = rows * kept.unsqueeze(-1)
        inverse = torch.where(kept, 1 / values.clamp_min(torch.finfo(values.dtype).tiny), 0)
        offset = torch.einsum("lkh,lk,lck,lc->lh", basis, inverse, left, biases)
        self.register_buffer("basis", basis)
        self.register_buffer("offset", offset)

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        x = features + self.offset[layer - 1]
        seen, all_of_it = (x @ self.basis[layer - 1].T).square().sum(dim=-1), x.square().sum(dim=-1)
        share = torch.where(all_of_it > 0, seen / all_of_it.clamp_min(torch.finfo(x.dtype).tiny), 0)
        return memory, (1 - share).clamp(0, 1).sqrt().unsqueeze(-1)

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return num_outputs * hidden_size


class CertaintyAware(Criterion):
    """CAP_i < threshold: the last part of softmax([z_i, alpha NSP_i]), the probability of "none of the classes"."""

    def __init__(self, *, alpha: float = 0.1) -> None:
        if not alpha >= 0:
            raise StrategyError(f"alpha must not be negative, not {alpha}.")
        self.alpha, self.probe = alpha, NullSpaceShare()

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        none = self.alpha * seen.observed[:, :1].to(seen.logits.dtype)
        return state, torch.softmax(torch.cat([seen.logits, none], dim=-1), dim=-1)[:, -1]


class NullSpace(Strategy):
    """NSP/CAP: leave where the exit is sure, and not blind to much of the state (He et al., IJCAI 2025)."""

    name = "nsp"
    head, recipe, criterion = LinearHead, JointRecipe, CertaintyAware
    family = "learned"
    citation = (
        "Jianing He, Qi Zhang, Duoqian Miao, Kun Yi, Shufeng Hao, Hongyun Zhang, Zhihua Wei: Improving Prediction "
        "Certainty Estimation for Reliable Early Exiting via Null Space Projection. IJCAI 2025, arXiv 2506.17249."
    )
    equations = (
        "L = sum_i CE(z_i, y), z_i = W_i h_i + b_i",
        "x_i = h_i + W_i^+ b_i, P_i the projection on the row space of W_i",
        "NSP_i = sqrt(1 - |P_i x_i|^2 / |x_i|^2)",
        "CAP_i = exp(alpha NSP_i) / (exp(alpha NSP_i) + sum_c exp z_i(c))",
        "leave at the first i < L with CAP_i < threshold (strict)",
    )
    sources = {
        "threshold": "0.1, the released scripts' grid is 0, 0.1 .. 1",
        "alpha": "0.1, the released evaluation script; the released default is 1",
        "train.lr": "2e-5, the released script (as COSEE's)",
        "train.batch_size": "128, the released script: 64 on each of two GPUs",
        "train.epochs": "10, the released script",
    }
    differences = (
        "The released exits share a pooler, and NSP reads what follows its tanh; here the exits are linear on the "
        "first token, and NSP reads that. On other heads it reads the nearest linear exit (`explained` in the record "
        "says how near).",
        "The released loss is the mean over exits, here their sum.",
        "Where rounding makes 1 - ratio negative, or a state is 0, the released NSP is NaN and never leaves; here it "
        "is 0 and 1.",
        "Rows that depend on each other are an error in the released code; here they span what they span.",
    )
    presets = {"*": {**SCRIPTS, "train.batch_size": 128, "train.epochs": 10}}
