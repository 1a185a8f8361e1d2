"""Curves and operating points from recorded logits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bench.measure.exits import AllExits
from bench.measure.points import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff, default_point, given_points, operating_points
from bench.results.exits import read_exits, write_exits
from strategies.controls import AtLayer, NeverLeave
from strategies.entropy import NormalisedEntropy
from strategies.patience import Patience

RULES = [Rule.parse(text) for text in STANDARD]


def recorded(samples: int = 60, exits: int = 5, classes: int = 3, seed: int = 0) -> AllExits:
    """Logits that grow towards the label with depth."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, exits, classes)).astype(np.float32)
    logits[np.arange(samples)[:, None], np.arange(exits)[None], labels[:, None]] += np.linspace(0.5, 3, exits)
    ids = tuple(f"s{i}" for i in range(samples))
    return AllExits(ids, labels.astype(np.int64), logits, random.integers(4, 20, samples))


def trade_off(criterion=None, seed: int = 0, metrics=("accuracy",), samples: int = 60) -> TradeOff:
    exits = recorded(samples, seed=seed)
    n, layers, _ = exits.logits.shape
    return TradeOff(criterion or NormalisedEntropy(), exits, Costs.layers(n, layers), metrics)


def test_exits_survive_save_and_load(tmp_path) -> None:
    exits = recorded()
    write_exits(exits, tmp_path / "exits.parquet")
    again = read_exits(tmp_path / "exits.parquet")
    assert again.ids == exits.ids
    for name in ("labels", "logits", "lengths"):
        np.testing.assert_array_equal(getattr(again, name), getattr(exits, name))
    assert again.logits.flags.writeable


@pytest.mark.parametrize("row", [0, 7, -1])
def test_a_row_of_the_curve_is_what_its_cut_gives(row: int) -> None:
    curve = trade_off()
    cut = float(curve.curve.midpoints[row])
    layers = curve.layers_at(cut)
    answers = curve.predictions[np.arange(len(layers)), layers - 1]
    assert curve.quality[row] == pytest.approx((answers == curve.exits.labels).mean())
    assert curve.curve.mean_layer[row] == pytest.approx(layers.mean())
    assert curve.speedup[row] == pytest.approx(5 * len(layers) / layers.sum())


def test_points_are_chosen_on_one_split_and_reported_on_the_other() -> None:
    select, report = trade_off(seed=1), trade_off(seed=2)
    for point in operating_points(select, report, RULES):
        if "reason" in point:
            continue
        cut = point["cut"] if point["cut"] is not None else -math.inf
        assert point["chosen_on"] == "select"
        assert point["mean_layer"] == pytest.approx(report.layers_at(cut).mean())
        assert point["select"]["cost_speedup"] == pytest.approx(5 * len(select.exits.ids) / select.layers_at(cut).sum())
        assert sum(point["exit_counts"]) == len(report.exits.ids)
        json.dumps(point, allow_nan=False)


def test_a_patience_below_one_is_never_chosen() -> None:
    select, report = trade_off(Patience(), 1), trade_off(Patience(), 2)
    points = operating_points(select, report, [Rule.parse("5x"), Rule.parse("1.5x")])
    # always leaving at exit 1 would be 5x
    assert "the largest FLOPs speed-up is 1." in points[0]["reason"]
    assert points[1]["threshold"] == 1
    assert min(row["threshold"] for row in select.curve_rows()) == 0  # never, and not "always at exit 1"


def test_defaults_and_given_thresholds() -> None:
    report = trade_off()
    [default] = default_point(report)
    assert (default["rule"], default["threshold"]) == ("default", 0.1)
    [given] = given_points(report, [0.5])
    assert given["mean_layer"] == pytest.approx(report.layers_at(0.5).mean())
    assert given["chosen_on"] == "given"
    assert default_point(trade_off(NeverLeave())) == []


def test_a_criterion_without_a_threshold_has_one_point() -> None:
    report = trade_off(AtLayer(layer=2))
    assert len(report.curve) == 2
    [default] = default_point(report)
    assert default["exit_counts"] == [0, 60, 0, 0, 0]


@pytest.mark.parametrize("text", [*STANDARD, "risk=0.2@0.9", "gap=0.2@0.9", "risk=0.2", "gap=0.2"])
def test_no_point_is_chosen_on_what_is_reported(text: str) -> None:
    """Whatever is reported on, the cut of a point is the one that the held-out samples choose."""
    rule = [Rule.parse(text)]

    def cut(select: int, report: int) -> object:
        [point] = operating_points(trade_off(seed=select, samples=400), trade_off(seed=report, samples=400), rule)
        return point.get("cut", "none")

    assert cut(1, 2) == cut(1, 3) == cut(1, 1)
    assert len({cut(1, 1), cut(2, 1), cut(3, 1)}) > 1


def test_speed_up_is_over_the_plain_model_not_over_the_layers_that_are_left() -> None:
    """Five layers of a backbone of ten: all of them are a speed-up of 2, and 4x is two and a half layers at most."""
    found = [
        TradeOff(NormalisedEntropy(), exits, Costs(layers.early, 2 * layers.plain), ("accuracy",))
        for exits in (recorded(400, seed=seed) for seed in (1, 2))
        for layers in [Costs.layers(400, 5)]
    ]
    select, report = found
    assert report.at(-math.inf)["cost_speedup"]["value"] == 2.0  # type: ignore[index]
    [twice, four_times] = operating_points(select, report, [Rule.parse("2x"), Rule.parse("4x")])
    assert twice["select"]["quality"] == select.quality.max()  # type: ignore[index]  # every row is twice as fast
    allowed = select.curve.mean_layer <= 2.5
    assert four_times["select"]["quality"] == select.quality[allowed].max()  # type: ignore[index]
    assert select.layers_at(four_times["cut"]).mean() > 1.25  # type: ignore[arg-type]


def test_every_exit_by_itself_comes_in_order() -> None:
    report = trade_off(metrics=("accuracy", "matthews"))
    answers = report.exits.logits.argmax(axis=2)
    by_hand = (answers == report.exits.labels[:, None]).mean(axis=0)
    assert report.per_exit()["accuracy"] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand[0] < by_hand[-1]
    assert report.per_exit()["matthews"][-1] == pytest.approx(report.at(-math.inf)["metrics"]["matthews"]["value"])  # type: ignore[index]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_given_threshold_is_in_the_methods_own_terms(patience: int) -> None:
    """A patience of 2 cuts the score at -2: the larger it is, the later samples leave."""
    report = trade_off(Patience())
    [point] = given_points(report, [patience])
    assert (point["threshold"], point["cut"], point["rule"]) == (patience, -patience, str(patience))
    answers = report.exits.logits.argmax(axis=2)
    layers = []
    for row in answers:
        agreed = np.cumsum(np.append(0, row[1:] == row[:-1]))
        runs = [agreed[i] - agreed[np.flatnonzero(np.append(True, row[1 : i + 1] != row[:i]))[-1]] for i in range(5)]
        layers.append(next((i + 1 for i in range(5) if runs[i] >= patience), 5))
    assert point["mean_layer"] == pytest.approx(np.mean(layers))
