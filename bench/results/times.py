"""What a record keeps of a latency measurement; the raw times are in a file of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Tag

from bench.errors import Damaged
from bench.files import write_json
from bench.latency import describe_move, is_former_protocol
from bench.latency.names import AS_IT_IS
from bench.results.part import (
    STRICT,
    Estimate,
    Frozen,
    Number,
    Part,
    compute_checksum,
    read_part,
)


class RawPart(Part):
    """A part of a file of which not everything is read again."""

    model_config: ClassVar[ConfigDict] = ConfigDict({**STRICT, "extra": "ignore"})


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
    percentiles: Frozen[Number]
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
    robust: Estimate | None = None
    """The speed-up in the middle round, with its interval; unset where rounds are few, and by former protocols."""


def _find_tag(timing: Any) -> str:
    if isinstance(timing, dict):
        return "<point>" if set(timing) - set(Timing.model_fields) else "<plain>"
    return "<point>" if isinstance(timing, TimedPoint) else "<plain>"


AnyTiming = Annotated[
    Annotated[Timing, Tag("<plain>")] | Annotated[TimedPoint, Tag("<point>")], Discriminator(_find_tag)
]


class DepthPoint(Part):
    """A point's mean seconds as the depth table predicts them and as they were measured."""

    predicted: Number
    measured: Number
    ratio: Ratio
    """Measured over predicted."""


ByBucket = tuple[tuple[Number, ...], ...]


class DepthTable(Part):
    """Seconds of leaving at exit k (row k - 1) in each length bucket (column)."""

    buckets: tuple[int, ...]
    """Tokens."""
    lengths: tuple[Number, ...]
    """Mean tokens of the samples in each bucket."""
    checked: ByBucket
    """With a head and the criterion at every exit on the way."""
    bare: ByBucket
    """The layers and the last head alone."""
    checks: ByBucket
    """The difference: the cost of looking."""
    points: Frozen[DepthPoint]
    valid: bool
    reasons: tuple[str, ...]
    moved: Number | None = None
    """As :attr:`Latency.moved`."""


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
    configurations: Frozen[AnyTiming]
    """By rule, and the plain model in several forms."""
    notes: tuple[str, ...]
    depth: DepthTable | None = None
    repeated: int | None = None
    """Rounds that other processes disturbed and that were measured again; unset by former protocols."""
    moved: Number | None = None
    """By what part the plain model's time moved between the halves of the run, where that is more than it may; unset
    elsewhere, and by measurements of before speed-ups were judged."""

    @property
    def caution(self) -> str:
        """What to know of the protocol, in one line: a former one's intervals are too narrow; else empty."""
        return describe_former(self.protocol) if is_former_protocol(self.protocol) else ""

    @property
    def problem(self) -> str:
        """Why the measurement is not valid, in one line; empty where it is."""
        return "" if self.valid else "; ".join(self.reasons) or "no reason given"


class TimedRun:
    """What a run says of its latency, which it may not have."""

    @property
    def latency(self) -> Latency | None:
        """What the clock said, if it was asked."""
        raise NotImplementedError

    @property
    def timing_problem(self) -> str:
        """Why a finished run's latency is not valid, in one line; empty where it is, or nothing was timed."""
        return "" if self.latency is None else self.latency.problem

    @property
    def timing_flags(self) -> tuple[str, ...]:
        """What is to be seen beside a time on the clock: that it is INVALID, that it is by a former protocol (v1)."""
        flags = {"INVALID": self.timing_problem, "v1": self.timing_caution}
        return tuple(flag for flag, why in flags.items() if why)

    @property
    def timing_mark(self) -> str:
        """The flags as they stand behind a number."""
        return "".join(f" {flag}" for flag in self.timing_flags)

    @property
    def timing_caution(self) -> str:
        """What to know of a former latency protocol, in one line; empty where there is nothing."""
        return "" if self.latency is None else self.latency.caution

    @property
    def timing_baseline(self) -> str:
        """What speed-ups are against where it is another than the model in its own numbers: int8, bf16, compile."""
        return "" if self.latency is None or self.latency.baseline in AS_IT_IS else self.latency.baseline

    @property
    def timing_notes(self) -> tuple[str, ...]:
        """The sentences that say what :attr:`timing_mark` means."""
        said = {"Latency is INVALID: ": self.timing_problem, "Latency v1 is ": self.timing_caution}
        return tuple(f"{words}{why}." for words, why in said.items() if why)

    @property
    def milliseconds_notes(self) -> tuple[str, ...]:
        """The sentences that say what to know of milliseconds: what holds of every time, and that the speed moved."""
        moved = "" if self.latency is None else describe_two_speeds(self.latency)
        return (*self.timing_notes, *([f"Latency: {moved}."] if moved else []))


class RawConfiguration(RawPart):
    """What the raw times give for one configuration, in seconds a query; speed-ups against the baseline."""

    mean: Number
    percentiles: Frozen[Number]
    mean_layer: Number
    timer: Ratio | None
    """Interval over rounds; None for the baseline and for a single round."""
    robust: Ratio | None = None
    """The same of the middle round; None where rounds are few, unset by former protocols."""
    sampling: Ratio | None
    """Interval over samples."""


class RawRound(RawPart):
    """One round: nanoseconds of every query of its part, by configuration."""

    times: Frozen[tuple[int, ...]]
    part: int = 0


class RawOptions(RawPart):
    """How the times were measured, as far as that is read again."""

    executor: str


class RawTimes(RawPart):
    """The file of raw times, as far as it is read again: :class:`bench.latency.result.LatencyResult` wrote it."""

    protocol: str
    options: RawOptions
    device: str
    dtype: str
    threads: int
    samples: tuple[int, ...]
    """Positions of the queries that were timed."""
    sizes: tuple[int, ...] = (1,)
    """Samples of each query; unset from before there were batches."""
    rows: tuple[tuple[int, ...], ...] | None = None
    """Rows of the split in each query; unset from before there were batches."""
    parts: tuple[int, ...] | None = None
    """How many queries each part has, which take turns in the rounds; unset by former protocols, one of all."""
    order: tuple[str, ...]
    baseline: str
    rounds: tuple[RawRound, ...]
    repeated: tuple[RawRound, ...] = ()
    """Rounds that other processes disturbed and that were measured again."""
    layers: Frozen[tuple[Number, ...]]
    """Mean exit layer of each query, by configuration."""
    stop: str
    moved: Number | None = None
    validity: Literal["VALID", "INVALID"]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    summary: Frozen[RawConfiguration]
    depth: DepthTable | None = None
    checksum: str | None = None
    """None in times from before there were any."""

    @property
    def queries(self) -> tuple[tuple[int, ...], ...]:
        """Rows of the split in each query that was timed."""
        return self.rows or tuple((row,) for row in self.samples)

    @property
    def problem(self) -> str:
        """Why the measurement is not valid, in one line; empty where it is."""
        return "" if self.validity == "VALID" else "; ".join(self.reasons) or "no reason given"

    @property
    def part_sizes(self) -> tuple[int, ...]:
        """Queries of each part."""
        return self.parts or (len(self.samples),)


def write_times(path: Path, plain: Mapping[str, object]) -> None:
    """Write raw times, plain JSON values, with their checksum, whole or not at all."""
    write_json(path, {**plain, "checksum": compute_checksum(plain)}, compact=True)


def read_times(path: Path) -> RawTimes:
    """Return the raw times in ``path``. Raises Damaged, naming the field, for what is none."""
    times = read_part(path, RawTimes, sealed=False)
    if fault := next(_find_faults(times), ""):
        raise Damaged(path, fault)
    return times


def describe_two_speeds(found: Latency | DepthTable | RawTimes) -> str:
    """Return why milliseconds of a valid measurement are those of no one speed, in one line; empty where they are."""
    return "" if found.reasons or found.moved is None else describe_move(found.moved)


def describe_former(protocol: str) -> str:
    """Return what to know of times by a former protocol, in one line without a full stop."""
    return (
        f"by {protocol}, which stopped when an interval was narrow: its 95 % intervals cover 91 to 93 %, "
        "and they are not compared with later ones"
    )


def _find_faults(times: RawTimes) -> Iterator[str]:
    """Yield what is not there, or does not fit together, of what readers rely on; of unsealed times the means too."""
    queries = len(times.samples)
    if len(set(times.order)) != len(times.order):
        yield "order names a configuration twice"
    if times.moved is not None and times.moved <= -1:
        yield "moved is a time below nothing"
    if times.baseline not in times.order:
        yield f"order has no {times.baseline}, the baseline"
    if not queries or len(times.queries) != queries or not all(row and min(row) >= 0 for row in times.queries):
        yield f"rows is no list of the rows of {queries} queries"
    if times.rows is not None and len(times.sizes) != queries:
        yield f"sizes are not those of {queries} queries"
    sizes = times.part_sizes
    if sum(sizes) != queries or min(sizes) < 1 or len(times.rounds) % len(sizes):
        yield f"parts are not of {queries} queries in {len(times.rounds)} rounds"
        return
    for label in times.order:
        if label not in times.summary:
            yield f"summary.{label} is missing"
            return
        if len(times.layers.get(label, ())) != queries:
            yield f"layers.{label} is not of {queries} queries"
        for number, one in enumerate(times.rounds):
            found, part = one.times.get(label, ()), number % len(sizes)
            if (
                one.part != part
                or len(found) != sizes[part]
                or not 0 <= min(found) <= max(found) < 2**63
                or not sum(found)
            ):
                yield f"rounds[{number}].times.{label} is not of {sizes[part]} queries"
                return
        if times.checksum is None:
            taken = [time for one in times.rounds for time in one.times[label]]
            if not math.isclose(sum(taken) / max(1, len(taken)) / 1e9, times.summary[label].mean, rel_tol=1e-6):
                yield f"summary.{label}.mean is not that of its rounds"
