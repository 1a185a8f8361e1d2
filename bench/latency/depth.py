"""The depth table: what leaving at exit k costs, with and without the checks on the way.

From it any threshold's latency is predicted from its exits and the samples' lengths; prediction against measurement
is the harness's test of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.base import Batch
from bench.inference.executors import EagerExecutor, Executor, make_executor, make_plain_call
from bench.latency.protocol import compute_bucket
from bench.latency.queries import (
    PlainCall,
    make_exit_query,
    make_plain_query,
    make_stepped_call,
    measure_interleaved,
    number_samples,
)
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.rounds import Query
from bench.measure.rounds import paired_ratio
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits


@dataclass(frozen=True)
class DepthResult:
    """Mean seconds [L, buckets] of leaving at exit k (row k - 1) in each length bucket (``buckets``, in tokens;
    ``lengths`` the mean tokens of the samples in each).

    ``checked`` with a head and the criterion at every exit up to k; ``bare`` with the layers up to k and head k alone;
    ``checks`` their difference, the cost of looking. ``result`` holds the raw times of both. ``points`` are plain data:
    each one's mean latency ``predicted`` and ``measured``, in seconds, and the ``ratio`` measured / predicted with its
    95 % interval over rounds.
    """

    buckets: list[int]
    lengths: list[float]
    checked: NDArray[np.float64]
    bare: NDArray[np.float64]
    result: LatencyResult
    points: Mapping[str, dict[str, Any]]

    @property
    def checks(self) -> NDArray[np.float64]:
        """Seconds [L, buckets] that the checks on the way to exit k cost."""
        return self.checked - self.bare

    def to_json(self) -> dict[str, Any]:
        """Return the tables as nested lists, seconds; no raw times (they are the result's)."""
        return {
            "buckets": self.buckets,
            "lengths": self.lengths,
            "checked": self.checked.tolist(),
            "bare": self.bare.tolist(),
            "checks": self.checks.tolist(),
            "points": dict(self.points),
            "valid": self.result.valid,
            "reasons": self.result.reasons,
            **({} if self.result.moved is None else {"moved": self.result.moved}),
        }


def measure_depth_table(
    model: ExitModel,
    criterion: Criterion,
    points: Mapping[str, float],
    samples: Sequence[Batch],
    options: LatencyOptions,
    make: Callable[[ExitModel], Executor] | None = None,
) -> DepthResult:
    """Measure forced exits at every depth, and ``points`` (label to cut) to test the prediction on.

    Depths take turns (:func:`deal_turns`). Everything is interleaved in one run of the protocol, so that prediction
    and measurement saw the same machine. ``make`` makes executors instead of that of the options.
    Errors as :func:`bench.latency.queries.measure_interleaved`.
    """
    batches, keys = list(samples), number_samples(samples)
    make = make or (lambda model: make_executor(model, options.executor))
    executor, last = make(model), model.num_layers
    forced, depths = ForcedExits(criterion), range(1, last + 1)
    exits = [make_exit_query(executor, forced, forced.cut(k), batches, keys) for k in depths]
    bare = [make_plain_query(model, make_unchecked_call(model, executor, k, make), batches) for k in depths]
    result = measure_interleaved(
        model,
        {label: (criterion, cut) for label, cut in points.items()},
        samples,
        options,
        executor=executor,
        extra={**deal_turns("exits", exits), **deal_turns("bare", bare)},
    )
    in_bucket = np.array([compute_bucket(tokens, options.bucket) for tokens in result.tokens])
    buckets = sorted(set(in_bucket.tolist()))
    lengths = [float(np.mean(np.array(result.tokens)[in_bucket == bucket])) for bucket in buckets]
    checked, unchecked = collect_by_depth(result, "exits", last), collect_by_depth(result, "bare", last)

    def mean(times: NDArray[np.float64]) -> NDArray[np.float64]:
        each = times.mean(axis=1)
        return np.stack([each[:, in_bucket == bucket].mean(axis=1) for bucket in buckets], axis=1)

    tested = {}
    for label in points:
        layers = [round(layer) for layer in result.layers[label]]
        measured = result.table(label).mean(axis=1) / 1e9
        each_round = [mean(checked[:, [r]]) for r in range(checked.shape[1])]
        predicted = np.array([predict_mean(table, lengths, layers, result.tokens) for table in each_round])
        ratio = asdict(paired_ratio(measured, predicted))
        tested[label] = {"predicted": float(predicted.mean()), "measured": float(measured.mean()), "ratio": ratio}
    return DepthResult(buckets, lengths, mean(checked), mean(unchecked), result, tested)


def deal_turns(name: str, queries: Sequence[Query]) -> dict[str, Query]:
    """Re-deal the queries of all depths: turn j answers sample i by query (i + j) mod L.

    After all turns every sample has been answered at every depth, and no two in a row left at the same one. Samples
    that all leave at exit 1 would find its weights in the caches, as samples of a real operating point do not.
    """
    count = len(queries)
    return {f"{name}, turn {j}": (lambda i, j=j: queries[(i + j) % count](i)) for j in range(count)}  # type: ignore[misc]


def collect_by_depth(result: LatencyResult, name: str, count: int) -> NDArray[np.float64]:
    """Return seconds [L, R, N] of every depth, round and sample, from the turns that :func:`deal_turns` dealt."""
    turns = np.stack([result.table(f"{name}, turn {j}") for j in range(count)]) / 1e9
    samples = np.array(result.samples)
    return np.stack([turns[(depth - samples) % count, :, np.arange(len(samples))].T for depth in range(count)])


class ShallowModel(ExitModel):
    """The first ``layers`` layers of a model, weights shared, and the head there."""

    def __init__(self, model: ExitModel, layers: int) -> None:
        super().__init__(model.encoder, model.head)
        self.layers = layers

    @property
    def num_layers(self) -> int:
        return self.layers


def make_unchecked_call(
    model: ExitModel, executor: Executor, layer: int, make: Callable[[ExitModel], Executor]
) -> PlainCall:
    """Return the layers up to ``layer`` and its head under the same executor: checks are all that it lacks.

    ``make`` makes executors like this one for a model that is cut off there, where layers are recorded.
    """
    if isinstance(executor, EagerExecutor):
        return make_stepped_call(ShallowModel(executor.model, layer))
    return make_plain_call(make(ShallowModel(model, layer)))


def predict_mean(
    table: NDArray[np.float64], lengths: Sequence[float], layers: Sequence[int], tokens: Sequence[int]
) -> float:
    """Return the mean of :func:`predict_seconds`."""
    return float(np.mean(predict_seconds(table, lengths, layers, tokens)))


def predict_seconds(
    table: NDArray[np.float64], lengths: Sequence[float], layers: Sequence[int], tokens: Sequence[int]
) -> NDArray[np.float64]:
    """Return the seconds [N] of samples by their exits and tokens from a table [L, buckets].

    Linear between the buckets' mean ``lengths``.
    """
    return np.array([np.interp(t, lengths, table[layer - 1]) for layer, t in zip(layers, tokens, strict=True)])
