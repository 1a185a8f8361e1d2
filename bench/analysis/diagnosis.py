"""How honest a criterion's score is: failure prediction, difficulty inversion, consistency, what a change costs.

Everything is computed from what was recorded: logits [N, L, C], labels int [N], scores [N, L] (lower = readier), exit
layers int [N], 1-based. A *pair* is two samples; ties count half, as in an AUROC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import rankdata

from bench.measure.calibration import auroc, measure_calibration, probabilities
from bench.measure.curve import Array, Int
from bench.measure.stats import Interval, bootstrap_mean, bootstrap_ratio, wilson

# --------------------------------------------------------------------------- failure prediction


def compute_auroc_interval(score: Array, positive: Array, level: float = 0.95) -> Interval | None:
    """Return the AUROC of ``score`` [N] for ``positive`` bool [N] with DeLong's interval; None without two of each.

    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44: the variance of the share of negatives below each positive,
    over positives, plus the same the other way round. Clipped to [0, 1]. Where every pair is ordered the right way
    round the estimated variance is 0, and so is the interval's width.
    """
    p = np.asarray(positive, dtype=bool)
    s = np.asarray(score, dtype=np.float64)
    m, n = int(p.sum()), int((~p).sum())
    if min(m, n) < 2:
        return None
    ranks = rankdata(s)
    below = (ranks[p] - rankdata(s[p])) / n  # of each positive: the share of negatives below it
    above = 1 - (ranks[~p] - rankdata(s[~p])) / m  # of each negative: the share of positives above it
    spread = np.sqrt(below.var(ddof=1) / m + above.var(ddof=1) / n)
    half = NormalDist().inv_cdf(0.5 + level / 2) * float(spread)
    estimate = float(below.mean())
    return Interval(estimate, max(0.0, estimate - half), min(1.0, estimate + half), level)


# --------------------------------------------------------------------------- difficulty


def compute_difficulty(right: Array) -> Int:
    """Return the first exit from which on all are right, 1..L; L + 1 where the last is wrong. ``right`` bool [N, L]."""
    r = np.asarray(right, dtype=bool)
    kept = np.logical_and.accumulate(r[:, ::-1], axis=1).sum(axis=1)  # right exits in a row, counted from the last
    found: Int = r.shape[1] - kept + 1
    return found


def compute_inversion(confidence: Array, hardness: Array) -> float | None:
    """Return the share of pairs of unequal difficulty in which the harder sample is the more confident one; ties half.

    ``confidence`` [N], higher = surer; ``hardness`` int [N] from :func:`compute_difficulty`. 0: in order of difficulty,
    1/2: unrelated to it. None where all samples are equally difficult. After the Difficulty Inversion Score of
    CascadeBERT (Li et al., Findings of EMNLP 2021, arXiv 2012.14682); the definition here, ties and all, is the one
    above.
    """
    c, hard = np.asarray(confidence, dtype=np.float64), np.asarray(hardness)
    inverted = pairs = 0.0
    for level in np.unique(hard)[1:]:
        shown = hard <= level
        harder = hard[shown] == level
        count = float(harder.sum()) * float((~harder).sum())
        found = auroc(c[shown], harder)
        inverted += count * (found or 0.0)
        pairs += count
    return inverted / pairs if pairs else None


# --------------------------------------------------------------------------- exits


def rate_exits(logits: Array, labels: Array, scores: Array | None) -> list[dict[str, Any]]:
    """Rate every exit of a classifier: plain data. ``scores`` [N, L] as the criterion gave them, None if it has none.

    ``own`` is the criterion's score, ``max_p`` the largest class probability. ``ece`` is of ``max_p``: a score that is
    no probability has none. AUROCs are of "this exit is right"; None where fewer than two samples are right, or wrong,
    or for a score that the criterion does not have.
    """
    known = measure_calibration(logits, labels)
    right = logits.argmax(axis=2) == np.asarray(labels)[:, None]
    sure, hard = probabilities(logits).max(axis=2), compute_difficulty(right)
    rows = []
    for k in range(logits.shape[1]):
        own = None if scores is None else -np.asarray(scores[:, k], dtype=np.float64)
        ranks = [None if s is None else compute_auroc_interval(s, right[:, k]) for s in (sure[:, k], own)]
        row = {
            "exit": k + 1,
            "accuracy": asdict(wilson(int(right[:, k].sum()), len(right))),
            "ece": known.ece[k],
            "auroc_max_p": ranks[0] and asdict(ranks[0]),
            "auroc_own": ranks[1] and asdict(ranks[1]),
            "inversion_max_p": compute_inversion(sure[:, k], hard),
            "inversion_own": None if own is None else compute_inversion(own, hard),
        }
        rows.append(row)
    return rows


# --------------------------------------------------------------------------- consistency


def count_flips(predictions: Array) -> Int:
    """Count how often a sample's answer changes from one exit to the next, [N], from predictions [N, L]."""
    p = np.asarray(predictions)
    found: Int = (p[:, 1:] != p[:, :-1]).sum(axis=1)
    return found


def summarise_flips(predictions: Array) -> dict[str, Any]:
    """Return how restless the exits are, as plain data. ``predictions`` [N, L].

    Of all samples: the ``mean`` number of changes of the answer over the exits, and the share with ``counts[k]`` = k
    changes. ``back``: the share that comes back to an answer it had left.
    """
    p, changes = np.asarray(predictions), count_flips(predictions)
    different = np.array([len(np.unique(row)) for row in p])
    back = changes > different - 1  # each class entered once makes one change fewer than there are classes
    shares = np.bincount(changes, minlength=p.shape[1]) / len(p)
    found = bootstrap_mean(changes), wilson(int(back.sum()), len(p))
    return {"mean": asdict(found[0]), "counts": shares.tolist(), "back": asdict(found[1])}


def measure_agreement(predictions: Array, layers: Array) -> Interval:
    """Return the share of samples whose answer at the exit taken is the last exit's. predictions [N, L], layers [N]."""
    p = np.asarray(predictions)
    return wilson(int((p[np.arange(len(p)), np.asarray(layers) - 1] == p[:, -1]).sum()), len(p))


# --------------------------------------------------------------------------- what a change of the input does


@dataclass(frozen=True)
class Decided:
    """What was decided for N samples: exit ``layers``, the ``answers`` there, the FLOPs ``spent``, all [N]."""

    layers: Array
    answers: Array
    spent: Array


def compare_decisions(before: Decided, after: Decided, labels: Array) -> dict[str, Any]:
    """Return how far a change of the input pushed the exits, as plain data; intervals pair the samples.

    ``later`` and ``earlier``: shares that leave later or earlier; ``other``: the share that is told something else.
    ``right`` is the change in accuracy, with the labels taken as unchanged. Raises ValueError for no or unequally many
    samples.
    """
    if len(before.layers) != len(after.layers) or not len(before.layers):
        raise ValueError(f"The same samples are needed: {len(before.layers)} and {len(after.layers)}.")
    moved = np.asarray(after.layers) - np.asarray(before.layers)
    gained = (after.answers == labels).astype(np.int64) - (before.answers == labels)
    return {
        "samples": len(moved),
        "before": float(np.mean(before.layers)),
        "after": float(np.mean(after.layers)),
        "difference": asdict(bootstrap_mean(moved)),
        "cost_ratio": asdict(bootstrap_ratio(after.spent, before.spent)),
        "later": float((moved > 0).mean()),
        "earlier": float((moved < 0).mean()),
        "other": float((before.answers != after.answers).mean()),
        "right": asdict(bootstrap_mean(gained)),
    }
