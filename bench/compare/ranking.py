"""Which strategy is best at a goal, and which others are within noise of it.

A goal is a speed-up ("at 2x or more") or a loss ("at most one point below the best full model"). Series are compared at
the operating points of their records, whose thresholds were chosen on held-out samples. A point that is not where its
rule says, on the samples reported, does not stand for it: the next stricter one does, where there is one. What has no
thresholds to choose and what knows the labels stand apart, unranked. Series with the same numbers are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bench.compare.quality import REPLICATES
from bench.errors import UsageError
from bench.latency.names import write_over
from bench.measure.curve import Float
from bench.measure.rules import LAST_BIT, Rule
from bench.measure.seeds import interval_over_seeds
from bench.measure.stats import draw_counts
from bench.results.groups import OverSeeds, average_quality, average_seeds, sum_answers
from bench.results.judged_by.judging import find_judge
from bench.results.matched import MatchedSeries, label_rows
from bench.results.measures import OperatingPoint, Performance
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, find_series_doubts
from bench.results.times import TimedPoint

Footing = Literal["ranked", "plain", "bound"]
APART: tuple[Footing, Footing] = ("plain", "bound")
ALL_LAYERS = "all layers"
DIGITS = 9
"""Numbers that agree so far are the same."""


@dataclass(frozen=True)
class Difference:
    """By how much a quality differs from another one; ``paired`` on the same samples, else from both intervals."""

    value: float
    low: float
    high: float
    paired: bool

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds 0, as far as its numbers have digits."""
        return round(self.low, DIGITS) <= 0 <= round(self.high, DIGITS)


@dataclass(frozen=True)
class Standing:
    """Where a series stands at a goal: at which recorded point, with which numbers.

    ``same`` are the names of other series with these very numbers. ``difference`` is of the quality: against the best
    at a speed-up, against the best full model at a loss. ``level``: within noise of the best, or the best itself.
    """

    series: MatchedSeries
    name: str
    rule: str
    quality: OverSeeds
    cost_speedup: OverSeeds
    latency: OverSeeds | None
    all_layers: OverSeeds
    same: tuple[str, ...] = ()
    difference: Difference | None = None
    level: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All that stand here."""
        return (self.name, *self.same)

    @property
    def doubts(self) -> list[SeriesDoubt]:
        """What is doubted of these numbers."""
        rules = () if self.rule == ALL_LAYERS else (self.rule,)
        return find_series_doubts(self.series.runs, self.series.runs[0].primary, rules)

    @property
    def is_void(self) -> bool:
        """Whether a doubt leaves nothing of these numbers."""
        return any(one.doubt.void for one in self.doubts)

    @property
    def timing_problem(self) -> str:
        """Why the latency is not valid; empty where it is, or nothing was timed."""
        return next(filter(None, (run.timing_problem for run in self.series.runs)), "")

    @property
    def timing_mark(self) -> str:
        """What stands behind the latency: the gravest of its runs'."""
        return max((run.timing_mark for run in self.series.runs), key=len)

    @property
    def timing_baseline(self) -> str:
        """What the latency is against: a name of a plain model, "" where that is the model as it is."""
        return next(filter(None, (run.timing_baseline for run in self.series.runs)), "")

    @property
    def timing_over(self) -> str:
        """The words " over int8" behind a number of times, "" where that is over the model as it is."""
        return write_over(self.timing_baseline)

    @property
    def is_formerly_timed(self) -> bool:
        """Whether the latency was measured by a former protocol."""
        return any(run.timing_caution for run in self.series.runs)

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        row = self.series.row
        named = {key: row[key] for key in ("strategy", "recipe", "head", "arguments", "seeds")}
        return {
            "name": self.name, **named, "same": list(self.same), "point": self.rule, "quality": self.quality.to_plain(),
            "cost_speedup": self.cost_speedup.to_plain(),
            "latency_speedup": None if self.latency is None else self.latency.to_plain(),
            "latency_problem": self.timing_problem or None,
            "latency_protocol": self.latency and find_protocol(self.series.runs),
            "latency_baseline": self.latency and (self.timing_baseline or None),
            "all_layers": self.all_layers.to_plain(),
            "difference": None if self.difference is None else vars(self.difference),
            "within_noise": self.level, "doubts": [doubt.to_plain() for doubt in self.doubts],
        }  # fmt: skip


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
    whole = [one for one in (*found["plain"], *found["ranked"]) if _is_whole(one[0])]
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


def _list_points(one: MatchedSeries, rule: str) -> list[OperatingPoint]:
    """Return the point of every seed; none where one of them did not reach it."""
    points = [point for run in one.runs if (point := run.point(rule))]
    return points if len(points) == len(one.runs) else []


def _is_whole(one: MatchedSeries) -> bool:
    return one.runs[0].layers == one.runs[0].record.backbone.whole_depth


def make_standing(one: MatchedSeries, name: str, rule: str) -> Standing:
    """Return the numbers of a series at a point, over its seeds."""
    runs, split = one.runs, one.runs[0].primary
    points: Sequence[Performance] = _list_points(one, rule) or [run.result().full for run in runs]
    times = [_find_time(run, rule) for run in runs]
    timed = [time.speedup for time in times if time is not None]
    full = average_quality(runs, split)
    return Standing(
        one,
        name,
        rule,
        full if rule == ALL_LAYERS else average_quality(runs, split, rule),
        average_seeds([point.cost_speedup for point in points]),
        average_seeds(timed) if len(timed) == len(runs) and find_protocol(runs) else None,
        full,
    )


def find_protocol(runs: Sequence[Run]) -> str | None:
    """Return the latency protocol of runs; None where they have several, or several baselines, or none.

    Such times are never averaged.
    """
    found = {(time.protocol, run.timing_baseline) for run in runs if (time := run.record.latency) is not None}
    return next(iter(found))[0] if len(found) == 1 else None


def _find_time(run: Run, rule: str) -> TimedPoint | None:
    if rule != ALL_LAYERS:
        point = run.point(rule)
        return None if point is None else point.latency
    found = None if run.record.latency is None else run.record.latency.configurations.get(ALL_LAYERS)
    return found if isinstance(found, TimedPoint) else None


def merge_standings(found: Iterable[Standing]) -> list[Standing]:
    """Return the standings, of those whose numbers are all the same the first, with the names of the others."""
    merged: dict[tuple[object, ...], Standing] = {}
    for one in found:
        numbers = [one.quality, one.cost_speedup, one.all_layers, *([one.latency] if one.latency else [])]
        key = (tuple(one.series.row["seeds"]), *(round(v, DIGITS) for n in numbers for v in (n.value, n.low, n.high)))
        before = merged.get(key)
        merged[key] = one if before is None else replace(before, same=(*before.same, one.name))
    return list(merged.values())


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
            if (points := _list_points(one, rule))
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
    drawn = draw_quality(order)
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
        if (points := _list_points(one, point.rule))
    ]
    return make_standing(*max(found, key=lambda one: one[0])[1]) if found else None


def _rank_at_loss(
    series: Sequence[tuple[MatchedSeries, str]], reference: Standing, goal: Rule
) -> tuple[list[Standing], dict[str, str]]:
    """Return the standings at a loss from the best full model, the fastest first, and why each other series has none.

    A series stands with the loosest of its points that lose no more on the samples reported, either.
    """
    points = {
        name: [make_standing(one, name, rule) for rule in list_rules(one, goal) if _list_points(one, rule)]
        for one, name in series
    }
    drawn = draw_quality([reference, *(one for some in points.values() for one in some)])
    found, missing = [], {}
    for name, some in points.items():
        compared = [replace(one, difference=subtract_quality(one, reference, drawn)) for one in some]
        kept = [one for one in compared if one.difference and one.difference.value >= -goal.value - LAST_BIT]
        if kept:
            found.append(kept[0])
        else:
            missing[name] = "more is lost there" if some else "not reached"
    found = merge_standings(found)
    void = {one.name: one.is_void for one in found}
    found.sort(key=lambda one: (void[one.name], -one.cost_speedup.value, -one.quality.value))
    return [replace(one, level=_is_as_fast(one.cost_speedup, found[0].cost_speedup)) for one in found], missing


def _is_as_fast(one: OverSeeds, best: OverSeeds) -> bool:
    """Whether two speed-ups differ by no more than their intervals leave open."""
    return best.value - one.value <= float(np.hypot(one.high - one.value, best.value - best.low))


Drawn = dict[tuple[str, str, int], tuple[float, Float]]
"""By name, point and seed: the quality and its replicates [B], all from the same draws of the same samples."""


def draw_quality(standings: Sequence[Standing]) -> Drawn:
    """Return replicates of every run's quality, in one pass over the draws; of runs on the first one's samples.

    A run is left out whose logits are not at hand, or are judged otherwise by now.
    """
    if not standings:
        return {}
    first = standings[0].series.runs[0]
    judge, split = find_judge(first).sums, first.primary
    found: dict[tuple[str, str, int], Float] = {}
    ids = ""
    for one in standings:
        rule = None if one.rule == ALL_LAYERS else one.rule
        for run in one.series.runs:
            sums = sum_answers(run, split, rule)
            if sums is not None and run.answers(split).ids == (ids := ids or run.answers(split).ids):
                found[one.name, one.rule, run.seed] = np.asarray(sums, dtype=np.float64)
    if not found or judge is None:
        return {}
    table = np.stack(list(found.values()))  # [M, N, K]
    runs, samples, columns = table.shape
    flat = np.moveaxis(table, 1, 0).reshape(samples, runs * columns)
    drawn = np.concatenate([w @ flat for w in draw_counts(samples, REPLICATES, 0)]).reshape(REPLICATES, runs, columns)
    values = judge[1](table.sum(axis=1))
    replicates = judge[1](drawn.reshape(-1, columns)).reshape(REPLICATES, runs)
    return {key: (float(values[i]), replicates[:, i]) for i, key in enumerate(found)}


def subtract_quality(one: Standing, other: Standing, drawn: Drawn) -> Difference:
    """Return the difference of two qualities: over the seeds that both have on the same samples, else unpaired."""
    seeds = [
        seed
        for seed in one.series.row["seeds"]
        if (one.name, one.rule, seed) in drawn and (other.name, other.rule, seed) in drawn
    ]
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
