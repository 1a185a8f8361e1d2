"""What a metric other than the task's own makes of a run's results; :mod:`bench.results.judged_by.judging` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measure.judges import Metric
from bench.results.measures import SplitResult


@dataclass(frozen=True)
class JudgedResults:
    """A metric, and what it makes of a run's results, by split."""

    metric: Metric
    results: Mapping[str, SplitResult]
