"""The checks that every data set passes, wherever it came from: one line naming file, row and remedy.

Rows are counted from 1 and count data rows only (a CSV header is not a row).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.base import Split

NO_LABEL = -1  # the hub's convention for a test split whose labels are kept secret


@dataclass(frozen=True)
class Table:
    """Columns of one split as they were read; ``where`` is the file or data set named in messages."""

    split: str
    where: str
    columns: Mapping[str, Sequence[object]]

    def __len__(self) -> int:
        return max((len(values) for values in self.columns.values()), default=0)

    def column(self, name: str) -> Sequence[object]:
        """One column, or a DataError that lists the columns there are."""
        if name not in self.columns:
            there = ", ".join(sorted(self.columns)) or "none"
            raise DataError(f"{self.where}: no column '{name}' (columns: {there}). Rename or add the column.")
        if not len(self):
            raise DataError(f"{self.where}: no rows. Give at least one sample.")
        return self.columns[name]

    def error(self, row: int, problem: str, remedy: str) -> DataError:
        """The error for 0-based ``row``, shown 1-based."""
        return DataError(f"{self.where}, row {row + 1}: {problem}. {remedy}")


def is_missing(value: object) -> bool:
    """NULL or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def texts(table: Table, column: str, blank_allowed: bool = False) -> tuple[str, ...]:
    """A text column; NULL, a value that is not text and (unless allowed) a blank one raise DataError."""
    values = table.column(column)
    for row, value in enumerate(values):
        if is_missing(value):
            raise table.error(row, f"'{column}' is NULL", "Fill in the text or remove the row.")
        if not isinstance(value, str):
            raise table.error(row, f"'{column}' is {type(value).__name__}, not text", "Store it as a string.")
        if not blank_allowed and not value.strip():
            raise table.error(row, f"'{column}' is empty", "Fill in the text or remove the row.")
    return tuple(str(value) for value in values)


def class_indices(table: Table, names: Sequence[str], column: str = "label") -> NDArray[np.int64]:
    """Labels that are stored as class numbers 0..C-1, int64 [N]."""
    values = table.column(column)
    if all(value == NO_LABEL for value in values):
        raise DataError(f"{table.where}: every label is {NO_LABEL}, so it has no labels. Use a labelled split.")
    top = len(names) - 1
    for row, value in enumerate(values):
        if is_missing(value):
            raise table.error(row, "label is empty", "Fill in the label or remove the row.")
        if not isinstance(value, int | np.integer) or not 0 <= value <= top:
            classes = f"0..{top} ({', '.join(names)})"
            raise table.error(row, f"label {value!r} is outside the classes {classes}", "Correct the label.")
    return np.asarray(values, dtype=np.int64)


def class_names(table: Table, values: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Labels given by class name, int64 [N] indices into ``names``."""
    index = {name: i for i, name in enumerate(names)}
    for row, value in enumerate(values):
        if value not in index:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise table.error(
                row, f"unknown label '{value}' (classes: {known})", "Correct it or add the class to train."
            )
    return np.array([index[value] for value in values], dtype=np.int64)


def targets(table: Table, low: float = -math.inf, high: float = math.inf, column: str = "label") -> NDArray[np.float32]:
    """Regression targets within [low, high], float32 [N]."""
    numbers = []
    for row, value in enumerate(table.column(column)):
        if is_missing(value) or value == "":
            raise table.error(row, "label is empty", "Fill in the label or remove the row.")
        number = as_number(value)
        if number is None or not math.isfinite(number):
            raise table.error(row, f"label {value!r} is not a number", "This is a regression task: give a number.")
        numbers.append(number)
    if min(numbers) == max(numbers) == NO_LABEL and low > NO_LABEL:
        raise DataError(f"{table.where}: every label is {NO_LABEL}, so it has no labels. Use a labelled split.")
    for row, number in enumerate(numbers):
        if not low <= number <= high:
            raise table.error(row, f"label {number:g} is outside {low:g}..{high:g}", "Correct the label.")
    return np.asarray(numbers, dtype=np.float32)


def as_number(value: object) -> float | None:
    """``value`` as a float, or None when it does not spell a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | np.number):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def make_split(
    table: Table, first: str, second: str | None, labels: NDArray[np.int64] | NDArray[np.float32], blank_allowed: bool
) -> Split:
    """The checked split of a table; ids are ``<split>-<0-based row>``."""
    return Split(
        name=table.split,
        ids=tuple(f"{table.split}-{row}" for row in range(len(table))),
        first=texts(table, first, blank_allowed),
        second=None if second is None else texts(table, second, blank_allowed),
        labels=labels,
        available=len(table),
    )


def digest(files: Iterable[tuple[str, Path]]) -> str:
    """Short SHA-256 over named files' contents: pins local data whatever its path."""
    total = hashlib.sha256()
    for name, path in sorted(files):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"sha256-{total.hexdigest()[:16]}"
