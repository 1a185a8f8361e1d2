"""A run judged by another metric than its task's own, from its stored logits.

Operating points stay those that were chosen by the task's first metric on held-out samples: what changes is what is
said of them. A run that is judged so has the metric's values in place of its first one's, for all readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from backbones.names import make_unknown_error
from bench.errors import UsageError
from bench.measure.curve import Int
from bench.measure.exits import AllExits
from bench.measure.judges import JUDGES, AskedMetric, Metric, with_classes
from bench.measure.metrics import METRICS
from bench.measure.rules import pareto
from bench.results.doubts import doubt_outgrown
from bench.results.judged_by.numbers import JudgedResults
from bench.results.kept.answers import EVERY_LAYER
from bench.results.measures import CurveRow, OperatingPoint, Performance, SplitResult
from bench.results.part import Estimate, Part
from bench.results.run import Run

_P = TypeVar("_P", bound=Part)
_Q = TypeVar("_Q", bound=Performance)
SAME_LAYER = 1e-5
"""Records keep mean exits with six digits."""


def find_judge(run: Run) -> Metric:
    """Return the metric that a run is judged by: the one that was asked for, else its task's first.

    Raises UsageError where a record names one that nobody knows.
    """
    if run.judged:
        return run.judged.metric
    if run.metric not in METRICS:
        raise make_unknown_error("metric", run.metric, METRICS)
    return with_classes(JUDGES[run.metric], len(run.record.task.labels))


def judge_run(run: Run, asked: AskedMetric, *, curves: bool = False) -> Run:
    """Return ``run`` as it reads if judged by the metric that is asked for; with ``curves`` its curves, too.

    Raises UsageError, also as Damaged, where the metric is of another kind of task, or the logits are not there.
    """
    task = run.record.task
    metric = asked.find_metric(task.kind, task.labels)
    if metric.name == run.metric:
        return run
    results = {split: _judge_split(run, split, metric, curves) for split in task.evaluation}
    return replace(run, judged=JudgedResults(metric, results))


def _judge_split(run: Run, split: str, metric: Metric, curves: bool) -> SplitResult:
    result = measure_also(run, split, [metric])
    exits = run.exits(split)
    each = [np.full(len(exits.labels), layer) for layer in range(1, run.layers + 1)]
    alone = tuple(metric.compute(metric.read_answers(exits, layers), exits.labels) for layers in each)
    curve = _judge_curve(run, split, metric) if curves else ()
    return change_part(result, per_exit={**result.per_exit, metric.name: alone}, curve=curve)


def measure_also(run: Run, split: str, metrics: Sequence[Metric]) -> SplitResult:
    """Return a run's result with these metrics, too, at all layers and at every point.

    Raises DataError where its logits are not stored, Damaged, and UsageError where its criterion leaves elsewhere now.
    """
    result = run.result(split)
    wanted = [metric for metric in metrics if metric.name not in result.full.metrics]
    if not wanted:
        return result
    if not run.has_exits(split):
        run.exits(split)  # says that they are not there
    answers = run.answers(split)
    if answers.moved:
        raise UsageError(f"{run.folder.name}: {doubt_outgrown(list(answers.moved)).found}.")
    return add_metrics(result, wanted, run.exits(split), lambda rule: answers.layers[rule or EVERY_LAYER])


def add_metrics(
    result: SplitResult, metrics: Iterable[Metric], exits: AllExits, find_layers: Callable[[str | None], Int]
) -> SplitResult:
    """Return ``result`` with these metrics, too, of samples that leave where ``find_layers`` says by point."""
    wanted = list(metrics)

    def add(point: _Q, rule: str | None) -> _Q:
        layers = find_layers(rule)
        found = {m.name: Estimate.of(m.estimate(m.read_answers(exits, layers), exits.labels)) for m in wanted}
        return change_part(point, metrics={**point.metrics, **found})

    points = tuple(add(point, point.rule) if isinstance(point, OperatingPoint) else point for point in result.points)
    return change_part(result, full=add(result.full, None), points=points)


def _judge_curve(run: Run, split: str, metric: Metric) -> tuple[CurveRow, ...]:
    """Return the rows of the recorded curve, 100 or in older records 200 at most, judged by ``metric``."""
    trade_off, exits, rows = run.trade_off(split), run.exits(split), run.result(split).curve
    exact = trade_off.curve
    quality = []
    for row in rows:
        nearest = int(np.abs(exact.mean_layer - row.mean_layer).argmin())
        if abs(float(exact.mean_layer[nearest]) - row.mean_layer) > SAME_LAYER:
            raise UsageError(f"{run.folder.name}: its criterion gives another curve by now than is recorded.")
        layers = trade_off.layers_at(float(exact.midpoints[nearest]))
        quality.append(round(metric.compute(metric.read_answers(exits, layers), exits.labels), 6))
    sign = 1 if metric.higher_is_better else -1
    front = pareto(sign * np.array(quality), [1 / row.cost_speedup for row in rows])
    judged = zip(rows, quality, front.tolist(), strict=True)
    return tuple(change_part(row, quality=value, pareto=best) for row, value, best in judged)


def change_part(part: _P, **new: object) -> _P:
    """Return a part of a record with other fields; what it found out of itself before is found out again."""
    return type(part)(**{**{name: getattr(part, name) for name in part.model_fields_set}, **new})
