"""Which results may stand side by side, and which are seeds of one another.

A panel holds what is comparable: the same rows of the same task and the same backbone. A series is one strategy with
all its settings in a panel; its cells differ in nothing but the seed. What differs in data, weights, settings or
version is never averaged: it becomes a panel or a series of its own, and its label says by what it differs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.latency.names import write_over
from bench.measure.curve import Array
from bench.measure.rules import pareto
from bench.measure.stats import wilson
from bench.report.labels import label_series, make_natural_key, title_panels
from bench.report.style import DASHES, Look, choose_look
from bench.results.groups import (
    OverSeeds,
    average_numbers,
    average_quality,
    average_seeds,
    group_seeds,
    list_panel_settings,
    make_series_key,
    write_canonical,
)
from bench.results.judged_by.judging import find_judge
from bench.results.measures import OperatingPoint, SplitResult
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, add_marks, describe_doubts, find_series_doubts, join_marks
from bench.results.times import describe_two_speeds

MEAN_CURVE_ROWS = 120  # speed-ups at which the curves of several seeds are averaged


@dataclass(frozen=True, eq=False)
class BandedCurve:
    """A trade-off curve: speed-ups ascending [K], quality with a 95 % band over samples [K], layers run, thresholds.

    ``lowest`` and ``highest`` [K] are the quality of the worst and the best seed at each speed-up; None for one seed.
    """

    speedup: Array
    quality: Array
    low: Array
    high: Array
    mean_layer: Array
    thresholds: list[float | None]
    pareto: Array
    lowest: Array | None = None
    highest: Array | None = None


def average_curves(runs: Sequence[Run], split: str) -> BandedCurve:
    """Return one seed's own rows, or the mean over seeds where all of them have a speed-up.

    The band of several seeds is the mean of their bands, as wide as one seed's: it says what the samples leave open,
    and the worst and best seed are lines of their own.
    """
    curves = [read_curve(run, split) for run in runs]
    low, high = max(c.speedup[0] for c in curves), min(c.speedup[-1] for c in curves)
    if len(curves) == 1 or low >= high:
        return curves[0]
    grid = np.linspace(low, high, MEAN_CURVE_ROWS)
    quality, below, above, layers = (
        np.array([np.interp(grid, c.speedup, getattr(c, name)) for c in curves])
        for name in ("quality", "low", "high", "mean_layer")
    )
    mean, ends = quality.mean(axis=0), (quality.min(axis=0), quality.max(axis=0))
    band = (below.mean(axis=0), above.mean(axis=0))
    unknown: list[float | None] = [None] * len(grid)
    front = pareto(mean if find_judge(runs[0]).higher_is_better else -mean, 1 / grid)
    return BandedCurve(grid, mean, *band, layers.mean(axis=0), unknown, front, *ends)


def read_curve(run: Run, split: str) -> BandedCurve:
    """Return the rows of a run's recorded curve, cheapest last, with their band.

    For metrics without a closed form the points' own intervals give the band, as wide in between as beside them.
    """
    result = run.result(split)
    rows = sorted(result.curve, key=lambda row: (row.cost_speedup, -row.quality))
    speedup = np.array([row.cost_speedup for row in rows], dtype=np.float64)
    quality = np.array([row.quality for row in rows], dtype=np.float64)
    if run.metric == "accuracy":
        n = result.samples
        bands = [wilson(min(n, max(0, round(q * n))), n) for q in quality]
        low, high = np.array([b.low for b in bands]), np.array([b.high for b in bands])
    else:
        known = sorted(result.performances.values(), key=lambda point: point.cost_speedup.value)
        at, found = [point.cost_speedup.value for point in known], [point.metrics[run.metric] for point in known]
        low = quality - np.interp(speedup, at, [f.value - f.low for f in found])
        high = quality + np.interp(speedup, at, [f.high - f.value for f in found])
    layers, front = np.array([row.mean_layer for row in rows], dtype=np.float64), np.array([r.pareto for r in rows])
    return BandedCurve(speedup, quality, low, high, layers, [row.threshold for row in rows], front)


@dataclass(frozen=True)
class TimedSeries:
    """Latency of a point over the seeds timed on one ``machine`` by one ``protocol``: others are never averaged.

    Nor are speed-ups over another ``baseline``, which is "" for the model in its own numbers.
    ``mark`` is what stands behind it: what it is over, what is wrong, and of how many seeds it is where others were not
    timed so; ``one_speed`` whether milliseconds are of a
    machine whose speed did not move.
    """

    speedup: OverSeeds
    sampling: OverSeeds
    cost_speedup: float
    realisation: float
    mean_ms: float
    machine: str
    protocol: str
    baseline: str
    valid: bool
    one_speed: bool
    mark: str


@dataclass(frozen=True)
class SeriesPoint:
    """An operating point over the seeds that reached it, means where it is not said otherwise."""

    quality: OverSeeds
    speedup: OverSeeds
    mean_layer: float
    thresholds: list[float | None]
    """One for each seed that reached it."""
    chosen_on: str
    exit_counts: list[float]
    """Samples leaving at exit 1..L."""
    timed: TimedSeries | None

    @property
    def threshold(self) -> float | None:
        """The threshold of one seed; None for several."""
        return self.thresholds[0] if len(self.thresholds) == 1 else None


@dataclass(frozen=True, eq=False)
class Series:
    """One strategy with fixed settings on one split: a run for each seed."""

    label: str
    runs: tuple[Run, ...]
    split: str
    variant: int = 0
    """Which of the strategy's settings in its panel, from 0: they share colour and marker and differ in dashes."""

    @property
    def first(self) -> Run:
        """The run with the lowest seed: where one must stand for all."""
        return self.runs[0]

    @property
    def full_name(self) -> str:
        """Its label, that it is an upper bound where it is one, and what is doubted of it."""
        return add_marks(f"{self.label} (upper bound)" if self.upper_bound else self.label, self.doubts)

    @cached_property
    def doubts(self) -> list[SeriesDoubt]:
        """What could make its numbers void."""
        return find_series_doubts(self.runs, self.split)

    @property
    def marks(self) -> str:
        """What is doubted of it, in short."""
        return join_marks(self.doubts)

    @property
    def said_doubts(self) -> str:
        """What is doubted of it, in whole, for a file's column; nothing without doubts."""
        return "; ".join(f"{one.doubt.said} ({one.where or 'all seeds'})" for one in self.doubts)

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.first.strategy

    @property
    def trained_as(self) -> str:
        """Recipe and head: what the criterion reads."""
        return f"{self.first.spec.recipe} / {self.first.spec.head}"

    @property
    def look(self) -> Look:
        """Colour, marker and dashes."""
        found = choose_look(self.strategy)
        return replace(found, dash=DASHES[(DASHES.index(found.dash) + self.variant) % len(DASHES)])

    @property
    def seeds(self) -> str:
        """The seeds, ascending: ``0, 1, 2``."""
        return ", ".join(str(run.seed) for run in self.runs)

    @property
    def upper_bound(self) -> bool:
        """Whether it knows labels or later exits."""
        return self.first.record.upper_bound

    @property
    def early(self) -> bool:
        """Whether it ever leaves early: it has operating points."""
        return bool(self.results[0].points)

    @property
    def results(self) -> list[SplitResult]:
        """What every run measured on the split."""
        return [run.result(self.split) for run in self.runs]

    @cached_property
    def full(self) -> OverSeeds:
        """Quality of all layers, over seeds."""
        return average_quality(self.runs, self.split)

    @property
    def rules(self) -> list[str]:
        """Operating points of any seed, in stored order."""
        return list(dict.fromkeys(point.rule for result in self.results for point in result.points))

    @cached_property
    def points(self) -> dict[str, SeriesPoint]:
        """The operating points that some seed reached, by rule."""
        found = {rule: {run: p for run in self.runs if (p := run.point(rule, self.split))} for rule in self.rules}
        return {rule: _average_points(rule, self.split, points) for rule, points in found.items() if points}

    def reason(self, rule: str) -> str:
        """Return why no seed reached an operating point."""
        return next((r.unreached[rule].reason for r in self.results if rule in r.unreached), "")

    @cached_property
    def curve(self) -> BandedCurve:
        """The trade-off curve."""
        return average_curves(self.runs, self.split)


def _average_points(rule: str, split: str, found: Mapping[Run, OperatingPoint]) -> SeriesPoint:
    points = list(found.values())
    mean_layer, *exit_counts = average_numbers([(p.mean_layer, *p.exit_counts) for p in points])
    return SeriesPoint(
        quality=average_quality(list(found), split, rule),
        speedup=average_seeds([p.cost_speedup for p in points]),
        mean_layer=mean_layer,
        thresholds=[p.threshold for p in points],
        chosen_on=points[0].chosen_on,
        exit_counts=exit_counts,
        timed=_average_times(found),
    )


def _average_times(points: Mapping[Run, OperatingPoint]) -> TimedSeries | None:
    timed = [(run, point.latency) for run, point in points.items() if point.latency]
    if not timed:
        return None
    machine, protocol, baseline = _find_place(timed[0][0])
    same = [(run, found) for run, found in timed if _find_place(run) == (machine, protocol, baseline)]
    fewer = "" if len(same) == len(points) else f", {len(same)} seed{'s' * (len(same) > 1)}"
    cost_speedup, realisation, mean_ms = average_numbers(
        [(found.cost_speedup, found.realisation, found.mean_ms) for _, found in same]
    )
    return TimedSeries(
        speedup=average_seeds([found.speedup for _, found in same]),
        sampling=average_seeds([found.sampling for _, found in same]),
        cost_speedup=cost_speedup,
        realisation=realisation,
        mean_ms=mean_ms,
        machine=machine,
        protocol=protocol,
        baseline=baseline,
        valid=all(run.record.latency is None or run.record.latency.valid for run, _ in same),
        one_speed=not any(run.record.latency and describe_two_speeds(run.record.latency) for run, _ in same),
        mark=write_over(baseline) + max((run.timing_mark for run, _ in same), key=len) + fewer,
    )


def _find_place(run: Run) -> tuple[str, str, str]:
    """Return where a run was timed, by which protocol, and against what."""
    protocol = "" if run.record.latency is None else run.record.latency.protocol
    return run.head.environment.machine_id, protocol, run.timing_baseline


@dataclass(frozen=True, eq=False)
class Panel:
    """What may be compared: one split of a task, one backbone."""

    number: int
    title: str
    task: str
    split: str
    backbone: str
    series: tuple[Series, ...]

    @property
    def metric(self) -> str:
        """What its runs are judged by: the task's first metric, unless another is asked for."""
        return self.series[0].first.metric

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.series[0].results[0].samples

    @property
    def layers(self) -> int:
        """Layers of the whole backbone."""
        return max(run.layers for run in self.runs)

    @property
    def slug(self) -> str:
        """A safe name for files and anchors."""
        safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{self.task}-{self.split}-{self.backbone}")
        return f"{self.number:02d}-{'-'.join(filter(None, safe.split('-')))[:60]}".rstrip("-")

    @property
    def runs(self) -> list[Run]:
        """All runs, series after series."""
        return [run for s in self.series for run in s.runs]

    @property
    def doubts(self) -> list[str]:
        """What could make numbers of its series void, a sentence for each kind of doubt."""
        return describe_doubts((series.label, series.doubts) for series in self.series)

    @property
    def warnings(self) -> list[str]:
        """The warnings stored with the runs, each once, after the series they are about."""
        return list(dict.fromkeys(f"{s.label}: {w}" for s in self.series for r in s.runs for w in r.record.warnings))


def make_panels(runs: Iterable[Run]) -> list[Panel]:
    """Sort the finished ones of ``runs`` into panels, by task, split and backbone."""
    groups: dict[tuple[str, str, str, str], list[Run]] = defaultdict(list)
    for run in runs:
        for split in run.record.task.evaluation if run.is_finished() else ():
            groups[run.task, split, run.backbone, write_canonical(list_panel_settings(run, split))].append(run)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    titles = title_panels([list_panel_settings(found[0], split) for (_, split, *_), found in ordered])
    seeds = [group_seeds(found) for _, found in ordered]
    named = zip(titles, label_series(seeds), seeds, ordered, strict=True)
    return [
        Panel(number, title, task, split, backbone, tuple(_make_series(found, labels, split)))
        for number, (title, labels, found, ((task, split, backbone, _), _)) in enumerate(named, start=1)
    ]


def _make_series(groups: Iterable[list[Run]], labels: Mapping[Run, str], split: str) -> list[Series]:
    def order(runs: list[Run]) -> tuple[str, list[Any], str]:
        return runs[0].strategy, make_natural_key(labels[runs[0]]), make_series_key(runs[0])

    often, variants, made = Counter(labels.values()), Counter[str](), []
    for runs in sorted(groups, key=order):
        first, label = runs[0], labels[runs[0]]
        label += f" #{first.head.quality_key[:6]}" if often[label] > 1 else ""
        made.append(Series(label, tuple(runs), split, variants[first.strategy]))
        variants[first.strategy] += 1
    return made
