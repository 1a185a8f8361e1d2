"""What a record says about time, and about half precision."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cell.latency import add_latency, choose_timed_points, summarise_times
from bench.cell.splits import count_precision_changes, measure_split
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import OperatingPoint, SplitResult
from bench.results.spec import RunSpec
from bench.results.times import TimedPoint, read_times
from strategies.entropy import NormalisedEntropy

GIVEN = RunSpec("entropy", "demo", "bert-demo", "linear", "joint", thresholds=(0.5,))


def make_trade_off() -> TradeOff:
    """Logits of 60 samples at 5 exits that grow towards the label with depth; costs in layers."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    logits = random.normal(size=(60, 5, 3)).astype(np.float32)
    logits[np.arange(60)[:, None], np.arange(5)[None], labels[:, None]] += np.linspace(0.5, 3, 5)
    exits = AllExits(tuple(f"s{i}" for i in range(60)), labels.astype(np.int64), logits, random.integers(4, 20, 60))
    return TradeOff(NormalisedEntropy(), exits, Costs.layers(60, 5), ["accuracy"])


@pytest.fixture(scope="module")
def curve() -> TradeOff:
    return make_trade_off()


@pytest.fixture(scope="module")
def result(curve: TradeOff) -> SplitResult:
    return measure_split(curve, curve, GIVEN)


def test_what_is_timed(result: SplitResult) -> None:
    (point,) = [p for p in result.reached.values() if p.chosen_on == "given"]

    def at(rule: str, cut: float, chosen_on: str) -> OperatingPoint:
        return point.model_copy(update={"rule": rule, "cut": cut, "chosen_on": chosen_on})

    points = [
        at("default", 0.1, "default"),
        at("no-loss", 0.2, "select"),
        at("-0.5", 0.2, "select"),
        at("2x", 0.3, "select"),
        at("3x", -math.inf, "select"),
        at("0.9", 0.9, "given"),
    ]
    assert choose_timed_points(points) == {"no-loss": 0.2, "2x": 0.3, "default": 0.1}
    assert choose_timed_points([]) == {"all layers": -math.inf}


def test_realisation_is_over_the_samples_that_were_timed(curve: TradeOff, result: SplitResult, tmp_path: Path) -> None:
    rows = [3, 8, 11]
    layers = [float(layer) for layer in curve.layers_at(0.5)[rows]]
    interval = {"estimate": 2.0, "low": 1.9, "high": 2.1, "level": 0.95}
    timed: dict[str, Any] = {"mean": 0.001, "percentiles": {}, "mean_layer": float(np.mean(layers))}
    raw = {
        "protocol": "single-stream-v2",
        "validity": "INVALID",
        "reasons": ["load: others"],
        "stop": "time limit",
        "rounds": [{"times": {"plain": [2_000_000] * 3, "0.5": [1_000_000] * 3}}] * 2,
        "samples": rows,
        "sizes": [1, 1, 1],
        "order": ["plain", "0.5"],
        "device": "cpu",
        "dtype": "float32",
        "threads": 2,
        "options": {"executor": "eager"},
        "baseline": "plain",
        "layers": {"plain": [5.0] * 3, "0.5": layers},
        "notes": [],
        "summary": {
            "plain": {"mean": 0.002, "percentiles": {}, "timer": None, "sampling": None, "mean_layer": 5.0},
            "0.5": {**timed, "timer": interval, "sampling": interval},
        },
    }
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(raw))
    found = summarise_times(read_times(path), result, curve, path.name)
    after = add_latency(result, found)
    assert [p.rule for p in after.reached.values() if p.latency is not None] == ["0.5"]
    assert all(p.latency is None for p in result.reached.values())  # what was measured before is not changed
    latency = after.reached["0.5"].latency
    assert isinstance(latency, TimedPoint)
    assert latency == found.configurations["0.5"]
    assert latency.realisation == pytest.approx(2.0 / (5 * 3 / sum(layers)))
    assert (found.valid, found.rounds, found.samples) == (False, 2, 3)
    assert any("INVALID: load: others" in note for note in found.notes)
    assert "moved" not in found.model_fields_set  # as in records of before
    path.write_text(json.dumps({**raw, "validity": "VALID", "reasons": [], "moved": -0.08, "notes": ["it moved"]}))
    moved = summarise_times(read_times(path), result, curve, path.name)
    assert (moved.valid, moved.moved, moved.notes[-1]) == (True, -0.08, "Latency: it moved.")


def test_what_half_precision_changes_is_counted_per_point(curve: TradeOff, result: SplitResult) -> None:
    reference = curve.exits
    same = count_precision_changes(curve, reference, result)
    assert same.all_layers == 0
    assert (same.points["0.5"].predictions, same.points["0.5"].exits) == (0, 0)
    logits = reference.logits.copy()
    logits[3, -1] = logits[3, -1, ::-1]  # sample 3 is answered otherwise by the last exit
    logits[8] = 0  # sample 8 is of no opinion anywhere: it never leaves early, and its answer is class 0
    moved = count_precision_changes(curve, replace(reference, logits=logits), result)
    other = curve.layers_at(0.5)
    predictions = logits.argmax(axis=2)
    assert moved.all_layers == int((predictions[:, -1] != curve.predictions[:, -1]).sum()) > 0
    assert moved.points["0.5"].exits == int(other[8] != curve.curve.exits)
