"""`bench replay`: a criterion on anybody's recorded logits."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.text import Text

from bench.cli.display import console, points_table, print_json
from bench.cli.options import Settings
from bench.cli.session import Session, with_session
from bench.errors import OK, Damaged, DataError, UsageError
from bench.settings import bind, parse_settings, split_threshold
from strategies import STRATEGIES

if TYPE_CHECKING:
    from strategies.base import Evidence

SHOWN = 20  # decisions printed on a terminal; --json has all of them


@with_session("json")
def replay(
    session: Session,
    logits: Annotated[
        Path, typer.Argument(help=".npz with logits (samples, exits, classes), labels, ids, observed; or .parquet.")
    ],
    strategy: Annotated[str, typer.Option(help="The strategy whose criterion decides.")],
    threshold: Annotated[float | None, typer.Option(help="Show this threshold's decisions too.")] = None,
    settings: Settings = None,
    metric: Annotated[
        str | None, typer.Option(help="Metrics, separated by commas; default accuracy or pearson.")
    ] = None,
    fit_on: Annotated[
        Path | None, typer.Option(help="Held-out logits with labels, for criteria that are fitted.")
    ] = None,
) -> int:
    """Decisions and trade-off curve of a criterion on anybody's recorded logits."""
    from bench.inference.replay import fit_criterion
    from bench.inference.replay import replay as decide
    from bench.measure.exits import AllExits
    from bench.measure.points import STANDARD, Rule
    from bench.measure.trade_off import Costs, TradeOff, default_point, given_points, operating_points

    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold must be a finite number, not {threshold}.")
    found = read_logits(logits)
    labels, ids, observed = found.labels, found.ids, found.observed
    kind = STRATEGIES.load(strategy)
    what = f"strategy '{kind.name}'"
    given, named = split_threshold(kind.criterion, parse_settings(settings or []), what)
    arguments = bind(kind.criterion, given, what)
    criterion = kind.criterion(**arguments)
    asked = threshold if threshold is not None else named
    chosen = criterion.default_threshold if asked is None else asked
    evidence = held_out(fit_on, strategy, criterion.fits)
    fitted = fit_criterion(criterion, evidence)
    decided = decide(
        strategy,
        found.logits,
        chosen,
        labels=labels,
        ids=np.array(ids),
        observed=observed,
        fit_on=evidence,
        **arguments,
    )
    n, exits, outputs = found.logits.shape
    result: dict[str, Any] = {
        "strategy": strategy,
        "threshold": chosen,
        "samples": n,
        "exits": exits,
        "mean_layer": float(decided.layer.mean()),
        "exit_counts": np.bincount(decided.layer, minlength=exits + 1)[1:].tolist(),
        "warnings": criterion.warnings(exits),
        "fitted": fitted,
        "decisions": [
            {"id": i, "layer": int(a), "prediction": p.item()}
            for i, a, p in zip(ids, decided.layer, decided.prediction, strict=True)
        ],
    }
    if labels is not None:
        metrics = metric.split(",") if metric else ["pearson" if outputs == 1 else "accuracy"]
        read = None if observed is None else observed.astype(np.float32)
        recorded = AllExits(tuple(ids), labels, found.logits.astype(np.float32), np.ones(n, dtype=np.int64), read)
        curve = TradeOff(criterion, recorded, Costs.layers(n, exits), metrics)
        rules = [Rule.parse(text) for text in STANDARD] if criterion.uses_early_exits else []
        points = [{**p, "chosen_on": "these samples"} for p in operating_points(curve, curve, rules)]
        result |= {
            "full": curve.at(-float("inf")),
            "points": default_point(curve) + points if asked is None else points + given_points(curve, [asked]),
            "metrics": metrics,
            "curve": curve.curve_rows(),
        }
    if session.json:
        print_json(result)
    else:
        _print(result)
    return OK


def _print(result: dict[str, Any]) -> None:
    out = console()
    title = f"{result['strategy']} | {result['samples']} samples, {result['exits']} exits"
    if "points" in result:
        out.print(points_table(title, result, result["metrics"]))
        out.print("Thresholds are chosen on these samples and reported on them: optimistic. Costs in layers.")
    out.print(
        Text(
            f"At threshold {result['threshold']:g}: mean exit {result['mean_layer']:.3f}, exits {result['exit_counts']}"
        )
    )
    for row in result["decisions"][:SHOWN]:
        out.print(f"  {row['id']}: exit {row['layer']}, prediction {row['prediction']}")
    if result["samples"] > SHOWN:
        out.print(f"  ... {result['samples'] - SHOWN} more; --json prints all.")
    for warning in result["warnings"]:
        out.print(f"Warning: {warning}")


@dataclass(frozen=True)
class Recorded:
    """``logits`` [N, L, C], ``labels`` [N], ``ids``, and ``observed`` [N, L, K]: what a criterion's probe read."""

    logits: NDArray[Any]
    labels: NDArray[Any] | None
    ids: list[str]
    observed: NDArray[Any] | None


def held_out(path: Path | None, strategy: str, fits: bool) -> Evidence | None:
    """What the criterion is fitted on. Raises UsageError where that is missing, or given and of no use."""
    if not fits:
        if path is not None:
            raise UsageError(f"Strategy '{strategy}' has nothing to fit: leave --fit-on out.")
        return None
    if path is None:
        raise UsageError(f"Strategy '{strategy}' is fitted on held-out samples: give a file of them with --fit-on.")
    found = read_logits(path)
    if found.labels is None:
        raise UsageError(f"{path} has no labels, and --fit-on needs them.")
    import torch

    from bench.inference.replay import convert_logits
    from strategies.base import Evidence

    observed = None if found.observed is None else torch.tensor(found.observed)
    return Evidence(convert_logits(found.logits), torch.tensor(found.labels.tolist()), observed)


def read_logits(path: Path) -> Recorded:
    """Arrays from .npz or from a run's exits .parquet.

    Raises UsageError for another kind of file, DataError for arrays of the wrong shape or type.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.")
    if path.suffix == ".parquet":
        from bench.results.exits import read_exits

        try:
            found = read_exits(path)
        except Damaged as error:
            raise DataError(f"{path} is not a Parquet file of exits as ExitBench writes them ({error}).") from error
        return Recorded(found.logits, found.labels, list(found.ids), found.observed)
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
        raise DataError(
            f"{path} has no array 'logits' (samples, exits, classes); it has {', '.join(arrays) or 'none'}."
        )
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
    return Recorded(logits, labels, [str(i) for i in ids], observed)


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
