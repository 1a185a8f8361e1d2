"""A check of which tasks early exit speeds up most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.compare.evidence import Evidence, Layers, NotRun, Weighted, estimate_mean
from bench.measure.stats import Interval
from bench.reproduce.base import Check, refuse_unlearned
from bench.reproduce.places import Place
from bench.reproduce.verdict import Finding, Over, Part, beyond, joint_level, together


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

    def judge(self, places: Sequence[Place]) -> Finding:
        blocks = self._blocks(places)
        pairs = [pair for block in blocks for pair in pairwise(block)]
        level = joint_level(sum(self.strategy in a.runs and self.strategy in b.runs for a, b in pairs))
        parts = [self._pair(a, b, level) for a, b in pairs]
        found, steps = together(parts, self.over), len(self.tasks) - 1
        chains = [parts[i : i + steps] for i in range(0, len(parts), steps)]
        if found.verdict == "reproduced" and all(any(p.verdict == "not run" for p in chain) for chain in chains):
            return Finding("not run", found.parts, f"no backbone has evidence on all of {', '.join(self.tasks)}")
        return found

    def _blocks(self, places: Sequence[Place]) -> list[list[Place]]:
        """The places of each block that has all tasks, in the order that is claimed."""
        found: dict[str, dict[str, Place]] = {}
        for place in places:
            if place.plans(self.strategy):
                found.setdefault(place.block, {})[place.task] = place
        return [[own[task] for task in self.tasks] for own in found.values() if all(t in own for t in self.tasks)]

    def _pair(self, faster: Place, slower: Place, level: float) -> Part:
        where = f"{faster.task} > {slower.task}, {faster.block}"
        try:
            logs = [self._log_speedups(place) for place in (faster, slower)]
        except NotRun as reason:
            return Part(where, "not run", detail=str(reason))
        one, other = (estimate_mean(found, samples, level, seed) for seed, (found, samples) in enumerate(logs))
        ours = apart(one, other)
        detail = f"{np.exp(one.estimate):.2f}x and {np.exp(other.estimate):.2f}x"
        ratio = Interval(float(np.exp(ours.estimate)), float(np.exp(ours.low)), float(np.exp(ours.high)), level)
        return Part(where, beyond(ratio, 1.0, strict=True), ratio, "> 1", detail)

    def _log_speedups(self, place: Place) -> tuple[list[Weighted], int]:
        runs = place.of(self.strategy)
        refuse_unlearned(runs)
        found = [_log_speedup(run, run.at_point(self.point)) for run in runs]
        return found, len(runs[0].last)


def apart(one: Interval, other: Interval) -> Interval:
    """Interval of the difference of two independent estimates from an interval of each.

    Zou & Donner (2008), Statistics in Medicine 27 ("MOVER"): the distances to the limits add up as squares.
    """
    estimate = one.estimate - other.estimate
    below = np.hypot(one.estimate - one.low, other.high - other.estimate)
    above = np.hypot(one.high - one.estimate, other.estimate - other.low)
    return Interval(estimate, float(estimate - below), float(estimate + above), one.level)


def _log_speedup(run: Evidence, cut: Layers) -> Weighted:
    mean = run.mean_layer(cut)
    return lambda weights: np.log(run.depth / mean(weights))
