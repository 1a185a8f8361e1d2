"""What half precision changes: the same checkpoint's decisions in fp16 or bf16 against those in fp32."""

from __future__ import annotations

import math

import numpy as np

from bench.measure.exits import AllExits
from bench.measure.trade_off import TradeOff
from bench.results.measures import Changes, PrecisionChanges, SplitResult


def count_precision_changes(report: TradeOff, reference: AllExits, result: SplitResult) -> PrecisionChanges:
    """Count how many samples of ``report``'s split are answered, or leave, otherwise than in ``reference`` (fp32).

    With all layers, and at each operating point. A criterion with a probe has no fp32 observations to be replayed on:
    its points are left out.
    """
    points: dict[str, Changes] = {}
    if report.criterion.probe is None:
        full = TradeOff(report.criterion, reference, report.costs, report.metrics)
        rows = np.arange(len(reference.ids))
        for point in result.reached.values():
            if math.isfinite(point.cut):
                layers, other = report.layers_at(point.cut), full.layers_at(point.cut)
                answers = report.predictions[rows, layers - 1] != full.predictions[rows, other - 1]
                exits = int((layers != other).sum())
                points[point.rule] = Changes(predictions=int(answers.sum()), exits=exits)
    return PrecisionChanges(
        samples=len(reference.ids),
        against="fp32",
        all_layers=int((report.predictions[:, -1] != reference.predictions[:, -1]).sum()),
        points=points,
    )
