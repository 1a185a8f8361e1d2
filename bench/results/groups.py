"""Numbers over runs that differ in the seed alone: what the samples leave open and what seeds do, kept apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.measure import metrics
from bench.measure.seeds import SeedSummary, summarise_seeds
from bench.results.part import Estimate
from bench.results.run import Run

SAME = 1e-5  # records keep six digits of some values


@dataclass(frozen=True)
class OverSeeds:
    """The mean of a number over seeds; ``low`` and ``high`` are over samples, for these seeds.

    ``std`` (with S - 1), ``lowest`` and ``highest`` are None for a single seed, which shows no spread; ``both`` is the
    interval over seeds and samples, None where it is not known.
    """

    value: float
    low: float
    high: float
    seeds: int = 1
    std: float | None = None
    lowest: float | None = None
    highest: float | None = None
    both: tuple[float, float] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return what there is under its names; of one seed its value and interval alone."""
        return {k: v for k, v in vars(self).items() if v is not None and (k != "seeds" or self.seeds > 1)}


def average_seeds(values: Sequence[Estimate]) -> OverSeeds:
    """Return the mean of one estimate a seed.

    The mean of intervals is exact where all seeds err on the same samples, and too wide rather than too narrow
    elsewhere.
    """
    found = np.array([v.value for v in values], dtype=np.float64)
    low, high = float(np.mean([v.low for v in values])), float(np.mean([v.high for v in values]))
    if len(found) == 1:
        return OverSeeds(float(found[0]), low, high)
    spread = float(found.std(ddof=1)), float(found.min()), float(found.max())
    return OverSeeds(float(found.mean()), low, high, len(found), *spread)


def average_quality(runs: Sequence[Run], split: str, rule: str | None = None) -> OverSeeds:
    """Return the primary metric at an operating point that all ``runs`` reached (None: all layers), over seeds.

    For several seeds whose logits are stored the interval over samples is the bootstrap's for the mean of these seeds,
    and ``both`` is known; unless the present criterion does not give the recorded value.
    """
    metric, results = runs[0].metric, [run.result(split) for run in runs]
    made = average_seeds([(r.full if rule is None else r.reached[rule]).metrics[metric] for r in results])
    found = _pool(runs, split, metric, rule) if len(runs) > 1 else None
    if found is None or found.both is None or abs(found.mean - made.value) >= SAME:
        return made
    return replace(made, low=found.samples.low, high=found.samples.high, both=(found.both.low, found.both.high))


def _pool(runs: Sequence[Run], split: str, metric: str, rule: str | None) -> SeedSummary | None:
    """Return both bootstraps from the stored logits.

    None where a criterion or its logits are not at hand any more, the seeds answered different samples, or the metric
    is not a function of sums.
    """
    if not metrics.is_additive(metric) or not all(run.has_exits(split) for run in runs):
        return None
    try:
        exits, layers = [run.exits(split) for run in runs], [run.layers_at(rule, split) for run in runs]
    except UserError:
        return None
    if any(e.ids != exits[0].ids for e in exits):
        return None
    answers = [e.predictions[np.arange(len(at)), at - 1] for e, at in zip(exits, layers, strict=True)]
    sums = [metrics.statistics(metric, a[:, None], e.labels)[:, 0] for a, e in zip(answers, exits, strict=True)]
    return summarise_seeds(np.stack(sums), lambda found: metrics.from_statistics(metric, found))


def canonical(value: object) -> str:
    """Return a text that is the same for equal JSON values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
