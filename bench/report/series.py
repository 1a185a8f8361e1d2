"""Which results may stand side by side, and which are seeds of one another.

A panel holds what is comparable: the same rows of the same task and the same backbone. A series is one strategy with
all its settings in a panel; its cells differ in nothing but the seed. What differs in data, weights, settings or
version is never averaged: it becomes a panel or a series of its own, and its label says by what it differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.measure.curve import Array
from bench.measure.stats import wilson
from bench.report.labels import Namer, natural, panel_name, panel_titles
from bench.report.style import DASHES, Look, find_look
from bench.results.groups import OverSeeds, average_quality, average_seeds, canonical, panel_settings, series_settings
from bench.results.measures import OperatingPoint, SplitResult
from bench.results.run import Run

GRID = 120  # speed-ups at which the curves of several seeds are averaged


@dataclass(frozen=True, eq=False)
class Curve:
    """A trade-off curve: speed-ups ascending [K], quality with a 95 % band over samples [K], thresholds where known.

    ``lowest`` and ``highest`` [K] are the quality of the worst and the best seed at each speed-up; None for one seed.
    """

    speedup: Array
    quality: Array
    low: Array
    high: Array
    thresholds: list[float | None]
    pareto: Array
    lowest: Array | None = None
    highest: Array | None = None


def curve_over_seeds(runs: Sequence[Run], split: str) -> Curve:
    """Return one seed's own rows, or the mean over seeds where all of them have a speed-up.

    The band of several seeds is the mean of their bands, as wide as one seed's: it says what the samples leave open,
    and the worst and best seed are lines of their own.
    """
    curves = [curve_of(run, split) for run in runs]
    low, high = max(c.speedup[0] for c in curves), min(c.speedup[-1] for c in curves)
    if len(curves) == 1 or low >= high:
        return curves[0]
    grid = np.linspace(low, high, GRID)
    quality, below, above = (
        np.array([np.interp(grid, c.speedup, getattr(c, name)) for c in curves]) for name in ("quality", "low", "high")
    )
    mean = quality.mean(axis=0)
    ends = quality.min(axis=0), quality.max(axis=0)
    return Curve(grid, mean, below.mean(axis=0), above.mean(axis=0), [None] * GRID, _front(mean), *ends)


def curve_of(run: Run, split: str) -> Curve:
    """Return the rows of a run's recorded curve, cheapest last, with their band."""
    result = run.result(split)
    rows = sorted(result.curve, key=lambda row: (row.cost_speedup, -row.quality))
    speedup = np.array([row.cost_speedup for row in rows], dtype=np.float64)
    quality = np.array([row.quality for row in rows], dtype=np.float64)
    if run.metric == "accuracy":
        n = result.samples
        bands = [wilson(min(n, max(0, round(q * n))), n) for q in quality]
        low, high = np.array([b.low for b in bands]), np.array([b.high for b in bands])
    else:
        low, high = _band_between_points(result, run.metric, speedup, quality)
    return Curve(speedup, quality, low, high, [row.threshold for row in rows], np.array([row.pareto for row in rows]))


def _band_between_points(result: SplitResult, metric: str, speedup: Array, quality: Array) -> tuple[Array, Array]:
    """Return a band for metrics without a closed form: the points' own intervals, as wide in between as beside them."""
    known = sorted([result.full, *result.reached.values()], key=lambda point: point.cost_speedup.value)
    at, found = [point.cost_speedup.value for point in known], [point.metrics[metric] for point in known]
    below, above = [f.value - f.low for f in found], [f.high - f.value for f in found]
    return quality - np.interp(speedup, at, below), quality + np.interp(speedup, at, above)


def _front(quality: Array) -> Array:
    """Pareto marks of points in ascending order of speed-up: nothing faster is as good."""
    later = np.append(np.maximum.accumulate(quality[::-1])[::-1][1:], -np.inf)
    marks: Array = quality > later
    return marks


@dataclass(frozen=True)
class TimedSeries:
    """Latency of a point over the seeds timed on one ``machine``: times of two machines are never averaged."""

    speedup: OverSeeds
    sampling: OverSeeds
    cost_speedup: float
    realisation: float
    mean_ms: float
    machine: str
    machines: int
    valid: bool


@dataclass(frozen=True)
class SeriesPoint:
    """An operating point over the seeds that reached it, means where it is not said otherwise."""

    quality: OverSeeds
    speedup: OverSeeds
    mean_layer: float
    thresholds: list[float | None]
    """One a seed."""
    chosen_on: str
    reached: int
    """Seeds that reached it."""
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
        """Its label, and that it is an upper bound where it is one."""
        return f"{self.label} (upper bound)" if self.upper_bound else self.label

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
        found = find_look(self.strategy)
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

    @property
    def lowest_seed(self) -> Series:
        """The same series with its first run alone."""
        return replace(self, runs=self.runs[:1])

    @property
    def timed_runs(self) -> Series | None:
        """The same series with those runs alone that have a timed point; None where there are none."""
        timed = tuple(r for r in self.runs if any(p.latency for p in r.result(self.split).reached.values()))
        return replace(self, runs=timed) if timed else None

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
        return {rule: point for rule in self.rules if (point := self._point(rule))}

    def _point(self, rule: str) -> SeriesPoint | None:
        found = {run: point for run in self.runs if (point := run.point(rule, self.split))}
        if not found:
            return None
        points = list(found.values())
        return SeriesPoint(
            quality=average_quality(list(found), self.split, rule),
            speedup=average_seeds([p.cost_speedup for p in points]),
            mean_layer=float(np.mean([p.mean_layer for p in points])),
            thresholds=[p.threshold for p in points],
            chosen_on=points[0].chosen_on,
            reached=len(points),
            exit_counts=np.mean([p.exit_counts for p in points], axis=0).tolist(),
            timed=_timed(found),
        )

    def reason(self, rule: str) -> str:
        """Return why no seed reached an operating point."""
        return next((r.unreached[rule].reason for r in self.results if rule in r.unreached), "")

    @cached_property
    def curve(self) -> Curve:
        """The trade-off curve."""
        return curve_over_seeds(self.runs, self.split)


def _timed(points: Mapping[Run, OperatingPoint]) -> TimedSeries | None:
    timed = {run: point.latency for run, point in points.items() if point.latency}
    if not timed:
        return None
    machine_of = {run: run.head.environment.machine_id for run in timed}
    machines = list(dict.fromkeys(machine_of.values()))
    same = {run: found for run, found in timed.items() if machine_of[run] == machines[0]}
    ratios = ("cost_speedup", "realisation", "mean_ms")
    means = {name: float(np.mean([getattr(found, name) for found in same.values()])) for name in ratios}
    return TimedSeries(
        speedup=average_seeds([found.speedup for found in same.values()]),
        sampling=average_seeds([found.sampling for found in same.values()]),
        **means,
        machine=machines[0],
        machines=len(machines),
        valid=all(run.record.latency is None or run.record.latency.valid for run in same),
    )


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
        """The primary metric."""
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
    def warnings(self) -> list[str]:
        """The warnings stored with the runs, each once, after the series they are about."""
        return list(dict.fromkeys(f"{s.label}: {w}" for s in self.series for r in s.runs for w in r.record.warnings))


def make_panels(runs: Iterable[Run]) -> list[Panel]:
    """Sort the finished ones of ``runs`` into panels, by task, split and backbone."""
    groups: dict[str, list[tuple[Run, str]]] = defaultdict(list)
    for run in runs:
        for split in run.record.task.evaluation if run.is_finished() else ():
            groups[canonical(panel_settings(run, split))].append((run, split))
    ordered = [found for _, found in sorted(groups.items(), key=lambda item: (*panel_name(*item[1][0]), item[0]))]
    namer = Namer(ordered)
    titles = panel_titles([panel_settings(*found[0]) for found in ordered])
    return [
        Panel(number, title, *panel_name(*found[0]), tuple(_series([run for run, _ in found], found[0][1], namer)))
        for number, (title, found) in enumerate(zip(titles, ordered, strict=True), start=1)
    ]


def _series(runs: Sequence[Run], split: str, namer: Namer) -> Iterator[Series]:
    by_strategy: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        by_strategy[run.strategy][canonical(series_settings(run))].append(run)
    for _, groups in sorted(by_strategy.items()):
        labels = namer.labels([found[0] for found in groups.values()])
        for variant, key in enumerate(sorted(groups, key=lambda k: (natural(labels[k]), k))):
            found = sorted(groups[key], key=lambda run: (run.seed, run.name))
            label = labels[key]
            if list(labels.values()).count(label) > 1:
                label += f" #{found[0].head.quality_key[:6]}"
            yield Series(label, tuple(found), split, variant)
