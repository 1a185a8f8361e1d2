"""A task out of a folder of the user's own files: ``--task FOLDER``.

Files: ``train.*`` and one of ``validation.*``, ``dev.*``, ``test.*`` (the first of these that is there is
reported), each as .csv, .tsv, .jsonl or .parquet. CSV follows RFC 4180; TSV has no quoting, as in GLUE's files;
JSONL has one object a line. Text is UTF-8.

Columns: ``text``, or ``sentence1`` and ``sentence2``; and ``label``. Others are ignored.

What the labels are is decided by train alone:

- ``labels.txt`` with one class name a line fixes the class set and its order; labels are then these names,
  or whole numbers 0..C-1. ``labels.txt`` with the single line ``regression`` makes numbers targets.
- else, when every label is a number and at least one is not whole, the task is regression;
- else, when every label is a whole number, the classes are those numbers in ascending order;
- else the classes are the labels in alphabetical order.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.base import Kind, LoadOptions, Split, Task, TaskData
from bench.tasks.checks import Table, as_number, class_names, digest, is_missing, make_split, targets
from bench.tasks.sampling import hold_out, limited

EVALUATION = ("validation", "dev", "test")
LABELS = "labels.txt"


class FolderTask(Task):
    """Your own files: train and validation as csv, tsv, jsonl or parquet."""

    max_length = 128

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def load(self, options: LoadOptions) -> TaskData:
        """Read, check and split the files; raises DataError naming file, row and remedy."""
        train_file = self._file("train")
        if train_file is None:
            raise DataError(f"{self.folder}: no train file. Add train{_any_suffix()}.")
        named = next(((n, f) for n in EVALUATION if (f := self._file(n)) is not None), None)
        if named is None:
            raise DataError(f"{self.folder}: nothing to evaluate on. Add validation{_any_suffix()}.")
        split_name, evaluation_file = named
        train, evaluation = read(train_file, "train"), read(evaluation_file, split_name)
        kind, classes = self._labels(train)
        rows, held = hold_out(limited(_split(train, kind, classes), options.limit), options)
        reported = limited(_split(evaluation, kind, classes), options.limit)
        files = [("train", train_file), (split_name, evaluation_file)]
        if (self.folder / LABELS).exists():
            files.append((LABELS, self.folder / LABELS))
        return TaskData(
            name=self.name,
            kind=kind,
            label_names=classes,
            metrics=("pearson", "spearman") if kind == "regression" else ("accuracy",),
            train=rows,
            select=held,
            evaluation={split_name: reported},
            revision=digest(files),
            source=f"folder {self.name}",
            warnings=tuple(_leaks(train, evaluation)),
        )

    def _file(self, split: str) -> Path | None:
        found = [p for suffix in READERS if (p := self.folder / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            names = " and ".join(p.name for p in found)
            raise DataError(f"{self.folder}: both {names} are there. Keep one of them.")
        return found[0] if found else None

    def _labels(self, train: Table) -> tuple[Kind, tuple[str, ...]]:
        """Kind of the task and its classes, by the rule in the module's docstring."""
        listed = self.folder / LABELS
        values = [label_name(train, row, value) for row, value in enumerate(train.column("label"))]
        if listed.exists():
            names = [line.strip() for line in _text(listed).splitlines() if line.strip()]
            if names == ["regression"]:
                return "regression", ()
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise DataError(f"{listed}: class '{repeated[0]}' is listed twice. Keep one line for each class.")
        else:
            numbers = [as_number(value) for value in set(values)]
            if all(n is not None for n in numbers) and any(n != int(n) for n in numbers if n is not None):
                return "regression", ()
            whole = all(n is not None for n in numbers)
            names = sorted(set(values), key=(lambda name: (float(name), name)) if whole else None)
        if len(names) < 2:
            where = listed if listed.exists() else train.where
            raise DataError(f"{where}: {len(names)} class, at least 2 are needed. Add samples of another class.")
        return "classification", tuple(names)


def _any_suffix() -> str:
    return " or ".join((", ".join(list(READERS)[:-1]), list(READERS)[-1]))


def _split(table: Table, kind: Kind, classes: tuple[str, ...]) -> Split:
    first, second = ("text", None) if "text" in table.columns else ("sentence1", "sentence2")
    labels: NDArray[np.int64] | NDArray[np.float32]
    if kind == "regression":
        labels = targets(table)
    else:
        values = [label_name(table, row, value) for row, value in enumerate(table.column("label"))]
        if set(values) == {"-1"} and "-1" not in classes:
            raise DataError(f"{table.where}: every label is -1, so it has no labels. Use a labelled split.")
        numbers = {str(i): name for i, name in enumerate(classes)}
        numbered = not set(values) & set(classes)  # then one that is out of range is the one to name
        labels = class_names(table, [numbers.get(v, v) for v in values] if numbered else values, classes)
    return make_split(table, first, second, labels, blank_allowed=False)


def label_name(table: Table, row: int, value: object) -> str:
    """A label as text: whole numbers without a decimal point ("1.0" and 1 are the same class)."""
    if is_missing(value) or (isinstance(value, str) and value.strip().lower() in ("", "nan")):
        raise table.error(row, "label is empty", "Fill in the label or remove the row.")
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise table.error(row, f"label is {type(value).__name__}", "Give a class name or a number.")
    number = as_number(value)
    if number is None:
        return str(value).strip()
    if number in (float("inf"), float("-inf")):
        raise table.error(row, f"label {value!r} is not finite", "Correct the label.")
    return str(int(number)) if number == int(number) else str(value).strip()


def _leaks(train: Table, evaluation: Table) -> Iterator[str]:
    """A warning when evaluation texts were trained on: accuracy then says little."""
    columns = [c for c in ("text", "sentence1", "sentence2") if c in train.columns and c in evaluation.columns]
    seen = set(zip(*(train.columns[c] for c in columns), strict=True))
    again = sum(row in seen for row in zip(*(evaluation.columns[c] for c in columns), strict=True))
    if again:
        yield f"{again} of {len(evaluation)} rows of {evaluation.where} are in {train.where} too"


# --- files -------------------------------------------------------------------------------------------


def read(path: Path, split: str) -> Table:
    """The columns of one file; raises DataError for anything that cannot be read as its suffix says."""
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty. Give a header and at least one row.")
    table = Table(split, str(path), READERS[path.suffix](path))
    pair = "sentence1" in table.columns or "sentence2" in table.columns
    for name in ("label", *(("sentence1", "sentence2") if pair and "text" not in table.columns else ("text",))):
        table.column(name)
    return table


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8. Save the file with the encoding UTF-8.") from error


def _read_csv(path: Path) -> dict[str, list[object]]:
    return _by_column(path, csv.reader(_lines(path), strict=True))


def _read_tsv(path: Path) -> dict[str, list[object]]:
    return _by_column(path, csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))


def _lines(path: Path) -> Iterator[str]:
    # A text stream ends lines at \n, \r\n and \r only; str.splitlines would cut at separators that texts may contain.
    return io.StringIO(_text(path), newline=None)


def _by_column(path: Path, rows: Iterator[list[str]]) -> dict[str, list[object]]:
    columns: list[list[object]] = []
    header: list[str] = []
    row = 0
    try:
        for fields in rows:
            if not fields:
                continue
            if not header:
                header = [name.strip() for name in fields]
                columns = [[] for _ in header]
                if len(set(header)) < len(header):
                    raise DataError(f"{path}: two columns have the same name. Rename one of them.")
                continue
            row += 1
            if len(fields) != len(header):
                raise DataError(
                    f"{path}, row {row}: {len(fields)} fields, the header has {len(header)}. "
                    "Quote texts that contain the separator."
                )
            for column, value in zip(columns, fields, strict=True):
                column.append(value)
    except csv.Error as error:
        raise DataError(f"{path}, row {row + 1}: {error}. Correct the quoting.") from error
    return dict(zip(header, columns, strict=True))


def _read_jsonl(path: Path) -> dict[str, list[object]]:
    rows: list[dict[str, object]] = []
    for line in _lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, row {len(rows) + 1}: not JSON ({error.msg}). Give one object a line.") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}, row {len(rows) + 1}: not a JSON object. Give one object a line.")
        rows.append(value)
    names: Sequence[str] = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _read_parquet(path: Path) -> dict[str, list[object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        return dict(pyarrow.parquet.read_table(path).to_pydict())
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a readable Parquet file ({reason}). Write it again.") from error


READERS: dict[str, Callable[[Path], dict[str, list[object]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
