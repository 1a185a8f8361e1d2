"""ECE, AUROC, overthinking and headroom against direct computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bench.measure.calibration import (
    auroc,
    expected_calibration_error,
    measure_calibration,
    measure_headroom,
    probabilities,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_ece_is_the_definition(samples: int, seed: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    confidence, right = random.random(samples), random.random(samples) < 0.5
    expected = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            expected += inside.sum() / samples * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, right, bins) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("confidence", "right", "expected"), [([1.0, 1.0], [1, 1], 0), ([1.0, 1.0], [0, 0], 1)])
def test_ece_at_the_ends(confidence: list[float], right: list[int], expected: float) -> None:
    assert expected_calibration_error(np.array(confidence), np.array(right, bool)) == expected


def test_ece_refuses_nothing() -> None:
    with pytest.raises(ValueError, match="Calibration needs"):
        expected_calibration_error(np.array([]), np.array([]))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 50), st.integers(0, 2**32 - 1))
def test_auroc_is_sklearns_with_ties(samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    score, positive = random.integers(0, 5, samples) / 4, random.random(samples) < 0.5
    found = auroc(score, positive)
    if positive.all() or not positive.any():
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def hand_made() -> tuple[np.ndarray, np.ndarray]:
    """Four samples at three exits, label 0: right at 1,3 / at 1,2 only / nowhere / everywhere."""
    right = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    logits = np.zeros((4, 3, 2))
    logits[..., 0] = np.where(right, 3.0, -3.0)
    return logits, np.zeros(4, dtype=np.int64)


def test_headroom_by_hand() -> None:
    found = measure_headroom(*hand_made())
    assert (found.samples, found.overthinking, found.wrong_everywhere) == (4, 0.25, 0.25)
    assert (found.last, found.best_single, found.best_exit) == (0.5, 0.75, 1)
    assert (found.oracle, found.oracle_layer, found.gain) == (0.75, 1.0, 0.25)
    assert found.overthought == [0.25, 0.25, 0.0]


def test_calibration_by_hand() -> None:
    found = measure_calibration(*hand_made())
    sure = 1 / (1 + np.exp(-3))
    assert found.accuracy == [0.75, 0.5, 0.5]
    assert found.confidence == pytest.approx([sure] * 3)
    assert found.ece == pytest.approx([sure - 0.75, sure - 0.5, sure - 0.5])
    assert found.auroc == [0.5, 0.5, 0.5]


def test_probabilities_of_saturated_logits() -> None:
    assert probabilities(np.array([[1e4, 0.0], [0.0, -1e4]])).tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 3, 1), (3, 3, 2)])
def test_shapes_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Classification logits"):
        measure_headroom(np.zeros(shape), np.zeros(4, dtype=int))
