"""Which results may stand side by side, and which are seeds of one another.

A panel holds what is comparable: the same rows of the same task and the same backbone. A series is one strategy with
all its settings in a panel; its cells differ in nothing but the seed. What differs in data, weights, settings or
version is never averaged: it becomes a panel or a series of its own, and its label says by what it differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.report.labels import Namer, natural, panel_name, panel_settings, panel_titles, series_settings
from bench.report.lines import Line, line_of
from bench.report.provenance import machine_of
from bench.report.spread import over_seeds, quality_over_seeds
from bench.report.style import DASHES, Look, look
from bench.results.data import Result, StoreData, canonical


@dataclass(frozen=True, eq=False)
class Series:
    """One strategy with fixed settings: a result for each seed."""

    label: str
    results: tuple[Result, ...]
    variant: int = 0
    """Which of the strategy's settings in its panel, from 0: they share colour and marker and differ in dashes."""

    @property
    def first(self) -> Result:
        """The result with the lowest seed: where one must stand for all."""
        return self.results[0]

    @property
    def full_name(self) -> str:
        """Its label, and that it is an upper bound where it is one."""
        return f"{self.label} (upper bound)" if self.upper_bound else self.label

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.first.view.strategy

    @property
    def look(self) -> Look:
        """Colour, marker and dashes."""
        found = look(self.strategy)
        return replace(found, dash=DASHES[(DASHES.index(found.dash) + self.variant) % len(DASHES)])

    @property
    def seeds(self) -> list[int]:
        """The seeds, ascending."""
        return [r.view.seed for r in self.results]

    @property
    def upper_bound(self) -> bool:
        """Whether it knows labels or later exits."""
        return bool(self.first.view.record.get("upper_bound"))

    @property
    def early(self) -> bool:
        """Whether it ever leaves early: it has operating points."""
        return bool(self.first.summary["points"])

    @cached_property
    def _known(self) -> dict[tuple[str | None, str], Any]:
        """Numbers over seeds by rule and metric: they are asked for often."""
        return {}

    def full(self, metric: str) -> dict[str, Any]:
        """Quality of all layers, over seeds."""
        if (None, metric) not in self._known:
            self._known[None, metric] = quality_over_seeds(self.results, metric)
        found: dict[str, Any] = self._known[None, metric]
        return found

    @property
    def rules(self) -> list[str]:
        """Operating points of any seed, in stored order."""
        return list(dict.fromkeys(rule for r in self.results for rule in r.points))

    def point(self, rule: str, metric: str) -> dict[str, Any] | None:
        """An operating point over the seeds that reached it, or None where none did."""
        if (rule, metric) not in self._known:
            self._known[rule, metric] = self._point(rule, metric)
        found: dict[str, Any] | None = self._known[rule, metric]
        return found

    def _point(self, rule: str, metric: str) -> dict[str, Any] | None:
        those = [r for r in self.results if "metrics" in r.points.get(rule, {})]
        if not those:
            return None
        reached = [r.points[rule] for r in those]
        return {
            "quality": quality_over_seeds(those, metric, rule),
            "speedup": over_seeds([p["cost_speedup"] for p in reached]),
            "unit": reached[0].get("cost_unit", "flops"),
            "mean_layer": float(np.mean([p["mean_layer"] for p in reached])),
            "thresholds": [p.get("threshold") for p in reached],
            "chosen_on": str(reached[0].get("chosen_on", "")),
            "reached": len(reached),
            "seeds": len(self.results),
            "exit_counts": np.mean([np.array(p["exit_counts"], dtype=float) for p in reached], axis=0).tolist(),
            **self._timed(rule),
        }

    def _timed(self, rule: str) -> dict[str, Any]:
        """Latency of a point over the seeds timed on one machine: times of two machines are never averaged."""
        timed = [(r.view, r.points[rule]["latency"]) for r in self.results if r.points.get(rule, {}).get("latency")]
        if not timed:
            return {"latency": None}
        machines = list(dict.fromkeys(machine_of(view) for view, _ in timed))
        same = [(view, found) for view, found in timed if machine_of(view) == machines[0]]
        return {
            "latency": over_seeds([found["speedup"] for _, found in same]),
            "latency_samples": over_seeds([found["sampling"] for _, found in same]),
            "latency_flops": float(np.mean([found["cost_speedup"] for _, found in same])),
            "realisation": float(np.mean([found["realisation"] for _, found in same])),
            "mean_ms": float(np.mean([found["mean_ms"] for _, found in same])),
            "machine": machines[0],
            "machines": len(machines),
            "valid": not any(view.latency_problem for view, _ in same),
        }

    def reason(self, rule: str) -> str:
        """Why no seed reached an operating point."""
        return next((str(r.points[rule]["reason"]) for r in self.results if "reason" in r.points.get(rule, {})), "")

    @cached_property
    def line(self) -> Line:
        """The trade-off curve."""
        return line_of(self.results)


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
        return self.series[0].first.samples

    @property
    def layers(self) -> int:
        """Layers of the whole backbone."""
        return max(r.view.layers for s in self.series for r in s.results)

    @property
    def slug(self) -> str:
        """A safe name for files and anchors."""
        safe = "".join(c if c.isascii() and c.isalnum() else "-" for c in f"{self.task}-{self.split}-{self.backbone}")
        return f"{self.number:02d}-{'-'.join(filter(None, safe.split('-')))[:60]}".rstrip("-")

    @property
    def results(self) -> list[Result]:
        """All results, series after series."""
        return [r for s in self.series for r in s.results]


def panels(data: StoreData) -> list[Panel]:
    """Every panel of a store, by task, split and backbone."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in data.results():
        groups[canonical(panel_settings(result))].append(result)
    ordered = [found for _, found in sorted(groups.items(), key=lambda item: (*panel_name(item[1][0]), item[0]))]
    namer = Namer(ordered)
    titles = panel_titles([panel_settings(found[0]) for found in ordered])
    return [
        Panel(number, title, *panel_name(found[0]), tuple(_series(found, namer)))
        for number, (title, found) in enumerate(zip(titles, ordered, strict=True), start=1)
    ]


def _series(results: Sequence[Result], namer: Namer) -> list[Series]:
    by_strategy: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        by_strategy[result.view.strategy][canonical(series_settings(result))].append(result)
    made = []
    for _, groups in sorted(by_strategy.items()):
        labels = namer.labels([found[0] for found in groups.values()])
        for variant, key in enumerate(sorted(groups, key=lambda k: (natural(labels[k]), k))):
            found = sorted(groups[key], key=lambda r: (r.view.seed, r.view.name))
            label = labels[key]
            if list(labels.values()).count(label) > 1:
                label += f" #{str(found[0].view.record.get('quality_key', ''))[:6] or found[0].view.name}"
            made.append(Series(label, tuple(found), variant))
    return made


def notes_of(panel: Panel) -> list[str]:
    """Return the warnings stored with a panel's cells, each once, after the series they are about."""
    found = (f"{s.label}: {w}" for s in panel.series for r in s.results for w in r.view.record.get("warnings") or ())
    return list(dict.fromkeys(found))
