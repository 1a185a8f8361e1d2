"""One linear layer fitted to the end: multinomial logistic or ridge regression, by L-BFGS in double precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import UsageError

MOST_STEPS = 300
COSTLY, COSTLY_STEPS = 200_000_000, 40
"""Multiplications of one look at all samples beyond which a fit (of many classes) ends after so many steps."""
L2_CHOICES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
"""Strongest first: each begins where the one before it ended."""


@dataclass(frozen=True)
class Linear:
    """Weights [C, H] and biases [C], float64, for features as they are; ``steps`` of L-BFGS led there."""

    weight: Tensor
    bias: Tensor
    steps: int = 0

    def read(self, features: Tensor) -> Tensor:
        """Return logits float64 [N, C] of features [N, H]."""
        return features.double() @ self.weight.T + self.bias


@dataclass(frozen=True)
class Scaled:
    """Features float64 [N, H] with mean 0 and variance 1, so that one ``l2`` is meant alike for all of them."""

    values: Tensor
    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scaled:
        """Scale features [N, H]; one that never changes becomes 0."""
        values = features.double()
        mean, spread = values.mean(dim=0), values.std(dim=0, correction=0)
        still = spread <= 1e-9 * spread.max().clamp(min=1e-30)
        spread = spread.masked_fill(still, torch.inf)
        return cls((values - mean) / spread, mean, spread)

    def unscale(self, weight: Tensor, bias: Tensor, steps: int) -> Linear:
        """Return what gives on the features as they are what ``weight`` [C, H] and ``bias`` [C] give on these."""
        own = weight / self.spread
        return Linear(own, bias - own @ self.mean, steps)

    def scale(self, linear: Linear) -> tuple[Tensor, Tensor]:
        """Return weights and biases for these features: the inverse of :meth:`unscale`."""
        spread = self.spread.masked_fill(self.spread.isinf(), 0.0)
        return linear.weight * spread, linear.bias + linear.weight @ self.mean


def compute_mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy (squared error where C = 1) of logits [N, C], in their own precision.

    ``targets`` are classes int64 [N], probabilities [N, C], or values [N] where C = 1.
    """
    wanted = targets.to(logits.dtype) if targets.is_floating_point() else targets
    if logits.shape[-1] == 1:
        return F.mse_loss(logits.squeeze(-1), wanted.to(logits.dtype))
    return F.cross_entropy(logits, wanted)


def limit_rows(width: int, outputs: int) -> int:
    """Return of how many samples a fit of weights [outputs, width] is not costly."""
    return max(1, COSTLY // (width * outputs))


def fit_linear(
    features: Scaled,
    targets: Tensor,
    outputs: int,
    l2: float,
    start: Linear | None = None,
    *,
    most_steps: int = MOST_STEPS,
) -> Linear:
    """Return the minimum of the mean loss plus ``l2`` / 2 times the squared weights, of ``outputs`` C logits.

    Few steps end near it. ``targets`` are :func:`compute_mean_loss`'s. Raises UsageError where the loss is not finite.
    """
    device = features.values.device
    if start is None:
        weight = torch.zeros(outputs, features.values.shape[1], dtype=torch.float64, device=device)
        bias = torch.zeros(outputs, dtype=torch.float64, device=device)
    else:
        weight, bias = features.scale(start)
    weight.requires_grad_(True)
    bias.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=most_steps,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def evaluate() -> float:
        optimizer.zero_grad()
        logits = features.values @ weight.T + bias
        loss = compute_mean_loss(logits, targets) + l2 / 2 * weight.square().sum()
        loss.backward()
        return float(loss.detach())

    optimizer.step(evaluate)
    steps = int(optimizer.state[weight]["n_iter"])
    with torch.no_grad():
        found = features.unscale(weight.detach(), bias.detach(), steps)
    if not bool(torch.isfinite(found.weight).all()):
        raise UsageError("The exits cannot be fitted: their loss is not finite. Take a larger recipe.l2.")
    return found


def choose_l2(
    features: Scaled,
    targets: Tensor,
    held: Tensor,
    held_targets: Tensor,
    outputs: int,
    choices: tuple[float, ...],
    *,
    most_steps: int = MOST_STEPS,
) -> tuple[float, float]:
    """Return the best of ``choices``, strongest first, on samples that are not fitted on, and its loss there.

    ``held`` are their features [M, H] as they are. The search ends where a weaker one is worse.
    """
    best, least, start = choices[0], torch.inf, None
    for l2 in choices:
        start = fit_linear(features, targets, outputs, l2, start, most_steps=most_steps)
        loss = float(compute_mean_loss(start.read(held), held_targets))
        if not loss < least:
            break
        best, least = l2, loss
    return best, least
