"""Curves and operating points from recorded logits, and what a record says about time."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from bench.cell.precision import precision_changes
from bench.cell.timing import summary, timed_points
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


def trade_off(criterion=None, seed: int = 0, metrics=("accuracy",)) -> TradeOff:
    exits = recorded(seed=seed)
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


def test_what_is_timed() -> None:
    points = [
        {"rule": "default", "cut": 0.1, "chosen_on": "default"},
        {"rule": "no-loss", "cut": 0.2, "chosen_on": "select"},
        {"rule": "-0.5", "cut": 0.2, "chosen_on": "select"},
        {"rule": "2x", "cut": 0.3, "chosen_on": "select"},
        {"rule": "3x", "chosen_on": "select", "reason": "3x: no."},
        {"rule": "0.9", "cut": 0.9, "chosen_on": "given"},
    ]
    assert timed_points(points) == {"no-loss": 0.2, "2x": 0.3, "default": 0.1}
    assert timed_points([]) == {"all layers": -math.inf}


def test_realisation_is_over_the_samples_that_were_timed(tmp_path) -> None:
    curve = trade_off()
    rows = [3, 8, 11]
    layers = [float(layer) for layer in curve.layers_at(0.5)[rows]]
    interval = {"estimate": 2.0, "low": 1.9, "high": 2.1}
    timed = {"mean": 0.001, "percentiles": {}, "mean_layer": float(np.mean(layers)), "timer": interval}
    raw = {
        "protocol": "single-stream-v1",
        "validity": "INVALID",
        "reasons": ["load: others"],
        "stop": "time limit",
        "rounds": [1, 2],
        "samples": rows,
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
        "options": {"executor": "eager"},
        "baseline": "plain",
        "layers": {"2x": layers},
        "notes": [],
        "summary": {
            "plain": {"mean": 0.002, "percentiles": {}, "timer": None, "sampling": None, "mean_layer": 5.0},
            "2x": {**timed, "sampling": interval},
        },
    }
    points = given_points(curve, [0.5])
    points[0]["rule"] = "2x"
    found = summary(raw, points, curve, tmp_path / "latency.json")
    flops = 5 * 3 / sum(layers)
    assert points[0]["latency"]["realisation"] == pytest.approx(2.0 / flops)
    assert not found["valid"]
    assert any("INVALID: load: others" in note for note in found["notes"])


def test_what_half_precision_changes_is_counted_per_point() -> None:
    curve = trade_off()
    reference = curve.exits
    same = precision_changes(curve, reference, given_points(curve, [0.5]))
    assert (same["all_layers"], same["points"]["0.5"]) == (0, {"predictions": 0, "exits": 0})
    logits = reference.logits.copy()
    logits[3, -1] = logits[3, -1, ::-1]  # sample 3 is answered otherwise by the last exit
    logits[8] = 0  # sample 8 is of no opinion anywhere: it never leaves early, and its answer is class 0
    moved = precision_changes(curve, replace(reference, logits=logits), given_points(curve, [0.5]))
    other = curve.layers_at(0.5)
    predictions = logits.argmax(axis=2)
    assert moved["all_layers"] == int((predictions[:, -1] != curve.predictions[:, -1]).sum()) > 0
    assert moved["points"]["0.5"]["exits"] == int(other[8] != curve.curve.exits)
