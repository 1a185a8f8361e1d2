"""The checks that the claims of papers refer to by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from backbones.names import Registry
from bench.compare.replayed import (
    Layers,
    NotReached,
    NotRun,
    ReplayedRun,
    Weighted,
    estimate_mean,
    measure_sample,
    subtract,
    subtract_curves,
)
from bench.errors import UsageError
from bench.measure.stats import Interval
from bench.reproduce.base import (
    Check,
    ClaimResult,
    Over,
    Place,
    StrategyCheck,
    Trial,
    combine_trials,
    compute_joint_level,
    judge_bound,
    judge_published,
    refuse_unlearned,
)
from bench.settings import bind_arguments

CHECKS: Registry[type[Check]] = Registry(
    "check",
    {
        "quality-at-speedup": "bench.reproduce.checks:QualityAtSpeedup",
        "below-full-at-speedup": "bench.reproduce.checks:BelowFullAtSpeedup",
        "curve-above": "bench.reproduce.checks:CurveAbove",
        "quality-at-cost-of": "bench.reproduce.checks:QualityAtCostOf",
        "overthinking-recovered": "bench.reproduce.checks:OverthinkingRecovered",
        "ordered-by-speedup": "bench.reproduce.checks:OrderedBySpeedup",
        "values-at": "bench.reproduce.checks:ValuesAt",
    },
    base="bench.reproduce.base:Check",
)


def make_check(name: str, arguments: Mapping[str, object]) -> Check:
    """Return the check of a claim. Raises UsageError for an unknown one, or arguments that it does not take."""
    kind = CHECKS.load(name)
    return kind(**bind_arguments(kind, arguments, f"check '{name}'"))


# --------------------------------------------------------------------------- qualities at equal cost, task by task

Pairs = Sequence[tuple[ReplayedRun, ReplayedRun]]


def compare_at_cost(
    pairs: Pairs, level: float, budget: Callable[[ReplayedRun], float]
) -> tuple[Interval, float, list[Layers]]:
    """Compare the first of each pair, at a budget of layers made of the second, with the second's last exit.

    Returns the difference of their qualities, the mean quality of the second ones, and the exit layers [N] of the first
    ones. Their cut is the first of the exact curve that is so cheap: chosen by cost alone. Raises ValueError where none
    is, with the reason.
    """
    cuts = [one.at_cost(budget(other)) for one, other in pairs]
    lasts = [other.quality(other.last) for _, other in pairs]
    gains = [subtract(one.quality(cut), last) for (one, _), cut, last in zip(pairs, cuts, lasts, strict=True)]
    samples = len(cuts[0])
    return estimate_mean(gains, samples, level), float(measure_sample(lasts, samples).mean()), cuts


@dataclass(frozen=True, kw_only=True)
class QualityAtSpeedup(StrategyCheck):
    """At least ``speedup`` times fewer layers and a quality at most ``loss`` below the full model's.

    The full model is the strategy's own last exit, or the last exit of ``against``, a model trained in another way.
    Bound: quality minus full quality >= -loss.
    """

    speedup: float
    loss: float = 0.0
    against: str | None = None

    def needs(self) -> list[str]:
        return [self.strategy, *([self.against] if self.against else [])]

    def compare(self, place: Place, level: float) -> Trial:
        pairs = place.pairs(self.strategy, self.against or self.strategy)
        wanted = f">= {-self.loss:g}" if self.loss else ">= 0"
        depth = pairs[0][0].depth
        try:
            ours, whole, cuts = compare_at_cost(pairs, level, lambda _: depth / self.speedup)
        except NotReached as reason:
            return Trial(place.where, "not reproduced", None, wanted, f"never {self.speedup:g}x as fast: {reason}")
        faster = np.mean([depth / cut.mean() for cut in cuts])
        detail = f"{self.strategy} {whole + ours.estimate:.3f} at {faster:.2f}x, full model {whole:.3f}"
        return Trial(place.where, judge_bound(ours, -self.loss, strict=False), ours, wanted, detail)


@dataclass(frozen=True, kw_only=True)
class BelowFullAtSpeedup(QualityAtSpeedup):
    """At ``speedup`` times fewer layers a quality below the full model's: a claim that something is lost.

    The full model as for :class:`QualityAtSpeedup`; ``block`` names the one with the paper's model. Bound: full quality
    minus quality > ``loss``. Nothing is said of a method that is never so fast.
    """

    block: str | None = None

    def find_places(self, places: Sequence[Place]) -> list[Place]:
        return [place for place in super().find_places(places) if self.block in (None, place.block)]

    def compare(self, place: Place, level: float) -> Trial:
        found = super().compare(place, level)
        if found.ours is None:
            raise NotRun(found.detail)
        lost = Interval(-found.ours.estimate, -found.ours.high, -found.ours.low, found.ours.level)
        return Trial(place.where, judge_bound(lost, self.loss, strict=True), lost, f"> {self.loss:g}", found.detail)


@dataclass(frozen=True, kw_only=True)
class TwoStrategies(StrategyCheck):
    """A check that ``strategy`` is better than ``other`` in some way. Bound: a difference > 0."""

    other: str

    def needs(self) -> list[str]:
        return [self.strategy, self.other]


@dataclass(frozen=True, kw_only=True)
class CurveAbove(TwoStrategies):
    """The curve of ``strategy`` lies above that of ``other`` at equal cost.

    Mean difference of quality over budgets of layers, evenly spaced over those that both curves reach. Bound: > 0.
    """

    def compare(self, place: Place, level: float) -> Trial:
        pairs = place.pairs(self.strategy, self.other)
        curves = [one.trade_off.curve.mean_layer for pair in pairs for one in pair]
        lowest, highest = max(curve[-1] for curve in curves), min(curve[0] for curve in curves)
        if highest - lowest < 1e-9:
            raise NotRun("the curves have no common budget")
        ours = estimate_mean(subtract_curves(pairs, lowest, highest), len(pairs[0][0].last), level)
        detail = f"mean over budgets of {lowest:.2f} to {highest:.2f} layers"
        return Trial(place.where, judge_bound(ours, 0.0, strict=True), ours, "> 0", detail)


@dataclass(frozen=True, kw_only=True)
class QualityAtCostOf(TwoStrategies):
    """At the cost of ``other``, a model of fewer layers without exits, ``strategy`` is better. Bound: > 0."""

    def compare(self, place: Place, level: float) -> Trial:
        pairs = place.pairs(self.strategy, self.other)
        try:
            ours, quality, cuts = compare_at_cost(pairs, level, lambda other: other.exits)
        except NotReached as reason:
            return Trial(place.where, "not reproduced", None, "> 0", str(reason))
        layers = np.mean([cut.mean() for cut in cuts])
        detail = f"{ours.estimate + quality:.3f} at {layers:.2f} layers, {quality:.3f} with {pairs[0][1].exits}"
        return Trial(place.where, judge_bound(ours, 0.0, strict=True), ours, "> 0", detail)


@dataclass(frozen=True, kw_only=True)
class OverthinkingRecovered(StrategyCheck):
    """Leaving early puts more answers right than wrong, compared with everybody at the last exit (overthinking).

    At ``point``, an operating point of the record (chosen on held-out data; the interval does not cover that choice) or
    ``default``. Bound: right early and wrong late, minus wrong early and right late, over all samples: > 0. Does not
    run where nobody leaves early.
    """

    point: str = "no-loss"

    def compare(self, place: Place, level: float) -> Trial:
        runs = place.of(self.strategy)
        refuse_unlearned(runs)
        cuts = [run.at_point(self.point) for run in runs]
        if all((c == run.last).all() for run, c in zip(runs, cuts, strict=True)):
            raise NotRun(f"at {self.point} no sample leaves early")
        gains = [
            subtract(run.quality(c, "accuracy"), run.quality(run.last, "accuracy"))
            for run, c in zip(runs, cuts, strict=True)
        ]
        ours = estimate_mean(gains, len(cuts[0]), level)
        trade_off = runs[0].trade_off
        right = trade_off.predictions == trade_off.exits.labels[:, None]
        early, late = right[np.arange(len(right)), cuts[0] - 1], right[:, -1]
        overthought = right[:, :-1].any(axis=1) & ~late
        detail = f"of {int(overthought.sum())} overthought {int((early & overthought).sum())} put right, "
        detail += f"{int((~early & late).sum())} others put wrong" + (" (first seed)" if len(runs) > 1 else "")
        return Trial(place.where, judge_bound(ours, 0.0, strict=True), ours, "> 0", detail)


# --------------------------------------------------------------------------- which tasks are sped up most


@dataclass(frozen=True, kw_only=True)
class OrderedBySpeedup(Check):
    """Tasks by their speed-up in layers, fastest first, on every backbone that has all of them.

    At ``point``, an operating point of the record (chosen on held-out data; the interval does not cover that choice) or
    ``default``. Bound, for each two neighbours: ratio of speed-ups > 1. Two tasks have different samples, so their
    estimates are independent. A part of the order refutes it but does not show it.
    """

    strategy: str
    tasks: tuple[str, ...]
    point: str = "no-loss"
    over: Over = "every"

    def judge(self, places: Sequence[Place]) -> ClaimResult:
        blocks: dict[str, dict[str, Place]] = {}
        for place in places:
            if place.plans(self.strategy):
                blocks.setdefault(place.block, {})[place.task] = place
        orders = [[own[task] for task in self.tasks] for own in blocks.values() if own.keys() >= set(self.tasks)]
        steps = [list(pairwise(order)) for order in orders]
        ran = sum(self.strategy in a.runs and self.strategy in b.runs for pairs in steps for a, b in pairs)
        chains = [[self._compare(a, b, compute_joint_level(ran)) for a, b in pairs] for pairs in steps]
        found = combine_trials([trial for chain in chains for trial in chain], self.over)
        if found.verdict == "reproduced" and all(any(t.verdict == "not run" for t in chain) for chain in chains):
            return ClaimResult("not run", found.trials, f"no backbone has evidence on all of {', '.join(self.tasks)}")
        return found

    def _compare(self, faster: Place, slower: Place, level: float) -> Trial:
        where = f"{faster.task} > {slower.task}, {faster.block}"
        try:
            one, other = (self._estimate(place, level, seed) for seed, place in enumerate((faster, slower)))
        except NotRun as reason:
            return Trial(where, "not run", detail=str(reason))
        ours = subtract_independent(one, other)
        detail = f"{np.exp(one.estimate):.2f}x and {np.exp(other.estimate):.2f}x"
        ratio = Interval(float(np.exp(ours.estimate)), float(np.exp(ours.low)), float(np.exp(ours.high)), level)
        return Trial(where, judge_bound(ratio, 1.0, strict=True), ratio, "> 1", detail)

    def _estimate(self, place: Place, level: float, seed: int) -> Interval:
        """Return the logarithm of the speed-up at a place."""
        runs = place.of(self.strategy)
        refuse_unlearned(runs)
        means = [(run.depth, run.mean_layer(run.at_point(self.point))) for run in runs]
        logs = [lambda w, depth=depth, mean=mean: np.log(depth / mean(w)) for depth, mean in means]
        return estimate_mean(logs, len(runs[0].last), level, seed)


def subtract_independent(one: Interval, other: Interval) -> Interval:
    """Return the interval of the difference of two independent estimates from an interval of each.

    Zou & Donner (2008), Statistics in Medicine 27 ("MOVER"): the distances to the limits add up as squares.
    """
    estimate = one.estimate - other.estimate
    below = np.hypot(one.estimate - one.low, other.high - other.estimate)
    above = np.hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(estimate, float(estimate - below), float(estimate + above), one.level)


# --------------------------------------------------------------------------- published numbers


@dataclass(frozen=True, kw_only=True)
class ValuesAt(StrategyCheck):
    """Published numbers of one task: ``published`` maps thresholds, exits or speed-ups (``by``) to them.

    ``quantity``: quality (the task's first metric, or ``metric``; of ``f1+accuracy`` the mean), loss (quality minus
    that of the last exit), layers (mean exit layer over all layers), speedup (all layers over the mean). A speed-up is
    met by the first cut of the exact curve that is as cheap. ``block`` names the one with the paper's model, where
    there are several. Wanted: within ``tolerance`` of the published number.
    """

    task: str
    published: Mapping[float, float]
    tolerance: float
    by: Literal["threshold", "exit", "speedup"]
    quantity: Literal["quality", "loss", "layers", "speedup"] = "quality"
    metric: str | None = None
    block: str | None = None

    def __post_init__(self) -> None:
        for name, value in (*self.published.items(), ("tolerance", self.tolerance)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"published numbers and their tolerance must be numbers, not '{value}' for {name}.")
        if not self.published:
            raise UsageError("there are no published numbers.")

    def find_places(self, places: Sequence[Place]) -> list[Place]:
        found = [p for p in super().find_places(places) if p.task == self.task and self.block in (None, p.block)]
        return found or [Place(self.block or "no block", self.task, {})]

    def count_intervals(self) -> int:
        return len(self.published)

    def judge_place(self, place: Place, level: float) -> list[Trial]:
        found = []
        for at, number in self.published.items():
            where, wanted = f"{place.where}, {self.by} {at:g}", f"{number:.4g}"
            try:
                runs = place.of(self.strategy)
                cuts = [self._cut(run, float(at)) for run in runs]
                values = [self._measure(run, cut) for run, cut in zip(runs, cuts, strict=True)]
                ours = estimate_mean(values, len(cuts[0]), level)
                verdict = judge_published(ours, number, self.tolerance)
                found.append(Trial(where, verdict, ours, f"{wanted} ± {self.tolerance:g}"))
            except NotReached as reason:
                found.append(Trial(where, "not reproduced", None, wanted, str(reason)))
            except NotRun as reason:
                found.append(Trial(where, "not run", None, wanted, str(reason)))
        return found

    def _cut(self, run: ReplayedRun, at: float) -> Layers:
        if self.by == "threshold":
            return run.at_threshold(at)
        if self.by == "speedup":
            return run.at_cost(run.depth / at)
        if not 1 <= at <= run.exits:
            raise NotRun(f"there are {run.exits} exits")
        return np.full(len(run.last), int(at))

    def _measure(self, run: ReplayedRun, cut: Layers) -> Weighted:
        if self.quantity == "quality":
            return self._find_quality(run, cut)
        if self.quantity == "loss":
            return subtract(self._find_quality(run, cut), self._find_quality(run, run.last))
        mean = run.mean_layer(cut)
        return (lambda w: mean(w) / run.depth) if self.quantity == "layers" else (lambda w: run.depth / mean(w))

    def _find_quality(self, run: ReplayedRun, cut: Layers) -> Weighted:
        parts = [run.quality(cut, name) for name in (self.metric or run.metric).split("+")]
        return lambda w: np.mean([part(w) for part in parts], axis=0)
