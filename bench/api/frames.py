"""Recorded runs as pandas data frames, under the names that records have: operating points, curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench.results.measures import Performance, UnreachedPoint
from bench.results.part import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.run import Run

NAMING = ("task", "backbone", "strategy", "recipe", "head", "seed", "run")
"""What stands before the numbers where a frame has several runs."""

POINT_COLUMNS = (
    *("point", "chosen_on", "threshold", "metric", "quality", "quality_low", "quality_high", "mean_layer"),
    *("cost_unit", "cost_speedup", "cost_speedup_low", "cost_speedup_high"),
    *("latency_speedup", "latency_speedup_low", "latency_speedup_high", "latency_valid"),
    *("samples", "upper_bound", "doubts", "reason"),
)
CURVE_COLUMNS = ("threshold", "metric", "quality", "mean_layer", "cost_unit", "cost_speedup", "pareto")


def frame_points(runs: Iterable[Run], *, named: bool = True) -> pd.DataFrame:
    """Return a row for all layers and for every operating point, on the primary split of each finished run.

    A point that was not reached has its ``reason`` instead of numbers. Metrics beside the first one have columns of
    their own, under their names.
    """
    rows = [{**name_run(run), **row} for run in runs if run.is_finished() for row in list_points(run)]
    return make_frame(rows, (*NAMING, *POINT_COLUMNS) if named else POINT_COLUMNS)


def frame_curves(runs: Iterable[Run], *, named: bool = True) -> pd.DataFrame:
    """Return the recorded curve of each finished run on its primary split: a hundred rows at most, 200 in older ones.

    The first row has no ``threshold`` where nobody leaves early. ``pareto`` rows are the ones that no other beats.
    """
    rows = []
    for run in filter(lambda run: run.is_finished(), runs):
        known = {**name_run(run), "metric": run.metric, "cost_unit": run.result().full.cost_unit}
        rows += [{**known, **row.to_plain()} for row in run.result().curve]
    return make_frame(rows, (*NAMING, *CURVE_COLUMNS) if named else CURVE_COLUMNS)


def name_run(run: Run) -> dict[str, Any]:
    """Return what a run is called, a column each."""
    spec = run.spec
    values = (spec.task, run.backbone, spec.strategy, spec.recipe, spec.head, spec.seed, run.folder.name)
    return dict(zip(NAMING, values, strict=True))


def list_points(run: Run) -> Iterator[dict[str, Any]]:
    """Yield all layers and every operating point of a finished run as flat rows."""
    record, result, doubts = run.record, run.result(), run.find_doubts()
    timed = {} if record.latency is None else record.latency.configurations
    about = {"metric": run.metric, "upper_bound": record.upper_bound}
    yield {"point": "all layers", **about, **_list_numbers(run, result.full, timed.get("all layers")),
           "doubts": "; ".join(doubt.said for doubt in doubts if not doubt.rules)}  # fmt: skip
    for point in result.points:
        row = {"point": point.rule, "chosen_on": point.chosen_on, **about}
        if isinstance(point, UnreachedPoint):
            yield {**row, "reason": point.reason}
        else:
            said = "; ".join(doubt.said for doubt in doubts if point.rule in (doubt.rules or (point.rule,)))
            yield {**row, "threshold": point.threshold, **_list_numbers(run, point, point.latency), "doubts": said}


def _list_numbers(run: Run, found: Performance, timed: object) -> dict[str, Any]:
    speedup = getattr(timed, "speedup", None)
    row: dict[str, Any] = {"samples": found.samples, "mean_layer": found.mean_layer, "cost_unit": found.cost_unit}
    row |= _list_estimate("cost_speedup", found.cost_speedup)
    latency = run.record.latency
    if isinstance(speedup, Estimate):
        row |= {**_list_estimate("latency_speedup", speedup), "latency_valid": not run.timing_problem}
        row |= {"latency_protocol": None if latency is None else latency.protocol}
    for name, value in found.metrics.items():
        row |= _list_estimate("quality" if name == run.metric else name, value)
    return row


def _list_estimate(name: str, value: Estimate) -> dict[str, Any]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def make_frame(rows: Iterable[dict[str, Any]], first: Iterable[str]) -> pd.DataFrame:
    """Return a frame of rows; the columns ``first`` are always there and in their order, others follow."""
    import pandas as pd

    kept = list(rows)
    more = dict.fromkeys(name for row in kept for name in row if name not in NAMING)
    return pd.DataFrame(kept, columns=list(dict.fromkeys([*first, *more])))
