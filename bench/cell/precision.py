"""What half precision changes: the same checkpoint's decisions in fp16 or bf16 against those in fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from bench.measure.exits import AllExits
from bench.measure.trade_off import TradeOff
from bench.results.store import Record


def precision_changes(curve: TradeOff, reference: AllExits, points: Sequence[Mapping[str, object]]) -> Record:
    """How many samples of ``curve``'s split are answered, or leave, otherwise than in ``reference`` (fp32).

    ``all_layers`` counts predictions of the last exit; each point with a cut counts predictions and exits at that cut.
    A criterion with a probe has no fp32 observations to be replayed on: its points are left out.
    """
    found: dict[str, Any] = {
        "samples": len(reference.ids),
        "against": "fp32",
        "all_layers": int((curve.predictions[:, -1] != reference.predictions[:, -1]).sum()),
        "points": {},
    }
    if curve.criterion.probe is not None:
        return found
    full = TradeOff(curve.criterion, reference, curve.costs, curve.metrics)
    rows = np.arange(len(reference.ids))
    for point in points:
        if point.get("cut") is None:
            continue
        cut = cast(float, point["cut"])
        layers, other = curve.layers_at(cut), full.layers_at(cut)
        answers = curve.predictions[rows, layers - 1] != full.predictions[rows, other - 1]
        found["points"][point["rule"]] = {"predictions": int(answers.sum()), "exits": int((layers != other).sum())}
    return found
