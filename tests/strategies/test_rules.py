"""The rules of the criteria, restated by brute force on one sample at a time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.cli.process import main
from bench.inference.replay import make_criterion, replay
from bench.measure.curve import exact_curve, exit_layers
from bench.measure.scores import score_exits
from strategies.base import Start, StrategyError
from strategies.controls import GAMMA, scramble
from strategies.elbert import choose_window
from strategies.fastbert import uncertainty
from tests.helpers.criteria import CAUSAL, LAYERS, make, random_logits, score_of


def agree_in_a_row(labels: list[int], patience: int) -> int:
    """PABEE on one sample, by counting back from every exit."""
    for i in range(patience, len(labels)):
        if patience > 0 and len(set(labels[i - patience : i + 1])) == 1:
            return i + 1
    return len(labels)


@settings(max_examples=60, deadline=None)
@given(labels=arrays(np.int64, (20, LAYERS), elements=st.integers(0, 2)), patience=st.integers(0, LAYERS + 1))
def test_patience_counts_agreements(labels: np.ndarray[Any, Any], patience: int) -> None:
    logits = 3.0 * np.eye(3, dtype=np.float32)[labels]
    found = replay("patience", logits, patience=patience)
    assert found.layer.tolist() == [agree_in_a_row(row.tolist(), patience) for row in labels]


def test_patience_outside_the_paper() -> None:
    logits = random_logits("patience")
    assert (replay("patience", logits, patience=0).layer == LAYERS).all()
    assert (replay("patience", logits, patience=LAYERS).layer == LAYERS).all()
    assert (replay("patience", logits, patience=-1).layer == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(np.float32, (10, LAYERS), elements=st.floats(-2, 2, width=32)),
    patience=st.integers(1, LAYERS),
    tolerance=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_patience_for_regression(values: np.ndarray[Any, Any], patience: int, tolerance: float) -> None:
    found = replay("patience", values[:, :, None], patience=patience, tolerance=tolerance)
    for row, layer, answer in zip(values, found.layer, found.prediction, strict=True):
        close = [abs(b - a) < tolerance for a, b in itertools.pairwise(row)]
        expected = [i + 2 for i in range(len(close)) if i + 1 >= patience and all(close[i + 1 - patience : i + 1])]
        assert layer == (expected or [LAYERS])[0]
        assert answer == row[layer - 1]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), patience=st.integers(1, LAYERS), classes=st.integers(2, 4))
def test_patience_is_the_label_window_one_longer(seed: int, patience: int, classes: int) -> None:
    logits = random_logits("patience", seed, classes=classes)
    window = replay("elbert-label", logits, 0.0, window=patience + 1, first="none")
    assert np.array_equal(replay("patience", logits, patience=patience).layer, window.layer)


@pytest.mark.parametrize(("layers", "window"), [(24, 8), (22, 7), (12, 4), (6, 2), (3, 2), (1, 2)])
def test_the_default_window_is_a_third_of_the_depth(layers: int, window: int) -> None:
    criterion, _ = make_criterion("elbert-mono", {})
    wrapped, _ = make_criterion("temperature", {"of": "elbert-mono"})
    assert criterion.follow_depth(layers) == wrapped.follow_depth(layers) == {"window": window}
    explicit, _ = make_criterion("elbert-mono", {"window": 8})
    assert explicit.follow_depth(layers) == {}
    assert [len(one.warnings(layers)) for one in (criterion, explicit)] == [int(layers <= 2), int(layers <= 8)]


@pytest.mark.parametrize("name", ["elbert-mono", "elbert-range", "elbert-label"])
@pytest.mark.parametrize("layers", [1, 2, 3, 12])
def test_the_default_window_decides_as_the_number_that_it_is(name: str, layers: int) -> None:
    logits = np.random.default_rng(0).normal(size=(200, layers, 3)).astype(np.float32).cumsum(axis=1)
    found, given = replay(name, logits, 0.1), replay(name, logits, 0.1, window=choose_window(layers))
    assert np.array_equal(found.layer, given.layer)
    assert np.array_equal(found.scores, given.scores)
    if layers == 12:
        assert (found.layer < replay(name, logits, 0.1, window=0).layer).any()


def window_holds(name: str, p: np.ndarray[Any, Any], spread: float) -> bool:
    """ELBERT's window test on the probabilities [N, C] of the window's exits, for any number of classes."""
    labels = p.argmax(axis=1)
    if name == "elbert-mono":
        tracked = p[:, labels[0]]
        return bool(labels[-1] == labels[0] and (np.diff(tracked) >= 0).all())
    constant = bool((labels == labels[0]).all())
    return constant and (name == "elbert-label" or float(np.ptp(p.max(axis=1))) <= spread)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), window=st.integers(1, LAYERS), classes=st.integers(2, 4))
@pytest.mark.parametrize("name", ["elbert-mono", "elbert-range", "elbert-label"])
def test_elbert_windows_follow_the_class_predicted_at_their_start(
    name: str, seed: int, window: int, classes: int
) -> None:
    logits = random_logits(name, seed, samples=15, classes=classes).double()
    extra: dict[str, object] = {"range": 0.2} if name == "elbert-range" else {}
    found = replay(name, logits, 0.3, window=window, **extra)
    for sample, layer in zip(torch.softmax(logits, dim=-1).numpy(), found.layer, strict=True):
        expected = LAYERS
        for i in range(LAYERS, 0, -1):
            p = sample[i - 1]
            sure = -(p * np.log(p)).sum() / math.log(classes) < 0.3
            if sure or (i >= window and window_holds(name, sample[i - window : i], 0.2)):
                expected = i
        assert layer == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("sure", [12.0, 15.0, 17.0, 20.0, 30.0])
def test_a_drop_of_confidence_near_1_is_a_drop(sure: float, classes: int, dtype: torch.dtype) -> None:
    """ELBERT's first window on p = 1 - O(e^-sure): e^-15 is less than float32 can tell from 0 beside 1."""
    logits = torch.zeros(2, LAYERS, classes, dtype=dtype)
    logits[0, :, 0] = sure + torch.arange(LAYERS) / 8  # ever surer
    logits[1, :, 0] = sure - torch.arange(LAYERS) / 8  # ever less sure, and right below the first stage's eyes
    if classes == 2:  # as released, on p(class 0) alone, which is the small one here
        logits = logits.flip(-1)
    found = replay("elbert-mono", logits, 0.0, window=3, first="none")
    assert found.layer.tolist() == [3, LAYERS]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_window_asks_that_its_first_class_is_still_the_prediction(classes: int) -> None:
    """Confidence in class 0 grows throughout, but another class has overtaken it, or leads from the start."""
    log_p = torch.tensor([[0.40, 0.35, 0.25], [0.42, 0.43, 0.15], [0.44, 0.46, 0.10]]).log()
    if classes == 2:  # two classes cannot both grow: p(0) up from below one half, class 1 predicted throughout
        log_p = torch.tensor([[0.40, 0.60], [0.42, 0.58], [0.44, 0.56]]).log()
    logits = torch.cat([log_p, log_p[-1:].expand(LAYERS - 3, -1)])[None]
    assert replay("elbert-mono", logits, 0.0, window=3, first="none").layer[0] > 3


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_random_leaves_with_the_probability_of_its_threshold(threshold: float) -> None:
    samples = 20_000
    logits = torch.zeros(samples, LAYERS, 2)
    found = score_exits(make("random"), logits)
    assert ((found >= 0) & (found < 1)).all()
    for layer in range(LAYERS):
        assert (found[:, layer] < threshold).mean() == pytest.approx(threshold, abs=0.015)
    correlation = np.corrcoef(found.T) - np.eye(LAYERS)
    assert np.abs(correlation).max() < 0.03
    other = score_exits(make("random", seed=1), logits)
    assert abs(np.corrcoef(found[:, 0], other[:, 0])[0, 1]) < 0.03


def test_numbers_are_mixed_as_splitmix64_does() -> None:
    """Its first outputs from state 0, as published with the reference code (Steele, Lea & Flood 2014; Vigna)."""
    state = torch.tensor([0, GAMMA, 2 * GAMMA + 2**64])
    found = [int(x) % 2**64 for x in scramble(state)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize("classes", [2, 3])
def test_fastberts_uncertainty_is_never_quite_zero(classes: int) -> None:
    """Of one sure class -ln(1 - eps) / ln C; of none 1."""
    sure = torch.tensor([[90.0, *[-90.0] * (classes - 1)]])
    eps = torch.finfo(torch.float32).eps
    assert float(uncertainty(sure)) == pytest.approx(-math.log1p(-eps) / math.log(classes), rel=1e-3)
    assert float(uncertainty(torch.zeros(1, classes))) == pytest.approx(1.0)


def test_random_needs_the_samples_numbers() -> None:
    with pytest.raises(StrategyError, match="numbers"):
        make("random").start(Start(3, LAYERS, 2))


@pytest.mark.parametrize("layer", [1, 4, LAYERS, LAYERS + 2])
def test_fixed_exit_is_where_it_is_put(layer: int) -> None:
    found = replay("fixed-exit", random_logits("fixed-exit"), layer=layer)
    assert (found.layer == min(layer, LAYERS)).all()
    assert bool(make("fixed-exit", layer=layer).warnings(LAYERS)) == (layer >= LAYERS)


def test_oracles_leave_at_the_earliest_exit_that_will_do() -> None:
    logits = random_logits("oracle-correct", samples=200)
    labels = torch.arange(200) % 3
    answers = logits.argmax(dim=-1).numpy()
    right = exit_layers(make("oracle-correct").acausal_scores(logits, labels).numpy(), 0.0)
    same = exit_layers(make("oracle-consistent").acausal_scores(logits, None).numpy(), 0.0)
    for row, label, a, b in zip(answers, labels.tolist(), right, same, strict=True):
        hits = np.flatnonzero(row == label)
        assert a == (hits[0] + 1 if len(hits) else 1)
        assert b == np.flatnonzero(row == row[-1])[0] + 1
    with pytest.raises(StrategyError, match="labels"):
        make("oracle-correct").acausal_scores(logits, None)


def test_no_criterion_beats_the_correct_oracle() -> None:
    """More right answers it cannot give, and as many only with at least as many layers."""
    logits, labels = random_logits("entropy", samples=300), torch.arange(300) % 3
    oracle = exit_layers(make("oracle-correct").acausal_scores(logits, labels).numpy(), 0.0)
    right = (logits.argmax(dim=-1) == labels[:, None]).numpy()
    best = right[np.arange(300), oracle - 1].sum()
    for name in CAUSAL:
        criterion = make(name)
        found = exact_curve(score_of(criterion, logits), [right], strict=criterion.strict)
        accuracy = found.sums[0][:, 0]
        assert (accuracy <= best).all()
        assert (found.mean_layer[accuracy == best] >= oracle.mean()).all()


COUNTS = [name for name in CAUSAL if make(name).integer]


@pytest.mark.parametrize("threshold", [1.5, 0.999, -0.5, 2.0000001])
@pytest.mark.parametrize("name", [*COUNTS, "temperature"])
def test_a_count_is_a_whole_number(name: str, threshold: float) -> None:
    around: dict[str, object] = {"of": "patience"} if name == "temperature" else {}
    with pytest.raises(StrategyError, match=r"is a count, and .* is no whole number"):
        make(name, **around).cut_at(threshold)
    assert make(name, **around).cut_at(2.0) == make(name, **around).cut(2)
    assert make(name, **around).cut_at(math.inf) == -math.inf


def test_a_count_that_is_none_is_refused_wherever_it_is_given(tmp_path: Any, capsys: Any) -> None:
    """In Python, for a file of logits, for a run before it trains, and in a sweep's file."""
    logits = random_logits("patience", samples=4)
    with pytest.raises(StrategyError, match="patience is a count"):
        replay("patience", logits, 1.5)
    np.savez(tmp_path / "logits.npz", logits=logits.numpy())
    (tmp_path / "sweep.yaml").write_text("matrix: {strategy: patience, task: demo}\ndefaults: {thresholds: [2, 1.5]}")
    store = ["--results-dir", str(tmp_path / "results"), "--offline", "--quiet"]
    for words in (
        ["replay", str(tmp_path / "logits.npz"), "--strategy", "patience", "--threshold", "1.5"],
        ["replay", str(tmp_path / "logits.npz"), "--strategy", "patience", "--set", "patience=1.5"],
        ["run", "--strategy", "patience", "--task", "demo", "--thresholds", "2,1.5", *store],
        ["run", "--config", str(tmp_path / "sweep.yaml"), *store],
    ):
        assert main(words) == 2
        [line] = capsys.readouterr().err.strip().splitlines()
        assert "The patience is a count, and 1.5 is no whole number." in line
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").rglob("*.safetensors"))
