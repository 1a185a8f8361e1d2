"""Every criterion's exact curve against brute force: its rule, applied sample by sample at every threshold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.measure.curve import exact_curve, exit_layers
from strategies.base import Criterion, select
from tests.helpers.criteria import CAUSAL, KINDS, LAYERS, make, random_logits, score_of, seen_at, start
from tests.helpers.curves import check_curve

INTEGER = [name for name in CAUSAL if KINDS[name].criterion.integer]


def stepped(criterion: Criterion, logits: Tensor, cut: float) -> list[int]:
    """Exit layers by stepping the criterion with each sample alone, as it runs live."""
    layers = []
    first = start(logits)
    for row in range(len(logits)):
        alone, state = torch.tensor([row]), select(criterion.start(first), torch.tensor([row]))
        layer = 1
        while layer < LAYERS:
            seen = seen_at(criterion, logits, layer)
            observed = None if seen.observed is None else seen.observed[alone]
            state, score = criterion.step(state, type(seen)(layer, seen.logits[alone], observed))
            if bool(criterion.leaves(score, cut)):
                break
            layer += 1
        layers.append(layer)
    return layers


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CAUSAL)
def test_the_curve_has_every_set_of_decisions_once(name: str, seed: int) -> None:
    """All of its rows and statistics equal the rule's, and no cut at all gives anything that is not on it."""
    criterion = make(name)
    check_curve(score_of(criterion, random_logits(name, seed, samples=12)), criterion.strict)


@pytest.mark.parametrize("name", CAUSAL)
def test_the_curve_is_what_stepping_gives_at_each_of_its_thresholds(name: str) -> None:
    criterion, logits = make(name), random_logits(name, samples=6)
    found = score_of(criterion, logits)
    for cut in exact_curve(found, [], strict=criterion.strict).midpoints:
        layers = stepped(criterion, logits, criterion.cut(criterion.threshold(float(cut))))
        assert layers == exit_layers(found, float(cut), criterion.strict).tolist()


@pytest.mark.parametrize("name", INTEGER)
def test_whole_thresholds_give_all_there_is(name: str) -> None:
    """Every row of the curve is a whole threshold's, and every whole threshold is a row."""
    criterion, logits = make(name), random_logits(name, samples=30)
    curve = exact_curve(score_of(criterion, logits), [], strict=criterion.strict)
    by_cut = {tuple(stepped(criterion, logits, float(cut))) for cut in curve.midpoints}
    by_threshold = {tuple(stepped(criterion, logits, criterion.cut(t))) for t in range(-1, LAYERS + 2)}
    assert by_cut == by_threshold
    assert len(by_cut) == len(curve)
    assert all(criterion.threshold(float(cut)) in range(-1, LAYERS + 2) for cut in curve.midpoints if cut > -math.inf)
