"""The one reader of anybody's recorded logits: ``.npz`` of plain arrays, ``.parquet`` of such columns, or a run's own.

    logits    float [N, L, C]   samples x exits x classes; C = 1 is regression
    labels    [N]               classes counted from 0, or numbers
    ids       [N]               a name a sample, each once
    tokens    int [N]           tokens of each sample with special ones, padding left out
    observed  float [N, L, K]   what a criterion's probe read at each exit

Only ``logits`` must be there. In Parquet a row's logits are a list of exits, each a list of classes.
"""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import Damaged, DataError, Unsealed, UsageError
from bench.files import is_there
from bench.measure.exits import AllExits
from bench.results.exits import is_plain_table, read_exits, read_plain_table

ARRAYS = ("logits", "labels", "ids", "tokens", "observed")
OTHER_NAMES = {
    "logits": ("outputs", "all_logits"),
    "labels": ("y", "y_true", "target", "targets", "gold"),
    "ids": ("guid", "guids", "index", "idx", "sample_ids"),
    "tokens": ("length", "lengths", "num_tokens", "n_tokens", "token_counts"),
}
"""What the arrays are called elsewhere."""


@dataclass(frozen=True)
class LogitsFile:
    """``logits`` [N, L, C], ``labels`` [N], ``ids``, ``observed`` [N, L, K] and ``tokens`` [N]; None where not there.

    ``named`` says whether the ids are the file's own, and not the numbers of its rows.
    """

    logits: NDArray[Any]
    labels: NDArray[Any] | None
    ids: list[str]
    observed: NDArray[Any] | None
    tokens: NDArray[np.int64] | None = None
    named: bool = False


def read_logits(path: Path, *, others: bool = True) -> LogitsFile:
    """Read logits and what goes with them; without ``others``, arrays that nobody knows are refused.

    Raises UsageError for another kind of file, DataError for arrays of the wrong name, shape or type.
    """
    if not is_there(path):
        raise UsageError(f"There is no file {path}.")
    plain = path.suffix == ".parquet" and is_plain_table(path)
    if path.suffix == ".parquet" and not plain:
        try:
            found = read_exits(path)
        except Unsealed:
            raise
        except Damaged as error:
            said = f"{path} is not a Parquet file of exits as ExitBench writes them ({error.reason})."
            raise DataError(said) from error
        tokens = found.lengths if (found.lengths > 0).all() else None
        return LogitsFile(found.logits, found.labels, list(found.ids), found.observed, tokens, named=True)
    if path.suffix != ".npz" and not plain:
        raise UsageError(f"{path} must be .npz or .parquet.")
    arrays = _read_columns(path) if plain else _read_arrays(path)
    _check_names(path, arrays, others)
    logits = _check_logits(path, arrays)
    labels, tokens, observed = arrays.get("labels"), arrays.get("tokens"), arrays.get("observed")
    if labels is not None:
        _check_labels(path, labels, logits.shape)
    ids = arrays.get("ids", np.arange(len(logits)))
    if ids.ndim != 1:
        raise DataError(f"{path}: ids must be one name a sample, not an array of shape {ids.shape}.")
    if len(ids) != len(logits):
        raise DataError(f"{path}: {len(ids)} ids for {len(logits)} samples.")
    if observed is not None and (observed.ndim != 3 or observed.shape[:2] != logits.shape[:2]):
        raise DataError(f"{path}: observed must be (samples, exits, numbers), not {observed.shape}.")
    if tokens is not None and (tokens.shape != (len(logits),) or tokens.dtype.kind not in "iu" or tokens.min() < 1):
        raise DataError(f"{path}: tokens must be {len(logits)} whole numbers from 1 on, a sample's length each.")
    tokens = None if tokens is None else tokens.astype(np.int64)
    return LogitsFile(logits, labels, [str(i) for i in ids], observed, tokens, "ids" in arrays)


def make_exits(found: LogitsFile, labels: NDArray[Any]) -> AllExits:
    """Return the file's logits with their labels as a run keeps them, in float32; tokens are 0 where not known."""
    samples, _, outputs = found.logits.shape
    classes = labels.astype(np.int64) if outputs > 1 else labels.astype(np.float32)
    lengths = np.zeros(samples, dtype=np.int64) if found.tokens is None else found.tokens
    observed = None if found.observed is None else found.observed.astype(np.float32)
    return AllExits(tuple(found.ids), classes, found.logits.astype(np.float32), lengths, observed)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
            raise ValueError("it is no zip file")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # zip, header and pickle errors alike
        raise DataError(f"{path} cannot be read as .npz of plain arrays ({error}).") from error


def _read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Return the columns of a Parquet file that is not of ours as arrays; lists in lists become further axes."""
    found = {}
    for name, values in read_plain_table(path).items():
        try:
            found[name] = np.array(values)
        except ValueError as error:  # numpy's word for lists of unequal lengths
            raise DataError(f"{path}: the lists in column '{name}' are not all of one length.") from error
        if found[name].dtype == object:
            raise DataError(f"{path}: column '{name}' has gaps: leave these rows out.")
    return found


def _check_names(path: Path, arrays: Collection[str], others: bool) -> None:
    """Raise DataError for a known array under another name, and for others where these are not to be passed over."""
    for name in arrays:
        if name in ARRAYS:
            continue
        meant = next((known for known, other in OTHER_NAMES.items() if name.lower() in other), None)
        close = [meant] if meant else difflib.get_close_matches(name.lower(), ARRAYS, n=1, cutoff=0.8)
        if close and close[0] not in arrays:
            raise DataError(f"{path} has an array '{name}', which is not known: rename it to '{close[0]}'.")
        if not others:
            known = ", ".join(ARRAYS)
            raise DataError(f"{path} has an array '{name}', which is not known: leave it out. Known: {known}.")
    if "logits" not in arrays:
        known = ", ".join(arrays) or "none"
        raise DataError(f"{path} has no array 'logits' (samples, exits, classes); it has {known}.")


def _check_logits(path: Path, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    logits = arrays["logits"]
    if logits.ndim != 3 or logits.dtype.kind not in "fiu" or 0 in logits.shape:
        raise DataError(f"{path}: logits must be numbers (samples, exits, classes), not {logits.dtype} {logits.shape}.")
    rows = {len(arrays[name]) for name in ("labels", "ids", "tokens") if name in arrays and arrays[name].ndim == 1}
    if len(rows) == 1 and len(logits) not in rows:
        samples = rows.pop()
        if logits.shape[1] == samples:
            raise DataError(
                f"{path}: logits {logits.shape} must be (samples, exits, classes), and there are {samples} samples: "
                "they are transposed; save logits.transpose(1, 0, 2)."
            )
    return logits if logits.dtype in (np.float32, np.float64) else logits.astype(np.float32)


def _check_labels(path: Path, labels: NDArray[Any], shape: tuple[int, ...]) -> None:
    samples, _, outputs = shape
    if labels.shape != (samples,) or labels.dtype.kind not in "fiu":
        raise DataError(f"{path}: labels must be {samples} numbers, not {labels.dtype} {labels.shape}.")
    if outputs > 1:
        bad = np.flatnonzero((labels < 0) | (labels >= outputs) | (labels != np.floor(labels)))
        if len(bad):
            remedy = ""
            if labels.min() == 1 and labels.max() == outputs:
                remedy = " They are counted from 1: subtract 1."
            elif (labels[bad] == -1).all():
                remedy = " It stands for no label: leave these rows out."
            raise DataError(
                f"{path}: label {labels[bad[0]]} of row {bad[0] + 1} is none of the classes 0..{outputs - 1}.{remedy}"
            )
