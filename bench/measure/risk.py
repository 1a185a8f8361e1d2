"""Thresholds with a guarantee: the loosest cut whose risk is controlled, from samples that were held out.

Two losses per sample and exit, both in [0, 1]: ``risk``, whether the early answer differs from the full model's
(regression: by how much, at most 1), and ``gap``, whether the full model was right and the early answer is wrong; the
mean of the latter is at least the accuracy that early exit costs.

- Learn-then-Test (Angelopoulos, Bates, Candès, Jordan, Lei 2021, arXiv 2110.01052): with probability ``confidence``
  over the held-out samples, the chosen cut's risk is at most ``level``. Fixed-sequence testing from "nobody leaves" to
  ever looser cuts, each with an exact p-value of "risk > level", until the first that is not rejected: no price for
  many cuts, no assumption that the loss grows with the cut. P-values: exact binomial where the loss is 0 or 1, else
  Hoeffding-Bentkus (ibid., prop. 4).
- Conformal risk control (Angelopoulos, Bates, Fisch, Lei, Schuster 2022, arXiv 2208.02814): the *expected* risk on
  one more sample is at most ``level``; needs a loss that grows with the cut, hence each sample's running maximum.

The guarantee is for samples drawn like the held-out ones. The cuts tried are a fixed grid, laid out before any data
are seen: testing the data's own scores would break the first guarantee.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from bench.errors import UsageError
from bench.measure.curve import Curve, Float, Scores, exit_layers
from bench.measure.rules import Choice, Rule, Unreachable

Loss = Literal["risk", "gap"]


def tabulate_losses(kind: Loss, answers: NDArray[Any], labels: NDArray[Any]) -> Float:
    """Return the loss [N, L] in [0, 1] of every sample leaving at every exit, from answers [N, L] and labels [N].

    Raises UsageError for the gap of a regression task, which has no right and wrong.
    """
    full = answers[:, -1:]
    if answers.dtype.kind != "f":
        early = answers != full if kind == "risk" else (full == labels[:, None]) & (answers != labels[:, None])
        return early.astype(np.float64)
    if kind == "gap":
        raise UsageError("An accuracy gap needs classes; for regression control the disagreement: risk=.")
    distance: Float = np.minimum(np.abs(answers.astype(np.float64) - full), 1.0)
    return distance


@cache
def fixed_cuts() -> tuple[float, ...]:
    """Return the cuts that are tried, ascending: the same for every criterion and all data.

    Scores of the field are probabilities, entropies, distances or counts, of either sign: even steps of 0.002 in
    [-1, 1], fifty steps a decade towards 0 and towards ±1 and up to 1000, and multiples of a half up to 64.
    """
    decades = 10.0 ** (np.arange(-8 * 50, 3 * 50 + 1) / 50)
    near_one = 1 - 10.0 ** (-np.arange(100, 7 * 50 + 1) / 50)
    positive = np.concatenate([decades, near_one, np.arange(1, 501) / 500, np.arange(1, 129) / 2])
    return tuple(float(c) for c in np.unique(np.concatenate([-positive, [0.0], positive])))


def binomial_p(losses: Float, level: float) -> float:
    """Return P(at most so many losses | risk = level): exact for losses that are 0 or 1, [N]."""
    return float(bdtr(round(float(losses.sum())), len(losses), level))


def hoeffding_bentkus_p(mean: float, samples: int, level: float) -> float:
    """Return the Hoeffding-Bentkus p-value that the risk of a loss in [0, 1] exceeds ``level`` (Bates et al. 2021).

    The smaller of Hoeffding's exp(-n h(min(mean, level), level)), h the Kullback-Leibler divergence of Bernoulli
    variables, and Bentkus' e P(Bin(n, level) <= ceil(n mean)).
    """
    a, b = min(mean, level), level
    divergence = (a * math.log(a / b) if a > 0 else 0.0) + (1 - a) * math.log((1 - a) / (1 - b)) if b < 1 else 0.0
    bentkus = math.e * float(bdtr(math.ceil(samples * mean - 1e-9), samples, level))
    return min(1.0, math.exp(-samples * divergence), bentkus)


def p_value(losses: Float, level: float) -> float:
    """Return the p-value of "the risk exceeds ``level``" from losses [N] in [0, 1]."""
    binary = bool(np.isin(losses, (0.0, 1.0)).all())
    return binomial_p(losses, level) if binary else hoeffding_bentkus_p(float(losses.mean()), len(losses), level)


def learn_then_test(
    scores: Scores, losses: Float, level: float, confidence: float, strict: bool = True, loosest: float = math.inf
) -> float:
    """Return the loosest cut of the fixed grid that Learn-then-Test certifies; NaN where not even "nobody leaves" is.

    ``scores`` and ``losses`` [N, L] of the held-out samples; no cut beyond ``loosest`` is tried.
    """
    allowed, chosen = 1 - confidence, math.nan
    for cut, layers in _list_cuts(scores, strict, loosest):
        spent = losses[np.arange(len(losses)), layers - 1]
        if p_value(spent, level) > allowed:
            break
        chosen = cut
    return chosen


def control_conformally(
    scores: Scores, losses: Float, level: float, strict: bool = True, loosest: float = math.inf
) -> float:
    """Return the loosest cut of the fixed grid with (sum of losses + 1) / (N + 1) <= level; NaN where there is none."""
    worst, chosen, total = np.zeros(len(losses)), math.nan, len(losses) + 1
    for cut, layers in _list_cuts(scores, strict, loosest):
        worst = np.maximum(worst, losses[np.arange(len(losses)), layers - 1])
        if (worst.sum() + 1) / total > level:
            break
        chosen = cut
    return chosen


def _list_cuts(scores: Scores, strict: bool, loosest: float) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Cuts from strictest to ``loosest`` with the exit layers [N] they give; of cuts with the same layers the loosest.

    Each cut decides as it does live, rounded to the scores' precision. ``loosest`` belongs to the criterion, not to the
    data, so that trying it too keeps the grid fixed.
    """
    early, grid = np.unique(scores[:, :-1]), np.array(fixed_cuts())
    if loosest < grid[-1]:
        grid = np.append(grid[grid < loosest], loosest)
    rounded = grid.astype(scores.dtype)
    passed = np.searchsorted(early, rounded, side="left" if strict else "right")
    yield -math.inf, exit_layers(scores, -math.inf, strict)
    for row in np.flatnonzero(np.append(passed[1:] != passed[:-1], True)):
        yield float(grid[row]), exit_layers(scores, float(rounded[row]), strict)


def choose_certified(
    curve: Curve,
    scores: Scores,
    answers: NDArray[Any],
    labels: NDArray[Any],
    rule: Rule,
    quality: Float | None = None,
    loosest: float = math.inf,
) -> Choice | Unreachable:
    """Choose the cut of a ``risk=`` or ``gap=`` rule on held-out samples: scores and answers [N, L], labels [N].

    With a confidence by Learn-then-Test, without one by conformal risk control. ``quality`` [K] is that of the curve's
    rows: one where it is undefined (NaN) is never chosen, nor a cut beyond ``loosest``, the criterion's own.
    """
    assert rule.kind in ("risk", "gap")
    losses = tabulate_losses(rule.kind, answers, labels)
    if rule.confidence is None:
        cut = control_conformally(scores, losses, rule.value, curve.strict, loosest)
        needed = 1 / rule.value - 1
    else:
        cut = learn_then_test(scores, losses, rule.value, rule.confidence, curve.strict, loosest)
        needed = math.log(1 - rule.confidence) / math.log1p(-rule.value)
    if math.isnan(cut):
        at_least = f"{math.ceil(needed - 1e-9):,}" if math.isfinite(needed) else "more than can be counted"
        held_out = f"{len(losses)} held-out samples: {at_least} are needed at least."
        return Unreachable(f"{rule.format()} cannot be certified with {held_out}")
    choice = Choice(curve.row(float(scores.dtype.type(cut))), cut)
    if quality is None or not math.isnan(quality[choice.index]):
        return choice
    # every cut of the grid that is stricter than a certified one is certified too, with either guarantee
    stricter = [c for c, _ in _list_cuts(scores, curve.strict, loosest) if c < cut]
    for choice in (Choice(curve.row(float(scores.dtype.type(c))), c) for c in reversed(stricter)):
        if not math.isnan(quality[choice.index]):
            return choice
    return Unreachable(f"{rule.format()}: the quality is undefined at every cut that is certified.")
