"""Numbers over whole curves against brute force on a fine grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.measure import areas
from bench.measure.areas import QualityArea
from bench.measure.trade_off import TradeOff
from tests.helpers.curves import make_trade_off

STEP = ([1.0, 2.0, 4.0], [0.9, 0.8, 0.6])


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    size = draw(st.integers(1, 12))
    numbers = st.floats(0.5, 8.0, allow_nan=False)
    return draw(st.lists(numbers, min_size=size, max_size=size)), draw(
        st.lists(st.floats(0.0, 1.0), min_size=size, max_size=size)
    )


@settings(max_examples=60, deadline=None)
@given(curves(), st.floats(0.05, 1.5))
def test_best_is_the_maximum_over_what_is_as_cheap(curve: tuple[list[float], list[float]], cost: float) -> None:
    speed, quality = map(np.array, curve)
    allowed = quality[1 / speed <= cost * (1 + 1e-9)]
    assert float(areas.envelope(speed, quality).best(cost)) == (allowed.max() if len(allowed) else -np.inf)


@settings(max_examples=40, deadline=None)
@given(curves(), st.floats(0.0, 0.9))
def test_hypervolume_is_the_integral(curve: tuple[list[float], list[float]], chance: float) -> None:
    front = areas.envelope(*curve)
    grid = (np.arange(20000) + 0.5) / 20000
    expected = np.maximum(front.best(grid) - chance, 0).mean()
    assert areas.hypervolume(front, chance) == pytest.approx(expected, abs=2e-3)


def test_by_hand() -> None:
    front = areas.envelope(*STEP)
    assert areas.hypervolume(front, 0.5) == pytest.approx(0.25 * 0.1 + 0.5 * 0.3)
    assert areas.area_under(front, 0.5, 0.25) == pytest.approx((0.25 * 0.6 + 0.5 * 0.8) / 0.75)
    assert areas.speedup_at(front, 0.9) == 1.0
    assert areas.speedup_at(front, 0.79) == 2.0
    assert areas.speedup_at(front, 0.95) is None
    assert areas.quality_at(front, 2.0) == 0.8
    assert areas.quality_at(front, 3.0) == 0.6
    assert areas.quality_at(front, 4.5) is None


def test_elue_score_of_a_curve_a_constant_above_its_reference() -> None:
    costs = np.linspace(0.2, 1.0, 400)
    quality = 0.5 + 0.3 * costs
    front = areas.envelope(1 / costs, quality + 0.05)
    assert areas.elue_score(front, costs, quality) == pytest.approx(0.05, abs=1e-3)
    assert areas.elue_score(front, [0.01, 0.02], [0.1, 0.2]) is None


def test_summary_has_every_definition_and_a_better_curve_is_better() -> None:
    per_exit = [0.6, 0.7, 0.8, 0.9]
    found = areas.summarise_areas(*STEP, 0.9, 4, 0.5, per_exit)
    better = areas.summarise_areas(STEP[0], [0.95, 0.9, 0.8], 0.9, 4, 0.5, per_exit)
    assert set(found) == set(areas.DEFINITIONS)
    assert all(better[name] >= found[name] for name in areas.DEFINITIONS)


def area_by_hand(trade_off: TradeOff, samples: np.ndarray, cuts: np.ndarray, grid: np.ndarray) -> float:
    """The mean over budgets of the accuracy between neighbouring cuts, of samples that may come more than once."""
    spent, right = [], []
    for cut in cuts:
        layers = trade_off.layers_at(float(cut))[samples]
        spent.append(layers.mean())
        right.append((trade_off.predictions[samples, layers - 1] == trade_off.exits.labels[samples]).mean())
    found = []
    for budget in grid:
        after = next(i for i in range(len(spent)) if spent[i] <= budget)
        before = max(0, after - 1)
        share = (budget - spent[after]) / (spent[before] - spent[after]) if before < after else 0.0
        found.append(right[after] + share * (right[before] - right[after]))
    return float(np.mean(found))


def test_the_mean_quality_over_budgets_of_samples_and_resamples() -> None:
    trade_off = make_trade_off(samples=50)
    cuts, area, random = trade_off.curve.midpoints, QualityArea(trade_off, "accuracy"), np.random.default_rng(0)
    assert len(cuts) < 1024
    grid = np.linspace(1.3, 4.9, 11)
    assert area.of_sample(grid) == pytest.approx(area_by_hand(trade_off, np.arange(50), cuts, grid))
    draws = random.integers(0, 50, (3, 50))
    weights = np.stack([np.bincount(rows, minlength=50) for rows in draws]).astype(float)
    expected = [area_by_hand(trade_off, rows, cuts, grid) for rows in draws]
    assert area.of_weights(weights, grid) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_the_curve_of_budgets_has_both_its_ends(seed: int) -> None:
    """Everybody at exit 1, and nobody before the last."""
    trade_off = make_trade_off(seed=seed, samples=50)
    first, last = ((trade_off.predictions[:, k] == trade_off.exits.labels).mean() for k in (0, -1))
    area = QualityArea(trade_off, "accuracy")
    assert area.of_sample(np.array([1.0])) == pytest.approx(first)
    assert area.of_sample(np.array([5.0])) == pytest.approx(last)


@pytest.mark.parametrize(("speed", "quality"), [([], []), ([1.0, 0.0], [1.0, 1.0]), ([1.0], [1.0, 2.0])])
def test_curves_are_checked(speed: list[float], quality: list[float]) -> None:
    with pytest.raises(ValueError, match="A curve needs"):
        areas.envelope(speed, quality)


def test_undefined_quality_is_no_point() -> None:
    assert areas.envelope([1.0, 2.0], [0.5, float("nan")]).qualities.tolist() == [0.5]
