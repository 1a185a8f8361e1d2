"""Early exit against the model as it is and against its rivals, by the clock, on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backbones.base import Batch
from bench.latency import OFFLINE_BATCH, SINGLE_STREAM
from bench.latency.baselines import Rival
from bench.latency.queries import make_plain_query, measure_interleaved
from bench.latency.result import LatencyOptions, LatencyResult
from bench.measure.stats import Interval
from strategies.base import Criterion, ExitModel

EARLY = "early exit"
SECONDS = 45.0
"""Of rounds, at each batch size; a machine with other work on it needs them all."""
SAMPLES, BATCHES = 32, 3


@dataclass(frozen=True)
class Timed:
    """What the clock said of one way to answer: milliseconds a text, and how many times faster than the baseline."""

    ms: float
    speedup: Interval | None
    sampling: Interval | None


@dataclass(frozen=True)
class Timings:
    """One run of the latency protocol: by name what each took; ``baseline`` is the fastest way to the model as it is.

    ``reasons`` say why it is not valid, where it is not; ``raw`` is everything it measured.
    """

    batch_size: int
    samples: int
    baseline: str
    rows: Mapping[str, Timed]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    raw: LatencyResult


def time_against_rivals(
    model: ExitModel,
    criterion: Criterion,
    cut: float,
    batches: Sequence[Batch],
    rivals: Sequence[Rival],
    say: Callable[[str], None] | None = None,
) -> Timings:
    """Time early exit at ``cut``, the model as it is, and the rivals that run here; ``batches`` are of one size."""
    size = len(batches[0])
    options = LatencyOptions(
        protocol=SINGLE_STREAM if size == 1 else OFFLINE_BATCH,
        samples=SAMPLES if size == 1 else BATCHES,
        seconds=SECONDS,
        streak=8 if size == 1 else 1,
    )
    extra = {r.name: make_plain_query(model, r.call, batches) for r in rivals if r.call is not None}
    found = measure_interleaved(model, {EARLY: (criterion, cut)}, batches, options, extra=extra, progress=say)
    rows = {}
    for name in found.order:
        summary = found.summary(name)
        each = summary.mean * len(found.sizes) / sum(found.sizes)
        rows[name] = Timed(each * 1e3, summary.timer, summary.sampling)
    return Timings(size, sum(found.sizes), found.baseline, rows, tuple(found.reasons), tuple(found.notes), found)
