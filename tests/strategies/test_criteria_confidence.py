"""Criteria on the logits of one exit or a few, against vectors worked out by hand from the papers' equations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.inference.replay import make_criterion, replay
from bench.measure.scores import score_exits
from strategies.divergence import jensen_shannon
from strategies.patient import UNREADY
from tests.helpers.criteria import LAYERS, random_logits


def log_p(*exits: Sequence[float]) -> Tensor:
    """One sample's logits [1, L, C] whose softmax is the given probabilities."""
    return torch.tensor([exits], dtype=torch.float64).log()


def score_row(name: str, logits: Tensor, **arguments: object) -> list[float]:
    row: list[float] = score_exits(make_criterion(name, arguments)[0], logits)[0].tolist()
    return row


# ---------------------------------------------------------------- one exit


def test_max_probability_is_what_is_left_to_one() -> None:
    """Hendrycks & Gimpel: max_c softmax(z)_c; here one minus it."""
    found = score_row("max-probability", log_p([0.7, 0.2, 0.1], [0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3]))
    assert found == pytest.approx([0.3, 0.5, 2 / 3])


def test_margin_is_between_the_best_two() -> None:
    """Scheffer et al.: the difference of the two largest probabilities; here one minus it."""
    found = score_row("margin", log_p([0.7, 0.2, 0.1], [0.1, 0.45, 0.45], [0.05, 0.05, 0.9]))
    assert found == pytest.approx([0.5, 1.0, 0.15])


def test_energy_is_minus_the_log_of_the_summed_exponentials() -> None:
    """Liu et al.: E = -T ln sum exp(z / T), T = 1. 1 + 2 + 5 = 8; a common offset of 3 lowers it by 3."""
    z = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log()
    assert score_row("energy", torch.stack([z, z + 3, torch.zeros(3, dtype=torch.float64)])[None]) == pytest.approx(
        [-math.log(8), -math.log(8) - 3, -math.log(3)]
    )


@pytest.mark.parametrize("name", ["max-probability", "margin"])
def test_for_two_classes_all_measures_of_confidence_order_samples_alike(name: str) -> None:
    logits = random_logits(name, classes=2).double()
    theirs, ours = (score_exits(make_criterion(n, {})[0], logits).ravel() for n in ("entropy", name))
    assert np.array_equal(ours.argsort(), theirs.argsort())


# ---------------------------------------------------------------- patient and confident


def binary_with(measures: Sequence[float]) -> Tensor:
    """One sample's two-class logits whose 1 - max p is as given at each exit."""
    return log_p(*[[1 - m, m] for m in measures])


def test_patient_and_confident_takes_the_least_confident_of_the_last_exits() -> None:
    """PCEE-BERT: two confident exits in a row, told here by 1 - max p."""
    logits = binary_with([0.1, 0.4, 0.2, 0.1, 0.05, 0.3])
    arguments: dict[str, Any] = {"patience": 2, "measure": "max-probability"}
    assert score_row("patient-and-confident", logits, **arguments) == pytest.approx([UNREADY, 0.4, 0.4, 0.2, 0.1, 0.3])
    for threshold, layer in [(0.05, 6), (0.15, 5), (0.25, 4), (0.41, 2), (1.0, 2)]:
        assert replay("patient-and-confident", logits, threshold, **arguments).layer.tolist() == [layer]


def test_patient_and_confident_uses_normalised_entropy() -> None:
    """H(1/4, 3/4) = 2 ln 2 - 3/4 ln 3, over ln 2; the even exit before it is quite unsure."""
    found = score_row("patient-and-confident", log_p([0.5, 0.5], [0.25, 0.75], [0.25, 0.75]), patience=2)
    assert found == pytest.approx([UNREADY, 1.0, 2 - 0.75 * math.log2(3)])


def counted(ready: Sequence[bool], patience: int) -> int:
    """The exit at which a counter of consecutive ready exits reaches ``patience``, else the last."""
    count = 0
    for layer, one in enumerate(ready[:-1], start=1):
        count = count + 1 if one else 0
        if count == patience:
            return layer
    return len(ready)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), patience=st.integers(1, LAYERS), threshold=st.floats(0.01, 1.0))
@pytest.mark.parametrize("measure", ["entropy", "max-probability"])
def test_patient_and_confident_is_the_papers_counter(measure: str, seed: int, patience: int, threshold: float) -> None:
    logits = random_logits("patient-and-confident", seed, samples=15).double()
    p = torch.softmax(logits, dim=-1)
    unsure = -(p * p.log()).sum(dim=-1) / math.log(3) if measure == "entropy" else 1 - p.amax(dim=-1)
    found = replay("patient-and-confident", logits, threshold, patience=patience, measure=measure)
    assert found.layer.tolist() == [counted((row < threshold).tolist(), patience) for row in unsure]


@pytest.mark.parametrize("name", ["patient-and-confident", "divergence-patience"])
def test_patience_that_cannot_be_reached_is_told(name: str) -> None:
    first = {"patient-and-confident": 0, "divergence-patience": 1}[name]
    assert "nobody leaves" in make_criterion(name, {"patience": LAYERS + 1})[0].warnings(LAYERS)[0]
    assert "last of" in make_criterion(name, {"patience": LAYERS - first})[0].warnings(LAYERS)[0]
    assert make_criterion(name, {"patience": LAYERS - first - 1})[0].warnings(LAYERS) == []


# ---------------------------------------------------------------- divergence patience


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0.0),
        ([1.0, 0.0], [0.0, 1.0], math.log(2)),  # nothing in common
        ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0),  # impossible classes count for nothing
        # m = (3/4, 1/4): (ln 4/3 + 1/2 ln 2/3 + 1/2 ln 2) / 2 = 3/4 ln 4/3
        ([1.0, 0.0], [0.5, 0.5], 0.75 * math.log(4 / 3)),
        # m = (5/8, 3/8): (1/2 ln 4/5 + 1/2 ln 4/3 + 3/4 ln 6/5 + 1/4 ln 2/3) / 2
        ([0.5, 0.5], [0.75, 0.25], 0.0338220756),
    ],
)
def test_jensen_shannon(p: list[float], q: list[float], expected: float) -> None:
    """Lin 1991: the entropy of the mean less the mean of the entropies."""
    one, two = (torch.tensor([x], dtype=torch.float64).log() for x in (p, q))
    assert jensen_shannon(one, two).item() == pytest.approx(expected, abs=1e-10)
    assert jensen_shannon(two, one).item() == pytest.approx(expected, abs=1e-10)
    assert 0 <= jensen_shannon(one.float(), two.float()).item() <= 0.6931472


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("apart", [1.0, 16.0, 18.0, 40.0, 104.0, 800.0, 1e30])
def test_exits_that_are_sure_of_different_classes_diverge(apart: float, classes: int, dtype: torch.dtype) -> None:
    """By hand, with 1 - p from the smaller probabilities; where both exits are sure, ln 2 whatever the format."""
    logits = torch.zeros(1, LAYERS, classes, dtype=dtype)
    logits[0, 0::2, 0] = logits[0, 1::2, 1] = apart
    e = math.exp(-apart)
    total = 1 + (classes - 1) * e
    p, q, m = 1 / total, e / total, (1 + e) / (2 * total)  # the third class is alike in both
    expected = p * math.log(p / m) + (q * math.log(q / m) if q else 0)
    found = score_row("divergence-patience", logits, patience=1)
    assert found[1:] == pytest.approx([expected] * (LAYERS - 1), rel=1e-6)
    if apart > 17:
        assert found[1:] == pytest.approx([math.log(2)] * (LAYERS - 1), rel=1e-6)
        assert replay("divergence-patience", logits, 0.69, patience=1).layer.tolist() == [LAYERS]  # nobody agrees


def test_equal_exits_do_not_diverge_at_all() -> None:
    logits = torch.full((1, LAYERS, 3), 2.5)
    logits[..., 0] = 30.0
    assert score_row("divergence-patience", logits, patience=1)[1:] == [0.0] * (LAYERS - 1)


def test_divergence_patience_compares_neighbouring_exits() -> None:
    """F-PABEE: the counter starts with the second exit's divergence; here two in a row."""
    even, sure = [0.5, 0.5], [0.75, 0.25]
    js = 0.0338220756
    logits = log_p(even, even, sure, sure, sure, even)
    found = score_row("divergence-patience", logits, patience=2)
    assert found == pytest.approx([UNREADY, UNREADY, js, js, 0.0, js], abs=1e-9)
    assert replay("divergence-patience", logits, 0.03, patience=2).layer.tolist() == [5]
    assert replay("divergence-patience", logits, 0.04, patience=2).layer.tolist() == [3]
    assert replay("divergence-patience", logits, 0.03, patience=1).layer.tolist() == [2]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), patience=st.integers(1, LAYERS), threshold=st.floats(1e-4, 0.5))
def test_divergence_patience_is_the_papers_counter(seed: int, patience: int, threshold: float) -> None:
    logits = random_logits("divergence-patience", seed, samples=15).double()
    p = torch.softmax(logits, dim=-1)
    mean = (p[:, 1:] + p[:, :-1]) / 2
    kl = [(q * (q / mean).log()).sum(dim=-1) for q in (p[:, 1:], p[:, :-1])]
    alike = torch.cat([torch.zeros(15, 1, dtype=torch.bool), (kl[0] + kl[1]) / 2 < threshold], dim=1)
    found = replay("divergence-patience", logits, threshold, patience=patience)
    assert found.layer.tolist() == [counted(row.tolist(), patience) for row in alike]


# ---------------------------------------------------------------- voting


def saying(*classes: int) -> Tensor:
    return 3 * torch.nn.functional.one_hot(torch.tensor([classes]), 3).double()


def test_voting_counts_the_winners_votes_and_attenuates_them() -> None:
    """Sun et al.: votes of the winner over i^attenuation, here sqrt(i)."""
    logits = saying(0, 1, 1, 1, 2, 1)
    votes = [1, 1 / math.sqrt(2), 2 / math.sqrt(3), 3 / 2, 3 / math.sqrt(5), 4 / math.sqrt(6)]
    assert score_row("voting", logits) == pytest.approx([-v for v in votes])
    for threshold, layer in [(1.0, 1), (1.01, 3), (1.5, 4), (1.51, 6), (9.0, 6)]:
        assert replay("voting", logits, threshold).layer.tolist() == [layer]


@pytest.mark.parametrize(("threshold", "layer"), [(1, 1), (2, 3), (3, 4), (4, 6)])
def test_voting_without_attenuation_counts_votes(threshold: int, layer: int) -> None:
    assert replay("voting", saying(0, 1, 1, 1, 2, 1), threshold, attenuation=0.0).layer.tolist() == [layer]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), attenuation=st.sampled_from([0.0, 0.3, 0.5, 0.9]), threshold=st.floats(0, 3))
def test_an_early_answer_is_the_votes_winner(seed: int, attenuation: float, threshold: float) -> None:
    logits = random_logits("voting", seed, samples=20)
    found = replay("voting", logits, threshold, attenuation=attenuation)
    for row, layer, answer in zip(logits.argmax(dim=-1), found.layer, found.prediction, strict=True):
        votes = [torch.bincount(row[:i], minlength=3) for i in range(1, LAYERS + 1)]
        enough = [int(v.max()) / i**attenuation >= threshold for i, v in enumerate(votes, start=1)]
        assert layer == ([*np.flatnonzero(enough[:-1]), LAYERS - 1][0] + 1)
        if layer < LAYERS:
            assert votes[layer - 1].argmax() == answer
            assert (votes[layer - 1] == votes[layer - 1].max()).sum() == 1
