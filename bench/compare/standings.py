"""Where a series stands at one of its recorded points: its numbers over seeds, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.latency.names import write_over
from bench.results.groups import OverSeeds, average_quality, average_seeds
from bench.results.matched import MatchedSeries
from bench.results.measures import OperatingPoint, Performance
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, find_series_doubts
from bench.results.times import TimedPoint

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
            "latency_protocol": self.latency and find_common_protocol(self.series.runs),
            "latency_baseline": self.latency and (self.timing_baseline or None),
            "all_layers": self.all_layers.to_plain(),
            "difference": None if self.difference is None else vars(self.difference),
            "within_noise": self.level, "doubts": [doubt.to_plain() for doubt in self.doubts],
        }  # fmt: skip


def list_seed_points(one: MatchedSeries, rule: str) -> list[OperatingPoint]:
    """Return the point of every seed; none where one of them did not reach it."""
    points = [point for run in one.runs if (point := run.point(rule))]
    return points if len(points) == len(one.runs) else []


def is_whole(one: MatchedSeries) -> bool:
    """Return whether a series has all layers of its backbone."""
    return one.runs[0].layers == one.runs[0].record.backbone.whole_depth


def make_standing(one: MatchedSeries, name: str, rule: str) -> Standing:
    """Return the numbers of a series at a point, over its seeds."""
    runs, split = one.runs, one.runs[0].primary
    points: Sequence[Performance] = list_seed_points(one, rule) or [run.result().full for run in runs]
    times = [_find_time(run, rule) for run in runs]
    timed = [time.speedup for time in times if time is not None]
    full = average_quality(runs, split)
    return Standing(
        one,
        name,
        rule,
        full if rule == ALL_LAYERS else average_quality(runs, split, rule),
        average_seeds([point.cost_speedup for point in points]),
        average_seeds(timed) if len(timed) == len(runs) and find_common_protocol(runs) else None,
        full,
    )


def find_common_protocol(runs: Sequence[Run]) -> str | None:
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
