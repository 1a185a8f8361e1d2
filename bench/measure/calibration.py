"""Do exits know when they are right? Calibration, ranking, overthinking and what an oracle could still gain.

Everything is computed from recorded logits [N, L, C] and labels [N] of a classification task, without torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import rankdata

from bench.measure.curve import Array, Float

BINS = 15  # as Guo et al. (2017), whose figures ours should be comparable with


def probabilities(logits: Array) -> Float:
    """Return class probabilities, soft-max over the last axis in float64."""
    result: Float = softmax(np.asarray(logits, dtype=np.float64), axis=-1)
    return result


def expected_calibration_error(confidence: Array, right: Array, bins: int = BINS) -> float:
    """Return the mean gap between confidence and accuracy: sum over bins of n_b / N · |accuracy_b - confidence_b|.

    ``confidence`` [N] in [0, 1], ``right`` bool [N]; equally wide bins, closed above. Naeini et al. (AAAI 2015),
    Guo et al. (ICML 2017, eq. 3). Raises ValueError for no samples or unequal lengths.
    """
    c, r = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if c.shape != r.shape or c.ndim != 1 or not len(c):
        raise ValueError(f"Calibration needs one confidence and one outcome a sample: {c.shape} and {r.shape}.")
    place = np.clip(np.ceil(c * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=r - c, minlength=bins)
    return float(np.abs(gap).sum() / len(c))


def auroc(score: Array, positive: Array) -> float | None:
    """Return the probability that a positive scores above a negative, ties counted half; None where one is absent.

    ``score`` [N], ``positive`` bool [N]. The Mann-Whitney statistic over the number of pairs.
    """
    p = np.asarray(positive, dtype=bool)
    many, few = int(p.sum()), int((~p).sum())
    if not many or not few:
        return None
    ranks = rankdata(np.asarray(score, dtype=np.float64))
    return float((ranks[p].sum() - many * (many + 1) / 2) / (many * few))


@dataclass(frozen=True)
class Calibration:
    """Of every exit 1..L, lists of length L: accuracy, mean confidence, ECE, AUROC of "is this exit right" (by
    confidence; None where an exit is always right or always wrong)."""

    samples: int
    accuracy: list[float]
    confidence: list[float]
    ece: list[float]
    auroc: list[float | None]


def measure_calibration(logits: Array, labels: Array) -> Calibration:
    """Measure the calibration of every exit. ``logits`` [N, L, C] with C > 1, ``labels`` int [N]."""
    p = probabilities(_check_logits(logits, labels))
    confidence, right = p.max(axis=2), logits.argmax(axis=2) == np.asarray(labels)[:, None]
    exits = range(p.shape[1])
    return Calibration(
        samples=len(p),
        accuracy=[float(right[:, k].mean()) for k in exits],
        confidence=[float(confidence[:, k].mean()) for k in exits],
        ece=[expected_calibration_error(confidence[:, k], right[:, k]) for k in exits],
        auroc=[auroc(confidence[:, k], right[:, k]) for k in exits],
    )


@dataclass(frozen=True)
class Headroom:
    """What early exits break and could gain, as fractions of N samples.

    ``overthinking``: an earlier exit is right and the last is wrong (Kaya et al., ICML 2019: "destructive").
    ``wrong_everywhere``: no exit is right. ``last`` and ``best_single``: accuracy of the last exit and of the best
    one (``best_exit``, 1-based). ``oracle``: accuracy if each sample left at an exit that is right, where there is
    one; ``oracle_layer`` the mean exit of the earliest such one (exit 1 where there is none). ``overthought`` [L]:
    samples that exit k answers rightly and the last wrongly.
    """

    samples: int
    overthinking: float
    wrong_everywhere: float
    last: float
    best_single: float
    best_exit: int
    oracle: float
    oracle_layer: float
    overthought: list[float]

    @property
    def gain(self) -> float:
        """How far the oracle is above the last exit."""
        return self.oracle - self.last


def measure_headroom(logits: Array, labels: Array) -> Headroom:
    """Measure overthinking and the oracle's headroom. ``logits`` [N, L, C] with C > 1, ``labels`` int [N]."""
    right = _check_logits(logits, labels).argmax(axis=2) == np.asarray(labels)[:, None]
    some, last, single = right.any(axis=1), right[:, -1], right.mean(axis=0)
    return Headroom(
        samples=len(right),
        overthinking=float((some & ~last).mean()),
        wrong_everywhere=float((~some).mean()),
        last=float(last.mean()),
        best_single=float(single.max()),
        best_exit=int(single.argmax()) + 1,
        oracle=float(some.mean()),
        oracle_layer=float((right.argmax(axis=1) + 1).mean()),
        overthought=[float(v) for v in (right & ~last[:, None]).mean(axis=0)],
    )


def _check_logits(logits: Array, labels: Array) -> Array:
    if logits.ndim != 3 or logits.shape[2] < 2 or not len(logits) or len(logits) != len(labels):
        raise ValueError(f"Classification logits [N, L, C] and N labels needed, not {logits.shape} and {len(labels)}.")
    return logits
