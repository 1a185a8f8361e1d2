"""Metrics against scikit-learn and scipy, and their sums against themselves."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure import metrics

ADDITIVE = [name for name in metrics.METRICS if metrics.is_additive(name)]
REGRESSION = {"pearson", "spearman"}


def draw(metric: str, seed: int, n: int, exits: int, classes: int) -> tuple[NDArray, NDArray]:
    random = np.random.default_rng(seed)
    if metric in REGRESSION:
        labels = random.uniform(0, 5, n).astype(np.float32)
        return (labels[:, None] + random.normal(0, 2, (n, exits))).astype(np.float32), labels
    top = 2 if metric == "f1" else classes
    return random.integers(0, top, (n, exits)), random.integers(0, top, n)


@pytest.mark.parametrize("metric", ADDITIVE)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), exits=st.integers(1, 5), classes=st.integers(2, 4))
def test_sums_give_the_metric(metric: str, seed: int, n: int, exits: int, classes: int) -> None:
    """Any choice of one exit a sample: the summed rows give what the metric of those predictions gives."""
    predictions, labels = draw(metric, seed, n, exits, classes)
    rows = metrics.statistics(metric, predictions, labels)
    assert rows.dtype == np.float64
    assert rows.shape[:2] == predictions.shape
    chosen = np.random.default_rng(seed + 1).integers(0, exits, (6, n))
    sums = np.stack([rows[np.arange(n), exit_].sum(axis=0) for exit_ in chosen])
    expected = [metrics.compute_metrics([metric], predictions[np.arange(n), e], labels)[metric] for e in chosen]
    np.testing.assert_allclose(metrics.from_statistics(metric, sums), expected, atol=2e-6)


def reference(metric: str, p: NDArray, y: NDArray) -> float:
    if metric in REGRESSION:
        return float(getattr(scipy.stats, metric + "r")(p.astype(float), y.astype(float)).statistic)
    if metric == "macro_f1":
        return float(np.mean([sklearn.metrics.f1_score(y == c, p == c) for c in np.union1d(p, y)]))
    names = {"accuracy": "accuracy_score", "f1": "f1_score", "matthews": "matthews_corrcoef"}
    return float(getattr(sklearn.metrics, names.get(metric, f"{metric}_score"))(y, p))


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_metric_is_the_reference(metric: str, seed: int) -> None:
    predictions, labels = draw(metric, seed, 200, 1, 3)
    found = metrics.compute_metrics([metric], predictions[:, 0], labels)[metric]
    assert found == pytest.approx(reference(metric, predictions[:, 0], labels), abs=1e-12)


def test_pearson_sums_keep_their_digits_far_from_zero() -> None:
    random = np.random.default_rng(0)
    labels = 1e4 + random.normal(size=500)
    predictions = (labels + random.normal(size=500))[:, None]
    sums = metrics.statistics("pearson", predictions, labels).sum(axis=(0, 1))[None]
    expected = scipy.stats.pearsonr(predictions[:, 0], labels).statistic
    assert metrics.from_statistics("pearson", sums)[0] == pytest.approx(expected, abs=1e-9)


CONSTANT_CASES = {
    "f1": (np.zeros(4, int), np.array([0, 1, 0, 1]), 0.0),
    "macro_f1": (np.zeros(4, int), np.array([1, 1, 1, 1]), 0.0),
    "balanced_accuracy": (np.full(4, 2), np.array([0, 1, 0, 1]), 0.0),
    "matthews": (np.ones(4, int), np.array([0, 1, 0, 1]), 0.0),
    "pearson": (np.full(4, 0.1), np.arange(4.0), 0.0),
    "spearman": (np.full(4, 0.1), np.arange(4.0), 0.0),
    "accuracy": (np.zeros(4, int), np.zeros(4, int), 1.0),
}


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_degenerate_input_has_a_value_and_warns_of_nothing(metric: str) -> None:
    predictions, labels, expected = CONSTANT_CASES[metric]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.compute_metrics([metric], predictions, labels) == {metric: expected}
        if metrics.is_additive(metric):
            sums = metrics.statistics(metric, predictions[:, None], labels).sum(axis=0)
            assert metrics.from_statistics(metric, sums)[0] == expected


@pytest.mark.parametrize("metric", sorted(REGRESSION))
def test_non_finite_predictions_score_zero(metric: str) -> None:
    predictions = np.array([1.0, np.nan, 2.0])
    assert metrics.compute_metrics([metric], predictions, np.arange(3.0)) == {metric: 0.0}


def test_non_finite_predictions_do_not_spoil_the_sums_of_other_points() -> None:
    predictions = np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 3.5]])
    rows = metrics.statistics("pearson", predictions, np.arange(3.0))
    sums = rows.sum(axis=0)
    np.testing.assert_allclose(metrics.from_statistics("pearson", sums), [1.0, 0.0])


@pytest.mark.parametrize("metric", ADDITIVE)
@pytest.mark.parametrize("seed", range(5))
def test_sums_of_samples_drawn_again_give_the_metric_of_these_samples(metric: str, seed: int) -> None:
    """In a resample the labels' mean is another one, so that sums taken about the first have to be centred."""
    predictions, labels = draw(metric, seed, 30, 1, 3)
    drawn = np.random.default_rng(seed).integers(0, 30, 30)
    weights = np.bincount(drawn, minlength=30).astype(np.float64)
    sums = weights @ metrics.statistics(metric, predictions, labels)[:, 0]
    expected = metrics.compute_metrics([metric], predictions[drawn, 0], labels[drawn])[metric]
    assert float(metrics.from_statistics(metric, sums[None])[0]) == pytest.approx(expected, abs=1e-6)


def test_rare_classes_count_as_much_as_common_ones() -> None:
    """Nine samples of class 0 that are all right and one of class 1 that is wrong: 0.9 accurate, half balanced."""
    labels, predictions = np.array([0] * 9 + [1]), np.zeros(10, int)
    found = metrics.compute_metrics(["accuracy", "balanced_accuracy", "macro_f1"], predictions, labels)
    assert found == {"accuracy": 0.9, "balanced_accuracy": 0.5, "macro_f1": pytest.approx((18 / 19 + 0) / 2)}


def test_spearman_is_not_additive() -> None:
    assert not metrics.is_additive("spearman")
    with pytest.raises(UsageError, match="spearman"):
        metrics.statistics("spearman", np.zeros((2, 1)), np.zeros(2))


def test_unknown_and_empty_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="Did you mean 'accuracy'"):
        metrics.compute_metrics(["acuracy"], np.zeros(1), np.zeros(1))
    with pytest.raises(UsageError, match="0 and 0"):
        metrics.compute_metrics(["accuracy"], np.zeros(0), np.zeros(0))


def test_imports_neither_torch_nor_sklearn() -> None:
    code = "import sys, bench.measure.metrics; print(sorted({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("far", [1e6, 1e8])
def test_pearson_sums_are_taken_about_the_labels_mean(far: float) -> None:
    """Squares of 1e8 leave no digits for a spread of 1: without the centre there would be no correlation at all."""
    random = np.random.default_rng(1)
    labels = far + random.normal(size=400)
    predictions = labels + random.normal(size=400)
    sums = metrics.statistics("pearson", predictions[:, None], labels).sum(axis=(0, 1))[None]
    expected = np.corrcoef(predictions - far, labels - far)[0, 1]
    assert metrics.from_statistics("pearson", sums)[0] == pytest.approx(expected, abs=1e-6)
