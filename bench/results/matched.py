"""Runs side by side at matched cost: a row for all that differ in their seed only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bench.errors import UsageError
from bench.measure.metrics import metric_title
from bench.measure.points import Rule
from bench.results.groups import average_quality, group_seeds, panel_settings, pick_telling, series_settings
from bench.results.measures import Performance
from bench.results.run import Run

MatchedRow = dict[str, Any]


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


def match_runs(runs: Iterable[Run], rules: Sequence[str]) -> list[MatchedRow]:
    """Return a row for each strategy, recipe, head and arguments on a task and backbone; seeds are averaged."""
    alike: dict[tuple[str, ...], list[list[Run]]] = defaultdict(list)
    for series in group_seeds(run for run in runs if run.is_finished()):
        spec, backbone = series[0].spec, series[0].record.backbone
        model = f"{spec.backbone}, {backbone.init}, {backbone.whole_depth} layers"
        model += f", limit {spec.limit}" if spec.limit else ""
        arguments = ", ".join(f"{k}={v}" for k, v in spec.criterion_args.items())
        alike[spec.task, model, spec.strategy, spec.recipe, spec.head, arguments].append(series)
    rows = []
    for (*names, arguments), found in sorted(alike.items(), key=lambda item: item[0]):
        for apart, members in sorted(zip(_tell_apart(found), found, strict=True), key=lambda row: row[0]):
            rows.append(_row((*names, ", ".join(filter(None, (arguments, apart)))), members, rules))
    return rows


def _tell_apart(series: Sequence[Sequence[Run]]) -> list[str]:
    """Return the settings by which series of one name differ, as ``train.lr=0.001``; nothing for a single one."""
    if len(series) == 1:
        return [""]
    firsts = [runs[0] for runs in series]
    settings = [{**panel_settings(run, run.primary), **series_settings(run)} for run in firsts]
    names = pick_telling(settings)
    said = [", ".join(f"{name}={one[name]}" for name in names if name in one) for one in settings]
    return said if len(set(said)) == len(said) else [f"#{run.head.quality_key[:6]}" for run in firsts]


def _row(names: tuple[str, ...], runs: Sequence[Run], rules: Sequence[str]) -> MatchedRow:
    first, split = runs[0], runs[0].primary
    row: MatchedRow = {
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


def group_rows(rows: Sequence[MatchedRow]) -> dict[str, list[MatchedRow]]:
    """Return the rows by what their runs have in common: task, model, metric and sizes, in words."""
    groups: dict[str, list[MatchedRow]] = defaultdict(list)
    for row in rows:
        trained = f", trained on {row['trained on']}" if row["trained on"] != "unknown" else ""
        name = f"{metric_title(row['metric'])}, n = {row['reported on']}{trained}"
        groups[f"{row['task']} | {row['model']} | {name}"].append(row)
    return groups
