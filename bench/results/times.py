"""What a record keeps of a latency measurement; the raw times are in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from bench.results.part import Estimate, Number, Part


class Ratio(Part):
    """A ratio of times with its interval at ``level``."""

    estimate: Number
    low: Number
    high: Number
    level: Number


class Timing(Part):
    """One configuration on the clock."""

    mean_ms: Number
    """A query: a sample, or a batch of them."""
    percentiles: Mapping[str, Number]
    """Seconds, by ``p50`` and so on."""


class TimedPoint(Timing):
    """An operating point on the clock, against the plain model."""

    speedup: Estimate
    """Interval over rounds: how well the clock knows it."""
    sampling: Estimate
    """The same ratio; interval over samples: how well these stand for all."""
    mean_layer: Number
    cost_speedup: Number
    """What the FLOPs of the same samples promise."""
    realisation: Number
    """``speedup`` over ``cost_speedup``."""


def _tag_of(timing: Any) -> str:
    return "point" if (isinstance(timing, dict) and "speedup" in timing) or hasattr(timing, "speedup") else "plain"


AnyTiming = Annotated[Annotated[Timing, Tag("plain")] | Annotated[TimedPoint, Tag("point")], Discriminator(_tag_of)]


class DepthPoint(Part):
    """A point's mean seconds as the depth table predicts them and as they were measured."""

    predicted: Number
    measured: Number
    ratio: Ratio
    """Measured over predicted."""


Table = tuple[tuple[Number, ...], ...]


class DepthTable(Part):
    """Seconds of leaving at exit k (row k - 1) in each length bucket (column)."""

    buckets: tuple[int, ...]
    """Tokens."""
    lengths: tuple[Number, ...]
    """Mean tokens of the samples in each bucket."""
    checked: Table
    """With a head and the criterion at every exit on the way."""
    bare: Table
    """The layers and the last head alone."""
    checks: Table
    """The difference: the cost of looking."""
    points: Mapping[str, DepthPoint]
    valid: bool
    reasons: tuple[str, ...]


class Latency(Part):
    """One measurement of latency: where, how, and what came out."""

    protocol: str
    valid: bool
    reasons: tuple[str, ...]
    """Why the measurement is not valid; empty where it is."""
    stop: str
    """What ended the rounds."""
    rounds: int
    samples: int
    batch_size: int
    device: str
    dtype: str
    threads: int
    executor: str
    baseline: str
    """The plain configuration that speed-ups are against."""
    file: str
    """Raw times, beside the record."""
    configurations: Mapping[str, AnyTiming]
    """By rule, and the plain model in several forms."""
    notes: tuple[str, ...]
    depth: DepthTable | None = None

    @property
    def problem(self) -> str:
        """Why the measurement is not valid, in one line; empty where it is."""
        return "" if self.valid else "; ".join(self.reasons) or "no reason given"
