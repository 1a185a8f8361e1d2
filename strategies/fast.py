"""Judges: decisions about one sample in plain numbers, the same as the tensors' and cheaper.

At batch 1 a criterion is a dozen tensor operations on two or three numbers each, after a layer that has emptied the
caches: some 10 µs an operation, for what is a few µs of arithmetic. A judge does that arithmetic in float64 and
answers only where rounding in float32 cannot have turned the tensors' decision; where it could, it says None and the
tensors decide (a filtered predicate, as computational geometry has them). So decisions are equal by construction.

Judges are found by the exact class of the criterion. A subclass has none, since it may decide otherwise, and nor has a
criterion from elsewhere: the tensors decide, which is always right. ``bench selfcheck --only judges`` measures what
judges gain. On a quiet machine with two threads, over entropy and a window, that is 2.8 to 3.6 % of a query on six
layers of width 384, 1.3 to 2.0 % on ALBERT-base and nothing that can be told on BERT-base (-0.4 to 1.4 %). The price
of keeping them was set at 2 %: they are kept for narrow models, whose query is a few ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from strategies.base import Criterion, Start
from strategies.confidence import MaxProbability, measure_unsureness
from strategies.controls import ForcedExits
from strategies.deebert import NatsEntropy
from strategies.elbert import LabelWindow, MonotoneWindow, RangeWindow, Window
from strategies.entropy import NormalisedEntropy, normalised_entropy
from strategies.fastbert import Speed
from strategies.margin import SmallMargin
from strategies.patience import Patience
from strategies.patient import UNREADY, PatientConfidence
from strategies.romebert import RomeEntropy

Numbers = Sequence[float]

Judge = Callable[[Numbers], bool | None]
"""Takes the logits of exit 1, 2, ... in turn: does the sample leave there? None where the tensors must tell."""

MakeJudge = Callable[[Any, Start, float], Judge | None]
"""Makes a fresh judge from a criterion, what it may know before exit 1, and the cut."""

ROUNDING = 1e-5
"""More than float32 can be off in a probability, an entropy or a difference of two probabilities.

With l = -log p, a log-probability is off by at most (l + 2) units in the last place and p log p, relatively, by l + 4,
so that an entropy of C classes is off by less than (ln C + 6)^2 * 2^-24: 5.4e-6 for :data:`MOST_CLASSES` classes.
"""

MOST_CLASSES = 32
"""Classes beyond which the tensors are quicker."""

FAR = 1e38
"""Cuts below minus this may be -inf in float32, which is another cut."""


def make_judge(criterion: Criterion, start: Start, cut: float) -> Judge | None:
    """Return a fresh judge of one sample at ``cut``, or None where the tensors must decide."""
    make = JUDGES.get(type(criterion))
    if make is None or not 2 <= start.num_outputs <= MOST_CLASSES or -math.inf < cut < -FAR:
        return None
    return make(criterion, start, cut)


# --------------------------------------------------------------------------- arithmetic


def is_below(score: float, cut: float) -> bool | None:
    """Return whether ``score`` is below ``cut``; None where they are too near to tell, or not numbers."""
    return score < cut if abs(score - cut) > ROUNDING else None


def softmax_numbers(logits: Numbers) -> list[float]:
    """Return class probabilities; NaN where a logit is not finite."""
    top = max(logits)
    raised = [math.exp(z - top) for z in logits]
    total = sum(raised)
    return [r / total for r in raised]


def entropy_in_nats(p: Numbers) -> float:
    """Return the Shannon entropy of class probabilities; NaN where one is 0.

    Then logits are so far apart (745, or an infinity) that float32 may have lost their difference: 0 * -inf.
    """
    total = 0.0
    for q in p:
        if q == 0:
            return math.nan
        total -= q * math.log(q)
    return total


def entropy_share(p: Numbers) -> float:
    """Return the entropy over its largest value, in [0, 1]."""
    return entropy_in_nats(p) / math.log(len(p))


def missing_probability(p: Numbers) -> float:
    """Return 1 - max p."""
    return 1 - max(p)


def missing_margin(p: Numbers) -> float:
    """Return 1 - (the largest probability - the second), in [0, 1]."""
    *_, second, best = sorted(p)
    return 1 - (best - second)


def leading_class(p: Numbers, margin: float = 0.0) -> int | None:
    """Return the class that leads all others by more than 2 * ``margin``, -1 where none does, None where unclear."""
    *_, second, best = sorted(p)
    leads = is_below(2 * margin, best - second)
    if leads is None:
        return None
    return p.index(best) if leads else -1


# --------------------------------------------------------------------------- criteria


def judge_by(measure: Callable[[Numbers], float]) -> MakeJudge:
    """Return the maker of judges for a criterion without memory: a measure of the class probabilities below the cut."""
    return lambda criterion, start, cut: lambda logits: is_below(measure(softmax_numbers(logits)), cut)


MEASURES: dict[Callable[[Tensor], Tensor], Callable[[Numbers], float]] = {
    normalised_entropy: entropy_share,
    measure_unsureness: missing_probability,
}
"""Measures on tensors, and the same in plain numbers."""


def judge_patient(criterion: PatientConfidence, start: Start, cut: float) -> Judge:
    """Return a judge for ``patience`` confident exits in a row."""
    measure, recent = MEASURES[criterion.measure], [UNREADY] * criterion.patience

    def judge(logits: Numbers) -> bool | None:
        recent.append(measure(softmax_numbers(logits)))
        if math.isnan(recent[-1]):
            return None
        return is_below(max(recent[-criterion.patience :]), cut)

    return judge


def judge_patience(criterion: Patience, start: Start, cut: float) -> Judge:
    """Return a judge for the same answer several times in a row."""
    last, agreed = -1, 0

    def judge(logits: Numbers) -> bool | None:
        nonlocal last, agreed
        answer = leading_class(softmax_numbers(logits))
        if answer is None:
            return None
        agreed = agreed + 1 if answer == last else 0
        last = answer
        beyond = agreed + cut
        if 0 < abs(beyond) < ROUNDING:  # float32 may see a cut beside a whole number as the number
            return None
        return beyond >= 0

    return judge


Probabilities = Sequence[Numbers]
"""Class probabilities of several exits."""

FIRST_STAGES: dict[str, Callable[[Numbers], float]] = {
    "entropy": entropy_share,
    "least": min,
    "none": lambda p: math.inf,
}
"""ELBERT's first stages by their setting's name."""


def judge_window(fires: Callable[[Any, Probabilities], bool | None]) -> MakeJudge:
    """Return the maker of judges for one of ELBERT's windows, given whether it fires on the last N exits."""

    def make(criterion: Window, start: Start, cut: float) -> Judge:
        first = FIRST_STAGES[criterion.first]
        window = criterion.window if criterion.window <= start.num_layers else 0
        past: list[list[float]] = []

        def judge(logits: Numbers) -> bool | None:
            p = softmax_numbers(logits)
            leaves = is_below(first(p), cut)
            past.append(p)
            if leaves is not False or not window or len(past) < window:
                return leaves
            fired = fires(criterion, past[-window:])
            return fired and cut > -math.inf

        return judge

    return make


def has_one_label(criterion: Window, past: Probabilities) -> bool | None:
    """Return whether one class clearly leads throughout (criterion 3)."""
    labels = [leading_class(p, criterion.margin) for p in past]
    certain = {label for label in labels if label is not None}
    if len(certain) > 1 or -1 in certain:
        return False
    return None if None in labels else True


def is_monotone(criterion: MonotoneWindow, past: Probabilities) -> bool | None:
    """Return whether the confidence in the class predicted first and last never drops (criterion 1)."""
    label = leading_class(past[-1])
    if label is None:
        return None
    first = leading_class(past[0], criterion.margin)
    certain: bool | None = True if first == label else None if first is None else False
    for before, after in pairwise(past):
        drops = is_below(after[label], before[label])
        if drops or certain is False:
            return False
        if drops is None:
            certain = None
    return certain


def is_in_range(criterion: RangeWindow, past: Probabilities) -> bool | None:
    """Return whether the label is constant and its confidence varies little (criterion 2)."""
    best = [p[0] if len(p) == 2 else max(p) for p in past]
    verdicts = (has_one_label(criterion, past), is_below(max(best) - min(best), criterion.range))
    return False if False in verdicts else None if None in verdicts else True


def judge_forced(criterion: ForcedExits, start: Start, cut: float) -> Judge | None:
    """Return a judge that hears the overruled criterion's and leaves where it must; None where that one has none.

    Where the inner judge cannot tell, the tensors are heard, as they always would be.
    """
    inner = make_judge(criterion.inner, start, -math.inf)  # no score is too near to that cut for a judge
    if inner is None or start.samples != 1 or (criterion.exits and start.keys is None):
        return None
    exit, layer = criterion.exits[int(start.keys)] if criterion.exits and start.keys is not None else 0, 0

    def judge(logits: Numbers) -> bool | None:
        nonlocal layer
        layer += 1
        return None if inner(logits) is None else exit - layer < cut

    return judge


JUDGES: dict[type[Criterion], MakeJudge] = {
    ForcedExits: judge_forced,
    LabelWindow: judge_window(has_one_label),
    MaxProbability: judge_by(missing_probability),
    MonotoneWindow: judge_window(is_monotone),
    NatsEntropy: judge_by(entropy_in_nats),
    NormalisedEntropy: judge_by(entropy_share),
    Patience: judge_patience,
    PatientConfidence: judge_patient,
    RangeWindow: judge_window(is_in_range),
    RomeEntropy: judge_by(entropy_in_nats),
    SmallMargin: judge_by(missing_margin),
    Speed: judge_by(entropy_share),
}
"""Who has a judge, by exact class."""
