"""Certified points of every registered criterion: settings of the method that can be written, or why there is none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from bench.cell.splits import explain_void
from bench.inference.replay import fit_criterion, make_criterion, make_evidence
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.measure.risk import choose_certified, fixed_cuts, p_value, tabulate_losses
from bench.measure.rules import Choice, Rule, Unreachable
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import OperatingPoint, UnreachedPoint
from bench.results.points import choose_points, make_split_result
from bench.settings import list_settable
from strategies.base import Criterion
from strategies.patience import Patience
from tests.helpers.criteria import KINDS, reads

RULES = ["risk=0.5@0.6", "gap=0.5@0.6", "risk=0.6", "gap=0.6", "risk=0.02@0.95"]
OUTPUTS = {"two classes": 2, "three classes": 3, "regression": 1}
SERVED = [
    (name, kind)
    for name, strategy in KINDS.items()
    for kind, outputs in OUTPUTS.items()
    if strategy.criterion().refuse(outputs) is None and (outputs > 1 or strategy.criterion.causal)
]


def make_world(criterion: Criterion, outputs: int, samples: int, seed: int) -> AllExits:
    """Six exits that hardly differ from one another, so that leaving at once changes few answers."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(samples, 1, outputs)) + 0.1 * random.normal(size=(samples, 6, outputs))
    z = logits.astype(np.float32)
    labels = z[:, -1, 0] if outputs == 1 else z[:, -1].argmax(axis=1).astype(np.int64)
    read = reads(criterion, torch.from_numpy(z))
    ids = tuple(f"s{i}" for i in range(samples))
    return AllExits(ids, labels, z, np.full(samples, 8), None if read is None else read.numpy())


def make_shares(name: str, outputs: int, samples: int) -> tuple[Criterion, HeldOutShares, tuple[str, ...]]:
    """The strategy's criterion as a run fits it, and the held-out samples."""
    kind = KINDS[name]
    short = {"window": 3} if "window" in list_settable(kind.criterion) else {}
    criterion, _ = make_criterion(kind, short)
    exits = make_world(criterion, outputs, samples, seed=1)
    shares = share_held_out(exits, seed=0) if criterion.fits else HeldOutShares(exits, exits)
    fit_criterion(criterion, make_evidence(shares.fit))
    return criterion, shares, ("pearson",) if outputs == 1 else ("accuracy",)


@pytest.mark.parametrize("samples", [1, 3, 31, 32, 200])
@pytest.mark.parametrize(("name", "kind"), SERVED)
def test_a_certified_point_is_a_setting_or_says_why_not(name: str, kind: str, samples: int) -> None:
    criterion, shares, metrics = make_shares(name, OUTPUTS[kind], samples)
    reported = make_world(criterion, OUTPUTS[kind], 50, seed=2)
    select, report = (
        TradeOff(criterion, exits, Costs.layers(len(exits.ids), 6), metrics) for exits in (shares.choose, reported)
    )
    rules = [Rule.parse(text) for text in RULES if OUTPUTS[kind] > 1 or not text.startswith("gap")]
    points = choose_points(select, report, rules, explain_void(criterion, shares))
    assert [point.rule for point in points] == [rule.format() for rule in rules]
    written = make_split_result(report, points).to_plain()["points"]
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    for point, rule in zip(points, rules, strict=True):
        if isinstance(point, UnreachedPoint):
            assert point.reason.startswith(f"{point.rule} cannot be certified")
            continue
        assert point.cut <= criterion.loosest
        assert point.select is not None
        assert math.isfinite(point.select.quality)
        assert shares.apart or not criterion.fits
        losses = tabulate_losses(rule.kind, select.predictions, shares.choose.labels)  # type: ignore[arg-type]
        spent = losses[np.arange(len(losses)), select.layers_at(point.cut) - 1]
        if rule.confidence is None:
            assert (spent.sum() + 1) / (len(spent) + 1) <= rule.value
        else:
            assert p_value(spent, rule.value) <= 1 - rule.confidence


@pytest.mark.parametrize("name", ["patience", "patient-and-confident", "divergence-patience", "saturation"])
def test_everybody_at_exit_1_is_never_certified(name: str) -> None:
    """All exits agree, so that leaving at once would change nothing: but it is no setting of these methods."""
    criterion, shares, metrics = make_shares(name, 2, 200)
    agreed = np.repeat(shares.choose.logits[:, -1:], 6, axis=1)
    read = reads(criterion, torch.from_numpy(agreed))
    exits = AllExits(
        shares.choose.ids, shares.choose.labels, agreed, shares.choose.lengths, None if read is None else read.numpy()
    )
    select = TradeOff(criterion, exits, Costs.layers(200, 6), metrics)
    [point] = choose_points(select, select, [Rule.parse("risk=0.1@0.9")])
    assert isinstance(point, OperatingPoint)
    assert point.cut <= criterion.loosest
    # at the loosest setting: a patience of 1, or two exits that are below any threshold that can be asked for
    assert point.exit_counts[0] == 0 or name == "saturation"
    wanted = exit_layers(select.scores, criterion.loosest, criterion.strict)
    assert select.layers_at(point.cut).tolist() == wanted.tolist()


def test_a_cut_with_undefined_quality_gives_way_to_the_next_stricter_one() -> None:
    """All cuts are certified, and the rows' qualities are made up: of the looser half, none is defined."""
    exits = make_world(Patience(), 3, 200, seed=1)
    select = TradeOff(Patience(), exits, Costs.layers(200, 6), ("accuracy",))
    quality = np.where(np.arange(len(select.curve)) > 2, np.nan, 0.5)
    held_out = select.curve, select.scores, select.predictions, exits.labels, Rule.parse("risk=0.5@0.6")
    assert choose_certified(*held_out) == Choice(5, 1000.0)  # everybody at exit 1, where nothing forbids it
    stricter = choose_certified(*held_out, quality)
    assert isinstance(stricter, Choice)
    assert stricter.index == 2
    assert stricter.cut == max(cut for cut in fixed_cuts() if cut < -2)  # -2, a patience of 2, is the next row
    nowhere = choose_certified(*held_out, np.full(len(select.curve), np.nan))
    assert isinstance(nowhere, Unreachable)
    assert nowhere.reason == "risk=0.5@0.6: the quality is undefined at every cut that is certified."


def test_patience_is_certified_at_a_number_of_agreements() -> None:
    exits = make_world(Patience(), 3, 200, seed=1)
    select = TradeOff(Patience(), exits, Costs.layers(200, 6), ("accuracy",))
    [point] = choose_points(select, select, [Rule.parse("risk=0.5@0.6")])
    assert isinstance(point, OperatingPoint)
    assert (point.threshold, point.cut) == (1, -0.5)


@pytest.mark.parametrize("text", ["risk=1e-300", "risk=1e-320@0.95", "gap=1e-17@0.5"])
def test_a_level_that_no_number_of_samples_reaches_is_said(text: str) -> None:
    exits = make_world(Patience(), 3, 50, seed=1)
    select = TradeOff(Patience(), exits, Costs.layers(50, 6), ("accuracy",))
    [point] = choose_points(select, select, [Rule.parse(text)])
    assert isinstance(point, UnreachedPoint)
    assert "cannot be certified with 50 held-out samples" in point.reason
