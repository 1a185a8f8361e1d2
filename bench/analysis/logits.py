"""A criterion on anybody's recorded logits: a file read, every sample decided, points where labels are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.inference.replay import convert_logits, fit_criterion, make_criterion, replay
from bench.measure.exits import AllExits
from bench.measure.judges import AskedMetric, Metric
from bench.measure.metrics import METRICS
from bench.measure.rules import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.doubts import Doubt, find_constant_doubts, find_replay_doubts
from bench.results.judged_by.judging import add_metrics
from bench.results.logits_file import make_exits, read_logits
from bench.results.measures import SplitResult
from bench.results.points import choose_points, make_split_result, measure_default, measure_given
from strategies.base import Criterion, Evidence


def replay_file(
    path: Path,
    strategy: str,
    settings: Mapping[str, object],
    threshold: float | None,
    asked_metrics: tuple[AskedMetric, ...],
    held_out: Path | None,
) -> tuple[dict[str, Any], SplitResult | None, tuple[Doubt, ...]]:
    """Decide for the logits in ``path``: at ``threshold``, and with labels at the usual operating points too.

    Returns the facts as plain JSON, the same points typed, where there are labels, and what could make them void.

    The first of ``asked_metrics`` chooses points where it is one of predictions, else accuracy, or Pearson where there
    are no classes. ``held_out`` is a file that the criterion is fitted on. Raises UsageError, DataError.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold must be a finite number, not {threshold}.")
    found = read_logits(path)
    criterion, named = make_criterion(strategy, settings)
    asked = named if threshold is None else threshold
    evidence = read_held_out(held_out, strategy, criterion.fits)
    fitted = fit_criterion(criterion, evidence)
    arguments = {name: value for name, value in settings.items() if name != criterion.threshold_name}
    chosen = criterion.default_threshold if asked is None else asked
    decided = replay(
        strategy, found.logits, chosen, labels=found.labels, ids=np.array(found.ids), observed=found.observed,
        fit_on=evidence, **arguments,
    )  # fmt: skip
    samples, exits, outputs = found.logits.shape
    facts: dict[str, Any] = {
        "strategy": strategy,
        "threshold": chosen,
        "samples": samples,
        "exits": exits,
        "mean_layer": float(decided.layer.mean()),
        "exit_counts": np.bincount(decided.layer, minlength=exits + 1)[1:].tolist(),
        "warnings": criterion.warnings(exits),
        "fitted": fitted,
        "decisions": [
            {"id": i, "layer": int(layer), "prediction": prediction.item()}
            for i, layer, prediction in zip(found.ids, decided.layer, decided.prediction, strict=True)
        ],
    }
    if found.labels is None:
        answers = found.logits[:, :, 0] if outputs == 1 else found.logits.argmax(axis=2)
        doubts = find_constant_doubts(answers, {f"{chosen:g}": facts["exit_counts"]})
        return {**facts, "doubts": [doubt.to_plain() for doubt in doubts]}, None, doubts
    recorded = make_exits(found, found.labels)
    usual, kind = ("pearson", "regression") if outputs == 1 else ("accuracy", "classification")
    shown = [m for one in asked_metrics for m in one.list_metrics(kind, tuple(map(str, range(outputs))))]
    chosen_by = shown[0].name if shown and shown[0].name in METRICS else usual
    metrics = tuple(dict.fromkeys([chosen_by, *(m.name for m in shown)]))
    others = [m for m in shown if m.name not in METRICS]
    result = measure_exits(recorded, criterion, [name for name in metrics if name in METRICS], others, asked)
    doubts = find_replay_doubts(recorded, result, metrics[0])
    points = [{**p.to_plain(), "chosen_on": p.chosen_on.replace("select", "these samples")} for p in result.points]
    rows = [row.to_plain() for row in result.curve]
    measured = {"full": result.full.to_plain(), "points": points, "metrics": list(metrics), "curve": rows}
    return {**facts, **measured, "doubts": [doubt.to_plain() for doubt in doubts]}, result, doubts


def measure_exits(
    recorded: AllExits, criterion: Criterion, metrics: Sequence[str], others: Sequence[Metric], asked: float | None
) -> SplitResult:
    """Return the trade-off, its thresholds chosen on the same samples that they are reported on; costs in layers.

    The first of ``metrics``, of predictions, chooses; ``others`` are measured at the points.
    """
    samples, exits, _ = recorded.logits.shape
    curve = TradeOff(criterion, recorded, Costs.layers(samples, exits), metrics)
    rules = [Rule.parse(text) for text in STANDARD] if criterion.uses_early_exits else []
    default, given = (measure_default(curve), []) if asked is None else ([], measure_given(curve, [asked]))
    result = make_split_result(curve, [*default, *choose_points(curve, curve, rules), *given])

    def leave_at(rule: str | None) -> NDArray[np.int64]:
        return curve.layers_at(-math.inf if rule is None else result.reached[rule].cut)

    return add_metrics(result, others, recorded, leave_at)


def read_held_out(path: Path | None, strategy: str, fits: bool) -> Evidence | None:
    """Return what the criterion is fitted on, from the file ``path``.

    Raises UsageError where that is missing, or given and of no use.
    """
    if not fits:
        if path is not None:
            raise UsageError(f"Strategy '{strategy}' has nothing to fit: leave --fit-on out.")
        return None
    if path is None:
        raise UsageError(f"Strategy '{strategy}' is fitted on held-out samples: give a file of them with --fit-on.")
    found = read_logits(path)
    if found.labels is None:
        raise UsageError(f"{path} has no labels, and --fit-on needs them.")
    observed = None if found.observed is None else torch.tensor(found.observed)
    return Evidence(convert_logits(found.logits), torch.tensor(found.labels.tolist()), observed)
