"""Temperatures and budgets: fitted on held-out samples, around any criterion; vectors worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.errors import UsageError, UserError
from bench.inference.replay import make_criterion
from bench.measure.curve import exit_layers
from bench.measure.scores import score_exits
from strategies.base import Evidence, StrategyError
from strategies.budget import Budget, compute_shares, exit_cuts, solve_shares
from strategies.temperature import TemperatureScaled, fit_temperatures
from tests.helpers.criteria import KINDS, LAYERS, held_out, random_logits

LOGIT_CRITERIA = [
    name
    for name, kind in KINDS.items()
    if kind.criterion.causal and kind.criterion.uses_early_exits and kind.criterion.classification
    if kind.criterion().probe is None
]
CONTINUOUS = [name for name in LOGIT_CRITERIA if not KINDS[name].criterion.integer]


def evidence(samples: int = 200, seed: int = 5) -> Evidence:
    """Labels are the last exit's answer but for every fifth sample, so that no exit is always right."""
    logits = random_logits("entropy", seed, samples)
    return Evidence(logits, (logits[:, -1].argmax(dim=-1) + (torch.arange(samples) % 5 == 0)) % 3)


# ---------------------------------------------------------------- temperature


def test_temperature_where_the_optimum_is_known() -> None:
    """Two logits a apart, a share f of answers right: the likeliest T has sigmoid(a / T) = f (Guo et al.).

    Exit 1: a = 4, 3 of 4 right: T = 4 / ln 3. Exit 2: a = 1, 9 of 10 right: T = 1 / ln 9.
    """
    right = torch.zeros(20, 2)
    right[:15, 0], right[:18, 1] = 1, 1
    labels = torch.arange(20) % 2
    apart = torch.tensor([4.0, 1.0]) * (2 * right - 1) / 2
    sign = (1 - 2 * labels)[:, None]
    logits = torch.stack([sign * apart, -sign * apart], dim=-1)  # the label's logit is larger where right
    assert fit_temperatures(logits, labels) == pytest.approx([4 / math.log(3), 1 / math.log(9)], rel=1e-5)


def test_temperatures_undo_what_was_scaled() -> None:
    found = evidence()
    scale = torch.linspace(0.5, 3, LAYERS)[:, None]
    before, after = (fit_temperatures(z, found.labels) for z in (found.logits, found.logits * scale))
    assert after == pytest.approx((torch.tensor(before) * scale[:, 0]).tolist(), rel=1e-4)


def test_temperatures_stay_finite_where_there_is_no_optimum() -> None:
    labels = torch.arange(10) % 2
    always = torch.nn.functional.one_hot(labels, 2).float()
    logits = torch.stack([always, -always, torch.zeros(10, 2)], dim=1)
    sharp, flat, anything = fit_temperatures(logits, labels)
    assert (sharp, flat) == pytest.approx((0.01, 100.0))
    assert 0.01 <= anything <= 100


@pytest.mark.parametrize("of", LOGIT_CRITERIA)
def test_unfitted_temperature_is_what_it_wraps(of: str) -> None:
    criterion, _ = make_criterion("temperature", {"of": of})
    inner, _ = make_criterion(of, {})
    logits = random_logits("entropy")
    if inner.fits:
        inner.fit(held_out(of)), criterion.inner.fit(held_out(of))  # type: ignore[attr-defined]
        criterion.copy_attributes()  # type: ignore[attr-defined]
    assert np.array_equal(score_exits(criterion, logits), score_exits(inner, logits))
    for name in ("strict", "integer", "loosest", "threshold_name", "default_threshold", "probe"):
        assert getattr(criterion, name) == getattr(inner, name)
    assert criterion.cut(inner.default_threshold) == inner.cut(inner.default_threshold)
    assert "temperatures are 1" in criterion.warnings(LAYERS)[0]


@pytest.mark.parametrize("of", LOGIT_CRITERIA)
def test_fitted_temperature_is_the_wrapped_criterion_on_scaled_logits(of: str) -> None:
    found, logits = evidence(), random_logits("entropy", samples=30)
    criterion, _ = make_criterion("temperature", {"of": of})
    numbers = criterion.fit(found)
    by_exit = torch.tensor(numbers["temperatures"])[:, None]
    inner, _ = make_criterion(of, {})
    if inner.fits:
        inner.fit(Evidence(found.logits / by_exit, found.labels))
    ours, theirs = score_exits(criterion, logits), score_exits(inner, logits / by_exit)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    assert criterion.strict == inner.strict
    assert len(numbers["temperatures"]) == LAYERS


def test_calibration_makes_exits_comparable() -> None:
    """An exit whose logits are ten times too large leaves with nearly everybody, until it is scaled."""
    found = evidence(400)
    loud = found.logits.clone()
    loud[:, 0] *= 10
    plain, scaled = make_criterion("entropy", {})[0], TemperatureScaled()
    scaled.fit(Evidence(loud, found.labels))
    at_first = [(score_exits(c, loud)[:, 0] < 0.3).mean() for c in (plain, scaled)]
    quiet = TemperatureScaled()
    quiet.fit(found)
    assert at_first[0] > 0.8
    assert at_first[1] == pytest.approx((score_exits(quiet, found.logits)[:, 0] < 0.3).mean(), abs=0.01)


# ---------------------------------------------------------------- arguments of what is wrapped


def test_arguments_reach_the_wrapped_criterion_and_are_checked() -> None:
    given = {"of": "elbert-label", "window": 3}
    criterion, _ = make_criterion("temperature", given)
    assert criterion.inner.window == 3  # type: ignore[attr-defined]
    logits = random_logits("entropy")
    assert np.array_equal(
        score_exits(criterion, logits), score_exits(make_criterion("elbert-label", {"window": 3})[0], logits)
    )
    with pytest.raises(UsageError, match="Unknown argument 'windw' of what strategy 'temperature' wraps"):
        make_criterion("temperature", {"of": "elbert-label", "windw": 3})
    with pytest.raises(UsageError, match="'window' of what strategy 'temperature' wraps must be int"):
        make_criterion("temperature", {"of": "elbert-label", "window": "three"})
    with pytest.raises(StrategyError, match="window must not be negative"):
        make_criterion("temperature", {"of": "elbert-label", "window": -3})


def test_every_argument_of_the_wrapped_criterion_is_a_part_of_the_identity() -> None:
    from bench.settings import bind_arguments

    bound = bind_arguments(TemperatureScaled, {"of": "elbert-label"}, "it")
    assert bound == {"of": "elbert-label", "window": None, "margin": 0.0, "first": "entropy"}
    assert bind_arguments(Budget, {"of": "temperature"}, "it") == {"of": "temperature"}


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("temperature", "entropi", "Unknown strategy 'entropi'. Did you mean 'entropy'"),
        ("temperature", "nowhere:Nothing", "Cannot import"),
        ("budget", "oracle-correct", "cannot be wrapped"),
        ("budget", "full", "cannot be wrapped"),
        ("budget", "patience", "whole number"),
    ],
)
def test_what_cannot_be_wrapped(name: str, of: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_criterion(name, {"of": of})


def test_regression_has_nothing_to_scale() -> None:
    assert "regression" in str(make_criterion("temperature", {"of": "patience"})[0].refuse(1))
    assert make_criterion("temperature", {"of": "patience"})[0].refuse(2) is None


# ---------------------------------------------------------------- budget


def test_shares_are_geometric() -> None:
    """MSDNet as released, p_k ~ q^k: q = 1/2 over three exits gives 1/2, 1/4, 1/8 over 7/8; q = 1 gives thirds."""
    shares = compute_shares(torch.tensor([0.5, 1.0], dtype=torch.float64).log(), 3)
    expected = torch.tensor([[4 / 7, 2 / 7, 1 / 7], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(shares, expected)


@pytest.mark.parametrize("exits", [2, 6, 24])
def test_shares_have_the_mean_that_was_asked_for(exits: int) -> None:
    targets = torch.linspace(exits, 1, 12, dtype=torch.float64)[1:-1]
    shares = solve_shares(targets, exits)
    torch.testing.assert_close(shares @ torch.arange(1, exits + 1, dtype=torch.float64), targets)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(10, dtype=torch.float64))


def test_cuts_let_the_wanted_number_of_those_inside_leave() -> None:
    """Seven samples, q = 1/2: 4, 2 and 1 leave. At exit 2 only the three that stayed are counted, and the first two
    of them, whose scores are 0.3 and 0.5, leave below the third's 0.8. Mean layer (4 * 1 + 2 * 2 + 3) / 7 of 3.
    """
    scores_ = torch.tensor([[0.1, 0.0], [0.5, 0.3], [0.2, 0.0], [0.7, 0.8], [0.3, 0.9], [0.6, 0.5], [0.4, 0.1]])
    scores_ = torch.cat([scores_, torch.zeros(7, 1)], dim=1)
    cuts, spent = exit_cuts(scores_, compute_shares(torch.tensor([0.5], dtype=torch.float64).log(), 3))
    assert cuts[0, :2].tolist() == pytest.approx([0.5, 0.8])
    assert spent.tolist() == pytest.approx([11 / 21])


def test_a_cut_never_tightens_as_the_budget_shrinks() -> None:
    """The easiest samples of exit 1 are the hardest of exit 2: once they have left, the rest needs a tighter cut there.

    Row 1: 1 of 4 leaves at exit 1 and 2 of the other 3 at exit 2, below 0.3. Row 2: 2 leave at exit 1, and 1 of the
    other two would do at exit 2, below 0.2; the cut stays 0.3, and both leave there.
    """
    found = torch.tensor([[0.1, 0.4, 0.0], [0.2, 0.3, 0.0], [0.3, 0.2, 0.0], [0.4, 0.1, 0.0]])
    shares = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], dtype=torch.float64)
    cuts, spent = exit_cuts(found, shares)
    torch.testing.assert_close(cuts[:, :2], torch.tensor([[0.2, 0.3], [0.3, 0.3]]))
    assert spent.tolist() == pytest.approx([(1 + 2 + 2 + 3) / 12, (1 + 1 + 2 + 2) / 12])


@pytest.mark.parametrize("of", CONTINUOUS)
def test_a_budget_is_kept_on_the_samples_it_was_fitted_on(of: str) -> None:
    """What is spent is the largest fitted budget that is allowed, and a smaller budget lets nobody stay longer."""
    found = evidence()
    criterion, _ = make_criterion("budget", {"of": of})
    budgets = criterion.fit(found)["budgets"]
    assert budgets == sorted(budgets, reverse=True)
    fitted = score_exits(criterion, found.logits)
    before = np.full(len(found.labels), LAYERS)
    for budget in sorted([1.0, 0.75, 0.5, 0.25, 0.0, *budgets], reverse=True):
        layers = exit_layers(fitted, float(np.float32(criterion.cut(budget))), criterion.strict)
        assert (layers <= before).all()
        before = layers
        if budget >= budgets[-1]:
            assert layers.mean() / LAYERS == pytest.approx(max(b for b in [1.0, *budgets] if b <= budget))


@pytest.mark.parametrize("of", ["max-probability", "entropy", "energy"])
@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.8])
def test_a_budget_is_nearly_kept_on_other_samples(of: str, wanted: float) -> None:
    criterion, _ = make_criterion("budget", {"of": of})
    criterion.fit(evidence(1000))
    layers = exit_layers(score_exits(criterion, evidence(1000, seed=6).logits), criterion.cut(wanted), criterion.strict)
    assert layers.mean() / LAYERS == pytest.approx(wanted, abs=0.03)
    assert len(set(layers.tolist())) == LAYERS  # geometric shares: somebody leaves everywhere


def test_a_budget_never_asks_more_of_a_criterion_than_it_has() -> None:
    """Three consecutive confident exits: nobody can leave before exit 3, however small the budget."""
    criterion, _ = make_criterion("budget", {"of": "patient-and-confident", "patience": 3})
    criterion.fit(evidence())
    assert (
        exit_layers(score_exits(criterion, random_logits("entropy")), criterion.cut(0.0), criterion.strict).min() == 3
    )


@pytest.mark.parametrize("of", CONTINUOUS)
def test_unfitted_budget_is_what_it_wraps(of: str) -> None:
    criterion, inner = make_criterion("budget", {"of": of})[0], make_criterion(of, {})[0]
    logits = random_logits("entropy")
    assert np.array_equal(score_exits(criterion, logits), score_exits(inner, logits))
    assert (criterion.strict, criterion.cut(0.3)) == (inner.strict, inner.cut(0.3))
    assert "no held-out split" in criterion.warnings(LAYERS)[0]


def test_a_budget_around_temperatures_around_a_criterion() -> None:
    """Wrappers nest: for three classes the budget sees other scores than without temperatures, and all are fitted."""
    criterion, _ = make_criterion("budget", {"of": "temperature"})
    numbers = criterion.fit(evidence())
    assert {"temperatures", "budgets", "cuts_1"} <= set(numbers)
    assert criterion.warnings(LAYERS) == []


def test_a_score_that_always_leaves_does_so_at_any_budget() -> None:
    """-inf, a window that fires, is no matter of degree."""
    criterion, _ = make_criterion("budget", {"of": "elbert-label", "window": 1})
    criterion.fit(evidence())
    found = score_exits(criterion, random_logits("entropy"))
    assert (exit_layers(found, criterion.cut(0.99), criterion.strict) == 1).all()


def test_live_in_another_precision_uses_the_same_cuts() -> None:
    criterion, logits = make_criterion("budget", {})[0], random_logits("entropy")
    criterion.fit(evidence())
    single, double = (score_exits(criterion, z) for z in (logits, logits.double()))
    assert (single.dtype.name, double.dtype.name) == ("float32", "float64")
    assert (np.abs(single - double) < 0.02).all()
    assert len(np.unique(single)) > 20
