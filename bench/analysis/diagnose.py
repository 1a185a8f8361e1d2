"""A recorded run under diagnosis: its stored exits, its model on changed texts, its model on another task's texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.diagnosis import Decided, compare_decisions, measure_agreement, rate_exits, summarise_flips
from bench.analysis.perturb import change_texts
from bench.cell.reload import RunModel, load_run_model
from bench.cell.request import Context
from bench.errors import UsageError
from bench.inference.exits import record_exits
from bench.inference.probing import probe_split
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs, TradeOff
from bench.progress import Progress
from bench.results.measures import OperatingPoint
from bench.results.points import measure_performance
from bench.results.run import Run
from bench.tasks import get_task
from bench.tasks.base import LoadOptions, Split, TaskData
from bench.tasks.contract import load_task
from bench.tasks.encode import encode_split
from bench.tasks.sampling import limit_split

CURVE_POINTS = 50


@dataclass(frozen=True)
class Change:
    """How texts are changed: of at most ``limit`` texts ``edits`` words each, with ``candidates`` to choose from."""

    limit: int
    edits: int
    candidates: int
    seed: int


def diagnose_run(
    run: Run, context: Context | None, points: Sequence[OperatingPoint], change: Change, *, on: str | None = None
) -> dict[str, Any]:
    """Return what the stored exits tell, what changes of the texts do, and, with ``on``, another task's texts.

    Without a ``context`` the stored exits are all: no model is loaded. Raises UsageError for an unfinished run, a
    regression, a model that cannot be had and a task that does not fit, DataError where the exits are not stored.
    """
    if run.record.task.kind == "regression":
        raise UsageError("A diagnosis needs right and wrong answers, and this run's task is a regression.")
    model = None if context is None else load_run_model(run, context)
    own = run.trade_off() if model is None else judge_exits(model, run.exits())
    found = {
        "run": run.folder.name,
        "strategy": run.strategy,
        "task": run.task,
        "split": run.primary,
        "samples": len(own.exits.ids),
        **describe_exits(own, list(run.result().reached.values())),
        "slowdown": None,
        "shift": None,
        "notes": [],
        "doubts": [doubt.to_plain() for doubt in run.find_replay_doubts()],
    }
    if context is None or model is None:
        return found
    if run.record.upper_bound or not model.criterion.uses_early_exits:
        why = "sees labels or later exits" if run.record.upper_bound else "never leaves early"
        found["notes"].append(f"No texts were changed: strategy '{run.strategy}' {why}.")
    else:
        texts = limit_split(model.data.evaluation[run.primary], change.limit)
        found["slowdown"] = measure_slowdown(model, texts, points, change, context.progress)
    if on is not None:
        data = load_task(get_task(on), LoadOptions(run.seed, change.limit, context.hub_root, context.offline))
        warnings = check_comparable(model.data, data)
        if model.data.name == data.name:
            raise UsageError(f"--on {on}: the run was trained on this task; give another one.")
        texts = data.primary
        curves = {model.data.name: own, data.name: judge_texts(model, texts, context.progress)}
        found["shift"] = {"samples": len(texts), "warnings": warnings, **measure_shift(curves, points)}
    return found


def describe_exits(curve: TradeOff, points: Sequence[OperatingPoint]) -> dict[str, Any]:
    """Return what the recorded logits of a classifier tell: every exit, every operating point."""
    exits, consistency = curve.exits, []
    for point in points:
        layers = curve.layers_at(point.cut)
        agreement = asdict(measure_agreement(curve.predictions, layers))
        known = {"point": point.rule, "threshold": point.threshold, "mean_exit": float(layers.mean())}
        consistency.append({**known, "agreement": agreement})
    scores = curve.scores if curve.criterion.uses_early_exits else None
    return {
        "exits": rate_exits(exits.logits, exits.labels, scores),
        "flips": summarise_flips(curve.predictions),
        "consistency": consistency,
    }


# --------------------------------------------------------------------------- the model again


def judge_texts(model: RunModel, split: Split, progress: Progress) -> TradeOff:
    """Run every exit over ``split`` and return the trade-off of the run's criterion; accuracy alone is measured."""
    encoded = encode_split(split, model.tokenizer, model.max_length)
    exits = record_exits(model.model, split, encoded, progress)
    if model.criterion.probe is not None:
        observed = probe_split(model.model, model.criterion.probe, encoded, progress)
        exits = replace(exits, observed=observed.numpy())
    return judge_exits(model, exits)


def judge_exits(model: RunModel, exits: AllExits) -> TradeOff:
    """Return the trade-off of exits that are recorded already; accuracy alone is measured."""
    early = CostModel(model.model.encoder, model.model.head, model.criterion).flops_table(exits.lengths)
    plain = CostModel(model.model.encoder, model.model.head).plain(exits.lengths)
    return TradeOff(model.criterion, exits, Costs(early, plain), ["accuracy"])


def take_exits(curve: TradeOff, cut: float) -> Decided:
    """Return exits, answers and FLOPs at ``cut``."""
    layers = curve.layers_at(cut)
    rows = np.arange(len(layers))
    return Decided(layers, curve.predictions[rows, layers - 1], curve.costs.early[rows, layers - 1])


def measure_slowdown(
    model: RunModel, split: Split, points: Sequence[OperatingPoint], change: Change, progress: Progress
) -> dict[str, Any]:
    """Return the mean exit of ``split`` before and after random and targeted changes of its words, at every point.

    The texts as they are run through the same model on the same machine as the changed ones.
    """
    edits, candidates, seed = change.edits, change.candidates, change.seed
    clean = judge_texts(model, split, progress)
    changed = judge_texts(model, change_texts(split, edits=edits, seed=seed), progress)
    rows = []
    for point in points:

        def run_texts(texts: Split, cut: float = point.cut) -> tuple[NDArray[Any], NDArray[Any]]:
            curve = judge_texts(model, texts, progress)
            layers = curve.layers_at(cut)
            return layers, curve.scores[np.arange(len(layers)), layers - 1]

        pushed = change_texts(split, run_texts, edits=edits, candidates=candidates, seed=seed)
        targeted = judge_texts(model, pushed, progress)
        before = take_exits(clean, point.cut)
        for kind, curve in (("random", changed), ("targeted", targeted)):
            found = compare_decisions(before, take_exits(curve, point.cut), split.labels)
            rows.append({"point": point.rule, "threshold": point.threshold, "change": kind, **found})
    return {"samples": len(split), "edits": edits, "candidates": candidates, "seed": seed, "rows": rows}


# --------------------------------------------------------------------------- another task's texts


def check_comparable(run: TaskData, other: TaskData) -> list[str]:
    """Return warnings about reading ``other`` with a model of ``run``. Raises UsageError where it makes no sense."""
    if other.kind == "regression" or other.num_outputs != run.num_outputs:
        kind = "a number" if other.kind == "regression" else f"{other.num_outputs} classes"
        raise UsageError(f"Task '{other.name}' has {kind}, and the run has {run.num_outputs} classes.")
    if (other.train.second is None) != (run.train.second is None):
        have = {True: "one text a sample", False: "two"}
        raise UsageError(
            f"Task '{other.name}' has {have[other.train.second is None]}, and the run was trained on "
            f"{have[run.train.second is None]}."
        )
    if [str(name).lower() for name in run.label_names] == [str(name).lower() for name in other.label_names]:
        return []
    pairs = ", ".join(f"{a} = {b}" for a, b in zip(other.label_names, run.label_names, strict=True))
    return [
        f"Labels are matched by their number ({pairs}): accuracy on {other.name} means something only if that does."
    ]


def measure_shift(curves: Mapping[str, TradeOff], points: Sequence[OperatingPoint]) -> dict[str, Any]:
    """Return what one model, criterion and thresholds do on two tasks' texts, the run's own first, by their names.

    The curves have at most 50 thresholds, evenly spread over the mean exit on the run's own texts.
    """
    summaries = [
        {"point": point.rule, "threshold": point.threshold, "texts": name}
        | measure_performance(curve, point.cut).to_plain()
        for point in points
        for name, curve in curves.items()
    ]
    full = {
        name: {metric: found.to_plain() for metric, found in measure_performance(curve, -math.inf).metrics.items()}
        for name, curve in curves.items()
    }
    own = next(iter(curves.values()))
    rows = [describe_cut(name, curve, cut) for cut in spread_cuts(own) for name, curve in curves.items()]
    return {"texts": list(curves), "full": full, "points": summaries, "curve": rows}


def spread_cuts(curve: TradeOff, most: int = CURVE_POINTS) -> list[float]:
    """Return cuts of ``curve`` that are settings of the method, evenly spread over its mean exit, ascending."""
    settings = np.flatnonzero(~np.isnan(curve.quality))
    layers = curve.curve.mean_layer[settings]  # it falls as the cut rises
    wanted = np.linspace(layers[0], layers[-1], most)
    at = np.clip(np.searchsorted(-layers, -wanted), 0, len(layers) - 1)
    return [float(c) for c in curve.curve.midpoints[settings[np.unique(at)]]]


def describe_cut(name: str, curve: TradeOff, cut: float) -> dict[str, Any]:
    """Return accuracy, mean exit and FLOPs at ``cut``."""
    k = curve.curve.row(float(curve.scores.dtype.type(cut)))
    accuracy, (spent,) = curve.curve.sums[0][k], curve.curve.sums[1][k]
    return {
        "texts": name,
        "threshold": curve.criterion.threshold(cut) if math.isfinite(cut) else None,
        "accuracy": round(float(accuracy[0] / accuracy[1]), 6),
        "mean_exit": round(float(curve.curve.mean_layer[k]), 6),
        "mean_flops": round(float(spent) / curve.curve.samples),
        "flops_speedup": round(float(curve.costs.plain.sum() / spent), 6),
    }
