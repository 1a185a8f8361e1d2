"""The exact trade-off curve of a threshold criterion: every threshold at once, none sampled.

A criterion scores sample i at exit l with s[i, l]; lower is readier. With cut c the sample leaves at
the first exit l < L with s[i, l] < c (strict) or s[i, l] <= c (inclusive); exit L always answers.

Raising c can change where sample i leaves only when c passes a *record*, a score below all the
sample's earlier ones. Between two neighbouring record values nothing happens. So the curve is a
step function: sort all records once, and add up what each one changes in every additive statistic
(number correct, FLOPs, cells of the confusion matrix). O(N·L + E·log E) for E <= N·(L-1) records.

A score of -inf means "leaves at any cut above -inf" and +inf means "never ready", for both rules;
the cut -inf itself lets nobody leave early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Scores = NDArray[np.float64] | NDArray[np.float32]
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Curve:
    """What every possible cut gives, in ascending order of the cut. K rows, one per distinct set of decisions.

    ``cuts`` float64 [K]: one cut a row that gives exactly that row by the rule; the first is
    -inf (nobody leaves early). They sit right at a score; :attr:`midpoints` are the cuts to store.
    ``sums``: for each statistic its sum over samples, [K, S_k], int64 if the statistic was integer.
    ``mean_layer`` float64 [K]: mean exit layer, 1-based. ``samples`` is N and ``exits`` is L.
    """

    cuts: Float
    sums: tuple[Array, ...]
    mean_layer: Float
    samples: int
    exits: int
    strict: bool
    _values: Array  # [K-1] distinct record values, ascending, in the scores' dtype
    _target: Int  # [E] record's position i*L + (l-1), in order of value
    _source: Int  # [E] where that sample left before: its next record, or exit L
    _ends: Int  # [K] number of records passed at each row
    _statistics: tuple[Array, ...]  # [N*L, S_k]

    def __len__(self) -> int:
        return len(self.cuts)

    @cached_property
    def midpoints(self) -> Float:
        """Return cuts float64 [K] midway between neighbouring record values: the same rows as ``cuts``.

        Robust to float noise: no score that could change a decision is nearer than half a gap. Values
        are representable in the scores' dtype. The first is -inf; the last lies well above every record.
        """
        values, lowest = self._values.astype(np.float64), self.cuts[1:]
        if not len(values):
            return self.cuts
        largest = float(np.finfo(self._values.dtype).max)
        top = values[-1] if np.isfinite(values[-1]) else 0.0
        with np.errstate(over="ignore"):  # what overflows is clipped to a valid cut
            high = np.append(values[1:], min(top + 2 * max(1.0, abs(top)), largest))
            low = np.where(values > -np.inf, values, np.maximum(high - 2 * np.maximum(1.0, np.abs(high)), -largest))
            middle = (low / 2 + high / 2).astype(self._values.dtype).astype(np.float64)
        below_next = values[1:] if self.strict else np.nextafter(self._values[1:], -np.inf, dtype=self._values.dtype)
        highest = np.append(below_next, max(largest, lowest[-1]))
        return np.append(-np.inf, np.clip(middle, lowest, highest))

    def row(self, cut: float) -> int:
        """Return the row that ``cut`` gives, whether or not it is one of ``cuts``."""
        if cut == -np.inf:
            return 0
        passed = self._values < np.float64(cut) if self.strict else self._values <= np.float64(cut)
        return int(np.count_nonzero(passed))

    def reweight(self, weights: Array, statistic: int, rows: Int | None = None) -> Float:
        """Return the sums of one statistic under sample weights, without sorting again: [B, N] -> float64 [B, R, S].

        ``rows`` int64 [R] picks rows of the curve; default all K. This is how a bootstrap resamples
        whole curves: weights are the numbers of times that each sample was drawn.
        """
        values = self._statistics[statistic].astype(np.float64, copy=False)
        ends = self._ends if rows is None else self._ends[rows]
        owner = self._target // self.exits
        change = values[self._target] - values[self._source]
        last = values.reshape(self.samples, self.exits, -1)[:, -1]
        result = np.empty((len(weights), len(ends), values.shape[1]))
        running = np.zeros(len(change) + 1)
        for b, weight in enumerate(np.asarray(weights, dtype=np.float64)):
            start, drawn = weight @ last, weight[owner]
            for s in range(values.shape[1]):
                np.cumsum(drawn * change[:, s], out=running[1:])
                result[b, :, s] = start[s] + running[ends]
        return result


def exact_curve(scores: Scores, statistics: Sequence[Array], strict: bool = True) -> Curve:
    """Return the exact trade-off curve over every threshold.

    ``scores`` float64 or float32 [N, L], lower = readier; column L is ignored, the last exit always
    answers. ``statistics``: additive per-sample quantities [N, L, S_k] or [N, L]; integers and booleans
    are summed as int64, hence exactly. Raises ValueError for no samples, NaN scores or wrong shapes.
    """
    checked = _check_scores(scores)
    samples, exits = checked.shape
    flat = tuple(_flatten_statistic(s, samples, exits) for s in statistics)

    # Records, and after a sample's last record its exit L: neighbours in `at` are neighbours in time.
    stop = np.ones((samples, exits), dtype=bool)
    early = checked[:, :-1]
    if exits > 1:
        best = np.minimum.accumulate(early, axis=1)
        np.less(early[:, 0], np.inf, out=stop[:, 0])
        np.less(early[:, 1:], best[:, :-1], out=stop[:, 1:-1])
    at = np.flatnonzero(stop)
    events = np.flatnonzero(at % exits != exits - 1)
    value: Array = checked.reshape(-1)[at[events]]
    if not strict:  # -inf and the lowest finite number are told apart by no cut above -inf
        value = np.maximum(value, -float(np.finfo(checked.dtype).max))
    order = np.argsort(value)
    value, events = value[order], events[order]
    target, source = at[events], at[events + 1]
    last_of_tie = np.flatnonzero(np.append(value[1:] != value[:-1], True)[: len(value)])
    values = value[last_of_tie]

    with np.errstate(over="ignore", under="ignore"):
        cuts = np.nextafter(values, np.inf, dtype=values.dtype) if strict else values
    ends = np.append(0, last_of_tie + 1)
    return Curve(
        cuts=np.append(-np.inf, cuts.astype(np.float64)),
        sums=tuple(_sum_along(s, target, source, ends, exits) for s in flat),
        mean_layer=(samples * exits + _accumulate(target - source)[ends]) / samples,
        samples=samples,
        exits=exits,
        strict=strict,
        _values=values,
        _target=target,
        _source=source,
        _ends=ends,
        _statistics=flat,
    )


def exit_layers(scores: Scores, cut: float, strict: bool = True) -> Int:
    """Return the exit, 1-based int64 [N], at which each sample leaves with ``cut``: the rule itself.

    ``scores`` [N, L]; the comparison is made in float64. This is the definition that
    :func:`exact_curve` is tested against.
    """
    checked = _check_scores(scores)
    # np.float64, because a Python float would be rounded to the scores' float32 first
    threshold = np.float64(cut)
    ready = checked < threshold if strict else (checked <= threshold) & (checked < np.inf) & (threshold > -np.inf)
    ready[:, -1] = True
    layers: Int = np.argmax(ready, axis=1) + 1
    return layers


def _check_scores(scores: Scores) -> Array:
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"scores must be [samples, exits] with at least one exit, not {list(scores.shape)}.")
    if len(scores) == 0:
        raise ValueError("No samples: a trade-off curve needs at least one.")
    if scores.dtype not in (np.float32, np.float64):
        raise ValueError(f"scores must be float32 or float64, not {scores.dtype}.")
    if np.isnan(scores[:, :-1]).any():
        raise ValueError("scores contain NaN, which no threshold can order.")
    return np.ascontiguousarray(scores)


def _flatten_statistic(statistic: Array, samples: int, exits: int) -> Array:
    if statistic.shape[:2] != (samples, exits) or statistic.ndim > 3:
        raise ValueError(f"A statistic must be [{samples}, {exits}, S], not {list(statistic.shape)}.")
    kind = np.int64 if statistic.dtype.kind in "bui" else np.float64
    return np.ascontiguousarray(statistic, dtype=kind).reshape(samples * exits, -1)


def _sum_along(values: Array, target: Int, source: Int, ends: Int, exits: int) -> Array:
    result = np.empty((len(ends), values.shape[1]), dtype=values.dtype)
    for s in range(values.shape[1]):  # one contiguous column after the other is several times faster
        column = np.ascontiguousarray(values[:, s])
        result[:, s] = column[exits - 1 :: exits].sum() + _accumulate(column[target] - column[source])[ends]
    return result


def _accumulate(change: Array) -> Array:
    """[E] -> [E + 1], starting at 0."""
    running = np.zeros(len(change) + 1, dtype=change.dtype)
    np.cumsum(change, out=running[1:])
    return running
