"""Metrics beside the task's own on a terminal: those that are asked for, and what becomes of unbalanced classes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.cli.display import make_console
from bench.errors import Damaged, UserError
from bench.measure.metrics import title_metric
from bench.measure.rules import shorten_rule
from bench.text import build_table, show_line

if TYPE_CHECKING:
    from bench.measure.judges import AskedMetric
    from bench.results.measures import SplitResult
    from bench.results.run import Run


def measure_asked(run: Run, split: str, asked: Sequence[AskedMetric]) -> tuple[SplitResult, tuple[str, ...]]:
    """Return the run's result with the metrics that are ``asked`` for, too, and the names of all to show.

    Raises UsageError, in one line, for one that cannot be had of this run.
    """
    task = run.record.task
    if not asked:
        return run.result(split), task.metrics
    from bench.results.judged_by.judging import measure_also

    metrics = [metric for one in asked for metric in one.list_metrics(task.kind, task.labels)]
    names = dict.fromkeys([*task.metrics, *(metric.name for metric in metrics)])
    return measure_also(run, split, metrics), tuple(names)


def list_plain_metrics(run: Run, asked: Sequence[AskedMetric]) -> dict[str, Any]:
    """Return the metrics that are ``asked`` for as plain JSON values, by split, point and name."""
    task, found = run.record.task, {}
    names = [metric.name for one in asked for metric in one.list_metrics(task.kind, task.labels)]
    for split in task.evaluation:
        result, _ = measure_asked(run, split, asked)
        found[split] = {
            point: {name: performance.metrics[name].to_plain() for name in names}
            for point, performance in result.performances.items()
        }
    return found


def print_classes(run: Run, split: str) -> None:
    """Print, where the classes of a split are unbalanced, what becomes of each; on stderr why it cannot be said."""
    from bench.results.judged_by.unbalanced import list_columns, measure_classes

    try:
        found = measure_classes(run, split)
    except Damaged:  # said by who looked at the logits before
        return
    except UserError as error:
        print(show_line(f"Classes are not looked at: {error}"), file=sys.stderr)
        return
    if found is None:
        return
    names = list_columns(found)
    columns = ["point", *(title_metric(name).partition(" (")[0] for name in names)]
    rows = [[shorten_rule(point), *(f"{row[name]:.3f}" for name in names)] for point, row in found.points.items()]
    out = make_console()
    out.print(build_table(f"{found.said} | {split}", columns, rows, right=columns[1:]))
    out.print("Of log-loss and Brier score less is better. Intervals: bench show RUN --metric NAME,...")
    if found.missing:
        out.print(f"No operating points here: {found.missing}.")
