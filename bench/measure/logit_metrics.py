"""Metrics of what an exit says, not only of what it answers: of logits [N, C] against classes [N].

Log-loss and Brier score are means over samples, so that curves and intervals of them are sums; the area under the ROC
curve is of ranks, and is computed again for every resample of samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.errors import UsageError
from bench.measure.curve import Array, Float

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""What a class is given at least in a log-loss, as in scikit-learn: one sample costs 36.04 at most."""


def rate_log_loss(logits: Array, labels: Array) -> Float:
    """Return each sample's -ln of the probability of its class, [N]. Raises UsageError for logits that are infinite."""
    from scipy.special import logsumexp

    found = _read_finite(logits)
    told = found[np.arange(len(found)), labels] - logsumexp(found, axis=1)
    rated: Float = -np.maximum(told, np.log(LEAST_PROBABILITY))
    return rated


def rate_brier(logits: Array, labels: Array) -> Float:
    """Return each sample's sum of squared errors of the classes' probabilities, [N], from 0 to 2.

    Brier (1950), Monthly Weather Review 78; of two classes it is twice what is counted for one of them. Raises
    UsageError for logits that are infinite.
    """
    from scipy.special import softmax

    wrong: Float = softmax(_read_finite(logits), axis=1)
    wrong[np.arange(len(wrong)), labels] -= 1
    rated: Float = (wrong * wrong).sum(axis=1)
    return rated


def weigh_auroc(logits: Array, labels: Array) -> Callable[[Float], Float]:
    """Return a function from how often each sample counts, [B, N], to the area under the ROC curve, [B].

    Of each class against all others by its log-odds, which rank as its probability does and do not saturate; the mean
    over the classes that are there, as are others (for two classes both areas are one). 0.5 where there is only one.
    Raises UsageError for logits that are infinite.
    """
    from scipy.special import logsumexp

    found = _read_finite(logits)
    classes = found.shape[1]
    judged = [1] if classes == 2 else range(classes)
    ranked = [_rank_class(found[:, c] - logsumexp(np.delete(found, c, axis=1), axis=1), labels == c) for c in judged]

    def weigh(counts: Float) -> Float:
        areas = np.stack([_weigh_ranks(counts, *one) for one in ranked])
        known = ~np.isnan(areas)
        sums, often = np.where(known, areas, 0.0).sum(axis=0), known.sum(axis=0)
        mean: Float = np.where(often > 0, sums / np.maximum(often, 1), 0.5)
        return mean

    return weigh


def _rank_class(scores: Float, positive: Array) -> tuple[Array, Array, Array]:
    """Return the samples' order by score, whether each is positive in that order, and where equal scores begin."""
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    return order, positive[order], np.flatnonzero(np.append(True, ascending[1:] != ascending[:-1]))


def _weigh_ranks(counts: Float, order: Array, positive: Array, starts: Array) -> Float:
    """Return the share of pairs of a positive and a negative in which the positive is above, ties a half, [B].

    NaN where there are no pairs.
    """
    drawn = counts[:, order]
    above = np.add.reduceat(drawn * positive, starts, axis=1)
    below = np.add.reduceat(drawn * ~positive, starts, axis=1)
    won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    share: Float = np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)
    return share


def _read_finite(logits: Array) -> Float:
    found = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(found).all():
        raise UsageError("Logits that are not finite have no probabilities: no AUROC, log-loss or Brier score.")
    return found
