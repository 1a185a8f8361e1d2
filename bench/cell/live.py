"""Live equals replay: on a sample of every run, the early-stopping forward must decide as the replay did.

In float64 it always does. In lower precision the same logits computed in another batch shape differ in their last bits,
and a score that sits within them of the cut may fall on either side: such disagreements are counted and shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from bench.inference.counting import count_work
from bench.inference.live import run_live
from bench.measure.scores import hash_ids
from bench.measure.trade_off import TradeOff
from bench.results.measures import Counts, LiveCheck, OperatingPoint, SplitResult
from bench.tasks.encode import EncodedSplit, collate_batch
from strategies.base import Criterion, ExitModel, predict

MOST_CHECKED = 64  # samples
BOUND = 0.05  # more disagreement than this is no rounding


@dataclass(frozen=True)
class LiveSplit:
    """A split that can be run live: the model on its device, what decides, the replay, the token ids."""

    model: ExitModel
    criterion: Criterion
    replayed: TradeOff
    encoded: EncodedSplit


def choose_live_cut(points: Iterable[OperatingPoint]) -> float:
    """Return the cut of the point with the median exit layer: where exits are most mixed; -inf without points."""
    early = sorted((p for p in points if math.isfinite(p.cut)), key=lambda p: p.mean_layer)
    return early[len(early) // 2].cut if early else -math.inf


def check_live(live: LiveSplit, result: SplitResult, dtype: str) -> LiveCheck:
    """Run up to 64 samples live at batch 1 and count where exit or prediction differ from the replay."""
    cut = choose_live_cut(result.reached.values())
    device = next(live.model.parameters()).device
    size = len(live.encoded)
    rows = torch.linspace(0, size - 1, min(MOST_CHECKED, size)).round().long().tolist()
    layers = live.replayed.layers_at(cut)
    keys = hash_ids(live.replayed.exits.ids)
    other_exit = other_answer = 0
    for row in rows:
        batch = collate_batch(live.encoded, [row]).to(device)
        found = run_live(live.model, live.criterion, cut, batch, keys=keys[row : row + 1])
        layer, answer = int(found.layer[0]), predict(found.logits.float())[0].item()
        expected = live.replayed.predictions[row, layer - 1].item()
        same = answer == expected if isinstance(expected, int) else math.isclose(answer, expected, abs_tol=1e-2)
        other_exit += layer != int(layers[row])
        other_answer += not same
    return LiveCheck(
        samples=len(rows),
        cut=cut,
        dtype=dtype,
        other_exit=other_exit,
        other_prediction=other_answer,
        bound=BOUND,
        ok=max(other_exit, other_answer) / len(rows) <= BOUND,
    )


def count_live(live: LiveSplit) -> Counts:
    """Return what early exit does with the model and the criterion, whatever the samples are."""
    weight = next(live.model.parameters())
    found = count_work(live.model, live.criterion)
    return Counts.of(found, weight.device.type, str(weight.dtype).removeprefix("torch."))
