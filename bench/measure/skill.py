"""What could make a split's numbers void: a full model no better than one answer for all, exits that do not judge.

The answer that a model is compared with is the best one that needs no input: the commonest class of the same samples,
or the mean of their labels. It is chosen on the samples that are reported, so the comparison favours it. Whatever the
task's metric is, classes are compared by accuracy and values by squared error, which are means over samples: Matthews'
correlation, F1 and Pearson's correlation of a constant are 0 by definition, so they have no such comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from bench.measure.curve import Array
from bench.measure.exits import AllExits
from bench.measure.stats import Interval, find_t_quantile

Measure = Literal["accuracy", "squared error"]


@dataclass(frozen=True)
class Skill:
    """The full model against ``answer``, the class (its number) or value that does best when given to all samples.

    ``model`` and ``baseline`` are the ``measure`` of either; ``gain`` is how much better the model is (more accuracy,
    less squared error), with its interval over samples, paired. ``constant`` are the exits, 1-based, that answer the
    same for every sample.
    """

    measure: Measure
    model: float
    baseline: float
    answer: float
    gain: Interval
    constant: tuple[int, ...]


def measure_skill(exits: AllExits) -> Skill:
    """Compare the last exit's answers with one answer for all samples. Raises ValueError for no samples."""
    if not len(exits.labels):
        raise ValueError("No samples: nothing to compare on.")
    predictions = exits.predictions
    constant = find_constant_exits(predictions)
    if exits.logits.shape[2] == 1:
        labels, answers = exits.labels.astype(np.float64), predictions[:, -1].astype(np.float64)
        mean = float(labels.mean())
        ours, theirs = (answers - labels) ** 2, (mean - labels) ** 2
        gain = estimate_mean_difference(theirs, ours)
        return Skill("squared error", float(ours.mean()), float(theirs.mean()), mean, gain, constant)
    commonest = int(np.bincount(exits.labels).argmax())
    right, trivial = predictions[:, -1] == exits.labels, exits.labels == commonest
    gain = estimate_accuracy_difference(right, trivial)
    return Skill("accuracy", float(right.mean()), float(trivial.mean()), commonest, gain, constant)


def find_constant_exits(predictions: Array) -> tuple[int, ...]:
    """Return the exits, 1-based, whose answers [N, L] are the same for every sample."""
    return tuple((np.flatnonzero(np.ptp(predictions, axis=0) == 0) + 1).tolist())


def estimate_accuracy_difference(ours: Array, theirs: Array, level: float = 0.95) -> Interval:
    """Return the difference of two accuracies on the same samples; both bool [N], which samples each gets right.

    The adjusted Wald interval of Bonett and Price (2012), Journal of Educational and Behavioral Statistics 37: one
    sample more of either kind that only one gets right. It keeps its level for few samples, and where nothing differs
    it is not empty. Raises ValueError for no samples or unequal numbers of them.
    """
    a, b = np.asarray(ours, dtype=bool), np.asarray(theirs, dtype=bool)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"Two outcomes of the same samples needed: {list(a.shape)} and {list(b.shape)}.")
    n = len(a) + 2
    gained, lost = (int((a & ~b).sum()) + 1) / n, (int((b & ~a).sum()) + 1) / n
    half = NormalDist().inv_cdf(0.5 + level / 2) * math.sqrt((gained + lost - (gained - lost) ** 2) / n)
    middle = gained - lost
    difference = float(a.mean() - b.mean())
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Interval(difference, min(low, difference), max(high, difference), level)


def estimate_mean_difference(more: Array, less: Array, level: float = 0.95) -> Interval:
    """Return the mean of ``more`` - ``less`` [N], of the same samples, with Student's interval; of one sample no more.

    Raises ValueError for no samples or unequal numbers of them.
    """
    a, b = np.asarray(more, dtype=np.float64), np.asarray(less, dtype=np.float64)
    if a.shape != b.shape or not len(a):
        raise ValueError(f"Two values of the same samples needed: {list(a.shape)} and {list(b.shape)}.")
    differences = a - b
    mean = float(differences.mean())
    if len(a) == 1:
        return Interval(mean, mean, mean, level)
    half = float(find_t_quantile(level, len(a) - 1) * differences.std(ddof=1) / math.sqrt(len(a)))
    return Interval(mean, mean - half, mean + half, level)
