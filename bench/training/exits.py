"""Exits fitted on kept states: no forward and no backward pass through the backbone.

What is to be chosen (how states are pooled, how strongly linear exits are held back, how long others learn) is chosen
by the loss on a fifth of the *training* samples, drawn by the seed; with that, the exits are fitted on all of them.
Exits that are not linear are fitted on one pooling, that on which linear ones, fitted in no time, do better. Linear
exits of so many classes that their fit is costly, too; they choose on fewer samples and end after fewer steps.
Neither the samples that thresholds are chosen on nor those that are reported are looked at. The same seed gives the
same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bench.errors import UsageError
from bench.training.linear import (
    COSTLY_STEPS,
    L2_CHOICES,
    MOST_STEPS,
    Scaled,
    choose_l2,
    compute_mean_loss,
    fit_linear,
    limit_rows,
)
from bench.training.states import POOLINGS, PooledStates
from bench.training.trainer import seed_random
from strategies.base import Pooling
from strategies.pooler import PooledHead
from strategies.state_fit import StateFit

HELD_OUT, MOST_HELD_OUT = 0.2, 4000
STOP_AFTER = 3  # epochs that are no better
LEAST_STEPS = 8  # of an epoch: few samples are taken in smaller batches
WEIGHT_DECAY = 0.01
PROBE_L2, PROBE_STEPS, MOST_PROBED = 0.1, 20, 4000
"""Which pooling is better shows long before linear exits are at their best."""


@dataclass(frozen=True)
class ExitFit:
    """What is fitted: exits ``layers`` (1-based) of ``head``, in place; ``pooling`` None is the better of the two."""

    head: PooledHead
    layers: Sequence[int]
    settings: StateFit
    seed: int
    pooling: Pooling | None = None

    @property
    def outputs(self) -> int:
        """Width C of the logits."""
        return self.head.num_outputs

    @property
    def cheap_rows(self) -> int:
        """Samples on which a linear exit is fitted in no time."""
        return limit_rows(self.head.hidden_size, self.outputs)


@dataclass(frozen=True)
class Fitted:
    """What was found: the pooling; for each exit its loss on the samples held out; the other pooling's, if tried.

    ``probed`` are the losses of linear exits in their place, by which the pooling of others was chosen.
    ``chosen`` is the l2 of each exit, or the number of epochs of all; ``steps`` of the optimiser were made in all.
    """

    pooling: Pooling
    held_out: Mapping[str, tuple[float, ...]]
    chosen: Mapping[str, tuple[float, ...]]
    steps: int
    samples: int
    probed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def describe(self) -> dict[str, list[float]]:
        """Return the numbers for the record, by name."""
        kinds = {"held_out": self.held_out, "probe": self.probed}
        losses = {f"{kind}_{pooling}": one for kind, found in kinds.items() for pooling, one in found.items()}
        return {
            **{name: [round(loss, 5) for loss in one] for name, one in losses.items()},
            **{name: list(numbers) for name, numbers in self.chosen.items()},
        }


@dataclass(frozen=True)
class _Rows:
    """Samples by number, with what they are to learn."""

    states: PooledStates
    targets: Tensor
    rows: Tensor

    def features(self, pooling: Pooling, layer: int) -> Tensor:
        return self.states.at(pooling, layer)[self.rows].to(self.targets.device)

    def wanted(self) -> Tensor:
        return self.targets[self.rows.to(self.targets.device)]

    def thin_out(self, most: int) -> _Rows:
        """Return at most so many of the samples, evenly spaced."""
        return replace(self, rows=self.rows[:: math.ceil(len(self.rows) / most)])


def fit_exits(fit: ExitFit, states: PooledStates, targets: Tensor) -> Fitted:
    """Fit exits on ``states`` to ``targets``: classes int64 [N], probabilities [N, C], or values [N] where C = 1.

    All is computed where ``targets`` and the head are. Linear exits are fitted by L-BFGS, others by AdamW. Raises
    UsageError where a loss is not finite, or there is a single sample.
    """
    if len(states) < 2:
        raise UsageError("Exits cannot be fitted on a single sample: one more is needed, to choose how.")
    learn, held = part_rows(len(states), fit.seed)
    parts = [_Rows(states, targets, rows) for rows in (learn, held, torch.arange(len(states)))]
    linear, costly = has_linear_exits(fit), len(states) > fit.cheap_rows
    fitter = _LinearFitter(fit, COSTLY_STEPS if costly else MOST_STEPS) if linear else _StepFitter(fit)
    poolings: Sequence[Pooling] = POOLINGS if fit.pooling is None else (fit.pooling,)
    probed: dict[Pooling, tuple[float, ...]] = {}
    if (costly or not linear) and fit.pooling is None:
        probed = {pooling: probe_exits(fit, pooling, parts[0], parts[1]) for pooling in poolings}
        poolings = [min(probed, key=lambda pooling: sum(probed[pooling]))]
    tried = {pooling: fitter.search(pooling, parts[0], parts[1]) for pooling in poolings}
    best = min(tried, key=lambda pooling: sum(tried[pooling].losses))
    fitter.finish(best, parts[2], tried[best].chosen)
    fit.head.pooling = best
    return Fitted(
        best,
        {pooling: tuple(one.losses) for pooling, one in tried.items()},
        {fitter.what: tuple(tried[best].chosen)},
        fitter.steps,
        len(states),
        {str(pooling): losses for pooling, losses in probed.items()},
    )


def probe_exits(fit: ExitFit, pooling: Pooling, learn: _Rows, held: _Rows) -> tuple[float, ...]:
    """Return what linear exits in their place would lose on ``held``, near enough to tell poolings apart."""
    few = learn.thin_out(min(MOST_PROBED, fit.cheap_rows))
    losses = []
    for layer in fit.layers:
        features = Scaled.of(few.features(pooling, layer))
        probe = fit_linear(features, few.wanted(), fit.outputs, PROBE_L2, most_steps=PROBE_STEPS)
        losses.append(float(compute_mean_loss(probe.read(held.features(pooling, layer)), held.wanted())))
    return tuple(losses)


def part_rows(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of the samples to fit on and of those to choose by, at least one of each, in stored order."""
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, samples]))).permutation(samples)
    held = min(max(1, int(HELD_OUT * samples)), MOST_HELD_OUT)
    return torch.from_numpy(np.sort(order[held:])), torch.from_numpy(np.sort(order[:held]))


def has_linear_exits(fit: ExitFit) -> bool:
    """Return whether each exit is a weight [C, H] and a bias [C] of its own, and its logits are theirs."""
    own = [list(fit.head.exit_parameters(layer)) for layer in fit.layers]
    shapes = [torch.Size([fit.outputs, fit.head.hidden_size]), torch.Size([fit.outputs])]
    if any([p.shape for p in parameters] != shapes for parameters in own):
        return False
    if len({id(p) for parameters in own for p in parameters}) < 2 * len(own):
        return False
    weight, bias = own[0]
    head = copy.deepcopy(fit.head).eval()
    drawn = torch.randn(4, fit.head.hidden_size, generator=torch.Generator().manual_seed(0)).to(weight)
    with torch.no_grad():
        return torch.allclose(head.read_pooled(drawn, fit.layers[0]), drawn @ weight.T + bias, atol=1e-5)


@dataclass
class _Found:
    """The loss of each exit on samples held out, and what led there."""

    losses: list[float] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)


class _LinearFitter:
    """Each exit alone, to the minimum of its loss."""

    what = "l2"

    def __init__(self, fit: ExitFit, most_steps: int) -> None:
        self.fit, self.most_steps, self.steps = fit, most_steps, 0

    def search(self, pooling: Pooling, learn: _Rows, held: _Rows) -> _Found:
        choices = L2_CHOICES if self.fit.settings.l2 is None else (self.fit.settings.l2,)
        found, learn = _Found(), learn.thin_out(self.fit.cheap_rows)
        for layer in self.fit.layers:
            features = Scaled.of(learn.features(pooling, layer))
            held_features = held.features(pooling, layer)
            wanted = learn.wanted(), held.wanted()
            l2, loss = choose_l2(features, wanted[0], held_features, wanted[1], self.fit.outputs, choices,
                                 most_steps=self.most_steps)  # fmt: skip
            found.losses.append(loss)
            found.chosen.append(l2)
        return found

    def finish(self, pooling: Pooling, every: _Rows, chosen: Sequence[float]) -> None:
        for layer, l2 in zip(self.fit.layers, chosen, strict=True):
            features = Scaled.of(every.features(pooling, layer))
            linear = fit_linear(features, every.wanted(), self.fit.outputs, l2, most_steps=self.most_steps)
            weight, bias = self.fit.head.exit_parameters(layer)
            with torch.no_grad():
                weight.copy_(linear.weight)
                bias.copy_(linear.bias)
            self.steps += linear.steps


class _StepFitter:
    """All exits together, which may share parameters, by AdamW on the sum of their losses."""

    what = "epochs"

    def __init__(self, fit: ExitFit) -> None:
        self.fit, self.steps = fit, 0
        self.start = copy.deepcopy(fit.head.state_dict())
        trained = {id(p): p for layer in fit.layers for p in fit.head.exit_parameters(layer)}
        self.trained = list(trained.values())

    def search(self, pooling: Pooling, learn: _Rows, held: _Rows) -> _Found:
        features = {layer: learn.features(pooling, layer) for layer in self.fit.layers}
        best, least, waited, optimizer = _Found(), math.inf, 0, self._begin()
        for epoch in range(1, self.fit.settings.epochs + 1):
            self._run_epoch(epoch, optimizer, features, learn.wanted())
            losses = self._measure(pooling, held)
            if sum(losses) < least:
                best, least, waited = _Found(losses, [epoch]), sum(losses), 0
            elif (waited := waited + 1) == STOP_AFTER:
                break
        if not best.losses:
            raise UsageError("The exits cannot be fitted: their loss is not finite. Take a smaller recipe.lr.")
        return best

    def finish(self, pooling: Pooling, every: _Rows, chosen: Sequence[float]) -> None:
        features = {layer: every.features(pooling, layer) for layer in self.fit.layers}
        optimizer = self._begin()
        for epoch in range(1, int(chosen[0]) + 1):
            self._run_epoch(epoch, optimizer, features, every.wanted())
        self.fit.head.eval()

    def _begin(self) -> torch.optim.Optimizer:
        self.fit.head.load_state_dict(self.start)
        return torch.optim.AdamW(self.trained, lr=self.fit.settings.lr, weight_decay=WEIGHT_DECAY, fused=True)

    def _run_epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer, features: Mapping[int, Tensor], wanted: Tensor
    ) -> None:
        """Make the steps of one epoch, in an order and with dropout that depend on seed and epoch alone.

        The rate falls in a straight line over all epochs, the last of which still has its share.
        """
        head, settings = self.fit.head.train(), self.fit.settings
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * (1 - (epoch - 1) / settings.epochs)
        size = min(settings.batch_size, math.ceil(len(wanted) / LEAST_STEPS))
        drawn = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.fit.seed, epoch])))
        order = torch.from_numpy(drawn.permutation(len(wanted))).to(wanted.device)
        with seed_random(int(drawn.integers(2**31)), wanted.device):
            for rows in order.split(size):
                losses = [
                    compute_mean_loss(head.read_pooled(x[rows], layer), wanted[rows]) for layer, x in features.items()
                ]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                self.steps += 1

    @torch.no_grad()
    def _measure(self, pooling: Pooling, held: _Rows) -> list[float]:
        """Return the loss of each exit."""
        head, wanted = self.fit.head.eval(), held.wanted()
        pairs = ((layer, held.features(pooling, layer)) for layer in self.fit.layers)
        return [float(compute_mean_loss(head.read_pooled(features, layer), wanted)) for layer, features in pairs]
