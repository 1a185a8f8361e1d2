"""The numbers of a trade-off from recorded logits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.helpers.curves import make_trade_off


@pytest.mark.parametrize("row", [0, 7, -1])
def test_a_row_of_the_curve_is_what_its_cut_gives(row: int) -> None:
    curve = make_trade_off()
    cut = float(curve.curve.midpoints[row])
    layers = curve.layers_at(cut)
    answers = curve.predictions[np.arange(len(layers)), layers - 1]
    assert curve.quality[row] == pytest.approx((answers == curve.exits.labels).mean())
    assert curve.curve.mean_layer[row] == pytest.approx(layers.mean())
    assert curve.speedup[row] == pytest.approx(5 * len(layers) / layers.sum())


def test_every_exit_by_itself_comes_in_order() -> None:
    report = make_trade_off(metrics=("accuracy", "matthews"))
    answers = report.exits.logits.argmax(axis=2)
    by_hand = (answers == report.exits.labels[:, None]).mean(axis=0)
    assert report.per_exit()["accuracy"] == pytest.approx(by_hand, abs=1e-6)
    assert by_hand[0] < by_hand[-1]
    last = report.estimate_metrics(report.layers_at(-math.inf))
    assert report.per_exit()["matthews"][-1] == pytest.approx(last["matthews"].estimate)
