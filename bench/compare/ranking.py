"""Which strategy is best at a goal, and which others are within noise of it.

A goal is a speed-up ("at 2x or more") or a loss ("at most one point below the best full model"). Series are compared at
the operating points of their records, whose thresholds were chosen on held-out samples. A point that is not where its
rule says, on the samples reported, does not stand for it: the next stricter one does, where there is one. What has no
thresholds to choose and what knows the labels stand apart, unranked. Series with the same numbers are one.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from bench.compare.quality import REPLICATES
from bench.compare.standings import (
    ALL_LAYERS,
    Difference,
    Standing,
    is_whole,
    list_seed_points,
    make_standing,
    merge_standings,
)
from bench.errors import UsageError
from bench.measure.curve import Float
from bench.measure.rules import LAST_BIT, Rule
from bench.measure.seeds import interval_over_seeds
from bench.measure.stats import FromStatistics, draw_counts
from bench.results.groups import OverSeeds, average_seeds, sum_answers
from bench.results.judged_by.judging import find_judge
from bench.results.matched import MatchedSeries, label_rows

Footing = Literal["ranked", "plain", "bound"]
LOST_MORE = "more is lost there"
APART: tuple[Footing, Footing] = ("plain", "bound")


@dataclass(frozen=True)
class Ranking:
    """The series of one panel at a goal: ``ranked`` ones, the best first; ``plain`` ones and ``bounds`` apart.

    ``missing`` says of each other series by name why it does not stand there; ``reference`` is the best full model,
    which a loss is counted from. ``fastest``: where none is as fast as the goal asks for, the fastest that is recorded.
    """

    title: str
    goal: Rule
    ranked: Sequence[Standing]
    plain: Sequence[Standing]
    bounds: Sequence[Standing]
    missing: Mapping[str, str]
    reference: Standing | None = None
    fastest: Standing | None = None

    @property
    def best(self) -> Standing | None:
        """The best of them; None where none stands there, or nothing can be said of any."""
        return self.ranked[0] if self.ranked and not self.ranked[0].is_void else None

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        parts = {name: [one.to_plain() for one in getattr(self, name)] for name in ("ranked", "plain", "bounds")}
        best = None if self.best is None else list(self.best.names)
        fastest = {} if self.fastest is None else {"fastest": self.fastest.to_plain()}
        named = {"title": self.title, "goal": self.goal.format(), "best": best}
        return {**named, **parts, "missing": dict(self.missing), **fastest}


def rank_series(title: str, series: Sequence[MatchedSeries], goal: Rule) -> Ranking:
    """Return how the series of one panel stand at ``goal``, a speed-up or a loss.

    Raises UsageError for a goal of another kind.
    """
    if goal.kind not in ("speedup", "max_loss"):
        raise UsageError(f"Strategies are ranked at a speed-up (2x) or a loss (no-loss, -1), not at {goal.format()}.")
    names = label_rows([one.row for one in series])
    found: dict[Footing, list[tuple[MatchedSeries, str]]] = {"ranked": [], "plain": [], "bound": []}
    for one, name in zip(series, names, strict=True):
        found[classify_series(one)].append((one, name))
    apart = [merge_standings(make_standing(*one, _find_own_rule(one[0])) for one in found[kind]) for kind in APART]
    plain, bounds = sorted(apart[0], key=lambda one: one.cost_speedup.value), apart[1]
    if goal.kind == "speedup":
        ranked, missing = _rank_at_cost(found["ranked"], goal)
        fastest = None if ranked else _find_fastest(found["ranked"])
        return Ranking(title, goal, ranked, plain, bounds, missing, fastest=fastest)
    whole = [one for one in (*found["plain"], *found["ranked"]) if is_whole(one[0])]
    full = [make_standing(*one, ALL_LAYERS) for one in whole]
    reference = max(full, key=lambda one: one.quality.value, default=None)
    ranked, missing = ([], {}) if reference is None else _rank_at_loss(found["ranked"], reference, goal)
    return Ranking(title, goal, ranked, plain, bounds, missing, reference)


def classify_series(one: MatchedSeries) -> Footing:
    """Return whether a series is ranked: it has thresholds to choose, and does not know the labels."""
    if one.row["upper_bound"]:
        return "bound"
    points = one.runs[0].result().points
    return "ranked" if any(point.chosen_on != "default" for point in points) else "plain"


def _find_own_rule(one: MatchedSeries) -> str:
    """The one point of a series that chooses none."""
    return "default" if all(run.point("default") for run in one.runs) else ALL_LAYERS


def list_rules(one: MatchedSeries, goal: Rule) -> list[str]:
    """Return the recorded rules of the goal's kind that are at least as strict, the loosest first."""
    known = [rule for point in one.runs[0].result().points if (rule := _parse_rule(point.rule))]
    strict = [rule for rule in known if rule.kind == goal.kind and _is_as_strict(rule, goal)]
    return [rule.format() for rule in sorted(strict, key=lambda rule: abs(rule.value - goal.value))]


def _parse_rule(name: str) -> Rule | None:
    try:
        return Rule.parse(name)
    except UsageError:  # the default, or a threshold
        return None


def _is_as_strict(rule: Rule, goal: Rule) -> bool:
    return rule.value >= goal.value if goal.kind == "speedup" else rule.value <= goal.value


def _rank_at_cost(series: Sequence[tuple[MatchedSeries, str]], goal: Rule) -> tuple[list[Standing], dict[str, str]]:
    """Return the standings at a speed-up, the best quality first, and why each other series has none.

    A series stands with the loosest of its points that are fast enough on the samples reported: cost alone decides,
    which looks at no label. What is void comes last.
    """
    found, missing = [], {}
    for one, name in series:
        rules = list_rules(one, goal)
        speeds = {
            rule: average_seeds([p.cost_speedup for p in points]).value
            for rule in rules
            if (points := list_seed_points(one, rule))
        }
        rule = next((rule for rule, speed in speeds.items() if goal.is_met(speed)), None)
        if rule is not None:
            found.append(make_standing(one, name, rule))
        elif speeds:
            missing[name] = f"only {max(speeds.values()):.2f}x there"
        else:
            missing[name] = "not reached" if rules else f"no point {goal.format()} in its record"
    found = merge_standings(found)
    void = {one.name: one.is_void for one in found}
    order = sorted(found, key=lambda one: (void[one.name], -one.quality.value, -one.cost_speedup.value))
    drawn = sum_answered(order).draw(order)
    compared = [replace(one, difference=subtract_quality(one, order[0], drawn)) for one in order[1:]]
    return [
        *(replace(best, level=True) for best in order[:1]),
        *(replace(one, level=one.difference is not None and one.difference.is_noise) for one in compared),
    ], missing


def _find_fastest(series: Sequence[tuple[MatchedSeries, str]]) -> Standing | None:
    """Return the fastest recorded point of all that every seed of its series reached; None without one."""
    found = [
        (average_seeds([p.cost_speedup for p in points]).value, (one, name, point.rule))
        for one, name in series
        for point in one.runs[0].result().points
        if (points := list_seed_points(one, point.rule))
    ]
    return make_standing(*max(found, key=lambda one: one[0])[1]) if found else None


def _rank_at_loss(
    series: Sequence[tuple[MatchedSeries, str]], reference: Standing, goal: Rule
) -> tuple[list[Standing], dict[str, str]]:
    """Return the standings at a loss from the best full model, the fastest first, and why each other series has none.

    A series stands with the loosest of its points that lose no more on the samples reported, either.
    """
    points = {
        name: [make_standing(one, name, rule) for rule in list_rules(one, goal) if list_seed_points(one, rule)]
        for one, name in series
    }
    answers = sum_answered([reference, *(one for some in points.values() for one in some)])
    kept, missing = [], {}
    for name, some in points.items():
        one = next((one for one in some if answers.subtract(one, reference) >= -goal.value - LAST_BIT), None)
        if one is not None:
            kept.append(one)
        else:
            missing[name] = LOST_MORE if some else "not reached"
    drawn = answers.draw([reference, *kept])
    found = [replace(one, difference=subtract_quality(one, reference, drawn)) for one in kept]
    found = merge_standings(found)
    void = {one.name: one.is_void for one in found}
    found.sort(key=lambda one: (void[one.name], -one.cost_speedup.value, -one.quality.value))
    return [replace(one, level=_is_as_fast(one.cost_speedup, found[0].cost_speedup)) for one in found], missing


def _is_as_fast(one: OverSeeds, best: OverSeeds) -> bool:
    """Whether two speed-ups differ by no more than their intervals leave open."""
    return best.value - one.value <= float(np.hypot(one.high - one.value, best.value - best.low))


RunAtPoint = tuple[str, str, int]
"""A series' name, its point and a seed."""
Drawn = dict[RunAtPoint, tuple[float, Float]]
"""The quality and its replicates [B], all from the same draws of the same samples."""


@dataclass(frozen=True)
class SummedAnswers:
    """What every run's answers add to its quality: sums [N, K], of which ``judge`` makes qualities."""

    sums: Mapping[RunAtPoint, Float]
    judge: FromStatistics

    @cached_property
    def quality(self) -> Mapping[RunAtPoint, float]:
        """Each run's quality."""
        return {key: float(self.judge(sums.sum(axis=0)[None])[0]) for key, sums in self.sums.items()}

    def subtract(self, one: Standing, other: Standing) -> float:
        """Return the difference of two qualities, without the draws that its interval needs."""
        seeds = find_seeds(one, other, self.sums)
        if not seeds:
            return one.quality.value - other.quality.value
        of = self.quality
        return float(np.mean([of[one.name, one.rule, seed] - of[other.name, other.rule, seed] for seed in seeds]))

    def draw(self, standings: Sequence[Standing]) -> Drawn:
        """Return replicates of the qualities of some of the standings, in one pass over the draws."""
        keys = [key for key in self.sums if key[:2] in {(one.name, one.rule) for one in standings}]
        if not keys:
            return {}
        table = np.stack([self.sums[key] for key in keys], axis=1)  # [N, M, K]
        samples, runs, columns = table.shape
        flat = table.reshape(samples, runs * columns)
        drawn = np.concatenate([w @ flat for w in draw_counts(samples, REPLICATES, 0)])
        replicates = self.judge(drawn.reshape(-1, columns)).reshape(REPLICATES, runs)
        return {key: (self.quality[key], replicates[:, i]) for i, key in enumerate(keys)}


def sum_answered(standings: Sequence[Standing]) -> SummedAnswers:
    """Return what makes every run's quality, of runs on the first one's samples.

    A run is left out whose logits are not at hand, or are judged otherwise by now.
    """
    found: dict[RunAtPoint, Float] = {}
    if not standings:
        return SummedAnswers(found, np.asarray)
    first = standings[0].series.runs[0]
    judge, split, ids = find_judge(first).sums, first.primary, ""
    for one in standings if judge is not None else ():
        rule = None if one.rule == ALL_LAYERS else one.rule
        for run in one.series.runs:
            sums = sum_answers(run, split, rule)
            if sums is not None and run.answers(split).ids == (ids := ids or run.answers(split).ids):
                found[one.name, one.rule, run.seed] = np.asarray(sums, dtype=np.float64)
    return SummedAnswers(found, np.asarray if judge is None else judge[1])


def find_seeds(one: Standing, other: Standing, known: Container[RunAtPoint]) -> list[int]:
    """Return the seeds that both standings have, of those that are known."""
    seeds = one.series.row["seeds"]
    return [seed for seed in seeds if all((it.name, it.rule, seed) in known for it in (one, other))]


def subtract_quality(one: Standing, other: Standing, drawn: Drawn) -> Difference:
    """Return the difference of two qualities: over the seeds that both have on the same samples, else unpaired."""
    seeds = find_seeds(one, other, drawn)
    if not seeds:
        ends = [q.both or (q.low, q.high) for q in (one.quality, other.quality)]
        value = one.quality.value - other.quality.value
        below = float(np.hypot(one.quality.value - ends[0][0], ends[1][1] - other.quality.value))
        above = float(np.hypot(ends[0][1] - one.quality.value, other.quality.value - ends[1][0]))
        return Difference(value, value - below, value + above, False)
    pairs = [(drawn[one.name, one.rule, seed], drawn[other.name, other.rule, seed]) for seed in seeds]
    values = np.array([ours - theirs for (ours, _), (theirs, _) in pairs])
    by_seed = np.stack([ours - theirs for (_, ours), (_, theirs) in pairs], axis=1)
    found = interval_over_seeds(values, by_seed)
    return Difference(found.estimate, found.low, found.high, True)
