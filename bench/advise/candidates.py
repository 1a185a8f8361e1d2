"""Criteria on the same exits: for each the cut that the goal asks for, chosen on samples that are not reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.advise.ceiling import WORTH, DepthTimes
from bench.advise.goal import Goal
from bench.advise.heads import RecordedExits, fit_candidate
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.risk import tabulate_losses
from bench.measure.rules import Unreachable
from bench.measure.scores import score_recorded
from bench.measure.trade_off import TradeOff
from strategies import STRATEGIES
from strategies.base import Criterion
from strategies.controls import AtLayer


@dataclass(frozen=True)
class Candidate:
    """A criterion with its cut: what was promised on the samples it was chosen on, and what it does on the reported.

    ``reason`` says why there is no cut, where there is none. ``speedup`` is by the times of the depths.
    """

    name: str
    criterion: Criterion
    cut: float
    chosen: Promise | None
    layers: NDArray[np.int64]
    reason: str = ""

    @property
    def threshold(self) -> float:
        """The cut in the criterion's own terms."""
        return self.criterion.threshold(self.cut)

    def is_useful(self) -> bool:
        """Return whether anybody leaves early at a cut that the goal allows."""
        return self.chosen is not None and math.isfinite(self.cut) and self.chosen.speedup >= WORTH


@dataclass(frozen=True)
class Promise:
    """What a cut gives on the samples that it was chosen on: predicted speed-up, quality, share of changed answers."""

    speedup: float
    quality: float
    changed: float
    mean_exit: float


def compare_candidates(
    names: Sequence[str], fitted: RecordedExits, times: DepthTimes, goal: Goal, metrics: Sequence[str], seed: int
) -> list[Candidate]:
    """Return every criterion with the cut that the goal asks for, the best first."""
    found = [choose_candidate(STRATEGIES.load(n).criterion(), n, fitted, times, goal, metrics, seed, len(names))
             for n in names]  # fmt: skip
    return sorted(found, key=lambda one: rank_candidate(one, goal), reverse=True)


def rank_candidate(one: Candidate, goal: Goal) -> tuple[float, ...]:
    """Return what makes one candidate better than another: speed where the goal is quality, and the other way round."""
    if one.chosen is None:
        return (-math.inf, 0.0)
    if goal.kind in ("target_ms", "speedup"):
        return (one.chosen.quality, -one.chosen.changed, one.chosen.speedup)
    return (one.chosen.speedup, one.chosen.quality)


def choose_candidate(
    criterion: Criterion,
    name: str,
    fitted: RecordedExits,
    times: DepthTimes,
    goal: Goal,
    metrics: Sequence[str],
    seed: int,
    criteria: int = 1,
) -> Candidate:
    """Choose the cut of one of so many ``criteria``."""
    held_out = fit_candidate(criterion, fitted.choose, seed)
    rule = goal.make_rule(times.plain_ms, criteria)
    choose = TradeOff(criterion, held_out, times.predict_costs(held_out), metrics)
    found = choose.choose(rule)
    if isinstance(found, Unreachable):
        everybody = np.full(len(fitted.report.ids), fitted.report.logits.shape[1])
        return Candidate(name, criterion, -math.inf, None, everybody, found.reason.replace("FLOPs", "predicted"))
    layers = choose.layers_at(found.cut)
    promise = Promise(
        speedup=float(choose.costs.plain.sum() / choose.spent_at(layers).sum()),
        quality=choose.compute_metrics(layers)[metrics[0]],
        changed=measure_change(held_out, layers),
        mean_exit=float(layers.mean()),
    )
    scores = score_recorded(criterion, fitted.report)
    reported = exit_layers(scores, float(scores.dtype.type(found.cut)), strict=criterion.strict)
    return Candidate(name, criterion, found.cut, promise, reported)


def choose_depth(
    fitted: RecordedExits, times: DepthTimes, goal: Goal, metrics: Sequence[str], mean_exit: float
) -> Candidate:
    """Choose how many layers do alone, with the same heads: the fewest that reach the goal.

    Where none does, as many as early exit needs on average.
    """
    last = fitted.choose.logits.shape[1]
    allowed = []
    for layer in range(1, last):
        one = choose_candidate(AtLayer(layer=layer), f"first {layer} layers", fitted, times, goal, metrics, 0)
        if one.chosen is not None and math.isfinite(one.cut):
            allowed.append(one)
    if allowed:
        return max(allowed, key=lambda one: rank_candidate(one, goal))
    layer = min(last - 1, max(1, round(mean_exit)))
    layers = np.full(len(fitted.report.ids), layer)
    return Candidate(f"first {layer} layers", AtLayer(layer=layer), 0.0, None, layers, "the goal is not reached")


def measure_change(exits: AllExits, layers: NDArray[np.int64]) -> float:
    """Return the share of samples whose answer differs from the last exit's; of a regression the mean difference.

    The latter counts 1 at most for each sample.
    """
    losses = tabulate_losses("risk", exits.predictions, exits.labels)
    return float(losses[np.arange(len(layers)), layers - 1].mean())
