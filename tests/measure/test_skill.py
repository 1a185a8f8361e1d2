"""Whether a model does better than one answer for all samples, and how sure that is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.measure.exits import AllExits
from bench.measure.skill import Skill, estimate_accuracy_difference, estimate_mean_difference, measure_skill

Array = NDArray[Any]
LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array)


def skill_of(labels: Array, *answers: Array, classes: int = 4) -> Skill:
    """The skill of a model whose exits give ``answers``; of one class the values themselves."""
    given_ = np.stack(answers, axis=1)
    logits = given_[:, :, None] if classes == 1 else np.eye(classes)[given_]
    ids = tuple(map(str, range(len(labels))))
    kept = labels.astype(np.float32 if classes == 1 else np.int64)
    return measure_skill(AllExits(ids, kept, logits.astype(np.float32), np.full(len(labels), 5)))


def test_accuracy_against_the_commonest_class_of_the_same_samples() -> None:
    labels = np.repeat([0, 1], [6, 4])
    answers = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])  # wins 3 of class 1, loses 2 of class 0
    found = skill_of(labels, np.zeros(10, dtype=int), answers)
    assert (found.measure, found.model, found.baseline, found.answer) == ("accuracy", 0.7, 0.6, 0)
    assert found.constant == (1,)
    # Bonett & Price: (3 + 1 - 2 - 1) / 12, with variance (7 / 12 - (1 / 12)²) / 12
    half = 1.959964 * math.sqrt((7 / 12 - (1 / 12) ** 2) / 12)
    assert found.gain.estimate == pytest.approx(0.1)
    assert (found.gain.low, found.gain.high) == (pytest.approx(1 / 12 - half), pytest.approx(1 / 12 + half))


def test_squared_error_against_the_mean_of_the_labels() -> None:
    labels = np.array([0.0, 1.0, 2.0, 3.0])
    found = skill_of(labels, np.full(4, 7.0), np.array([0.5, 1.0, 2.0, 2.5]), classes=1)
    assert (found.measure, found.model, found.baseline, found.answer) == ("squared error", 0.125, 1.25, 1.5)
    differences = np.array([2.25 - 0.25, 0.25, 0.25, 2.25 - 0.25])
    half = 3.182446 * differences.std(ddof=1) / 2  # Student, three degrees of freedom
    assert found.gain.estimate == 1.125
    assert (found.gain.low, found.gain.high) == (pytest.approx(1.125 - half), pytest.approx(1.125 + half))
    assert found.constant == (1,)


@given(LABELS, st.integers(0, 3))
def test_a_constant_model_never_has_skill(labels: Array, answer: int) -> None:
    found = skill_of(labels, np.full(len(labels), answer), np.full(len(labels), answer))
    assert found.gain.low <= 0
    assert found.gain.estimate <= 0
    assert found.constant == (1, 2)


@given(LABELS, st.floats(-5, 5, width=32))
def test_a_constant_value_never_has_skill(labels: Array, answer: float) -> None:
    found = skill_of(labels, np.full(len(labels), answer), classes=1)
    assert found.gain.estimate <= 1e-9
    assert found.gain.low <= 1e-9


@given(st.integers(30, 300), st.integers(2, 4))
def test_a_perfect_model_has_skill(samples: int, classes: int) -> None:
    labels = np.arange(samples) % classes
    found = skill_of(labels, np.zeros(samples, dtype=int), labels)
    assert found.gain.low > 0
    assert found.model == 1
    assert skill_of(labels, labels, classes=1).gain.low > 0


@given(LABELS)
def test_labels_of_one_class_show_no_skill(labels: Array) -> None:
    same = np.zeros_like(labels)
    assert skill_of(same, same).gain.low <= 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_the_interval_holds_the_difference_and_turns_with_its_sign(outcomes: list[tuple[bool, bool]]) -> None:
    ours, theirs = (np.array(one) for one in zip(*outcomes, strict=True))
    one, other = estimate_accuracy_difference(ours, theirs), estimate_accuracy_difference(theirs, ours)
    assert -1 <= one.low <= one.estimate <= one.high <= 1
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))


@pytest.mark.parametrize("samples", [20, 60, 400])
@pytest.mark.parametrize(("gained", "lost"), [(0.1, 0.1), (0.3, 0.1), (0.05, 0.0), (0.4, 0.4)])
def test_the_interval_of_a_difference_of_accuracies_covers(samples: int, gained: float, lost: float) -> None:
    random, covered = np.random.default_rng(samples), 0
    for draw in random.random((1000, samples)):
        ours, theirs = draw < gained, draw > 1 - lost
        found = estimate_accuracy_difference(ours, theirs)
        covered += found.low <= gained - lost <= found.high
    assert covered / 1000 > 0.93  # 0.95 less three standard errors


def test_the_interval_of_a_mean_difference_covers() -> None:
    random = np.random.default_rng(0)
    more, less = random.normal(1.0, 2.0, (2000, 30)), random.normal(0.5, 1.0, (2000, 30))
    found = [estimate_mean_difference(a, b) for a, b in zip(more, less, strict=True)]
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


def test_by_chance_a_model_has_skill_in_no_more_than_one_of_forty() -> None:
    """Of answers that have nothing to do with the labels, the interval's low end is rarely above 0."""
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, (600, 80))
    answers = random.integers(0, 2, (600, 80))
    assert np.mean([skill_of(y, a).gain.low > 0 for y, a in zip(labels, answers, strict=True)]) <= 0.025


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="No samples"):
        skill_of(np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="same samples"):
        estimate_accuracy_difference(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="same samples"):
        estimate_mean_difference(np.ones(0), np.ones(0))
    assert estimate_mean_difference(np.array([2.0]), np.array([1.0])).low == 1
