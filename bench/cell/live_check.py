"""Live equals replay: on a sample of every run, the early-stopping forward must decide as the replay did.

In float64 it always does. In lower precision the same logits computed in another batch shape differ in their last bits,
and a score that sits within them of the cut may fall on either side: such disagreements are counted and shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch

from bench.inference.live import run_live
from bench.inference.replay import hash_ids
from bench.measure.trade_off import TradeOff
from bench.results.spec import RunSpec
from bench.tasks.encode import EncodedSplit, collate
from strategies.base import Criterion, ExitModel, predict

SAMPLES = 64
BOUND = 0.05  # more disagreement than this is no rounding


def middle_cut(points: Sequence[Mapping[str, object]]) -> float:
    """The cut of the operating point with the median exit layer: where exits are most mixed; -inf without points."""
    reached = [p for p in points if isinstance(p.get("cut"), float)]
    if not reached:
        return -math.inf
    ordered = sorted(reached, key=lambda p: cast(float, p["mean_layer"]))
    return cast(float, ordered[len(ordered) // 2]["cut"])


def live_check(
    model: ExitModel,
    criterion: Criterion,
    replayed: TradeOff,
    points: Sequence[Mapping[str, object]],
    encoded: EncodedSplit,
    spec: RunSpec,
) -> dict[str, object]:
    """Run up to 64 samples live at batch 1 and count where exit or prediction differ from the replay."""
    cut = middle_cut(points)
    rows = torch.linspace(0, len(encoded) - 1, min(SAMPLES, len(encoded))).round().long().tolist()
    layers = replayed.layers_at(cut)
    keys = hash_ids(replayed.exits.ids)
    other_exit = other_answer = 0
    for row in rows:
        batch = collate(encoded, [row]).to(spec.device)
        found = run_live(model, criterion, cut, batch, keys=keys[row : row + 1].to(spec.device))
        layer, answer = int(found.layer[0]), predict(found.logits.float())[0].item()
        expected = replayed.predictions[row, layer - 1].item()
        same = answer == expected if isinstance(expected, int) else math.isclose(answer, expected, abs_tol=1e-2)
        other_exit += layer != int(layers[row])
        other_answer += not same
    disagree = max(other_exit, other_answer) / len(rows)
    return {
        "samples": len(rows),
        "cut": cut if math.isfinite(cut) else None,
        "dtype": spec.dtype,
        "other_exit": other_exit,
        "other_prediction": other_answer,
        "bound": BOUND,
        "ok": disagree <= BOUND,
    }
