"""Operating points and curves of a record, from trade-offs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bench.measure.rules import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import OperatingPoint, UnreachedPoint
from bench.results.points import (
    _spread,
    choose_points,
    make_split_result,
    measure_default,
    measure_given,
    measure_performance,
    thin_curve,
)
from strategies.controls import AtLayer, NeverLeave
from strategies.entropy import NormalisedEntropy
from strategies.patience import Patience
from tests.helpers.criteria import KINDS, make
from tests.helpers.curves import make_exits, make_trade_off

RULES = [Rule.parse(text) for text in STANDARD]


def test_points_are_chosen_on_one_split_and_reported_on_the_other() -> None:
    select, report = make_trade_off(seed=1), make_trade_off(seed=2)
    for point in choose_points(select, report, RULES):
        assert point.chosen_on == "select"
        json.dumps(point.to_plain(), allow_nan=False)
        if isinstance(point, UnreachedPoint):
            continue
        assert point.mean_layer == pytest.approx(report.layers_at(point.cut).mean())
        assert point.select is not None
        promised = 5 * len(select.exits.ids) / select.layers_at(point.cut).sum()
        assert point.select.cost_speedup == pytest.approx(promised)
        assert sum(point.exit_counts) == len(report.exits.ids)


def test_a_patience_below_one_is_never_chosen() -> None:
    select, report = make_trade_off(Patience(), 1), make_trade_off(Patience(), 2)
    unreached, reached = choose_points(select, report, [Rule.parse("5x"), Rule.parse("1.5x")])
    # always leaving at exit 1 would be 5x
    assert isinstance(unreached, UnreachedPoint)
    assert "the largest FLOPs speed-up is 1." in unreached.reason
    assert isinstance(reached, OperatingPoint)
    assert reached.threshold == 1
    assert min(row.threshold for row in thin_curve(select)) == 0  # never, and not "always at exit 1"


def test_defaults_and_given_thresholds() -> None:
    report = make_trade_off()
    [default] = measure_default(report)
    assert (default.rule, default.threshold) == ("default", 0.1)
    [given] = measure_given(report, [0.5])
    assert given.mean_layer == pytest.approx(report.layers_at(0.5).mean())
    assert given.chosen_on == "given"
    assert measure_default(make_trade_off(NeverLeave())) == []


def test_a_threshold_takes_no_rules_name_and_no_other_ones() -> None:
    asked = [0.3, 1.0, 1e-5, -1.0, -0.5, 0.98912345, 0.98912349, -0.98912345, 1234567.0]
    report = make_trade_off()
    given = measure_given(report, asked)
    assert [point.rule for point in given] == [
        "0.3", "1", "1e-05", "threshold=-1", "threshold=-0.5", "0.98912345", "0.98912349", "threshold=-0.98912345",
        "1234567.0",
    ]  # fmt: skip
    chosen = choose_points(report, report, RULES)
    reached = make_split_result(report, [*chosen, *given]).reached
    assert [reached[point.rule].threshold for point in given] == asked
    assert {reached[rule].chosen_on for rule in ("no-loss", "-0.5", "-1")} == {"select"}


def test_a_criterion_without_a_threshold_has_one_point() -> None:
    report = make_trade_off(AtLayer(layer=2))
    assert len(report.curve) == 2
    [default] = measure_default(report)
    assert default.exit_counts == (0, 60, 0, 0, 0)


@pytest.mark.parametrize("text", [*STANDARD, "risk=0.2@0.9", "gap=0.2@0.9", "risk=0.2", "gap=0.2"])
def test_no_point_is_chosen_on_what_is_reported(text: str) -> None:
    """Whatever is reported on, the cut of a point is the one that the held-out samples choose."""
    rule = [Rule.parse(text)]

    def cut(select: int, report: int) -> object:
        held_out, reported = (make_trade_off(seed=seed, samples=400) for seed in (select, report))
        [point] = choose_points(held_out, reported, rule)
        return point.cut if isinstance(point, OperatingPoint) else "none"

    assert cut(1, 2) == cut(1, 3) == cut(1, 1)
    assert len({cut(1, 1), cut(2, 1), cut(3, 1)}) > 1


def test_speed_up_is_over_the_plain_model_not_over_the_layers_that_are_left() -> None:
    """Five layers of a backbone of ten: all of them are a speed-up of 2, and 4x is two and a half layers at most."""
    found = [
        TradeOff(NormalisedEntropy(), exits, Costs(layers.early, 2 * layers.plain), ("accuracy",))
        for exits in (make_exits(400, seed=seed) for seed in (1, 2))
        for layers in [Costs.layers(400, 5)]
    ]
    select, report = found
    assert measure_performance(report, -math.inf).cost_speedup.value == 2.0
    [twice, four_times] = choose_points(select, report, [Rule.parse("2x"), Rule.parse("4x")])
    assert isinstance(twice, OperatingPoint)
    assert isinstance(four_times, OperatingPoint)
    assert twice.select is not None
    assert four_times.select is not None
    assert twice.select.quality == select.quality.max()  # every row is twice as fast
    allowed = select.curve.mean_layer <= 2.5
    assert four_times.select.quality == select.quality[allowed].max()
    assert select.layers_at(four_times.cut).mean() > 1.25


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_given_threshold_is_in_the_methods_own_terms(patience: int) -> None:
    """A patience of 2 cuts the score at -2: the larger it is, the later samples leave."""
    report = make_trade_off(Patience())
    [point] = measure_given(report, [patience])
    assert (point.threshold, point.cut, point.rule) == (patience, -patience, str(patience))
    answers = report.exits.logits.argmax(axis=2)
    layers = []
    for row in answers:
        agreed = np.cumsum(np.append(0, row[1:] == row[:-1]))
        runs = [agreed[i] - agreed[np.flatnonzero(np.append(True, row[1 : i + 1] != row[:i]))[-1]] for i in range(5)]
        layers.append(next((i + 1 for i in range(5) if runs[i] >= patience), 5))
    assert point.mean_layer == pytest.approx(np.mean(layers))


ON_LOGITS = [
    name
    for name, kind in KINDS.items()
    if kind.criterion.uses_early_exits
    and not kind.criterion.fits
    and (criterion := make(name)).probe is None
    and criterion.refuse(2) is None
]
"""Strategies whose criteria need nothing but logits of two classes."""


@pytest.mark.parametrize("name", ON_LOGITS)
def test_the_default_point_cuts_where_the_default_threshold_is(name: str) -> None:
    """A patience of 6 by default is a cut of -6: what a user gets who gives the same threshold."""
    report = make_trade_off(make(name))
    criterion = report.criterion
    [default], [given] = measure_default(report), measure_given(report, [criterion.default_threshold])
    assert default.cut == criterion.cut(criterion.default_threshold)
    assert (default.cut, default.threshold, default.exit_counts) == (given.cut, given.threshold, given.exit_counts)


def test_a_long_curve_keeps_rows_evenly_spread_over_its_cost() -> None:
    """Of costs 10, 9.991, ... 1 five are wanted at 1, 3.25, 5.5, 7.75 and 10; of few rows all are kept."""
    assert _spread(10 - 0.009 * np.arange(1001), 5).tolist() == [0, 250, 500, 750, 1000]
    assert _spread(np.array([10.0, 1.0, 4.0]), 3).tolist() == [0, 1, 2]
    # the cheapest row is not the last: both ends of the curve stay
    assert _spread(np.array([9.0, 10.0, 8.0, 1.0, 2.0]), 2).tolist() == [0, 1, 3, 4]


def test_at_most_a_hundred_rows_of_a_curve_its_ends_among_them() -> None:
    long = make_trade_off(samples=400)
    assert len(long.curve) > 400
    rows = thin_curve(long)
    assert 50 < len(rows) <= 102
    assert (rows[0].mean_layer, rows[-1].mean_layer) == (5.0, 1.0)
    assert (rows[0].threshold, rows[0].quality) == (None, pytest.approx(long.full, abs=1e-6))
    short = make_trade_off(samples=20)
    assert [row.mean_layer for row in thin_curve(short)] == pytest.approx(short.curve.mean_layer)
