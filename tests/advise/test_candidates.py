"""The cuts that goals choose: by predicted times, on samples that are not reported, and what a certificate keeps."""

from __future__ import annotations

import numpy as np
import pytest

from bench.advise.candidates import choose_candidate, choose_depth, compare_candidates, measure_change
from bench.advise.ceiling import DepthTimes, find_oracle
from bench.advise.goal import Goal
from bench.advise.groups import balance_classes
from bench.advise.heads import RecordedExits
from bench.measure.exits import AllExits
from strategies.entropy import Entropy

LAYERS = 6
EACH = np.arange(1.0, LAYERS + 1)
TIMES = DepthTimes(
    lengths=(8.0, 16.0),
    exits=np.stack([EACH, 2 * EACH], axis=1) * 1e-3,
    plain=np.array([6e-3, 12e-3]),
    rounds=np.stack([1.5 * EACH * 1e-3] * 4, axis=1),
    plain_rounds=np.full(4, 9e-3),
)
"""A layer takes a millisecond, twice as long for texts twice as long; checks are free."""


def draw(samples: int, seed: int, rng_skill: float = 1.5) -> AllExits:
    """Exits that are surer and righter the deeper they are."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, samples)
    ease = random.normal(size=(samples, 1))
    signal = (rng_skill + ease) * EACH / 2 + random.normal(size=(samples, LAYERS))
    logits = np.zeros((samples, LAYERS, 2), dtype=np.float32)
    logits[:, :, 1] = (2 * labels[:, None] - 1) * signal
    ids = tuple(f"{seed}-{i}" for i in range(samples))
    return AllExits(ids, labels, logits, random.integers(8, 17, samples))


def fit(seed: int, samples: int = 1000) -> RecordedExits:
    return RecordedExits(draw(samples, seed), draw(samples, seed + 1000))


def choose(goal: Goal, seed: int = 0, criteria: int = 1) -> tuple[RecordedExits, object]:
    fitted = fit(seed)
    return fitted, choose_candidate(Entropy.criterion(), "entropy", fitted, TIMES, goal, ("accuracy",), 0, criteria)


def test_times_are_between_those_of_the_lengths_around() -> None:
    exits = draw(50, 3)
    costs = TIMES.predict_costs(exits)
    assert costs.unit == "nanoseconds"
    expected = np.outer(exits.lengths / 8.0, EACH) * 1e6
    np.testing.assert_allclose(costs.early, expected, rtol=1e-6)
    np.testing.assert_allclose(costs.plain, exits.lengths / 8.0 * 6e6, rtol=1e-6)


def test_oracles_are_beyond_every_cut() -> None:
    fitted, _ = choose(Goal("speedup", 1.5))
    label, answer = find_oracle(TIMES, fitted.choose)
    for goal in (Goal("max_loss", 0.0), Goal("max_change", 0.01, 0.95)):
        found = choose_candidate(Entropy.criterion(), "entropy", fitted, TIMES, goal, ("accuracy",), 0)
        assert found.chosen is not None
        assert 1 < found.chosen.speedup < min(label, answer) <= 6


@pytest.mark.parametrize("goal", [Goal("speedup", 1.5), Goal("speedup", 3.0), Goal("target_ms", 4.0)])
def test_a_goal_of_speed_is_reached_by_the_predicted_times(goal: Goal) -> None:
    _, found = choose(goal)
    wanted = goal.value if goal.kind == "speedup" else TIMES.plain_ms / goal.value
    assert found.chosen.speedup >= wanted  # type: ignore[attr-defined]


def test_the_fastest_that_keeps_what_is_asked_is_the_best() -> None:
    names = ["patience", "entropy", "elbert-mono"]
    found = compare_candidates(names, fit(5), TIMES, Goal("max_change", 0.02, 0.95), ("accuracy",), 0)
    speeds = [one.chosen.speedup for one in found if one.chosen is not None]
    assert sorted(speeds, reverse=True) == speeds
    assert {one.name for one in found} == set(names)


def test_the_fewest_layers_that_do_alone() -> None:
    fitted = fit(5)
    loose = choose_depth(fitted, TIMES, Goal("max_loss", 0.5), ("accuracy",), 3.0)
    assert set(loose.layers.tolist()) == {1}
    none = choose_depth(fitted, TIMES, Goal("max_change", 1e-6, 0.95), ("accuracy",), 2.6)
    assert set(none.layers.tolist()) == {3}
    assert none.reason


@pytest.mark.parametrize("criteria", [1, 3])
def test_a_certificate_is_kept_as_often_as_it_says(criteria: int) -> None:
    """On fresh samples of the same kind, the best of the criteria changes more than was allowed in 5 of 100 at most."""
    goal, names = Goal("max_change", 0.05, 0.9), ["entropy", "patience", "elbert-mono"][:criteria]
    population = draw(20_000, 77)
    broken = 0
    for seed in range(60):
        choose = draw(300, 10_000 + seed)
        fitted = RecordedExits(choose, population)
        best = compare_candidates(names, fitted, TIMES, goal, ("accuracy",), 0)[0]
        broken += measure_change(population, best.layers) > goal.value
    assert broken <= 11  # 10 % of 60 are 6; more than 11 has a probability of 2 %


def test_uneven_classes_are_told_apart() -> None:
    exits = draw(1000, 3)
    layers = np.full(1000, 2)
    assert balance_classes(exits, layers, ("neg", "pos")) is None
    keep = np.flatnonzero((exits.labels == 0) | (np.arange(1000) % 8 == 0))
    found = balance_classes(exits.take(keep), layers[keep], ("neg", "pos"))
    assert found is not None
    assert [one.name for one in found.classes] == ["pos", "neg"]
    assert sum(one.samples for one in found.classes) == len(keep)
    assert found.macro_f1_early <= found.macro_f1_own
