"""What a latency measurement says: raw times kept, everything else derived from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.latency.machine import MachineState
from bench.measure.stats import Interval, bootstrap_ratio, paired_ratio

PERCENTILE_FLOORS = {50: 64, 90: 64, 95: 130, 99: 662}
"""How many samples a percentile needs before it is reported.

The fewest of which, with 99 % confidence, at least two lie beyond the true 90 %, 95 % or 99 % percentile (binomial; as
MLPerf's early stopping has it). 64 also bound the median's 95 % interval to about the central quarter of the samples.
"""


@dataclass(frozen=True)
class LatencyOptions:
    """How to measure; every field is stored with the result.

    ``samples`` is the most samples of the data set to use, drawn once with ``seed`` for all configurations;
    ``seconds`` the time limit of the measured rounds (the warm-up has as much again at most); ``streak`` how many
    samples a configuration runs in a row before the next one does; ``bucket`` the width of a length bucket in tokens;
    ``threads`` torch's, None for what torch chose; ``precision`` half the relative width of the speed-ups' 95 %
    intervals that ends a run; ``executor`` one of bench.inference.executors.
    """

    protocol: str = "single-stream-v1"
    samples: int = 64
    seconds: float = 30.0
    min_rounds: int = 4
    max_rounds: int = 200
    streak: int = 8
    bucket: int = 16
    seed: int = 0
    threads: int | None = None
    precision: float = 0.01
    executor: str = "eager"


@dataclass(frozen=True)
class WarmUp:
    """What happened before the clock counted: passes run, depths and buckets visited, whether two blocks agreed."""

    passes: int
    depths: list[int]
    buckets: list[int]
    blocks: int
    agreed: bool
    seconds: float


@dataclass(frozen=True)
class Round:
    """One round: nanoseconds per configuration in the order of ``LatencyResult.samples``; the machine around it.

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


@dataclass(frozen=True)
class Summary:
    """One configuration, in seconds per query (a sample, or a batch of them); speed-ups against the baseline.

    ``mean`` by the host's clock; ``device_mean`` by the device's events, None where there is no such device.
    ``timer`` is the paired speed-up with its t-interval over rounds: how well the clock knows it on these samples.
    ``sampling`` is the same ratio with its bootstrap interval over samples: how well these samples stand for the
    data set.
    """

    mean: float
    device_mean: float | None
    samples_per_second: float
    percentiles: dict[str, float]
    mean_layer: float
    timer: Interval | None
    sampling: Interval | None


@dataclass(frozen=True)
class LatencyResult:
    """All that one run of a latency protocol measured.

    ``samples`` are positions of the queries in the given data, in the fixed order of measurement; ``tokens`` their
    (padded) lengths and ``sizes`` their numbers of samples; ``layers`` the mean exit layer of each of them per
    configuration; ``clock`` the host's clock and ``rules`` the protocol's limits; ``reasons`` why the run is INVALID,
    empty if it is valid.
    """

    protocol: str
    options: LatencyOptions
    device: str
    dtype: str
    threads: int
    samples: list[int]
    tokens: list[int]
    sizes: list[int]
    order: list[str]
    baseline: str
    rounds: list[Round]
    layers: dict[str, list[float]]
    warmup: WarmUp
    stop: str
    clock: str
    rules: dict[str, object]
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether nothing disturbed the run."""
        return not self.reasons

    def table(self, label: str) -> NDArray[np.int64]:
        """Return nanoseconds [rounds, samples] of one configuration."""
        return np.array([r.times[label] for r in self.rounds], dtype=np.int64)

    def summary(self, label: str) -> Summary:
        """Return one configuration's figures, derived from the raw times."""
        times, base = self.table(label), self.table(self.baseline)
        per_sample = times.mean(axis=0)
        on_device = [r.device_ns[label] for r in self.rounds if r.device_ns is not None]
        compared = label != self.baseline
        return Summary(
            mean=float(times.mean()) / 1e9,
            device_mean=float(np.mean(on_device)) / 1e9 if on_device else None,
            samples_per_second=len(times) * sum(self.sizes) / float(times.sum()) * 1e9,
            percentiles=compute_percentiles(per_sample / 1e9),
            mean_layer=float(np.average(self.layers[label], weights=self.sizes)),
            timer=paired_ratio(base.sum(axis=1), times.sum(axis=1)) if compared and len(times) > 1 else None,
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
