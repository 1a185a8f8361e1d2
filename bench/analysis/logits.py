"""A criterion on anybody's recorded logits: a file read, every sample decided, points where labels are."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import Damaged, DataError, UsageError
from bench.inference.replay import convert_logits, fit_criterion, make_criterion, replay
from bench.measure.exits import AllExits
from bench.measure.points import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.doubts import Doubt, find_constant_doubts, find_replay_doubts
from bench.results.exits import read_exits
from bench.results.measures import SplitResult
from bench.results.points import choose_points, make_split_result, measure_default, measure_given
from strategies.base import Criterion, Evidence


@dataclass(frozen=True)
class LogitsFile:
    """``logits`` [N, L, C], ``labels`` [N], ``ids``, and ``observed`` [N, L, K]: what a criterion's probe read."""

    logits: NDArray[Any]
    labels: NDArray[Any] | None
    ids: list[str]
    observed: NDArray[Any] | None


def replay_file(
    path: Path,
    strategy: str,
    settings: Mapping[str, object],
    threshold: float | None,
    metrics: tuple[str, ...],
    held_out: Path | None,
) -> tuple[dict[str, Any], SplitResult | None, tuple[Doubt, ...]]:
    """Decide for the logits in ``path``: at ``threshold``, and with labels at the usual operating points too.

    Returns the facts as plain JSON, the same points typed, where there are labels, and what could make them void.

    ``metrics`` empty: accuracy, or Pearson where there are no classes. ``held_out`` is a file that the criterion is
    fitted on. Raises UsageError, DataError.
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
    metrics = metrics or ("pearson" if outputs == 1 else "accuracy",)
    recorded = make_exits(found, found.labels)
    result = measure_exits(recorded, criterion, metrics, asked)
    doubts = find_replay_doubts(recorded, result, metrics[0])
    plain = result.to_plain()
    points = [{**p, "chosen_on": "these samples"} if p["chosen_on"] == "select" else p for p in plain["points"]]
    measured = {"full": plain["full"], "points": points, "metrics": list(metrics), "curve": plain["curve"]}
    return {**facts, **measured, "doubts": [doubt.to_plain() for doubt in doubts]}, result, doubts


def make_exits(found: LogitsFile, labels: NDArray[Any]) -> AllExits:
    """Return the file's logits with their labels as a run keeps them; every text is one token long."""
    samples, _, outputs = found.logits.shape
    observed = None if found.observed is None else found.observed.astype(np.float32)
    classes = labels.astype(np.int64) if outputs > 1 else labels
    return AllExits(
        tuple(found.ids), classes, found.logits.astype(np.float32), np.ones(samples, dtype=np.int64), observed
    )


def measure_exits(
    recorded: AllExits, criterion: Criterion, metrics: tuple[str, ...], asked: float | None
) -> SplitResult:
    """Return the trade-off, its thresholds chosen on the same samples that they are reported on; costs in layers."""
    samples, exits, _ = recorded.logits.shape
    curve = TradeOff(criterion, recorded, Costs.layers(samples, exits), metrics)
    rules = [Rule.parse(text) for text in STANDARD] if criterion.uses_early_exits else []
    default, given = (measure_default(curve), []) if asked is None else ([], measure_given(curve, [asked]))
    return make_split_result(curve, [*default, *choose_points(curve, curve, rules), *given])


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


def read_logits(path: Path) -> LogitsFile:
    """Read logits and what goes with them from .npz, or from a run's exits .parquet.

    Raises UsageError for another kind of file, DataError for arrays of the wrong shape or type.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.")
    if path.suffix == ".parquet":
        try:
            found = read_exits(path)
        except Damaged as error:
            said = f"{path} is not a Parquet file of exits as ExitBench writes them ({error.reason})."
            raise DataError(said) from error
        return LogitsFile(found.logits, found.labels, list(found.ids), found.observed)
    if path.suffix != ".npz":
        raise UsageError(f"{path} must be .npz or .parquet.")
    try:
        if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
            raise ValueError("it is no zip file")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zip, header and pickle errors alike
        raise DataError(f"{path} cannot be read as .npz of plain arrays ({error}).") from error
    if "logits" not in arrays:
        known = ", ".join(arrays) or "none"
        raise DataError(f"{path} has no array 'logits' (samples, exits, classes); it has {known}.")
    logits = arrays["logits"]
    if logits.ndim != 3 or logits.dtype.kind not in "fiu" or 0 in logits.shape:
        raise DataError(f"{path}: logits must be numbers (samples, exits, classes), not {logits.dtype} {logits.shape}.")
    if logits.dtype not in (np.float32, np.float64):
        logits = logits.astype(np.float32)
    labels = arrays.get("labels")
    if labels is not None:
        _check_labels(path, labels, logits.shape)
    ids = arrays.get("ids", np.arange(len(logits)))
    if ids.ndim != 1:
        raise DataError(f"{path}: ids must be one name a sample, not an array of shape {ids.shape}.")
    if len(ids) != len(logits):
        raise DataError(f"{path}: {len(ids)} ids for {len(logits)} samples.")
    observed = arrays.get("observed")
    if observed is not None and (observed.ndim != 3 or observed.shape[:2] != logits.shape[:2]):
        raise DataError(f"{path}: observed must be (samples, exits, numbers), not {observed.shape}.")
    return LogitsFile(logits, labels, [str(i) for i in ids], observed)


def _check_labels(path: Path, labels: NDArray[Any], shape: tuple[int, ...]) -> None:
    samples, _, outputs = shape
    if labels.shape != (samples,) or labels.dtype.kind not in "fiu":
        raise DataError(f"{path}: labels must be {samples} numbers, not {labels.dtype} {labels.shape}.")
    if outputs > 1:
        bad = np.flatnonzero((labels < 0) | (labels >= outputs) | (labels != np.floor(labels)))
        if len(bad):
            raise DataError(
                f"{path}: label {labels[bad[0]]} of row {bad[0] + 1} is none of the classes 0..{outputs - 1}."
            )
