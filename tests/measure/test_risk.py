"""Certified operating points: p-values by hand, the fixed sequence, conformal control, and rule texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.errors import UsageError
from bench.measure.curve import exact_curve, exit_layers
from bench.measure.risk import (
    binomial_p,
    choose_certified,
    control_conformally,
    fixed_cuts,
    hoeffding_bentkus_p,
    learn_then_test,
    p_value,
    tabulate_losses,
)
from bench.measure.rules import Choice, Rule, Unreachable, choose_cut
from bench.selfcheck.intervals import make_world


@pytest.mark.parametrize("text", ["risk=0.02@0.95", "gap=0.01@0.9", "risk=0.05", "gap=0.1"])
def test_rules_are_read_and_written(text: str) -> None:
    rule = Rule.parse(text)
    assert rule.is_certified
    assert rule.format() == text
    assert Rule.parse(rule.format()) == rule


@pytest.mark.parametrize(
    "text", ["risk=0@0.95", "risk=0.1@1", "risk=0.1@0", "risk=1.5", "gap=x@0.9", "2x@0.9", "risk=-0.1"]
)
def test_senseless_rules_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Rule.parse(text)


def test_choose_sends_certified_rules_away() -> None:
    curve = exact_curve(np.zeros((3, 2)), [])
    with pytest.raises(ValueError, match="risk"):
        choose_cut(curve, np.zeros(len(curve)), np.ones(len(curve)), 0.0, Rule.parse("risk=0.1"))


@pytest.mark.parametrize(("losses", "samples", "level"), [(0, 100, 0.05), (3, 200, 0.05), (30, 200, 0.1)])
def test_the_binomial_p_value_is_exact(losses: int, samples: int, level: float) -> None:
    table = np.repeat([1.0, 0.0], [losses, samples - losses])
    assert binomial_p(table, level) == pytest.approx(stats.binom.cdf(losses, samples, level))
    assert p_value(table, level) == binomial_p(table, level)


def test_hoeffding_bentkus_is_weaker_than_exact_but_falls_with_evidence() -> None:
    p = [hoeffding_bentkus_p(mean, 300, 0.1) for mean in (0.0, 0.03, 0.06, 0.1, 0.2)]
    assert p == sorted(p)
    assert p[-1] == 1.0
    for mean, have in zip((0.0, 0.03, 0.06), p, strict=False):
        assert have >= stats.binom.cdf(round(300 * mean), 300, 0.1) * (1 - 1e-9)
    assert p_value(np.full(300, 0.03), 0.1) == pytest.approx(p[1])


@pytest.mark.parametrize(("mean", "samples", "level"), [(0.0, 100, 0.05), (0.002, 100, 0.05), (0.03, 300, 0.1)])
def test_hoeffding_bentkus_is_the_smaller_of_the_two(mean: float, samples: int, level: float) -> None:
    """Hoeffding: ((level/mean)^mean ((1-level)/(1-mean))^(1-mean))^n, (1-level)^n without a loss, which is smaller."""
    ratio = ((level / mean) ** mean if mean else 1.0) * ((1 - level) / (1 - mean)) ** (1 - mean)
    bentkus = math.e * stats.binom.cdf(math.ceil(samples * mean), samples, level)
    assert hoeffding_bentkus_p(mean, samples, level) == pytest.approx(min(ratio**samples, bentkus), rel=1e-9)
    assert hoeffding_bentkus_p(0.0, samples, level) == pytest.approx((1 - level) ** samples, rel=1e-9)
    assert hoeffding_bentkus_p(0.0, samples, level) < math.e * stats.binom.cdf(0, samples, level)


def test_losses_by_hand() -> None:
    answers, labels = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]]), np.array([1, 1, 0])
    assert tabulate_losses("risk", answers, labels).tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert tabulate_losses("gap", answers, labels).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    values = np.array([[0.5, 3.0, 1.0]], dtype=np.float32)
    assert tabulate_losses("risk", values, np.ones(1)).tolist() == [[0.5, 1.0, 0.0]]
    with pytest.raises(UsageError, match="needs classes"):
        tabulate_losses("gap", values, np.ones(1))


def test_cuts_are_fixed_sorted_and_fit_counts_and_probabilities() -> None:
    cuts = np.array(fixed_cuts())
    assert (np.diff(cuts) > 0).all()
    assert {-3.0, -0.5, 0.0, 0.5, 1.0} <= set(cuts.tolist())


def test_the_grid_of_cuts_is_what_its_words_say() -> None:
    """Steps of 0.002 in [-1, 1]; fifty steps a decade from 1e-8 to 1000 and from 0.99 towards 1; halves up to 64."""
    steps = [k / 500 for k in range(1, 501)]
    decades = [10.0 ** (k / 50) for k in range(-400, 151)]
    near_one = [1 - 10.0 ** (-k / 50) for k in range(100, 351)]
    halves = [k / 2 for k in range(1, 129)]
    positive = sorted({*steps, *decades, *near_one, *halves})
    cuts = fixed_cuts()
    assert cuts[len(cuts) // 2] == 0.0
    assert [-c for c in cuts[: len(cuts) // 2]][::-1] == list(cuts[len(cuts) // 2 + 1 :])
    found = np.array(cuts[len(cuts) // 2 + 1 :])
    # the same number may be reached by several of the four, to the last bit or nearly
    assert np.abs(found[:, None] - positive).min(axis=0).max() == pytest.approx(0, abs=1e-12)
    assert np.abs(found[:, None] - positive).min(axis=1).max() == pytest.approx(0, abs=1e-12)
    assert found[0] == pytest.approx(1e-8)
    assert found[-1] == pytest.approx(1000.0)


@pytest.mark.parametrize("strict", [True, False])
def test_learn_then_test_stops_at_the_first_cut_that_fails(strict: bool) -> None:
    sample = make_world(3, population=400)
    losses = tabulate_losses("risk", sample.answers, sample.labels)
    cut = learn_then_test(sample.scores, losses, 0.1, 0.9, strict)
    rows = np.arange(400)

    def p(c: float) -> float:
        return p_value(losses[rows, exit_layers(sample.scores, c, strict) - 1], 0.1)

    tried = [c for c in fixed_cuts() if c <= cut]
    assert all(p(c) <= 0.1 + 1e-12 for c in tried[:: max(1, len(tried) // 50)])
    assert p(cut) <= 0.1
    assert p(fixed_cuts()[fixed_cuts().index(cut) + 1]) > 0.1


def test_conformal_control_uses_the_running_worst() -> None:
    sample = make_world(4, population=300)
    losses = tabulate_losses("risk", sample.answers, sample.labels)
    cut = control_conformally(sample.scores, losses, 0.1)
    layers = exit_layers(sample.scores, cut)
    assert (losses[np.arange(300), layers - 1].sum() + 1) / 301 <= 0.1


def test_too_few_samples_certify_nothing_and_say_how_many_would() -> None:
    sample = make_world(5, population=100)
    curve = exact_curve(sample.scores, [])
    point = choose_certified(curve, sample.scores, sample.answers, sample.labels, Rule.parse("risk=0.02@0.95"))
    assert isinstance(point, Unreachable)
    needed = math.ceil(math.log(0.05) / math.log(0.98))
    assert f"{needed} are needed" in point.reason
    point = choose_certified(curve, sample.scores, sample.answers, sample.labels, Rule.parse("risk=0.005"))
    assert isinstance(point, Unreachable)
    assert "199 are needed" in point.reason


@pytest.mark.parametrize("text", ["risk=0.1@0.9", "gap=0.1@0.9", "risk=0.1", "gap=0.1"])
def test_points_lie_on_the_curve(text: str) -> None:
    sample = make_world(6, population=500)
    curve = exact_curve(sample.scores, [])
    point = choose_certified(curve, sample.scores, sample.answers, sample.labels, Rule.parse(text))
    assert isinstance(point, Choice)
    assert point.index == curve.row(point.cut)


def test_bentkus_rounds_the_losses_up() -> None:
    """Bates et al. 2021, theorem 1: e P(Bin(n, level) <= ceil(n mean)). 500 * 0.015 = 7.5 losses count as 8."""
    assert hoeffding_bentkus_p(0.015, 500, 0.05) == pytest.approx(math.e * stats.binom.cdf(8, 500, 0.05), rel=1e-9)
    hoeffding = math.exp(-500 * (0.015 * math.log(0.015 / 0.05) + 0.985 * math.log(0.985 / 0.95)))
    assert hoeffding_bentkus_p(0.015, 500, 0.05) < hoeffding


def test_conformal_control_remembers_a_loss_that_a_looser_cut_takes_back() -> None:
    """The first sample is lost at exit 2 and right at exit 1, the second is lost at exit 1.

    At 0.15 the first leaves at exit 2: 1 loss. At 0.25 both leave at exit 1, where only the second is lost: still 1
    loss by itself, but 2 were made on the way, and (2 + 1) / 9 is above 0.25.
    """
    scores = np.full((8, 3), 0.9)
    scores[0], scores[1] = [0.2, 0.1, 0.0], [0.2, 0.9, 0.0]
    losses = np.zeros((8, 3))
    losses[0, 1] = losses[1, 0] = 1.0
    cut = control_conformally(scores, losses, 0.25)
    assert exit_layers(scores, cut).tolist() == [2, *[3] * 7]
    assert control_conformally(scores, losses, 0.34) > 0.2
