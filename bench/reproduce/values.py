"""A check of published numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.compare.evidence import Evidence, Layers, NotRun, Weighted, estimate_mean, subtract
from bench.errors import UsageError
from bench.reproduce.base import OfStrategy
from bench.reproduce.places import Place
from bench.reproduce.verdict import Over, Part, near


@dataclass(frozen=True, kw_only=True)
class ValuesAt(OfStrategy):
    """Published numbers of one task: ``published`` maps thresholds, exits or speed-ups (``by``) to them.

    ``quantity``: quality (the task's first metric, or ``metric``), loss (quality minus that of the last exit), layers
    (mean exit layer over all layers), speedup (all layers over the mean). A speed-up is met by the first cut of the
    exact curve that is as cheap. ``block`` names the one with the paper's model, where there are several. Wanted:
    within ``tolerance`` of the published number.
    """

    strategy: str
    task: str
    published: Mapping[float, float]
    tolerance: float
    by: Literal["threshold", "exit", "speedup"]
    quantity: Literal["quality", "loss", "layers", "speedup"] = "quality"
    metric: str | None = None
    block: str | None = None
    over: Over = "every"

    def __post_init__(self) -> None:
        for name, value in (*self.published.items(), ("tolerance", self.tolerance)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"published numbers and their tolerance must be numbers, not '{value}' for {name}.")
        if not self.published:
            raise UsageError("there are no published numbers.")

    def concerned(self, places: Sequence[Place]) -> list[Place]:
        found = [p for p in super().concerned(places) if p.task == self.task and self.block in (None, p.block)]
        return found or [Place(self.block or "no block", self.task, {})]

    def comparisons(self) -> int:
        return len(self.published)

    def parts(self, place: Place, level: float) -> list[Part]:
        found = []
        for at, number in self.published.items():
            where = f"{place.where}, {self.by} {at:g}"
            try:
                runs = place.of(self.strategy)
                cuts = [self._cut(run, float(at)) for run in runs]
                ours = estimate_mean(
                    [self._quantity(r, c) for r, c in zip(runs, cuts, strict=True)], len(cuts[0]), level
                )
                found.append(
                    Part(where, near(ours, number, self.tolerance), ours, f"{number:.4g} ± {self.tolerance:g}")
                )
            except ValueError as reason:
                found.append(Part(where, "not reproduced", None, f"{number:.4g}", str(reason)))
            except NotRun as reason:
                found.append(Part(where, "not run", None, f"{number:.4g}", str(reason)))
        return found

    def _cut(self, run: Evidence, at: float) -> Layers:
        if self.by == "threshold":
            return run.at_threshold(at)
        if self.by == "speedup":
            return run.at_cost(run.depth / at)
        if not 1 <= at <= run.exits:
            raise NotRun(f"there are {run.exits} exits")
        return np.full(len(run.last), int(at))

    def _quantity(self, run: Evidence, cut: Layers) -> Weighted:
        if self.quantity == "quality":
            return run.quality(cut, self.metric)
        if self.quantity == "loss":
            return subtract(run.quality(cut, self.metric), run.quality(run.last, self.metric))
        mean = run.mean_layer(cut)
        return (lambda w: mean(w) / run.depth) if self.quantity == "layers" else (lambda w: run.depth / mean(w))
