"""From logits to the numbers of a record: trade-off curves, and the operating points that rules choose."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cell.identify import Cell
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.points import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import SplitResult
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


def measure_split(select: TradeOff, report: TradeOff, spec: RunSpec) -> SplitResult:
    """Return what is reported of a split: the full model, every exit, the curve, the points chosen on ``select``."""
    # with two rows there is one way to leave early, and nothing to choose
    rules = [Rule.parse(text) for text in dict.fromkeys((*STANDARD, *spec.select))] if len(select.curve) > 2 else []
    given = measure_given(report, spec.thresholds or ())
    return make_split_result(report, [*measure_default(report), *choose_points(select, report, rules), *given])
