"""A criterion as it is judged: made anew each time, fitted on made-up samples, with made-up logits and observations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.inference.replay import make_criterion
from strategies.base import Criterion, Evidence, ExitModel, Seen, Start, Strategy, step_through
from strategies.entropy import JointRecipe, LinearHead

EXITS = 6
"""Exits of made-up logits, if nothing else is said."""
FITTED_SAMPLES = 40


@dataclass(frozen=True)
class JudgedCriterion:
    """A strategy's criterion with its arguments; unfitted where ``fits`` is False, as it is before any fit."""

    kind: type[Strategy]
    arguments: Mapping[str, object] = field(default_factory=dict)
    fits: bool = True
    _made: dict[tuple[int, int], Criterion] = field(default_factory=dict, repr=False, compare=False)

    @property
    def criterion(self) -> type[Criterion]:
        """The class that is judged."""
        return self.kind.criterion

    def make(self, exits: int = EXITS, outputs: int = 3) -> Criterion:
        """Return a criterion of its own for logits [N, exits, outputs], fitted where it has something to learn."""
        known = exits, outputs
        if known not in self._made:
            made = make_criterion(self.kind, self.arguments)[0]
            if made.fits and self.fits:
                made.fit(self.draw_evidence(exits, outputs))
            self._made[known] = made
        return deepcopy(self._made[known])

    def make_for(self, logits: Tensor) -> Criterion:
        """Return a criterion of its own for these logits [N, L, C]."""
        return self.make(logits.shape[1], logits.shape[2])

    def draw_evidence(self, exits: int = EXITS, outputs: int = 3) -> Evidence:
        """Return other samples than those that are judged, to be fitted on."""
        logits = draw_logits(1000, FITTED_SAMPLES, exits, outputs)
        labels = logits[:, max(exits - 2, 0)].argmax(dim=-1)
        return Evidence(logits, labels, make_observed(make_criterion(self.kind, self.arguments)[0], logits))

    def draw(self, seed: int = 0, samples: int = 40, exits: int = EXITS, classes: int = 3) -> Tensor:
        """Return logits [N, L, C] of so many classes, or of one output where it serves regression alone."""
        return draw_logits(seed, samples, exits, classes if self.criterion.classification else 1)

    def list_outputs(self) -> list[int]:
        """Return the numbers of logits that it must serve, of 1, 2, 3 and 1,000."""
        return [n for n in (1, 2, 3, 1000) if self.make(outputs=3).refuse(n) is None]


def draw_logits(seed: int, samples: int, exits: int, outputs: int, scale: float = 2.0) -> Tensor:
    """Return logits [N, L, C] whose exits agree often enough for windows and counters to fire."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(samples, 1, outputs, generator=generator)
    return scale * (own + 0.7 * torch.randn(samples, exits, outputs, generator=generator).cumsum(dim=1))


def make_observed(criterion: Criterion, logits: Tensor) -> Tensor | None:
    """Return made-up observations [N, L, K] in [0, 1] for logits [N, L, C], or None for a criterion without a probe.

    They follow from the logits at the same exit, so that they stay with their sample however it is sliced or moved.
    """
    if criterion.probe is None:
        return None
    width = criterion.probe.width(logits.shape[-1])
    mixed = logits.double().sum(dim=-1, keepdim=True) * torch.arange(1, width + 1)
    return torch.sin(mixed).abs().to(logits.dtype)


def make_first(logits: Tensor, keys: Tensor | None = None) -> Start:
    """Return what a criterion knows before exit 1 of logits [N, L, C]; ``keys`` default to 0..N-1."""
    samples, exits, outputs = logits.shape
    return Start(samples, exits, outputs, logits.dtype, keys=torch.arange(samples) if keys is None else keys)


def make_seen(criterion: Criterion, logits: Tensor, layer: int) -> Seen:
    """Return what ``criterion`` sees at an exit of logits [N, L, C]."""
    observed = make_observed(criterion, logits)
    return Seen(layer, logits[:, layer - 1], None if observed is None else observed[:, layer - 1])


def step_all(criterion: Criterion, logits: Tensor, keys: Tensor | None = None) -> Tensor:
    """Return the scores [N, L] of a criterion whose probe, if it has one, read made-up numbers."""
    steps = step_through(criterion, logits, keys=keys, observed=make_observed(criterion, logits))
    return torch.stack([score for _, score in steps], dim=1)


def fit_on_model(criterion: Criterion, model: ExitModel, samples: int = 64) -> Criterion:
    """Return ``criterion`` and its probe, fitted on random samples of the shape and in the precision of ``model``."""
    generator = torch.Generator().manual_seed(20_210_701)
    outputs, dtype = model.head.num_outputs, next(model.parameters()).dtype
    labels = torch.arange(samples) % max(outputs, 2)
    features = torch.randn(samples, model.num_layers, model.encoder.hidden_size, generator=generator)
    logits = 3 * torch.randn(samples, model.num_layers, outputs, generator=generator)
    if criterion.probe is not None:
        criterion.probe.fit(features, logits, labels)
        criterion.probe.to(dtype)
    if criterion.fits:
        criterion.fit(Evidence(logits, labels, make_observed(criterion, logits)))
    return criterion


def shrink_logits(judged: JudgedCriterion, logits: Tensor) -> Iterator[Tensor]:
    """Yield logits with fewer samples, exits and classes, then with rounder numbers."""
    samples, exits, outputs = logits.shape
    yield from (logits[i : i + 1] for i in range(samples if samples > 1 else 0))
    for size in (samples // 2, samples - 1):
        if 1 < size < samples:
            yield logits[:size]
            yield logits[-size:]
    for at in range(exits if exits > 1 else 0):
        yield torch.cat([logits[:, :at], logits[:, at + 1 :]], dim=1)
    for size in dict.fromkeys((2, outputs // 2, outputs - 1)):
        if 2 <= size < outputs:
            yield logits[:, :, :size]
    for decimals in (0, 1):
        rounder = logits.round(decimals=decimals) + 0.0  # no -0.0
        if not torch.equal(rounder, logits):
            yield rounder


def make_strategy_of(criterion: type[Criterion]) -> type[Strategy]:
    """Return a criterion as a strategy, on linear heads that are trained jointly."""
    said = {"__doc__": criterion.__doc__, "__module__": criterion.__module__, "name": criterion.__name__}
    parts = {"head": LinearHead, "recipe": JointRecipe, "criterion": criterion}
    return type(criterion.__name__, (Strategy,), {**said, **parts})
