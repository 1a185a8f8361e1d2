"""The exact curve equals the rule applied threshold by threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from bench.measure.curve import exact_curve, exit_layers
from tests.helpers.curves import check_curve, statistics, sums_at

Array = NDArray[Any]
AWKWARD = [-np.inf, np.inf, 0.0, -0.0, 1.0, np.nextafter(1.0, 2.0), 0.5, -3.0, 1e-310, 1e300, np.finfo(np.float64).max]
AWKWARD32 = [-np.inf, np.inf, 0.0, -0.0, 1.0, 0.5, -3.0, 2.0**-149, float(np.finfo(np.float32).max), 1 + 2.0**-23]


def naive_exit(row: Array, cut: float, strict: bool) -> int:
    """The rule in words, one sample, in Python floats."""
    for exit_, score in enumerate(row[:-1], start=1):
        score = float(score)
        if score == np.inf or cut == -np.inf:
            continue
        if score < cut or (not strict and score <= cut):
            return exit_
    return len(row)


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)


@given(hnp.arrays(np.float64, shapes(), elements=st.sampled_from(AWKWARD)), st.booleans())
@settings(deadline=None, max_examples=150)
def test_ties_infinities_and_neighbouring_floats(scores: Array, strict: bool) -> None:
    check_curve(scores, strict)


@given(hnp.arrays(np.float32, shapes(), elements=st.sampled_from(AWKWARD32)), st.booleans())
@settings(deadline=None, max_examples=150)
def test_float32_ties_infinities_and_neighbouring_floats(scores: Array, strict: bool) -> None:
    curve = check_curve(scores, strict)
    assert (curve.midpoints == curve.midpoints.astype(np.float32)).all()
    assert (curve.cuts == curve.cuts.astype(np.float32)).all()


@given(hnp.arrays(np.float64, shapes(), elements=st.floats(allow_nan=False)), st.booleans())
@settings(deadline=None, max_examples=100)
def test_any_floats(scores: Array, strict: bool) -> None:
    check_curve(scores, strict)


@given(hnp.arrays(np.int64, shapes(), elements=st.integers(-4, 4)), st.booleans(), st.sampled_from(["f4", "f8"]))
@settings(deadline=None, max_examples=100)
def test_integer_scores_such_as_patience(scores: Array, strict: bool, dtype: str) -> None:
    curve = check_curve(scores.astype(dtype), strict)
    inner = curve.midpoints[1:-1]
    assert ((inner * 2) % 1 == 0).all()


@given(
    hnp.arrays(np.float64, shapes(), elements=st.one_of(st.sampled_from(AWKWARD), st.floats(-2, 2))),
    st.booleans(),
    st.one_of(st.floats(allow_nan=False), st.sampled_from(AWKWARD)),
)
@settings(deadline=None)
def test_the_rule_is_the_rule(scores: Array, strict: bool, cut: float) -> None:
    assert exit_layers(scores, cut, strict).tolist() == [naive_exit(row, cut, strict) for row in scores]


@given(hnp.arrays(np.float64, shapes(), elements=st.floats(-1, 1)), st.booleans(), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_midpoints_survive_noise(scores: Array, strict: bool, seed: int) -> None:
    scores = np.round(scores, 2)  # gaps of at least 0.01
    curve = exact_curve(scores, [], strict)
    noisy = scores + np.random.default_rng(seed).uniform(-0.004, 0.004, scores.shape)
    for k, cut in enumerate(curve.midpoints):
        layers = exit_layers(noisy, cut, strict)
        assert layers.tolist() == exit_layers(scores, curve.cuts[k], strict).tolist()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_larger_random_scores(strict: bool, dtype: type) -> None:
    rng = np.random.default_rng(3)
    check_curve(rng.gamma(0.5, size=(60, 12)).astype(dtype), strict)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_between_neighbouring_floats_the_middle_is_one_of_them(strict: bool, dtype: type, first: int) -> None:
    """Halves round to the even one, which may be the upper: by the inclusive rule that would let too many leave."""
    step = float(np.finfo(dtype).eps)
    scores = np.array([[1 + first * step, 0.0], [1 + (first + 1) * step, 0.0]]).astype(dtype)
    curve = check_curve(scores, strict)
    assert curve.mean_layer.tolist() == [2.0, 1.5, 1.0]
    assert exit_layers(scores, curve.midpoints[1], strict).tolist() == [1, 2]


def test_raising_the_cut_never_leaves_later() -> None:
    rng = np.random.default_rng(4)
    curve = exact_curve(rng.random((300, 6)), [])
    assert (np.diff(curve.mean_layer) < 0).all()
    assert curve.mean_layer[0] == 6
    assert curve.mean_layer[-1] == 1


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("value", [0.3, -np.inf, np.inf])
def test_constant_scores(value: float, strict: bool) -> None:
    curve = check_curve(np.full((5, 3), value), strict)
    assert curve.mean_layer.tolist() == ([3.0] if value == np.inf else [3.0, 1.0])


def test_one_exit_always_answers() -> None:
    curve = exact_curve(np.zeros((4, 1)), [np.ones((4, 1), dtype=bool)])
    assert curve.cuts.tolist() == [-np.inf] == curve.midpoints.tolist()
    assert curve.sums[0].tolist() == [[4]]
    assert curve.mean_layer.tolist() == [1.0]


def test_the_last_exits_score_is_never_looked_at() -> None:
    scores = np.array([[0.5, np.nan], [0.25, np.nan]])
    assert exact_curve(scores, []).mean_layer.tolist() == [2.0, 1.5, 1.0]
    assert exit_layers(scores, 0.3).tolist() == [2, 1]


def test_minus_infinity_leaves_first_and_plus_infinity_never() -> None:
    scores = np.array([[np.inf, -np.inf, 0], [1.0, np.inf, 0], [np.inf, np.inf, 0]])
    for strict in (True, False):
        curve = exact_curve(scores, [], strict)
        layers = [exit_layers(scores, cut, strict).tolist() for cut in curve.cuts]
        assert layers == [[3, 3, 3], [2, 3, 3], [2, 1, 3]]


@pytest.mark.parametrize(
    ("scores", "stats", "words"),
    [
        (np.empty((0, 3)), [], "No samples"),
        (np.empty((3, 0)), [], "at least one exit"),
        (np.zeros(3), [], "samples, exits"),
        (np.array([[np.nan, 0.0]]), [], "NaN"),
        (np.zeros((2, 3), dtype=np.int64), [], "float32 or float64"),
        (np.zeros((2, 3)), [np.zeros((2, 2))], "statistic"),
    ],
)
def test_what_is_no_curve(scores: Array, stats: list[Array], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        exact_curve(scores, stats)


@given(hnp.arrays(np.float64, shapes(), elements=st.sampled_from(AWKWARD)), st.booleans(), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_reweighting_equals_repeating_samples(scores: Array, strict: bool, seed: int) -> None:
    samples = len(scores)
    weights = np.random.default_rng(seed).multinomial(samples, np.full(samples, 1 / samples), size=3)
    stats = statistics(*scores.shape)
    curve = exact_curve(scores, stats, strict)
    for s, statistic in enumerate(stats):
        have = curve.reweight(weights, s)
        some = curve.reweight(weights, s, rows=np.array([0, len(curve) - 1]))
        assert (some == have[:, [0, -1]]).all()
        for b, weight in enumerate(weights):
            drawn = np.repeat(np.arange(samples), weight)
            for k, cut in enumerate(curve.cuts):
                want = sums_at([statistic[drawn]], exit_layers(scores[drawn], cut, strict))[0]
                np.testing.assert_allclose(have[b, k], want, rtol=1e-9, atol=1e-9)
