"""Strategy = Head + Recipe + Criterion.

The head turns the hidden states at an exit into logits, the recipe trains backbone and heads, the criterion decides
when a sample leaves. The three know nothing of each other, so that any criterion can be put on any checkpoint: the
only fair comparison of criteria.

Layers and exits are counted from 1; an encoder with L layers has exits 1..L, and exit L is the model's own classifier.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import LayeredEncoder
from strategies.contract import check_state, check_step
from strategies.head import ExitModel as ExitModel
from strategies.head import Head as Head
from strategies.head import MemoryHead as MemoryHead
from strategies.head import Pooling as Pooling
from strategies.head import State as State
from strategies.head import StrategyError as StrategyError
from strategies.head import apply_linear as apply_linear
from strategies.head import apply_wide_linear as apply_wide_linear
from strategies.head import make_linear as make_linear
from strategies.head import pool as pool
from strategies.probe import Probe
from strategies.state_fit import StateFit


@dataclass(frozen=True)
class Stage:
    """One phase of training: what is fitted, and how it departs from the run's own settings.

    Everything not named is frozen: it runs without gradient and in evaluation mode, and is bit-identical afterwards.
    """

    name: str
    backbone: bool = True
    exits: Literal["all", "last", "early"] = "all"
    lr_scale: float = 1.0
    epochs: int | None = None


def compute_task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of logits [B, C] and class indices [B]; mean squared error where C = 1."""
    if logits.shape[-1] == 1:
        return F.mse_loss(logits.squeeze(-1).float(), labels.float())
    return F.cross_entropy(logits.float(), labels)


class Recipe(nn.Module, ABC):
    """How a model with exits is fitted: one or more stages, each with a loss over all exits' logits."""

    stages: tuple[Stage, ...] = (Stage("train"),)
    own_lr: ClassVar[float] = 1e-2
    """Learning rate of the recipe's own parameters, where it has any."""
    distils: bool = False
    """Whether exits learn one another's class probabilities."""
    regression: ClassVar[bool] = True
    """Whether it can fit tasks with one continuous output."""
    state_fit: StateFit | None = None
    """How heads are fitted on kept states, of a recipe that never trains the backbone."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.num_layers = num_layers

    def adapt_to(self, head: Head) -> None:
        """Take note of the head, before anything else is asked."""

    def refuse(self, head: Head) -> str | None:
        """Return why this recipe makes no sense with ``head``, or None."""
        if self.distils and head.num_outputs == 1:
            return "self-distillation needs class probabilities, and a regression task has none"
        if not self.regression and head.num_outputs == 1:
            return "it needs classes, and a regression task has none"
        if head.shares_parameters and any(stage.exits == "early" for stage in self.stages):
            return "it trains the early exits with the last one frozen, and this head shares parameters between exits"
        return None

    def trains_early_exits(self, head: Head) -> bool:
        """Return whether exits before the last are trained at all: an untrained head never answers."""
        return head.shares_parameters or any(stage.exits != "last" for stage in self.stages)

    def take_schedule(self, stage: Stage, steps: int, per_epoch: int) -> None:
        """Take note, before ``stage`` begins, of how many optimiser steps it has and how many an epoch of it has."""

    @abstractmethod
    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        """Return the terms of the loss, scalars, whose sum is minimised.

        ``logits`` holds [B, C] for each exit 1..L (only exit L's where ``stage.exits`` is "last").
        ``step`` counts optimiser steps within the stage from 0.
        """

    def memory_losses(self, stage: Stage, memory: State, labels: Tensor) -> tuple[Tensor, ...]:
        """Return further terms, of what a head with a memory holds after its last exit; none for other heads."""
        return ()

    def nodes(self, states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return what the heads read in training, given the hidden states [B, T, H] of layers 1..L; the same numbers.

        Where a recipe reshapes the gradient between exits and backbone: a hook on a state acts on all that flows back
        into its layer, a hook on what is returned on the exit's part alone.
        """
        return states

    def backward(self, losses: tuple[Tensor, ...], encoder: LayeredEncoder) -> None:
        """Accumulate the gradients of the losses."""
        cast(Tensor, sum(losses)).backward()

    def report(self) -> dict[str, list[float]]:
        """Return numbers worth keeping in the record, such as learned weights."""
        return {}


class Start:
    """What a criterion may know before the first exit.

    ``keys`` [N] int64 are stable per-sample numbers (for controls that draw at random without depending on the
    batch); ``labels`` [N] are given to oracles only.
    """

    def __init__(
        self,
        samples: int,
        num_layers: int,
        num_outputs: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        keys: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        self.samples, self.num_layers, self.num_outputs = samples, num_layers, num_outputs
        self.dtype, self.device, self.labels = dtype, device, labels
        self._keys = keys

    @cached_property
    def keys(self) -> Tensor | None:
        """The samples' numbers on the device; they go there when they are asked for, which few criteria do."""
        return None if self._keys is None else self._keys.to(self.device)


@dataclass(frozen=True)
class Seen:
    """What a criterion sees at one exit: its number (1-based), the logits [n, C], what its probe read there [n, K]."""

    layer: int
    logits: Tensor
    observed: Tensor | None = None


class ScoreEstimate(NamedTuple):
    """A score in plain numbers, and how far at most the score of :meth:`Criterion.step` is from it."""

    score: float
    error: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """What a criterion may be fitted on: the held-out split with every exit recorded; nothing that is reported.

    ``logits`` [N, L, C], ``labels`` int64 or float [N], ``observed`` [N, L, K] where the criterion has a probe.
    """

    logits: Tensor
    labels: Tensor
    observed: Tensor | None = None


class Criterion(ABC):
    """When does a sample leave? A small causal step function, vectorised over samples.

    :meth:`step` returns a score for each sample, lower meaning readier; the sample leaves when its score is below the
    cut (strictly, unless ``strict`` is False). A score of -inf leaves at every cut but -inf, which means "never". The
    same step serves replay (all samples at once) and live inference (the samples still inside).
    """

    threshold_name: ClassVar[str] = "threshold"
    """The field's own name for the threshold ("patience", "speed"); accepted as an alias."""
    default_threshold: ClassVar[float] = 0.1
    integer: ClassVar[bool] = False
    """Whether the threshold counts something, so that it is a whole number."""
    strict: bool = True
    regression: ClassVar[bool] = False
    """Whether it applies to tasks with one continuous output."""
    classification: ClassVar[bool] = True
    loosest: ClassVar[float] = math.inf
    """The largest cut that is a setting of the method; looser ones exist on the scale but are never chosen."""
    needs_labels: ClassVar[bool] = False
    uses_early_exits: ClassVar[bool] = True
    """False for a criterion that never leaves before the last exit."""
    fits: ClassVar[bool] = False
    """Whether :meth:`fit` has something to learn before the first decision."""
    probe: Probe | None = None
    """What it reads besides the logits (set in ``__init__``); a wrapper takes over the probe of what it wraps."""
    causal: ClassVar[bool] = True
    """False for an upper bound that looks at later exits: :meth:`acausal_scores` replays it, and it cannot run live."""

    def refuse(self, num_outputs: int) -> str | None:
        """Return why this criterion cannot serve a task with ``num_outputs`` logits, or None."""
        if num_outputs == 1 and not self.regression:
            return "it needs class probabilities, and a regression task has none"
        if num_outputs > 1 and not self.classification:
            return "it is for regression tasks"
        return None

    def warnings(self, num_layers: int) -> list[str]:
        """Return what a user should know about these arguments on a backbone of ``num_layers``."""
        return []

    def follow_depth(self, num_layers: int) -> dict[str, object]:
        """Return the arguments that nobody gave and whose default follows the depth, as they are on ``num_layers``."""
        return {}

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        """Learn the criterion's own few numbers (temperatures, per-exit cuts) from held-out samples.

        Called once, before any replay or live decision, where :attr:`fits`; returns the numbers for the record.
        """
        return {}

    def cut(self, threshold: float) -> float:
        """Return the cut on the score that a user's threshold means."""
        return threshold

    def threshold(self, cut: float) -> float:
        """Return the user's threshold that a cut means: the inverse of :meth:`cut`."""
        return cut

    def cut_at(self, threshold: float) -> float:
        """Return :meth:`cut` of a user's threshold. Raises StrategyError where a count is no whole number."""
        if self.integer and math.isfinite(threshold) and threshold != round(threshold):
            raise StrategyError(f"The {self.threshold_name} is a count, and {threshold:g} is no whole number.")
        return self.cut(threshold)

    def start(self, start: Start) -> State:
        """Return the state before the first exit, for ``start.samples`` samples."""
        return {}

    @abstractmethod
    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        """Return the state after this exit and the score [n] at it, from what was seen up to here."""

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        """Return one sample's score at its latest exit, from its logits at all ``exits`` so far as plain numbers.

        Optional, and for speed alone: on the host a few tensor operations between two layers take longer than what they
        compute. :meth:`step` stays the definition, and whoever asks takes an estimate only where the cut is further
        from it than its ``error``, and asks of logits within 1e30 alone. It holds for the class that writes it and for
        none derived from it: its step may be another.
        """
        raise NotImplementedError

    def estimates(self, num_outputs: int) -> bool:
        """Return whether :meth:`estimate` may be asked about so many logits.

        By default where this very class writes it, and logits are all that its step reads.
        """
        return self.probe is None and "estimate" in vars(type(self))

    def leaves(self, score: Tensor, cut: float) -> Tensor:
        """Return which samples leave, bool [n]. A score of +inf never does, and at the cut -inf nobody does."""
        if self.strict or cut == -math.inf:
            return score < cut
        return score <= min(cut, torch.finfo(score.dtype).max)

    def decide(self, estimate: ScoreEstimate, cut: float) -> bool | None:
        """Return whether a sample leaves, from the estimate of its score; None where the cut is too near to be sure."""
        score, error = estimate
        if error == 0:
            if score != cut and math.isclose(score, cut, rel_tol=1e-6, abs_tol=1e-37):
                return None  # they may be the same in the score's precision
            return score < cut if self.strict or cut == -math.inf else score <= min(cut, sys.float_info.max)
        if score + error < cut:
            return True
        return False if score - error > cut else None

    def acausal_scores(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """Return scores [N, L] from the logits [N, L, C] of all exits at once, for a criterion that is not causal.

        ``labels`` int64 [N] where :attr:`needs_labels`. Raises StrategyError for a causal criterion.
        """
        raise StrategyError("This criterion is causal: step through it, exit by exit.")

    def macs(self, num_outputs: int, layer: int) -> int:
        """Return the multiply-accumulates of the criterion's own head at exit ``layer``, for one sample."""
        return 0


def step_through(
    criterion: Criterion,
    logits: Tensor,
    keys: Tensor | None = None,
    labels: Tensor | None = None,
    observed: Tensor | None = None,
) -> Iterator[tuple[State, Tensor]]:
    """Step a criterion through recorded logits [N, L, C]: yield its state and scores [N] after each exit 1..L.

    ``keys`` int64 [N] default to 0..N-1; ``observed`` [N, L, K] is what its probe read, where it has one.
    """
    samples, exits, outputs = logits.shape
    numbers = torch.arange(samples) if keys is None else keys
    begun = criterion.start(Start(samples, exits, outputs, logits.dtype, logits.device, numbers, labels))
    state = check_state(criterion, begun, samples)
    for layer in range(1, exits + 1):
        read = None if observed is None else observed[:, layer - 1]
        found = criterion.step(state, Seen(layer, logits[:, layer - 1], read))
        state, score = check_step(criterion, found, samples, layer)
        yield state, score


def select(state: State, rows: Tensor) -> State:
    """Return the state of some samples: ``rows`` is a bool mask or int64 indices over the first dimension."""
    return {name: value[rows] for name, value in state.items()}


def predict(logits: Tensor) -> Tensor:
    """Return the class index [n] from logits [n, C] (the first maximum), or the value itself where C = 1."""
    return logits.squeeze(-1) if logits.shape[-1] == 1 else logits.argmax(dim=-1)


def check_finite(logits: Tensor, layer: int, names: Sequence[object] | Tensor | None = None) -> None:
    """Raise :class:`StrategyError` naming sample and exit where logits [n, C] are NaN or infinite.

    ``names`` are the samples', or their numbers int64 [n], by default their places.
    """
    bad = ~torch.isfinite(logits).all(dim=-1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0, 0])
        name = row if names is None else names[row]
        name = int(name) if isinstance(name, Tensor) else name
        raise StrategyError(f"Logits of sample {name} at exit {layer} are not finite: {logits[row].tolist()}.")


Family = Literal["confidence", "windows and patience", "learned", "controls"]
"""How sure one exit is; whether several agree; a rule that was fitted; plain models, bounds and chance."""


class Strategy:
    """A published system: its head, recipe and criterion, and what a reader must know about it."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the strategy's results change; a part of every result's identity."""
    head: ClassVar[type[Head]]
    recipe: ClassVar[type[Recipe]]
    criterion: ClassVar[type[Criterion]]
    citation: ClassVar[str] = ""
    equations: ClassVar[tuple[str, ...]] = ()
    sources: ClassVar[Mapping[str, str]] = {}
    """Where each default comes from."""
    differences: ClassVar[tuple[str, ...]] = ()
    """What differs from the paper and from the released code, and why."""
    upper_bound: ClassVar[bool] = False
    """True for oracles, which know the label or the later exits."""
    family: ClassVar[Family] = "confidence"
    """What its criterion goes by."""
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    """Published settings by task, "*" for all (a task's own win): keys as the command line's ``--set`` takes them."""

    @classmethod
    def version_for(cls, outputs: int) -> int:
        """Return the version of results with ``outputs`` logits: a change may concern some numbers of classes only."""
        return cls.version

    @classmethod
    def backbone_overrides(cls, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return changes to the backbone's configuration that the criterion's ``arguments`` ask for."""
        return {}
