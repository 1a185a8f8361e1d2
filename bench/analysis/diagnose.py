"""A recorded run under diagnosis: its stored exits, its model on changed texts, its model on another task's texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.diagnosis import Decided, agreement, exit_qualities, flip_summary, slowdown
from bench.analysis.perturb import push
from bench.cell.reload import RunModel
from bench.errors import UsageError
from bench.inference.exits import record_exits
from bench.inference.probing import probe_split
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs, TradeOff
from bench.progress import Progress
from bench.tasks.base import Split, TaskData
from bench.tasks.encode import encode

Found = dict[str, Any]
USUAL = ("no-loss", "2x")  # operating points that texts are changed at unless others are asked for
CURVE_ROWS = 50


@dataclass(frozen=True)
class OperatingPoint:
    """A recorded operating point: its rule, the user's threshold (None: nobody leaves early) and the cut."""

    rule: str
    threshold: float | None
    cut: float


def recorded_points(record: Mapping[str, Any], split: str) -> list[OperatingPoint]:
    """The points that the run reached on ``split``."""
    found = [p for p in record["evaluation"][split]["points"] if "metrics" in p]
    return [OperatingPoint(p["rule"], p["threshold"], -math.inf if p["cut"] is None else p["cut"]) for p in found]


def chosen_points(points: Sequence[OperatingPoint], wanted: str | None) -> list[OperatingPoint]:
    """Those named in ``wanted``, separated by commas; else no-loss and 2x where reached, else the first.

    Raises UsageError for one that the run does not have.
    """
    known = {p.rule: p for p in points}
    if wanted is None:
        return [known[rule] for rule in USUAL if rule in known] or list(points[:1])
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in known:
            raise UsageError(f"The run has no operating point '{name}'. It has: {', '.join(known) or 'none'}.")
    return [known[name] for name in names]


# --------------------------------------------------------------------------- stored exits


def stored_findings(curve: TradeOff, points: Sequence[OperatingPoint]) -> Found:
    """What the recorded logits of a classifier say by themselves: every exit, every operating point."""
    exits, criterion = curve.exits, curve.criterion
    scores = curve.scores if criterion.uses_early_exits else None
    consistency = []
    for point in points:
        layers = curve.layers_at(point.cut)
        consistency.append(
            {
                "point": point.rule,
                "threshold": point.threshold,
                "mean_exit": float(layers.mean()),
                "agreement": asdict(agreement(curve.predictions, layers)),
            }
        )
    return {
        "exits": [asdict(row) for row in exit_qualities(exits.logits, exits.labels, scores)],
        "flips": asdict(flip_summary(curve.predictions)),
        "consistency": consistency,
    }


# --------------------------------------------------------------------------- the model again


@dataclass(frozen=True)
class Rerun:
    """A reloaded run that reads new texts."""

    run: RunModel
    progress: Progress

    def read(self, split: Split) -> TradeOff:
        """Every exit of ``split``, judged by the run's criterion; accuracy alone is measured."""
        run = self.run
        encoded = encode(split, run.tokenizer, run.max_length)
        exits = record_exits(run.model, split, encoded, self.progress)
        if run.criterion.probe is not None:
            observed = probe_split(run.model, run.criterion.probe, encoded, self.progress)
            exits = replace(exits, observed=observed.numpy())
        return self.judge(exits)

    def judge(self, exits: AllExits) -> TradeOff:
        """The trade-off of exits that are recorded already."""
        model, criterion = self.run.model, self.run.criterion
        early = CostModel(model.encoder, model.head, criterion).flops_table(exits.lengths)
        plain = CostModel(model.encoder, model.head).plain(exits.lengths)
        return TradeOff(criterion, exits, Costs(early, plain), ["accuracy"])


def decided(curve: TradeOff, cut: float) -> Decided:
    """Exits, answers and FLOPs at ``cut``."""
    layers = curve.layers_at(cut)
    rows = np.arange(len(layers))
    return Decided(layers, curve.predictions[rows, layers - 1], curve.costs.early[rows, layers - 1])


def slowdown_findings(
    rerun: Rerun, split: Split, points: Sequence[OperatingPoint], *, edits: int, candidates: int, seed: int
) -> Found:
    """Mean exit of ``split`` before and after random and targeted changes of its words, at every point.

    The texts as they are run through the same model on the same machine as the changed ones.
    """
    if not rerun.run.criterion.uses_early_exits:
        raise UsageError(f"Strategy '{rerun.run.spec.strategy}' never leaves early: nothing can slow it down.")
    clean = rerun.read(split)
    changed = rerun.read(push(split, _unseen, edits=edits, candidates=1, seed=seed))
    rows = []
    for point in points:

        def look(texts: Split, cut: float = point.cut) -> tuple[NDArray[Any], NDArray[Any]]:
            curve = rerun.read(texts)
            layers = curve.layers_at(cut)
            return layers, curve.scores[np.arange(len(layers)), layers - 1]

        targeted = rerun.read(push(split, look, edits=edits, candidates=candidates, seed=seed))
        before = decided(clean, point.cut)
        for kind, curve in (("random", changed), ("targeted", targeted)):
            found = slowdown(before, decided(curve, point.cut), split.labels)
            rows.append({"point": point.rule, "threshold": point.threshold, "change": kind, **asdict(found)})
    return {"samples": len(split), "edits": edits, "candidates": candidates, "seed": seed, "rows": rows}


def _unseen(split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    raise AssertionError("A random change is not looked at.")


# --------------------------------------------------------------------------- another task's texts


def comparable(run: TaskData, other: TaskData) -> list[str]:
    """Warnings about reading ``other`` with a model of ``run``. Raises UsageError where it makes no sense at all."""
    if other.kind == "regression" or other.num_outputs != run.num_outputs:
        kind = "a number" if other.kind == "regression" else f"{other.num_outputs} classes"
        raise UsageError(f"Task '{other.name}' has {kind}, and the run has {run.num_outputs} classes.")
    if (other.train.second is None) != (run.train.second is None):
        have = {True: "one text a sample", False: "two"}
        raise UsageError(
            f"Task '{other.name}' has {have[other.train.second is None]}, and the run was trained on "
            f"{have[run.train.second is None]}."
        )
    names = [tuple(str(n).lower() for n in data.label_names) for data in (run, other)]
    if names[0] == names[1]:
        return []
    pairs = ", ".join(f"{a} = {b}" for a, b in zip(other.label_names, run.label_names, strict=True))
    return [
        f"Labels are matched by their number ({pairs}): accuracy on {other.name} means something only if that does."
    ]


def shift_findings(own: TradeOff, other: TradeOff, points: Sequence[OperatingPoint], names: tuple[str, str]) -> Found:
    """The same model, criterion and thresholds on its own and on another task's texts.

    The curves have at most 50 thresholds, evenly spread over the mean exit on the run's own texts.
    """
    summaries = []
    for point in points:
        for name, curve in zip(names, (own, other), strict=True):
            summaries.append({"point": point.rule, "threshold": point.threshold, "texts": name, **curve.at(point.cut)})
    full = {name: curve.at(-math.inf)["metrics"] for name, curve in zip(names, (own, other), strict=True)}
    rows = [
        curve_row(name, curve, cut) for cut in spread_cuts(own) for name, curve in zip(names, (own, other), strict=True)
    ]
    return {"texts": list(names), "full": full, "points": summaries, "curve": rows}


def spread_cuts(curve: TradeOff, most: int = CURVE_ROWS) -> list[float]:
    """Cuts of ``curve`` that are settings of the method, evenly spread over its mean exit, ascending."""
    settings = np.flatnonzero(~np.isnan(curve.quality))
    layers = curve.curve.mean_layer[settings]  # it falls as the cut rises
    wanted = np.linspace(layers[0], layers[-1], most)
    at = np.clip(np.searchsorted(-layers, -wanted), 0, len(layers) - 1)
    return [float(c) for c in curve.curve.midpoints[settings[np.unique(at)]]]


def curve_row(name: str, curve: TradeOff, cut: float) -> Found:
    """Accuracy, mean exit and FLOPs at ``cut``."""
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
