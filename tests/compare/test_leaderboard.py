"""Criteria on all checkpoints: budgets are kept by cost alone, the oracle is the best there is, ranks are Demšar's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from bench.compare.leaderboard import (
    GRID,
    Standings,
    answer_at_budgets,
    average_budgets,
    bound_accuracy,
    draw_areas,
)
from bench.inference.replay import make_criterion
from bench.measure.curve import exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.metrics import statistics
from bench.measure.scores import score_recorded


def make_exits(samples: int, layers: int, classes: int = 2, seed: int = 0) -> AllExits:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(samples, layers, classes)).cumsum(axis=1).astype(np.float32)
    return AllExits(
        tuple(f"s{i}" for i in range(samples)), random.integers(0, classes, samples), logits, np.full(samples, 5)
    )


@pytest.mark.parametrize("name", ["entropy", "patience", "elbert-mono"])
def test_a_budget_is_kept_by_the_first_cut_that_is_cheap_enough(name: str) -> None:
    exits, criterion = make_exits(30, 6), make_criterion(name, {})[0]
    told, scores = answer_at_budgets(criterion, exits, 6), score_recorded(criterion, exits)
    curve = exact_curve(scores, [], strict=criterion.strict)
    common = np.bincount(exits.predictions[:, -1]).argmax()
    for at, budget in enumerate(np.linspace(2, 6, GRID)):
        layers = [exit_layers(scores, cut, criterion.strict) for cut in curve.midpoints if cut <= criterion.loosest]
        within = [found for found in layers if found.mean() <= budget + 1e-9]
        expected = exits.predictions[np.arange(30), within[0] - 1] if within else np.full(30, common)
        assert np.array_equal(told[:, at], expected)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_better_than_the_oracle_at_any_budget(seed: int) -> None:
    """By trying every way for four samples to leave at three exits."""
    exits = make_exits(4, 3, seed=seed)
    right = exits.predictions == exits.labels[:, None]
    best = []
    for budget in np.linspace(1, 3, GRID):
        ways = (np.array(way) for way in itertools.product(range(3), repeat=4))
        best.append(max(right[np.arange(4), way].mean() for way in ways if (way + 1).mean() <= budget + 1e-9))
    assert bound_accuracy(exits, 3) == pytest.approx(np.mean(best))


def test_areas_of_one_checkpoint_share_their_draws() -> None:
    exits = make_exits(50, 6)
    told = answer_at_budgets(make_criterion("entropy", {})[0], exits, 6)
    sums = statistics("accuracy", told, exits.labels)
    found = draw_areas("accuracy", {"one": [sums], "two": [sums, sums]})
    assert found["one"][0] == pytest.approx((told == exits.labels[:, None]).mean())
    assert np.allclose(found["one"][1], found["two"][1])
    assert found["one"][1].std() > 0.01


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_budgets_are_averaged_before_the_draws_only_where_that_changes_nothing(metric: str) -> None:
    exits = make_exits(60, 6)
    sums = statistics(metric, answer_at_budgets(make_criterion("entropy", {})[0], exits, 6), exits.labels)
    averaged = average_budgets(metric, sums)
    assert averaged.shape[1] == (1 if metric == "accuracy" else GRID)
    (value, drawn), (whole, every) = (draw_areas(metric, {"one": [one]})["one"] for one in (averaged, sums))
    assert value == pytest.approx(whole, abs=1e-12)
    assert drawn == pytest.approx(every, abs=1e-12)


def standings(table: list[list[float]]) -> Standings:
    """Criteria a, b, ... with these qualities on blocks that nothing else is known of."""
    columns = list(zip(*table, strict=True))
    quality = {name: dict(enumerate(column)) for name, column in zip("abcdefghij", columns, strict=False)}
    random = np.random.default_rng(0)
    drawn = {n: {at: v + 0.01 * random.normal(size=2000) for at, v in q.items()} for n, q in quality.items()}
    return Standings([None] * len(table), quality, drawn, {0: 0.9})  # type: ignore[list-item]


@pytest.mark.parametrize(("many", "quantile"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_nemenyis(many: int, quantile: float) -> None:
    """q at 5 % from Demšar (2006), table 5a."""
    found = standings([[0.1 * i for i in range(many)]] * 14)
    assert found.critical_difference == pytest.approx(quantile * np.sqrt(many * (many + 1) / (6 * 14)), abs=1e-3)


def test_ranks_are_averages_with_ties_shared() -> None:
    found = standings([[0.9, 0.8, 0.8], [0.7, 0.9, 0.6]])
    assert found.ranks == {"a": 1.5, "b": 1.75, "c": 2.75}
    assert found.headroom("b") == pytest.approx(0.1)
    assert standings([[0.9, 0.8]]).critical_difference is None


def test_pairs_are_adjusted_over_the_checkpoints() -> None:
    found = standings([[0.9, 0.8], [0.8, 0.9], [0.85, 0.849]])
    verdicts = [pair.verdict for pair in found.compare("a", "b")]
    assert verdicts == ["better", "worse", "level"]
    first, _, last = found.compare("a", "b")
    assert first.p == pytest.approx(2 / 2001)
    assert first.adjusted == pytest.approx(3 * first.p)
    assert last.low < 0 < last.high


def test_the_commonest_answer_is_told_where_nothing_is_so_cheap() -> None:
    exits = make_exits(20, 6, classes=3)
    told = answer_at_budgets(make_criterion("divergence-patience", {})[0], exits, 6)
    assert len(set(told[:, 0].tolist())) == 1
    assert torch.equal(torch.from_numpy(told[:, -1]), torch.from_numpy(exits.predictions[:, -1]))
