"""What a latency measurement says: raw times kept, everything else derived from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.latency import SINGLE_STREAM
from bench.latency.machine import MachineState
from bench.measure.rounds import RatioSeries, follow_ratio
from bench.measure.stats import Interval, bootstrap_ratio

PERCENTILE_FLOORS = {50: 64, 90: 64, 95: 130, 99: 662}
"""How many samples a percentile needs before it is reported.

The fewest of which, with 99 % confidence, at least two lie beyond the true 90 %, 95 % or 99 % percentile (binomial; as
MLPerf's early stopping has it). 64 also bound the median's 95 % interval to about the central quarter of the samples.
"""


@dataclass(frozen=True)
class LatencyOptions:
    """How to measure; every field is stored with the result.

    ``samples`` is the most samples of the data set to use, drawn once with ``seed`` for all configurations;
    ``seconds`` the time limit of the measured rounds (the warm-up has as much again at most); ``rounds`` how many to
    aim at; ``streak`` how many samples a configuration runs in a row before the next one does; ``bucket`` the width of
    a length bucket in tokens; ``threads`` torch's, None for what torch chose; ``executor`` one of
    bench.inference.executors; ``wait_quiet`` how many seconds to wait at most for other processes to stop first.
    """

    protocol: str = SINGLE_STREAM
    samples: int = 64
    seconds: float = 30.0
    rounds: int = 128
    streak: int = 8
    bucket: int = 16
    seed: int = 0
    threads: int | None = None
    executor: str = "eager"
    wait_quiet: float = 0.0


@dataclass(frozen=True)
class WarmUp:
    """What happened before the clock counted: passes run, depths and buckets visited, whether two blocks agreed.

    ``sample_seconds`` is what one sample took through all configurations in the last block: rounds are planned by it.
    """

    passes: int
    depths: list[int]
    buckets: list[int]
    blocks: int
    agreed: bool
    seconds: float
    sample_seconds: float


@dataclass(frozen=True)
class Round:
    """One round: nanoseconds per configuration, in the order of ``LatencyResult.samples``; the machine around it.

    ``part`` is the part of the samples that it ran, where they are dealt to several that take turns.
    ``device_ns`` are the same passes by the device's own events, where there is a device; ``first`` is the
    configuration that began the round, from which on the order turns after every streak; ``collecting`` whether
    Python's garbage collector ran while the clock did.
    """

    times: dict[str, list[int]]
    before: MachineState
    after: MachineState
    device_ns: dict[str, list[int]] | None = None
    first: str = ""
    collecting: bool = False
    part: int = 0


@dataclass(frozen=True)
class Summary:
    """One configuration, in seconds per query (a sample, or a batch of them); speed-ups against the baseline.

    ``mean`` by the host's clock; ``device_mean`` by the device's events, None where there is no such device.
    ``timer`` is the paired speed-up with its interval over rounds: how well the clock knows it on these samples;
    ``robust`` the same of the middle round, None where there are too few.
    ``sampling`` is the same ratio with its bootstrap interval over samples: how well these samples stand for the
    data set.
    """

    mean: float
    device_mean: float | None
    samples_per_second: float
    percentiles: dict[str, float]
    mean_layer: float
    timer: Interval | None
    robust: Interval | None
    sampling: Interval | None


@dataclass(frozen=True)
class LatencyResult:
    """All that one run of a latency protocol measured.

    ``samples`` are positions of the queries in the given data, in the fixed order of measurement; ``tokens`` their
    (padded) lengths and ``sizes`` their numbers of samples; ``parts`` how many of them each part has, which take turns
    in the ``rounds``; ``layers`` the mean exit layer of each query per configuration. ``repeated`` are rounds that
    others disturbed and ``settling`` those in which the machine still changed: measured again, and in no figure.
    ``waited`` is how many seconds the machine took to be quiet, None where it never was or nobody waited; ``clock`` the
    host's clock and ``rules`` the protocol's limits; ``moved`` is by what part the plain model's time moved between the
    halves of the run, None within what it may; ``reasons`` why the run is INVALID, empty if it is valid.
    """

    protocol: str
    options: LatencyOptions
    device: str
    dtype: str
    threads: int
    samples: list[int]
    tokens: list[int]
    sizes: list[int]
    parts: list[int]
    order: list[str]
    baseline: str
    rounds: list[Round]
    repeated: list[Round]
    settling: list[Round]
    waited: float | None
    layers: dict[str, list[float]]
    warmup: WarmUp
    stop: str
    clock: str
    rules: dict[str, object]
    moved: float | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing disturbed the run."""
        return not self.reasons

    def table(self, label: str) -> NDArray[np.int64]:
        """Return nanoseconds [cycles, samples] of one configuration: every sample once in each cycle of rounds."""
        times = np.array(list(chain.from_iterable(r.times[label] for r in self.rounds)), dtype=np.int64)
        return times.reshape(-1, len(self.samples))

    def ratio(self, baseline: str, label: str) -> RatioSeries:
        """Return how many times faster one configuration is than another, and how each round moves that."""
        before, after = ([float(sum(r.times[name])) for r in self.rounds] for name in (baseline, label))
        return follow_ratio(before, after, len(self.parts))

    @property
    def ratios(self) -> dict[str, RatioSeries]:
        """How many times faster each other configuration is than the baseline; none of fewer than two cycles."""
        others = [label for label in self.order if label != self.baseline]
        return {label: self.ratio(self.baseline, label) for label in others if len(self.rounds) >= 2 * len(self.parts)}

    def summary(self, label: str) -> Summary:
        """Return one configuration's figures, derived from the raw times."""
        times, base = self.table(label), self.table(self.baseline)
        per_sample = times.mean(axis=0)
        on_device = [time for r in self.rounds if r.device_ns is not None for time in r.device_ns[label]]
        compared = label != self.baseline
        ratio = self.ratio(self.baseline, label) if compared and len(times) > 1 else None
        return Summary(
            mean=float(times.mean()) / 1e9,
            device_mean=float(np.mean(on_device)) / 1e9 if on_device else None,
            samples_per_second=len(times) * sum(self.sizes) / float(times.sum()) * 1e9,
            percentiles=compute_percentiles(per_sample / 1e9),
            mean_layer=float(np.average(self.layers[label], weights=self.sizes)),
            timer=None if ratio is None else ratio.estimate_mean(),
            robust=None if ratio is None else ratio.estimate_median(),
            sampling=bootstrap_ratio(base.mean(axis=0), per_sample) if compared else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and dictionaries, raw times as integer nanoseconds."""
        made = asdict(self)
        made["validity"] = "VALID" if self.valid else "INVALID"
        made["summary"] = {label: asdict(self.summary(label)) for label in self.order}
        return made


def compute_percentiles(times: ArrayLike) -> dict[str, float]:
    """Return the percentiles of N samples' times that N suffices for, as ``{"p50": ...}``, in the unit of ``times``."""
    values = np.asarray(times, dtype=np.float64)
    return {f"p{q}": float(np.percentile(values, q)) for q, floor in PERCENTILE_FLOORS.items() if len(values) >= floor}


def find_disagreement(timer: Interval | None, robust: Interval | None) -> str:
    """Return how mean and median of the rounds' ratios disagree: neither interval has the other. Else nothing."""
    if timer is None or robust is None:
        return ""
    if timer.low <= robust.estimate <= timer.high or robust.low <= timer.estimate <= robust.high:
        return ""
    mean, median = (f"{one.estimate:.3g}x [{one.low:.3g}, {one.high:.3g}]" for one in (timer, robust))
    return f"the mean over rounds is {mean} and the middle round {median}: some rounds are far from the others"
