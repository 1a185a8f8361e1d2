"""Every criterion on the same checkpoints, each paired with one of them on the same samples.

What differs between the rows of a table is the criterion alone: backbone, heads, training and samples are the same.
Costs are layers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.compare.replayed import NotReached, NotRun, ReplayedRun, estimate_mean, subtract, subtract_curves
from bench.errors import UsageError
from bench.measure.metrics import is_additive, title_metric
from bench.measure.stats import Interval
from bench.results.groups import (
    Settings,
    list_panel_settings,
    list_series_settings,
    make_training_key,
    tell_apart,
)
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, find_series_doubts

LEAST_CRITERIA = 2
"""Criteria that a checkpoint must carry to be a table."""

Group = Mapping[tuple[str, str], Mapping[int, Run]]
"""The runs of one training (whatever its seed) by criterion and its arguments, then by seed."""


def compare_criteria(runs: Sequence[Run], against: str) -> list[dict[str, Any]]:
    """Return a table for each training that carries enough criteria, ``against`` among them.

    Raises UsageError where the reference stands on a checkpoint with several settings.
    """
    groups = [group for group in group_by_training(runs) if len(group) >= LEAST_CRITERIA]
    tables = [table for group in groups if (table := compare_group(group, against)) is not None]
    settings = [table["settings"] for table in tables]
    for table, apart in zip(tables, tell_apart([table["title"] for table in tables], settings), strict=True):
        table["title"] = " | ".join(filter(None, (table["title"], ", ".join(apart))))
    return tables


def group_by_training(runs: Sequence[Run]) -> list[Group]:
    """Return the finished runs with logits and a metric that is a function of sums, by training without its seed."""
    found: dict[str, dict[tuple[str, str], dict[int, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        if run.is_finished() and is_additive(run.metric) and run.has_exits():
            arguments = ", ".join(f"{name}={value}" for name, value in run.spec.criterion_args.items())
            found[make_training_key(run)][run.strategy, arguments][run.seed] = run
    return list(found.values())


def compare_group(group: Group, against: str) -> dict[str, Any] | None:
    """Return the table of one training, the best curve first; None where the reference is not among the criteria.

    Raises UsageError where the reference stands there with several settings.
    """
    references = [by_seed for (name, _), by_seed in group.items() if name == against]
    if not references:
        return None
    if len(references) > 1:
        raise UsageError(f"'{against}' was run with several arguments on one checkpoint; take another for --against.")
    reference = {seed: ReplayedRun.from_run(run) for seed, run in references[0].items()}
    rows = []
    for (name, arguments), by_seed in group.items():
        shared = sorted(set(by_seed) & set(reference))
        if shared:
            pairs = [(ReplayedRun.from_run(by_seed[seed]), reference[seed]) for seed in shared]
            bound = by_seed[shared[0]].record.upper_bound
            doubts = _doubt_checkpoints([by_seed[seed] for seed in shared])
            known = {"criterion": name, "arguments": arguments, "seeds": shared, "upper_bound": bound, "doubts": doubts}
            rows.append({**known, **compare_with_reference(pairs)})
    rows.sort(key=lambda row: -row["curve"]["estimate"] if row["curve"] else 1.0)
    first = next(iter(references[0].values()))
    return {"title": title_group(first), "against": against, "settings": _list_training_settings(first), "rows": rows}


def _doubt_checkpoints(runs: Sequence[Run]) -> list[SeriesDoubt]:
    """Return the doubts about the models: here cost alone picks cuts, so that no held-out sample is asked."""
    found = find_series_doubts(runs, runs[0].primary, replayed=True)
    return [one for one in found if one.doubt.kind != "few-held-out"]


def _list_training_settings(run: Run) -> Settings:
    """Return what the criteria of one table share, flat."""
    flat = {**list_panel_settings(run, run.primary), **list_series_settings(run)}
    own = {"identity", "strategy", "version", *run.spec.criterion_args}
    return {name: value for name, value in flat.items() if name not in own}


def compare_with_reference(pairs: Sequence[tuple[ReplayedRun, ReplayedRun]]) -> dict[str, Any]:
    """Return what a criterion reaches, and how it differs from the reference on the same checkpoints and samples."""
    samples, half = len(pairs[0][0].last), pairs[0][0].exits / 2
    row: dict[str, Any] = {
        "least_layers": float(np.mean([compute_reach(one)[0] for one, _ in pairs])),
        "half": None,
        "half_difference": None,
    }
    try:
        ours = [one.quality(one.at_cost(half)) for one, _ in pairs]
        theirs = [other.quality(other.at_cost(half)) for _, other in pairs]
    except (NotRun, NotReached):
        pass  # this criterion has no setting that is so cheap
    else:
        row["half"] = asdict(estimate_mean(ours, samples, 0.95))
        row["half_difference"] = asdict(estimate_mean(list(map(subtract, ours, theirs)), samples, 0.95))
    found = estimate_curve_difference(pairs, samples)
    return {**row, "curve": None if found is None else asdict(found)}


def estimate_curve_difference(pairs: Sequence[tuple[ReplayedRun, ReplayedRun]], samples: int) -> Interval | None:
    """Return the mean difference of quality over the budgets that both curves reach; None where there are none."""
    reach = [compute_reach(one) for pair in pairs for one in pair]
    lowest, highest = max(low for low, _ in reach), min(high for _, high in reach)
    if highest - lowest < 1e-9:
        return None
    return estimate_mean(subtract_curves(pairs, lowest, highest), samples, 0.95)


def compute_reach(one: ReplayedRun) -> tuple[float, float]:
    """Return the least and the largest mean exit of the settings that the method has."""
    curve = one.trade_off.curve
    layers = curve.mean_layer[curve.midpoints <= one.trade_off.criterion.loosest]
    return float(layers.min()), float(layers.max())


def title_group(run: Run) -> str:
    """Return what a table is called: task, backbone, training, metric and samples."""
    spec, limit = run.spec, f", limit {run.spec.limit}" if run.spec.limit else ""
    return (
        f"{spec.task} | {run.backbone}, {run.layers} layers, {spec.recipe} / {spec.head}{limit} | "
        f"{title_metric(run.metric)}, n = {run.result().samples}"
    )
