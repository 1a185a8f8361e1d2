"""Which results may stand side by side, and which are seeds of one another.

A panel holds what is comparable: the same rows of the same task and the same backbone. A series is one strategy with
all its settings in a panel; its cells differ in nothing but the seed. What differs in data, weights, settings or
version is never averaged: it becomes a panel or a series of its own, and its label says by what it differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from bench.measure.stats import wilson
from bench.report.data import Array, Record, Result, StoreData, canonical
from bench.report.provenance import machine_of
from bench.report.style import DASHES, Look, look

PARTS = (
    ("criterion_args", ""),
    ("head_args", "head."),
    ("recipe_args", "recipe."),
    ("train", "train."),
    ("backbone_args", "backbone."),
)
GRID = 120  # speed-ups at which the curves of several seeds are averaged


@dataclass(frozen=True, eq=False)
class Line:
    """A trade-off curve to draw: speed-ups ascending [K], quality with a 95 % band [K]; thresholds where known."""

    speedup: Array
    quality: Array
    low: Array
    high: Array
    thresholds: list[float | None]
    pareto: Array


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

    def full(self, metric: str) -> dict[str, Any]:
        """Quality of all layers, over seeds."""
        return over_seeds([r.full["metrics"][metric] for r in self.results])

    @property
    def rules(self) -> list[str]:
        """Operating points of any seed, in stored order."""
        return list(dict.fromkeys(rule for r in self.results for rule in r.points))

    def point(self, rule: str, metric: str) -> dict[str, Any] | None:
        """An operating point over the seeds that reached it, or None where none did."""
        reached = [r.points[rule] for r in self.results if "metrics" in r.points.get(rule, {})]
        if not reached:
            return None
        return {
            "quality": over_seeds([p["metrics"][metric] for p in reached]),
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
        """The curve: one seed's own rows, or the mean over seeds where all of them have a speed-up."""
        lines = [_line(r) for r in self.results]
        if len(lines) == 1:
            return lines[0]
        low, high = max(x.speedup[0] for x in lines), min(x.speedup[-1] for x in lines)
        if low >= high:
            return lines[0]
        grid = np.linspace(low, high, GRID)
        parts = [[np.interp(grid, x.speedup, y) for x in lines for y in (getattr(x, name),)] for name in _BAND]
        quality = np.mean(parts[0], axis=0)
        return Line(grid, quality, np.min(parts[1], axis=0), np.max(parts[2], axis=0), [None] * GRID, _front(quality))


_BAND = ("quality", "low", "high")


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


def over_seeds(values: Sequence[Record]) -> dict[str, Any]:
    """Mean over seeds; the interval runs from the lowest lower to the highest upper end of the seeds' own."""
    return {
        "value": float(np.mean([v["value"] for v in values])),
        "low": float(min(v["low"] for v in values)),
        "high": float(max(v["high"] for v in values)),
    }


def panels(data: StoreData) -> list[Panel]:
    """Every panel of a store, by task, split and backbone."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in data.results():
        groups[canonical(_panel_settings(result))].append(result)
    ordered = sorted(groups.items(), key=lambda item: (*_title(item[1][0]), item[0]))
    alike: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for _, results in ordered:
        alike[_title(results[0])].append(_panel_settings(results[0]))
    made = []
    for number, (_, results) in enumerate(ordered, start=1):
        name = _title(results[0])
        extra = differing(_panel_settings(results[0]), alike[name])
        title = " · ".join([*name, *extra])
        made.append(Panel(number, title, *name, tuple(_series(results))))
    return made


def _title(result: Result) -> tuple[str, str, str]:
    return str(result.view.spec["task"]), result.split, str(result.view.spec["backbone"])


def _panel_settings(result: Result) -> dict[str, Any]:
    """What must be the same for two results to be comparable, flat."""
    spec, record = result.view.spec, result.view.record
    arguments = dict(spec.get("backbone_args") or {})
    arguments.pop("num_hidden_layers", None)  # plain compression has fewer layers of the same backbone
    pretrained = spec.get("init", "pretrained") == "pretrained"
    return {
        "task": spec["task"],
        "split": result.split,
        "backbone": spec["backbone"],
        "init": spec.get("init"),
        "data": record["task"].get("revision"),
        "metrics": record["task"]["metrics"],
        "limit": spec.get("limit"),
        "max_length": spec.get("max_length"),
        "weights": record["backbone"].get("revision") if pretrained else None,
        **{f"backbone.{k}": v for k, v in arguments.items()},
    }


def _series_settings(result: Result) -> dict[str, Any]:
    """Everything that makes a result but the seed, flat; from the identity where the record has one."""
    spec = result.view.spec
    flat = {name: spec.get(name) for name in ("strategy", "head", "recipe", "dtype", "device")}
    for part, prefix in PARTS:
        flat |= {f"{prefix}{name}": value for name, value in dict(spec.get(part) or {}).items()}
    identity = result.view.record.get("identity")
    if isinstance(identity, Mapping):
        flat["identity"] = canonical({k: v for k, v in identity.items() if k != "seed"})
        strategy = identity.get("strategy")
        flat["version"] = strategy.get("version") if isinstance(strategy, Mapping) else None
    return flat


def _series(results: Sequence[Result]) -> list[Series]:
    by_strategy: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        by_strategy[result.view.strategy][canonical(_series_settings(result))].append(result)
    made = []
    for strategy, groups in sorted(by_strategy.items()):
        settings = {key: _series_settings(found[0]) for key, found in groups.items()}
        labels = {key: _label(strategy, settings[key], list(settings.values())) for key in groups}
        for variant, key in enumerate(sorted(groups, key=lambda k: (_natural(labels[k]), k))):
            found = sorted(groups[key], key=lambda r: (r.view.seed, r.view.name))
            label = labels[key]
            if list(labels.values()).count(label) > 1:
                label += f" #{str(found[0].view.record.get('quality_key', ''))[:6] or found[0].view.name}"
            made.append(Series(label, tuple(found), variant))
    return made


def _label(strategy: str, settings: Record, others: Sequence[Record]) -> str:
    extra = differing({k: v for k, v in settings.items() if k != "identity"}, others)
    return f"{strategy} ({', '.join(extra)})" if extra else strategy


def _natural(text: str) -> list[Any]:
    """Sort key that puts window=4 before window=12."""
    parts: list[Any] = []
    for word in text.replace("=", " ").replace(",", " ").replace(")", " ").split():
        try:
            parts.append((0, float(word), ""))
        except ValueError:
            parts.append((1, 0.0, word))
    return parts


def differing(settings: Record, others: Iterable[Record]) -> list[str]:
    """``name=value`` of the settings in which ``others`` are not all alike; long values cut."""
    everyone = list(others)
    found = []
    for name in sorted({k for other in everyone for k in other} - {"identity"}):
        if len({canonical(other.get(name)) for other in everyone}) > 1:
            value = settings.get(name)
            text = value if isinstance(value, str) else "none" if value is None else canonical(value)
            found.append(f"{name}={text if len(text) <= 24 else text[:23] + '…'}")
    return found


def _line(result: Result) -> Line:
    speedup, quality, thresholds, front = result.curve
    if result.metric == "accuracy":
        n = result.samples
        bands = [wilson(min(n, max(0, round(q * n))), n) for q in quality]
        low, high = np.array([b.low for b in bands]), np.array([b.high for b in bands])
    else:
        low, high = _band_between_points(result, speedup, quality)
    return Line(speedup, quality, low, high, thresholds, front)


def _band_between_points(result: Result, speedup: Array, quality: Array) -> tuple[Array, Array]:
    """A band for metrics without a closed form: the stored points' own intervals, as wide in between as beside them."""
    known = [result.full, *(p for p in result.points.values() if "metrics" in p)]
    at = np.array([p["cost_speedup"]["value"] for p in known])
    found = [p["metrics"][result.metric] for p in known]
    order = np.argsort(at, kind="stable")
    below = np.array([f["value"] - f["low"] for f in found])[order]
    above = np.array([f["high"] - f["value"] for f in found])[order]
    return quality - np.interp(speedup, at[order], below), quality + np.interp(speedup, at[order], above)


def _front(quality: Array) -> Array:
    """Pareto marks of points in ascending order of speed-up: nothing faster is as good."""
    later = np.append(np.maximum.accumulate(quality[::-1])[::-1][1:], -np.inf)
    marks: Array = quality > later
    return marks


def notes_of(series: Series) -> list[str]:
    """Warnings stored with the cells, each once."""
    return list(dict.fromkeys(str(w) for r in series.results for w in r.view.record.get("warnings") or ()))
