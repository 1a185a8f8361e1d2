"""One number over several seeds: what the samples leave open and what the seeds do, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.measure import metrics
from bench.measure.seeds import SeedSummary, summarise_seeds
from bench.results.part import Estimate
from bench.results.run import Run

SAID = (
    "Intervals in brackets: 95 % over samples, for these seeds. ± is the standard deviation between seeds. "
    "“Both” is the 95 % interval over seeds and samples (two-level bootstrap)."
)


SAME = 1e-5  # records keep six digits of some values


def over_seeds(values: Sequence[Estimate]) -> dict[str, Any]:
    """Return mean ``value``; ``low`` and ``high`` over samples: the means of the seeds' own ends; the seeds' spread.

    The mean of intervals is exact where all seeds err on the same samples, and too wide rather than too narrow
    elsewhere. ``std`` (with S - 1), ``lowest`` and ``highest`` are there for several seeds only.
    """
    found = np.array([v.value for v in values], dtype=np.float64)
    made: dict[str, Any] = {
        "value": float(found.mean()),
        "low": float(np.mean([v.low for v in values])),
        "high": float(np.mean([v.high for v in values])),
    }
    if len(found) > 1:
        spread = {"std": float(found.std(ddof=1)), "lowest": float(found.min()), "highest": float(found.max())}
        made |= {"seeds": len(found), **spread}
    return made


def quality_over_seeds(runs: Sequence[Run], split: str, rule: str | None = None) -> dict[str, Any]:
    """Return the primary metric at an operating point that all ``runs`` reached (None: all layers), over seeds.

    For several seeds whose logits are stored the interval over samples is the bootstrap's for the mean of these seeds,
    and ``both`` is (low, high) over seeds and samples; unless the present criterion does not give the recorded value.
    """
    metric = runs[0].metric
    results = [run.result(split) for run in runs]
    made = over_seeds([(r.full if rule is None else r.reached[rule]).metrics[metric] for r in results])
    found = _pool(runs, split, metric, rule) if len(runs) > 1 else None
    if found is not None and found.both is not None and abs(found.mean - made["value"]) < SAME:
        made |= {"low": found.samples.low, "high": found.samples.high, "both": (found.both.low, found.both.high)}
    return made


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
