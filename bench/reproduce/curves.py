"""Checks that compare qualities at equal cost, task by task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.compare.evidence import NotRun, estimate_mean, subtract, subtract_curves
from bench.reproduce.base import OfStrategy, refuse_unlearned, value_of
from bench.reproduce.places import Place
from bench.reproduce.verdict import Over, Part, beyond


@dataclass(frozen=True, kw_only=True)
class QualityAtSpeedup(OfStrategy):
    """At least ``speedup`` times fewer layers and a quality at most ``loss`` below the full model's.

    The cut is the first of the exact curve that is so cheap: chosen by cost alone. The full model is the strategy's
    own last exit, or the last exit of ``against``, a model trained in another way. Bound: quality minus full quality
    >= -loss.
    """

    strategy: str
    speedup: float
    loss: float = 0.0
    against: str | None = None
    over: Over = "every"

    def needs(self) -> list[str]:
        return [self.strategy, *([self.against] if self.against else [])]

    def part(self, place: Place, level: float) -> Part:
        pairs = place.pairs(self.strategy, self.against or self.strategy)
        refuse_unlearned([run for run, _ in pairs])
        wanted = f">= {-self.loss:g}" if self.loss else ">= 0"
        try:
            cuts = [run.at_cost(run.depth / self.speedup) for run, _ in pairs]
        except ValueError as reason:
            return Part(place.where, "not reproduced", None, wanted, f"never {self.speedup:g}x as fast: {reason}")
        found = [
            subtract(run.quality(cut), full.quality(full.last)) for (run, full), cut in zip(pairs, cuts, strict=True)
        ]
        ours = estimate_mean(found, len(cuts[0]), level)
        faster = np.mean([run.depth / cut.mean() for (run, _), cut in zip(pairs, cuts, strict=True)])
        whole = np.mean([value_of(full.quality(full.last), len(cuts[0])) for _, full in pairs])
        detail = f"{self.strategy} {whole + ours.estimate:.3f} at {faster:.2f}x, full model {whole:.3f}"
        return Part(place.where, beyond(ours, -self.loss, strict=False), ours, wanted, detail)


@dataclass(frozen=True, kw_only=True)
class CurveAbove(OfStrategy):
    """The curve of ``strategy`` lies above that of ``other`` at equal cost.

    Mean difference of quality over budgets of layers, evenly spaced over those that both curves reach. Bound: > 0.
    """

    strategy: str
    other: str
    over: Over = "every"

    def needs(self) -> list[str]:
        return [self.strategy, self.other]

    def part(self, place: Place, level: float) -> Part:
        pairs = place.pairs(self.strategy, self.other)
        refuse_unlearned([run for run, _ in pairs])
        curves = [one.trade_off.curve.mean_layer for pair in pairs for one in pair]
        lowest, highest = max(curve[-1] for curve in curves), min(curve[0] for curve in curves)
        if highest - lowest < 1e-9:
            raise NotRun("the curves have no common budget")
        ours = estimate_mean(subtract_curves(pairs, lowest, highest), len(pairs[0][0].last), level)
        detail = f"mean over budgets of {lowest:.2f} to {highest:.2f} layers"
        return Part(place.where, beyond(ours, 0.0, strict=True), ours, "> 0", detail)


@dataclass(frozen=True, kw_only=True)
class QualityAtCostOf(OfStrategy):
    """At the cost of ``other``, a model of fewer layers without exits, ``strategy`` is better. Bound: > 0."""

    strategy: str
    other: str
    over: Over = "every"

    def needs(self) -> list[str]:
        return [self.strategy, self.other]

    def part(self, place: Place, level: float) -> Part:
        pairs = place.pairs(self.strategy, self.other)
        refuse_unlearned([run for run, _ in pairs])
        try:
            cuts = [run.at_cost(other.exits) for run, other in pairs]
        except ValueError as reason:
            return Part(place.where, "not reproduced", None, "> 0", str(reason))
        found = [subtract(run.quality(cut), b.quality(b.last)) for (run, b), cut in zip(pairs, cuts, strict=True)]
        ours = estimate_mean(found, len(cuts[0]), level)
        other = np.mean([value_of(b.quality(b.last), len(cuts[0])) for _, b in pairs])
        layers = np.mean([cut.mean() for cut in cuts])
        detail = f"{ours.estimate + other:.3f} at {layers:.2f} layers, {other:.3f} with {pairs[0][1].exits}"
        return Part(place.where, beyond(ours, 0.0, strict=True), ours, "> 0", detail)


@dataclass(frozen=True, kw_only=True)
class OverthinkingRecovered(OfStrategy):
    """Leaving early puts more answers right than wrong, compared with everybody at the last exit (overthinking).

    At ``point``, an operating point of the record (chosen on held-out data; the interval does not cover that choice) or
    ``default``. Bound: right early and wrong late, subtract wrong early and right late, over all samples: > 0.
    """

    strategy: str
    point: str = "no-loss"
    over: Over = "every"

    def part(self, place: Place, level: float) -> Part:
        runs = place.of(self.strategy)
        refuse_unlearned(runs)
        cuts = [run.at_point(self.point) for run in runs]
        found = [
            subtract(run.quality(c, "accuracy"), run.quality(run.last, "accuracy"))
            for run, c in zip(runs, cuts, strict=True)
        ]
        ours = estimate_mean(found, len(cuts[0]), level)
        early, late = runs[0].right(cuts[0]), runs[0].right(runs[0].last)
        inner = runs[0].trade_off.predictions == runs[0].trade_off.exits.labels[:, None]
        overthought = inner[:, :-1].any(axis=1) & ~late
        detail = f"of {int(overthought.sum())} overthought {int((early & overthought).sum())} put right, "
        detail += f"{int((~early & late).sum())} others put wrong" + (" (first seed)" if len(runs) > 1 else "")
        return Part(place.where, beyond(ours, 0.0, strict=True), ours, "> 0", detail)
