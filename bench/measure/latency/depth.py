"""The depth table: what leaving at exit k costs, with and without the checks on the way.

From it any threshold's latency is predicted from its exits and the samples' lengths; prediction against measurement
is the harness's test of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from bench.inference.engine import make_engine
from bench.measure.latency.protocol import bucket_of
from bench.measure.latency.queries import count_through, exit_query, measure, plain_query
from bench.measure.latency.result import LatencyOptions, LatencyResult
from bench.measure.latency.run import Query
from bench.measure.stats import Interval, paired_ratio
from strategies.base import Criterion, ExitModel, Seen, Start, State


class ForcedExit(Criterion):
    """A criterion at full cost, heard and overruled: every sample leaves at a given exit."""

    regression = True

    def __init__(self, criterion: Criterion, layer: int) -> None:
        self.criterion, self.layer, self.at = criterion, layer, 0
        self.strict, self.probe = criterion.strict, criterion.probe

    def start(self, start: Start) -> State:
        return self.criterion.start(start)

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        self.at = seen.layer
        return self.criterion.step(state, seen)

    def leaves(self, score: Tensor, cut: float) -> Tensor:
        return self.criterion.leaves(score, cut).fill_(self.at >= self.layer)


@dataclass(frozen=True)
class Prediction:
    """One point's mean latency in seconds; ``ratio`` is measured / predicted with its 95 % interval over rounds."""

    predicted: float
    measured: float
    ratio: Interval


@dataclass(frozen=True)
class DepthTable:
    """Mean seconds [L, buckets] of leaving at exit k (row k - 1) in each length bucket (``buckets``, in tokens).

    ``checked`` with a head and the criterion at every exit up to k; ``bare`` with the layers up to k and head k alone;
    ``checks`` their difference, the cost of looking. ``result`` holds the raw times of both.
    """

    buckets: list[int]
    checked: NDArray[np.float64]
    bare: NDArray[np.float64]
    width: int
    result: LatencyResult
    points: Mapping[str, Prediction]

    @property
    def checks(self) -> NDArray[np.float64]:
        """Seconds [L, buckets] that the checks on the way to exit k cost."""
        return self.checked - self.bare

    def predict(self, layers: Sequence[int], tokens: Sequence[int]) -> float:
        """Mean seconds of samples that leave at these exits and have these lengths (interpolated between buckets)."""
        return float(_predict(self.checked, self.buckets, layers, tokens, self.width).mean())

    def to_json(self) -> dict[str, Any]:
        """Tables as nested lists, seconds; no raw times (they are the result's)."""
        return {
            "buckets": self.buckets,
            "checked": self.checked.tolist(),
            "bare": self.bare.tolist(),
            "checks": self.checks.tolist(),
            "points": {label: asdict(point) for label, point in self.points.items()},
            "valid": self.result.valid,
            "reasons": self.result.reasons,
        }


def depth_table(
    model: ExitModel,
    criterion: Criterion,
    points: Mapping[str, float],
    samples: Sequence[Batch],
    options: LatencyOptions | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> DepthTable:
    """Measure forced exits at every depth, and ``points`` (label to cut) to test the prediction on.

    Everything is interleaved in one run of the protocol, so that prediction and measurement saw the same machine.
    Errors as :func:`bench.measure.latency.measure`.
    """
    options = options or LatencyOptions(samples=16)
    batches, keys = list(samples), count_through(samples)
    device = next(model.parameters()).device
    engine = make_engine(model, options.executor)
    depths = range(1, model.num_layers + 1)
    extra: dict[str, Query] = {}
    for k in depths:
        extra[f"exit {k}"] = exit_query(engine, ForcedExit(criterion, k), 0.0, batches, keys, device)
        extra[f"bare {k}"] = plain_query(model, truncated(model, k), batches)
    result = measure(
        model,
        {label: (criterion, cut) for label, cut in points.items()},
        samples,
        options,
        engine=engine,
        extra=extra,
        progress=progress,
    )
    width = options.bucket
    in_bucket = np.array([bucket_of(tokens, width) for tokens in result.tokens])
    buckets = sorted(set(in_bucket.tolist()))

    def mean(label: str, rounds: slice = slice(None)) -> NDArray[np.float64]:
        times = result.table(label)[rounds].mean(axis=0) / 1e9
        return np.array([times[in_bucket == bucket].mean() for bucket in buckets])

    def predict(rounds: slice, layers: Sequence[int]) -> float:
        table = np.stack([mean(f"exit {k}", rounds) for k in depths])
        return float(_predict(table, buckets, layers, result.tokens, width).mean())

    checked = np.stack([mean(f"exit {k}") for k in depths])
    tested = {}
    for label in points:
        layers = [round(layer) for layer in result.layers[label]]
        measured = result.table(label).mean(axis=1) / 1e9
        predicted = np.array([predict(slice(r, r + 1), layers) for r in range(len(result.rounds))])
        tested[label] = Prediction(float(predicted.mean()), float(measured.mean()), paired_ratio(measured, predicted))
    return DepthTable(buckets, checked, np.stack([mean(f"bare {k}") for k in depths]), width, result, tested)


def truncated(model: ExitModel, layer: int) -> Callable[[Batch], Tensor]:
    """The model cut off after ``layer``: its layers and its head, no checks on the way."""

    def call(batch: Batch) -> Tensor:
        with torch.inference_mode():
            hidden, mask = model.encoder.embed(batch)
            for index in range(1, layer + 1):
                hidden = model.encoder.layer(index, hidden, mask)
            logits: Tensor = model.head(hidden, batch.attention_mask, layer)
            return logits

    return call


def _predict(
    table: NDArray[np.float64], buckets: Sequence[int], layers: Sequence[int], tokens: Sequence[int], width: int
) -> NDArray[np.float64]:
    """Seconds [N] of samples by exit and length bucket."""
    return np.array(
        [np.interp(bucket_of(t, width), buckets, table[layer - 1]) for layer, t in zip(layers, tokens, strict=True)]
    )
