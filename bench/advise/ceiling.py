"""The ceiling: what leaving at each layer takes on this machine, heads and checks included, before anything is fitted.

What no exit can save, no training of exits will. The times also say what each cut would take, long before it is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backbones.base import Batch
from bench.inference.executors import make_executor
from bench.latency.depth import collect_by_depth, deal_turns
from bench.latency.protocol import compute_bucket
from bench.latency.queries import make_exit_query, measure_interleaved, number_samples
from bench.latency.result import LatencyOptions
from bench.measure.exits import AllExits
from bench.measure.rounds import paired_ratio
from bench.measure.stats import Interval
from bench.measure.trade_off import Costs
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits

CEILING = LatencyOptions(samples=16, seconds=6.0, streak=4, rounds=32)
"""Seconds, not minutes: a bound needs no second digit."""

WORTH = 1.05
"""Times faster than the model itself: less is not worth an exit."""


@dataclass(frozen=True)
class DepthTimes:
    """What a text takes, in seconds: ``exits`` [L, B] leaving at each exit, ``plain`` [B] the model as it is.

    By length bucket, of ``lengths`` tokens on average; ``rounds`` [L, R] and ``plain_rounds`` [R] over all texts.
    """

    lengths: tuple[float, ...]
    exits: NDArray[np.float64]
    plain: NDArray[np.float64]
    rounds: NDArray[np.float64]
    plain_rounds: NDArray[np.float64]

    @cached_property
    def speedups(self) -> tuple[Interval, ...]:
        """How many times faster everybody would be at each exit, 95 % over rounds."""
        return tuple(paired_ratio(self.plain_rounds, row) for row in self.rounds)

    @property
    def plain_ms(self) -> float:
        """Milliseconds a text takes without exits."""
        return float(self.plain_rounds.mean() * 1e3)

    def predict_costs(self, exits: AllExits) -> Costs:
        """Return nanoseconds of each sample at each exit [N, L], and without any [N], by its length."""
        early = np.stack([np.interp(exits.lengths, self.lengths, row) for row in self.exits], axis=1)
        plain = np.interp(exits.lengths, self.lengths, self.plain)
        return Costs(to_nanoseconds(early), to_nanoseconds(plain), "nanoseconds")


def to_nanoseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return seconds as whole nanoseconds."""
    return np.rint(seconds * 1e9).astype(np.int64)


def measure_ceiling(model: ExitModel, criterion: Criterion, samples: Sequence[Batch]) -> DepthTimes:
    """Measure forced exits at every layer, head and check at each, against the model as it is.

    ``samples`` are batches of one. What the heads say does not matter, so they may be new.
    """
    batches, keys = list(samples), number_samples(samples)
    executor, forced, depths = make_executor(model), ForcedExits(criterion), range(1, model.num_layers + 1)
    queries = [make_exit_query(executor, forced, forced.cut(k), batches, keys) for k in depths]
    found = measure_interleaved(model, {}, batches, CEILING, executor=executor, extra=deal_turns("exits", queries))
    times = collect_by_depth(found, "exits", model.num_layers)  # [L, R, N]
    plain = found.table(found.baseline) / 1e9  # [R, N]
    tokens = np.array(found.tokens)
    bucket = np.array([compute_bucket(t, CEILING.bucket) for t in found.tokens])
    places = sorted(set(bucket.tolist()))
    return DepthTimes(
        lengths=tuple(float(tokens[bucket == place].mean()) for place in places),
        exits=np.stack([times[:, :, bucket == place].mean(axis=(1, 2)) for place in places], axis=1),
        plain=np.array([plain[:, bucket == place].mean() for place in places]),
        rounds=times.mean(axis=2),
        plain_rounds=plain.mean(axis=1),
    )


def describe_ceiling(times: DepthTimes) -> str:
    """Return the sentence that says what is the most that exits can give."""
    found = times.speedups
    middle = max(1, len(found) // 2)
    said = f"Even if every text left at exit 1, {found[0].estimate:.1f}x is the most"
    if middle > 1:
        said += f"; at exit {middle}, {found[middle - 1].estimate:.1f}x"
    return f"{said} (the model itself takes {times.plain_ms:.1f} ms a text)."


def find_oracle(times: DepthTimes, exits: AllExits) -> tuple[float, float]:
    """Return the speed-ups of two oracles that no rule can beat without other answers.

    One leaves at the first exit that is right, and at once where none is; the other at the first that answers as the
    last one does. Values are right where they are no further from the label than the last exit's, and the same within
    a tenth of the spread of all answers.
    """
    costs, answers = times.predict_costs(exits), exits.predictions
    if answers.dtype.kind == "f":
        same = np.abs(answers - answers[:, -1:]) < 0.1 * max(1e-12, float(answers[:, -1].std()))
        distances = np.abs(answers - exits.labels[:, None])
        right = distances <= distances[:, -1:]
    else:
        same, right = answers == answers[:, -1:], answers == exits.labels[:, None]
    return tuple(_divide(costs, first) for first in (right.argmax(axis=1), same.argmax(axis=1)))  # type: ignore[return-value]


def _divide(costs: Costs, first: NDArray[np.int64]) -> float:
    return float(costs.plain.sum() / costs.early[np.arange(len(first)), first].sum())
