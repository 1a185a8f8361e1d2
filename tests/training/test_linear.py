"""Linear exits are fitted to the end: the minimum that scikit-learn and algebra find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from bench.errors import UsageError
from bench.training.linear import L2_CHOICES, Scaled, choose_l2, compute_mean_loss, fit_linear

SAMPLES, WIDTH = 300, 8


def draw(outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of very different scales, and noisy classes (values where there is one output)."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(SAMPLES, WIDTH, generator=generator) * torch.logspace(-2, 2, WIDTH) + 3
    signal = (features - 3) / torch.logspace(-2, 2, WIDTH) @ torch.randn(WIDTH, outputs, generator=generator)
    noisy = signal + 0.5 * torch.randn(SAMPLES, outputs, generator=generator)
    return features, noisy.squeeze(-1) if outputs == 1 else noisy.argmax(dim=-1)


@pytest.mark.parametrize("l2", [1e-3, 0.1])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_it_is_scikit_learns_logistic_regression(classes: int, l2: float) -> None:
    """Whose objective is C times the summed loss plus half the squares; of two classes it holds one vector, w_1 - w_0,
    whose square is four times that of each of ours, which are opposite."""
    features, labels = draw(classes)
    found = fit_linear(Scaled.of(features), labels, classes, l2)
    scaled = ((features - features.mean(dim=0)) / features.std(dim=0, correction=0)).double().numpy()
    strength = (2 if classes == 2 else 1) / (l2 * SAMPLES)
    other = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(scaled, labels.numpy())
    ours = torch.softmax(found.read(features), dim=-1).numpy()
    assert np.abs(ours - other.predict_proba(scaled)).max() < 1e-4


def test_regression_is_ridge() -> None:
    """The minimum of mean squared error + l2 / 2 |w|^2: (X'X / N + l2 / 2) w = X'y / N on centred features."""
    features, values = draw(1)
    scaled = Scaled.of(features)
    x, y = scaled.values, values.double() - values.double().mean()
    expected = torch.linalg.solve(x.T @ x / SAMPLES + 0.05 * torch.eye(WIDTH), x.T @ y / SAMPLES)
    found = fit_linear(scaled, values, 1, 0.1)
    assert torch.allclose(found.weight[0] * scaled.spread, expected, atol=1e-5)
    assert float(found.read(features).mean()) == pytest.approx(float(values.mean()), abs=1e-5)


def test_probabilities_that_are_certain_are_labels() -> None:
    features, labels = draw(3)
    certain = torch.nn.functional.one_hot(labels, 3).float()
    by_label, by_probability = (fit_linear(Scaled.of(features), t, 3, 0.01) for t in (labels, certain))
    assert torch.allclose(by_label.weight, by_probability.weight, atol=1e-8)


def test_the_scale_of_a_feature_and_one_that_never_changes_do_not_matter() -> None:
    features, labels = draw(3)
    other = torch.cat([features[:, :4] * 1000, features[:, 4:], torch.full((SAMPLES, 1), 5.0)], dim=1)
    first, second = (fit_linear(Scaled.of(x), labels, 3, 0.01) for x in (features, other))
    assert torch.allclose(first.read(features), second.read(other), atol=1e-3)
    assert torch.equal(second.weight[:, -1], torch.zeros(3, dtype=torch.float64))


def test_beginning_elsewhere_ends_in_the_same_place() -> None:
    features, labels = draw(3)
    scaled = Scaled.of(features)
    start = fit_linear(scaled, labels, 3, 1.0)
    cold, warm = fit_linear(scaled, labels, 3, 0.01), fit_linear(scaled, labels, 3, 0.01, start)
    assert torch.allclose(cold.read(features), warm.read(features), atol=1e-3)


def test_l2_is_strong_where_there_is_nothing_to_learn_and_weak_where_there_is_much() -> None:
    features, labels = draw(2)
    noise = torch.randint(0, 2, (SAMPLES,), generator=torch.Generator().manual_seed(1))
    half = SAMPLES // 2

    def choose(wanted: Tensor) -> tuple[float, float]:
        learn, held = Scaled.of(features[:half]), features[half:]
        return choose_l2(learn, wanted[:half], held, wanted[half:], 2, L2_CHOICES)

    def try_one(l2: float) -> float:
        found = fit_linear(Scaled.of(features[:half]), labels[:half], 2, l2)
        return float(compute_mean_loss(found.read(features[half:]), labels[half:]))

    assert choose(noise)[0] > choose(labels)[0]
    assert choose(labels)[1] == pytest.approx(min(map(try_one, L2_CHOICES)), rel=1e-3)


def test_what_is_not_finite_is_said() -> None:
    features, labels = draw(2)
    features[3, 2] = float("nan")
    with pytest.raises(UsageError, match="not finite"):
        fit_linear(Scaled.of(features), labels, 2, 0.01)
