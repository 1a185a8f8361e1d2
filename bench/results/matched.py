"""Runs side by side at matched cost: a row for all that differ in their seed only."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.measure.metrics import title_metric
from bench.measure.rules import Rule
from bench.results.groups import (
    Settings,
    average_quality,
    average_seeds,
    group_seeds,
    list_panel_settings,
    list_series_settings,
    tell_apart,
)
from bench.results.measures import Performance
from bench.results.points import name_threshold
from bench.results.run import Run
from bench.results.series_doubts import find_series_doubts

MatchedRow = dict[str, Any]


@dataclass(frozen=True)
class MatchedSeries:
    """Runs that differ in their seed alone, and their row of a table."""

    row: MatchedRow
    runs: Sequence[Run]


def name_point(name: str) -> str:
    """Return an operating point as records name it: ``speedup=2`` is ``2x``; ``default`` and thresholds are as given.

    ``threshold=-1`` is a threshold, ``-1`` the rule. Raises UsageError for anything else.
    """
    kind, _, number = name.partition("=")
    if kind == "threshold" and _is_number(number):
        return name_threshold(float(number))
    try:
        return Rule.parse(name).format()
    except UsageError as error:
        if name != "default" and not _is_number(name):
            raise UsageError(str(error).replace("Known: ", "Known: default, thresholds, ", 1)) from None
        return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def match_runs(runs: Iterable[Run], rules: Sequence[str]) -> list[MatchedSeries]:
    """Return a series for all runs that differ in their seed alone, in order of task, panel and strategy.

    What tells panels of one task and backbone apart is in ``panel``, what tells rows of one name apart in
    ``arguments``; whatever else there is to know is in ``settings``.
    """
    series = group_seeds(run for run in runs if run.is_finished())
    names = [_name_row(found[0]) for found in series]
    panels = [list_panel_settings(found[0], found[0].primary) for found in series]
    settings = [list_series_settings(found[0]) for found in series]
    said = ("task", "backbone", "depth", "init", "limit", "metrics", "cost", "rows", "strategy", "recipe", "head")
    of_panel = tell_apart([name[:2] for name in names], panels, said)
    apart = tell_apart([name[:-1] for name in names], settings, said)
    rows = []
    for found, name, panel, more, *known in zip(series, names, of_panel, apart, panels, settings, strict=True):
        own = [part for part in more if part.partition("=")[0] not in found[0].spec.criterion_args]
        arguments = ", ".join(filter(None, (name[-1], *own)))
        flat = {key: value for one in known for key, value in one.items() if key not in NAMED}
        rows.append(_make_row((*name[:2], ", ".join(panel), *name[2:-1], arguments), found, rules, flat))
    often = Counter(_list_describing(row) for row in rows)
    for row, found in zip(rows, series, strict=True):
        if often[_list_describing(row)] > 1:
            row["arguments"] = ", ".join(filter(None, (row["arguments"], f"#{found[0].head.quality_key[:6]}")))
    made = [MatchedSeries(row, found) for row, found in zip(rows, series, strict=True)]
    return sorted(made, key=lambda one: _list_describing(one.row))


NAMED = ("identity", "task", "strategy", "recipe", "head")
"""Settings that a row has under its own keys, or by what they make."""
DESCRIBING = ("task", "model", "panel", "strategy", "recipe", "head", "arguments")


def _list_describing(row: MatchedRow) -> tuple[str, ...]:
    return tuple(row[name] for name in DESCRIBING)


def _name_row(run: Run) -> tuple[str, ...]:
    """Return task, model, strategy, recipe, head and the criterion's arguments."""
    spec, backbone = run.spec, run.record.backbone
    model = f"{run.backbone}, {backbone.init}, {backbone.whole_depth} layers"
    model += f", limit {spec.limit}" if spec.limit else ""
    model += ", costs in layers" if run.result().full.cost_unit == "layers" else ""
    arguments = ", ".join(f"{k}={v}" for k, v in spec.criterion_args.items())
    return spec.task, model, spec.strategy, spec.recipe, spec.head, arguments


def _make_row(names: tuple[str, ...], runs: Sequence[Run], rules: Sequence[str], settings: Settings) -> MatchedRow:
    first, split = runs[0], runs[0].primary
    row: MatchedRow = {
        **dict(zip(DESCRIBING, names, strict=True)),
        "settings": settings,
        "metric": first.metric,
        **({"chosen by": first.record.task.metrics[0]} if first.judged else {}),
        "samples": first.result().samples,
        "reported on": first.describe_used(split),
        "trained on": first.describe_used("train"),
        "seeds": sorted(run.seed for run in runs),
        "upper_bound": first.record.upper_bound,
        "layers": first.layers,
        "doubts": find_series_doubts(runs, split, rules),
        "all layers": _average_figures(runs, [run.result(split).full for run in runs]),
    }
    for rule in rules:
        points = [point for run in runs if (point := run.point(rule, split))]
        row[rule] = _average_figures(runs, points, rule) if len(points) == len(runs) else None
    return row


def make_plain_rows(rows: Iterable[MatchedRow]) -> list[dict[str, Any]]:
    """Return the rows as plain JSON values."""
    return [{**row, "doubts": [doubt.to_plain() for doubt in row["doubts"]]} for row in rows]


def _average_figures(runs: Sequence[Run], points: Sequence[Performance], rule: str | None = None) -> dict[str, Any]:
    """Return quality over the seeds, samples and seeds apart, and the mean of their costs."""
    found = average_quality(runs, runs[0].primary, rule).to_plain()
    both = {"both": found.pop("both")} if "both" in found else {}
    return {**found, "cost_speedup": average_seeds([p.cost_speedup for p in points]).value, **both}


def group_series(series: Iterable[MatchedSeries]) -> dict[str, list[MatchedSeries]]:
    """Return the series by what their runs have in common: task, model, metric and sizes, in words.

    One of which nobody knows what it was trained on stands beside others on the same samples.
    """
    groups: dict[str, list[MatchedSeries]] = defaultdict(list)
    unknown: list[tuple[str, MatchedSeries]] = []
    for one in series:
        row = one.row
        chosen = f" (points chosen by {title_metric(row['chosen by'])})" if "chosen by" in row else ""
        name = f"{title_metric(row['metric'])}{chosen}, n = {row['reported on']}"
        title = " | ".join(filter(None, (row["task"], row["model"], row["panel"], name)))
        if row["trained on"] == "unknown":
            unknown.append((title, one))
        else:
            groups[f"{title}, trained on {row['trained on']}"].append(one)
    for title, one in unknown:
        beside = next((known for known in groups if known.startswith(f"{title}, trained on ")), title)
        groups[beside].append(one)
    return groups


def label_rows(rows: Sequence[MatchedRow]) -> list[str]:
    """Return a name for each row of a group: its strategy, and what tells rows of one strategy apart."""
    alike: dict[tuple[str, ...], list[set[str]]] = defaultdict(list)
    makings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        making = f"{row['recipe']} / {row['head']}"
        makings[row["strategy"]].add(making)
        alike[row["strategy"], making].append(set(_split_arguments(row)))
    labels = []
    for row in rows:
        strategy, making = row["strategy"], f"{row['recipe']} / {row['head']}"
        common = set.intersection(*alike[strategy, making])
        own = [part for part in _split_arguments(row) if part not in common]
        parts = [making] * (len(makings[strategy]) > 1) + own
        labels.append(f"{strategy} ({', '.join(parts)})" if parts else strategy)
    return labels


def _split_arguments(row: MatchedRow) -> list[str]:
    return re.split(r", (?=[\w.]+=|#)", row["arguments"]) if row["arguments"] else []
