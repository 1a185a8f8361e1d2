"""Decisions about one sample in plain numbers, the same as the tensors'.

At batch 1 a criterion is a dozen tensor operations on two or three numbers each, after a layer that has emptied the
caches: some 10 µs an operation, for what is a few µs of arithmetic. A judge does that arithmetic in float64 and
answers only where rounding in float32 cannot have turned the tensors' decision; where it could, it says None and the
tensors decide (a filtered predicate, as computational geometry has them). So decisions are equal by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

Judge = Callable[[Sequence[float]], bool | None]
"""Given the logits of exit 1, 2, ... in turn: whether the sample leaves there, or None where the tensors must tell."""

ROUNDING = 1e-5
"""More than float32 can be off in a probability, an entropy or a difference of two probabilities.

With l = -log p, a log-probability is off by at most (l + 2) units in the last place and p log p, relatively, by l + 4,
so that an entropy of C classes is off by less than (ln C + 6)^2 * 2^-24: 5.4e-6 for :data:`FEW` classes.
"""

FEW = 32
"""Classes beyond which the tensors are quicker."""

FAR = 1e38
"""Cuts below minus this may be -inf in float32, which is another cut."""


def serves(outputs: int, cut: float) -> bool:
    """Whether a judge can speak for tensors with so many logits at this cut."""
    return 2 <= outputs <= FEW and not -math.inf < cut < -FAR


def below(score: float, cut: float) -> bool | None:
    """Whether ``score`` is below ``cut``; None where they are too near to tell, or not numbers."""
    return score < cut if abs(score - cut) > ROUNDING else None


def every(verdicts: Iterable[bool | None]) -> bool | None:
    """Whether all hold, where any may be unknown."""
    found: bool | None = True
    for verdict in verdicts:
        if verdict is False:
            return False
        if verdict is None:
            found = None
    return found


def softmax(logits: Sequence[float]) -> list[float]:
    """Class probabilities; NaN where a logit is not finite."""
    top = max(logits)
    raised = [math.exp(z - top) for z in logits]
    total = sum(raised)
    return [r / total for r in raised]


def entropy(p: Sequence[float]) -> float:
    """Shannon entropy in nats of class probabilities; NaN where one is 0.

    Then logits are so far apart (745, or an infinity) that float32 may have lost their difference: 0 * -inf.
    """
    total = 0.0
    for q in p:
        if q == 0:
            return math.nan
        total -= q * math.log(q)
    return total


def normalised_entropy(p: Sequence[float]) -> float:
    """Entropy over its largest value, in [0, 1]."""
    return entropy(p) / math.log(len(p))


def unsureness(p: Sequence[float]) -> float:
    """1 - max p."""
    return 1 - max(p)


def narrowness(p: Sequence[float]) -> float:
    """1 - (the largest probability - the second), in [0, 1]."""
    *_, second, best = sorted(p)
    return 1 - (best - second)


def stands_out(p: Sequence[float], margin: float = 0.0) -> int | None:
    """The class that leads all others by more than 2 * ``margin``, -1 where none does; None where too near to tell."""
    *_, second, best = sorted(p)
    leads = below(2 * margin, best - second)
    if leads is None:
        return None
    return p.index(best) if leads else -1


def by_measure(measure: Callable[[Sequence[float]], float], outputs: int, cut: float) -> Judge | None:
    """The judge of a criterion without memory: a measure of the class probabilities against the cut."""
    if not serves(outputs, cut):
        return None
    return lambda logits: below(measure(softmax(logits)), cut)
