"""From logits to the numbers of a record: trade-off curves, operating points, and what half precision changes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bench.cell.identify import Cell
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.held_out import LEAST_TO_SHARE, HeldOutShares
from bench.measure.rules import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import Changes, PrecisionChanges, SplitResult
from bench.results.points import choose_points, make_split_result, measure_default, measure_given
from bench.results.spec import RunSpec
from strategies.base import Criterion, ExitModel


def measure_trade_offs(
    cell: Cell, model: ExitModel, whole: ExitModel, criterion: Criterion, exits: Mapping[str, AllExits]
) -> dict[str, TradeOff]:
    """Return the criterion's trade-off on every split, its FLOPs against those of ``whole`` without early exit."""
    cost, plain = CostModel(model.encoder, model.head, criterion), CostModel(whole.encoder, whole.head)
    return {
        name: TradeOff(
            criterion, found, Costs(cost.flops_table(found.lengths), plain.plain(found.lengths)), cell.data.metrics
        )
        for name, found in exits.items()
    }


def measure_split(select: TradeOff, report: TradeOff, spec: RunSpec, void: str = "") -> SplitResult:
    """Return what is reported of a split: the full model, every exit, the curve, the points chosen on ``select``.

    ``void`` says why nothing can be certified on ``select``, or nothing.
    """
    # with two rows there is one way to leave early, and nothing to choose but what is asked for
    standard = STANDARD if len(select.curve) > 2 else ()
    rules = [Rule.parse(text) for text in dict.fromkeys((*standard, *spec.select))]
    given = measure_given(report, spec.thresholds or ())
    return make_split_result(report, [*measure_default(report), *choose_points(select, report, rules, void), *given])


def explain_void(criterion: Criterion, shares: HeldOutShares) -> str:
    """Return why no cut can be certified on the held-out samples, or nothing."""
    if not criterion.fits or shares.apart:
        return ""
    held_out = len(shares.fit.ids)
    few = f"fewer than {LEAST_TO_SHARE}"
    return f"the criterion is fitted on the same {held_out} held-out samples, with {few} to share out"


def count_precision_changes(report: TradeOff, reference: AllExits, result: SplitResult) -> PrecisionChanges:
    """Count how many samples of ``report``'s split are answered, or leave, otherwise than in ``reference`` (fp32).

    With all layers, and at each operating point. A criterion with a probe has no fp32 observations to be replayed on:
    its points are left out.
    """
    points: dict[str, Changes] = {}
    if report.criterion.probe is None:
        full = TradeOff(report.criterion, reference, report.costs, report.metrics)
        for point in result.reached.values():
            if math.isfinite(point.cut):
                layers, other = report.layers_at(point.cut), full.layers_at(point.cut)
                answers = int((report.answers_at(layers) != full.answers_at(other)).sum())
                points[point.rule] = Changes(predictions=answers, exits=int((layers != other).sum()))
    return PrecisionChanges(
        samples=len(reference.ids),
        against="fp32",
        all_layers=int((report.predictions[:, -1] != reference.predictions[:, -1]).sum()),
        points=points,
    )
