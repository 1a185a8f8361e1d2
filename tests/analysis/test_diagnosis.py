"""Diagnosis in numbers: every one by hand, then against other implementations and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bench.analysis.diagnosis import (
    Decided,
    compare_decisions,
    compute_auroc_interval,
    compute_difficulty,
    compute_inversion,
    count_flips,
    measure_agreement,
    rate_exits,
    summarise_flips,
)
from bench.measure.calibration import auroc, measure_calibration, probabilities

# --------------------------------------------------------------------------- failure prediction


def test_delong_by_hand() -> None:
    """Positives 3 and 2, negatives 1 and 2: 3.5 of 4 pairs. Shares below: 1, 3/4; above: 1, 3/4; variances 1/32."""
    found = compute_auroc_interval(np.array([3.0, 2.0, 1.0, 2.0]), np.array([True, True, False, False]))
    assert found is not None
    assert found.estimate == 0.875
    assert found.low == pytest.approx(0.875 - 1.959964 * math.sqrt(1 / 32), abs=1e-6)
    assert found.high == 1.0  # clipped


@pytest.mark.parametrize("positives", [0, 1, 4, 5])
def test_one_of_a_kind_gives_no_interval(positives: int) -> None:
    assert compute_auroc_interval(np.arange(5.0), np.arange(5) < positives) is None


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40))
def test_auroc_is_sklearns_ties_and_all(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([s for s, _ in rows], dtype=float), np.array([p for _, p in rows])
    found = compute_auroc_interval(score, positive)
    if min(positive.sum(), (~positive).sum()) < 2:
        assert found is None
        return
    assert found is not None
    assert found.estimate == pytest.approx(float(roc_auc_score(positive, score)))
    assert found.estimate == pytest.approx(auroc(score, positive) or 0.0)
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_infinite_scores_are_ordered() -> None:
    """A window that fires scores -inf, one that never does +inf."""
    found = compute_auroc_interval(np.array([np.inf, np.inf, -np.inf, 0.0]), np.array([True, True, False, False]))
    assert found is not None
    assert found.estimate == 1.0


def test_delongs_width_is_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    positive = random.random(400) < 0.7
    score = random.normal(size=400) + positive
    found = compute_auroc_interval(score, positive)
    assert found is not None
    draws = (random.integers(400, size=400) for _ in range(2000))
    spread = np.std([auroc(score[rows], positive[rows]) for rows in draws])
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(float(spread), rel=0.1)


# --------------------------------------------------------------------------- difficulty

RIGHT = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], dtype=bool)


def test_difficulty_is_the_first_exit_from_which_on_all_are_right() -> None:
    assert compute_difficulty(RIGHT).tolist() == [1, 2, 3, 4, 4]


def test_inversion_by_hand() -> None:
    """Hardness 1, 2, 2, 3: five pairs. Confidence 0.9, 0.6, 0.8, 0.6 inverts none and ties one."""
    sure, hard = np.array([0.9, 0.6, 0.8, 0.6]), np.array([1, 2, 2, 3])
    assert compute_inversion(sure, hard) == pytest.approx(0.5 / 5)
    assert compute_inversion(-sure, hard) == pytest.approx(4.5 / 5)
    assert compute_inversion(sure, np.ones(4)) is None
    assert compute_inversion(-hard, hard) == 0.0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=20))
def test_inversion_is_the_count_over_all_pairs(rows: list[tuple[int, int]]) -> None:
    found = compute_inversion(np.array([s for s, _ in rows], dtype=float), np.array([h for _, h in rows]))
    pairs = [(a, b) for a, b in itertools.permutations(rows, 2) if a[1] < b[1]]
    if not pairs:
        assert found is None
        return
    assert found == pytest.approx(sum((b[0] > a[0]) + 0.5 * (b[0] == a[0]) for a, b in pairs) / len(pairs))


# --------------------------------------------------------------------------- exits


def logits_of(p: list[list[float]]) -> np.ndarray:
    """Logits [N, L, 2] whose class 0 has the given probabilities [N, L]."""
    first = np.array(p)
    return np.log(np.stack([first, 1 - first], axis=2)).astype(np.float32)


def test_every_exit_by_hand() -> None:
    """Two exits, four samples of class 0. Exit 1: right with 0.9, 0.8, wrong with 0.6, 0.7. Exit 2: the third wrong."""
    logits = logits_of([[0.9, 0.9], [0.8, 0.9], [0.4, 0.3], [0.3, 0.8]])
    labels = np.zeros(4, dtype=np.int64)
    first, second = rate_exits(logits, labels, np.array([[0.1, 0], [0.4, 0], [0.2, 0], [0.3, 0]]))
    assert (first["exit"], first["accuracy"]["estimate"]) == (1, 0.5)
    assert first["auroc_max_p"] is not None
    assert first["auroc_own"] is not None
    assert first["auroc_max_p"]["estimate"] == 1.0
    assert first["auroc_own"]["estimate"] == 0.5  # readiest first: right, wrong, wrong, right
    # difficulty 1, 1, 3, 2; surest first: 0.9, 0.8, then the hardest 0.6 and the second hardest 0.7 in order
    assert first["inversion_max_p"] == 0.0
    # own order: 1, 3, 4, 2; pairs easy-hard: 1-3, 1-4, 2-3 (inverted), 2-4 (inverted), 4-3 (inverted)
    assert first["inversion_own"] == pytest.approx(3 / 5)
    # gaps between confidence and outcome, each in a bin of its own: 0.1, 0.2, 0.6, 0.7
    assert first["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.7) / 4, abs=1e-6)
    assert second["accuracy"]["estimate"] == 0.75
    assert second["auroc_max_p"] is None  # a single wrong answer
    assert second["inversion_own"] == 0.5


def test_exits_agree_with_the_calibration_of_the_report() -> None:
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(60, 4, 3)).astype(np.float32), random.integers(0, 3, 60)
    known, found = measure_calibration(logits, labels), rate_exits(logits, labels, None)
    assert [row["ece"] for row in found] == known.ece
    assert [row["accuracy"]["estimate"] for row in found] == pytest.approx(known.accuracy)
    assert [row["auroc_max_p"]["estimate"] for row in found if row["auroc_max_p"]] == pytest.approx(known.auroc)
    assert all(row["auroc_own"] is None and row["inversion_own"] is None for row in found)
    assert probabilities(logits).shape == logits.shape


# --------------------------------------------------------------------------- consistency

ANSWERS = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 1], [0, 1, 2]])


def test_flips_by_hand() -> None:
    assert count_flips(ANSWERS).tolist() == [2, 0, 1, 2]
    found = summarise_flips(ANSWERS)
    assert found["mean"]["estimate"] == 1.25
    assert found["counts"] == [0.25, 0.25, 0.5]
    assert found["back"]["estimate"] == 0.25  # 0, 1, 0 comes back; 0, 1, 2 does not


def test_agreement_by_hand() -> None:
    assert measure_agreement(ANSWERS, np.array([3, 1, 2, 3])).estimate == 1.0
    assert measure_agreement(ANSWERS, np.array([2, 1, 1, 2])).estimate == 0.25


# --------------------------------------------------------------------------- slowdown


def test_slowdown_by_hand() -> None:
    before = Decided(np.array([1, 2, 3]), np.array([0, 1, 1]), np.array([10, 20, 30]))
    after = Decided(np.array([2, 2, 2]), np.array([0, 0, 1]), np.array([20, 20, 20]))
    found = compare_decisions(before, after, np.array([0, 1, 1]))
    assert (found["samples"], found["before"], found["after"], found["difference"]["estimate"]) == (3, 2.0, 2.0, 0.0)
    assert found["cost_ratio"]["estimate"] == 1.0
    assert (found["later"], found["earlier"], found["other"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found["right"]["estimate"] == pytest.approx(-1 / 3)
    assert found["difference"]["low"] < 0 < found["difference"]["high"]


def test_intervals_are_paired() -> None:
    """However the exits scatter, if every sample moves by one the difference is one without doubt."""
    layers = np.arange(1, 9)
    one, other = (Decided(layers + d, np.zeros(8), np.full(8, 2.0 + 2 * d)) for d in (0, 1))
    found = compare_decisions(one, other, np.zeros(8))
    assert (found["difference"]["low"], found["difference"]["high"]) == (1.0, 1.0)
    assert (found["cost_ratio"]["low"], found["cost_ratio"]["high"]) == (2.0, 2.0)


def test_other_samples_are_refused() -> None:
    one = Decided(np.array([1]), np.array([0]), np.array([1]))
    two = Decided(np.array([1, 1]), np.array([0, 0]), np.array([1, 1]))
    with pytest.raises(ValueError, match="same samples"):
        compare_decisions(one, two, np.array([0]))
