"""Metrics of logits against scikit-learn, and what must hold of them whatever the numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from bench.errors import UsageError
from bench.measure.judges import JUDGES, AskedMetric, Metric
from bench.measure.metrics import METRICS

LABELS = ("a", "b", "c")
OF_LOGITS = [name for name in JUDGES if JUDGES[name].reads == "logits"]
ASKED = [*(name for name in JUDGES if name not in ("pearson", "spearman")), "recall:b"]
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, samples: int, classes: int = 3) -> tuple[NDArray, NDArray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, classes)) * 2
    logits[np.arange(samples), labels] += 1
    return logits.astype(np.float32), labels


def find(name: str, classes: int = 3) -> Metric:
    return AskedMetric(name).find_metric("classification", LABELS[:classes])


def read(metric: Metric, logits: NDArray) -> NDArray:
    return logits if metric.reads == "logits" else logits.argmax(axis=1)


def refer(name: str, logits: NDArray, labels: NDArray) -> float:
    told = softmax(logits.astype(np.float64), axis=1)
    classes = told.shape[1]
    if name == "log_loss":
        return float(sklearn.metrics.log_loss(labels, told, labels=range(classes)))
    if name == "brier":
        parts = [sklearn.metrics.brier_score_loss(labels == c, told[:, c]) for c in range(classes)]
        return float(np.sum(parts))
    if classes == 2:
        return float(sklearn.metrics.roc_auc_score(labels, told[:, 1]))
    return float(sklearn.metrics.roc_auc_score(labels, told, multi_class="ovr", average="macro"))


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_scikit_learn_says(name: str, classes: int, seed: int) -> None:
    logits, labels = draw(seed, 150, classes)
    assert find(name, classes).compute(logits, labels) == pytest.approx(refer(name, logits, labels), abs=1e-9)


def test_recall_of_a_class_is_scikit_learns() -> None:
    logits, labels = draw(0, 150)
    told = logits.argmax(axis=1)
    expected = sklearn.metrics.recall_score(labels, told, average=None)
    found = [find(f"recall:{label}").compute(told, labels) for label in LABELS]
    assert found == pytest.approx(list(expected))


@pytest.mark.parametrize("name", ASKED)
@given(seed=SEEDS, samples=st.integers(1, 30))
def test_the_order_of_samples_does_not_count(name: str, seed: int, samples: int) -> None:
    logits, labels = draw(seed, samples, 3)
    order = np.random.default_rng(seed).permutation(samples)
    metric = find(name)
    answers = read(metric, logits)
    assert metric.compute(answers[order], labels[order]) == pytest.approx(metric.compute(answers, labels), abs=1e-12)


@given(seed=SEEDS, samples=st.integers(1, 40), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_auroc_of_two_classes_is_of_ranks(seed: int, samples: int, scale: float, shift: float) -> None:
    """Whatever keeps the order of the log-odds changes nothing: a scale, a shift of one class, a cube."""
    logits, labels = draw(seed, samples, 2)
    logits = np.round(logits.astype(np.float64), 2)
    odds = np.round(logits[:, 1] - logits[:, 0], 2)
    before = find("auroc", 2).compute(np.column_stack([np.zeros(samples), odds]), labels)
    for moved in (odds * 8, odds**3, np.round(odds * scale + shift, 6)):
        again = np.column_stack([np.zeros(samples), moved])
        assert find("auroc", 2).compute(again, labels) == pytest.approx(before, abs=1e-12)


@given(seed=SEEDS, samples=st.integers(1, 40), far=st.sampled_from([1.0, 30.0, 1e4]))
def test_losses_and_areas_are_within_their_bounds(seed: int, samples: int, far: float) -> None:
    logits, labels = draw(seed, samples)
    bounds = {"brier": (0, 2), "log_loss": (0, 36.05), "auroc": (0, 1)}
    assert bounds.keys() == set(OF_LOGITS)
    for name, (low, high) in bounds.items():
        assert low <= find(name).compute(logits * far, labels) <= high


@pytest.mark.parametrize("name", [name for name in ASKED if find(name).sums or find(name).weigh])
@given(seed=SEEDS, samples=st.integers(1, 30))
def test_counts_of_samples_give_the_metric_of_the_samples_drawn(name: str, seed: int, samples: int) -> None:
    logits, labels = draw(seed, samples)
    metric, rows = find(name), np.random.default_rng(seed).integers(0, samples, samples)
    answers, counts = read(metric, logits), np.bincount(rows, minlength=samples)[None].astype(np.float64)
    if metric.sums is not None:
        found = metric.sums[1](counts @ metric.sums[0](answers, labels))
    else:
        assert metric.weigh is not None
        found = metric.weigh(answers, labels)(counts)
    assert float(found[0]) == pytest.approx(metric.compute(answers[rows], labels[rows]), abs=1e-9)


@pytest.mark.parametrize("name", ASKED)
def test_an_interval_holds_its_estimate(name: str) -> None:
    logits, labels = draw(3, 120)
    metric = find(name)
    found = metric.estimate(read(metric, logits), labels)
    assert found.low <= found.estimate <= found.high
    assert found.high - found.low > 0.01


@pytest.mark.parametrize("name", [name for name in METRICS if name in ASKED])
def test_sums_have_columns_for_classes_that_nobody_names(name: str) -> None:
    """Two runs on the same samples are stacked, although one of them never predicts the last class."""
    labels = np.array([0, 1, 0, 1])
    add = find(name).sums
    assert add is not None
    shapes = {add[0](told, labels).shape for told in (np.array([0, 1, 1, 0]), np.array([0, 1, 2, 0]))}
    assert len(shapes) == 1


def test_saturated_logits_still_have_ranks() -> None:
    """Probabilities of 1 - 1e-30 are 1 in any float; their log-odds are apart."""
    logits = np.array([[0.0, 70.0], [0.0, 80.0], [0.0, 90.0], [0.0, 100.0]])
    assert find("auroc", 2).compute(logits, np.array([0, 0, 1, 1])) == 1.0
    assert find("auroc", 2).compute(logits, np.array([1, 1, 0, 0])) == 0.0


DEGENERATE = {"auroc": 0.5, "log_loss": np.log(3), "brier": 2 / 3}


@pytest.mark.parametrize("name", OF_LOGITS)
def test_one_class_and_equal_logits_have_a_value_and_warn_of_nothing(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find(name).estimate(np.zeros((5, 3)), np.ones(5, int))
    assert found.estimate == pytest.approx(DEGENERATE[name])


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(name: str, wrong: float) -> None:
    logits, labels = draw(0, 5)
    logits[2, 1] = wrong
    with pytest.raises(UsageError, match="not finite"):
        find(name).compute(logits, labels)
