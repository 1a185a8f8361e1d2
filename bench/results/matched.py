"""Runs side by side at matched cost: a row for all that differ in their seed only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bench.errors import UsageError
from bench.measure.metrics import metric_title
from bench.measure.points import Rule
from bench.results.groups import average_quality
from bench.results.measures import Performance
from bench.results.run import Run
from bench.results.spec import key

Row = dict[str, Any]


def name_point(name: str) -> str:
    """Return an operating point as records name it: ``speedup=2`` is ``2x``; ``default`` and thresholds are as given.

    Raises UsageError for anything else.
    """
    try:
        return Rule.parse(name).format()
    except UsageError:
        if name != "default" and not _is_number(name):
            raise
        return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def match_runs(runs: Iterable[Run], rules: Sequence[str]) -> list[Row]:
    """Return a row for each strategy, recipe, head and arguments on a task and backbone; seeds are averaged."""
    alike: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.is_finished():
            spec, backbone = run.spec, run.record.backbone
            model = f"{spec.backbone}, {backbone.init}, {backbone.whole_depth} layers"
            model += f", limit {spec.limit}" if spec.limit else ""
            arguments = ", ".join(f"{k}={v}" for k, v in spec.criterion_args.items())
            but_seed = key({**run.head.identity.to_plain(), "seed": None})
            alike[spec.task, model, spec.strategy, spec.recipe, spec.head, arguments, but_seed].append(run)
    return [_row(names, found, rules) for names, found in sorted(alike.items(), key=lambda item: item[0])]


def _row(names: tuple[str, ...], runs: Sequence[Run], rules: Sequence[str]) -> Row:
    first, split = runs[0], runs[0].primary
    row: Row = {
        **dict(zip(("task", "model", "strategy", "recipe", "head", "arguments"), names, strict=False)),
        "metric": first.metric,
        "samples": first.result().samples,
        "reported on": first.count_used(split),
        "trained on": first.count_used("train"),
        "seeds": sorted(run.seed for run in runs),
        "upper_bound": first.record.upper_bound,
        "layers": first.layers,
        "all layers": _figure(runs, [run.result(split).full for run in runs]),
    }
    for rule in rules:
        points = [point for run in runs if (point := run.point(rule, split))]
        row[rule] = _figure(runs, points, rule) if len(points) == len(runs) else None
    return row


def _figure(runs: Sequence[Run], points: Sequence[Performance], rule: str | None = None) -> dict[str, Any]:
    """Return quality over the seeds, samples and seeds apart, and the mean of their costs."""
    found = average_quality(runs, runs[0].primary, rule).to_plain()
    both = {"both": found.pop("both")} if "both" in found else {}
    return {**found, "cost_speedup": sum(p.cost_speedup.value for p in points) / len(points), **both}


def group_rows(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows by what their runs have in common: task, model, metric and sizes, in words."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        trained = f", trained on {row['trained on']}" if row["trained on"] != "unknown" else ""
        name = f"{metric_title(row['metric'])}, n = {row['reported on']}{trained}"
        groups[f"{row['task']} | {row['model']} | {name}"].append(row)
    return groups
