"""One number over several seeds: what the samples leave open and what the seeds do, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.measure.seeds import SeedSummary
from bench.results.data import Record, Result

SAID = (
    "Intervals in brackets: 95 % over samples, for these seeds. ± is the standard deviation between seeds. "
    "“Both” is the 95 % interval over seeds and samples (two-level bootstrap)."
)


SAME = 1e-5  # records keep six digits of some values


def over_seeds(values: Sequence[Record]) -> dict[str, Any]:
    """Mean ``value``; ``low`` and ``high`` over samples: the means of the seeds' own ends; and what the seeds spread.

    The mean of intervals is exact where all seeds err on the same samples, and too wide rather than too narrow
    elsewhere. ``std`` (with S - 1), ``lowest`` and ``highest`` are there for several seeds only.
    """
    found = np.array([v["value"] for v in values], dtype=np.float64)
    made: dict[str, Any] = {
        "value": float(found.mean()),
        "low": float(np.mean([v["low"] for v in values])),
        "high": float(np.mean([v["high"] for v in values])),
    }
    if len(found) > 1:
        spread = {"std": float(found.std(ddof=1)), "lowest": float(found.min()), "highest": float(found.max())}
        made |= {"seeds": len(found), **spread}
    return made


def quality_over_seeds(results: Sequence[Result], metric: str, rule: str | None = None) -> dict[str, Any]:
    """``metric`` at an operating point that all ``results`` reached (None: all layers), as :func:`over_seeds`.

    For several seeds whose logits are stored the interval over samples is the bootstrap's for the mean of these seeds,
    and ``both`` is (low, high) over seeds and samples; unless the present criterion does not give the recorded value.
    """
    points = [r.full if rule is None else r.points[rule] for r in results]
    made = over_seeds([p["metrics"][metric] for p in points])
    found = _pooled(results, metric, rule) if len(results) > 1 else None
    if found is not None and found.both is not None and abs(found.mean - made["value"]) < SAME:
        made |= {"low": found.samples.low, "high": found.samples.high, "both": (found.both.low, found.both.high)}
    return made


def _pooled(results: Sequence[Result], metric: str, rule: str | None) -> SeedSummary | None:
    """Both bootstraps from the stored logits; None where a criterion or its logits are not at hand any more."""
    if not all(r.view.cell.exits_file(r.split).exists() for r in results):
        return None
    from bench.results.pooled import pooled  # only here: it needs torch, and most reports do not

    cells, records = [r.view.cell for r in results], [r.view.record for r in results]
    try:
        return pooled(cells, records, results[0].split, metric, rule)
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None
