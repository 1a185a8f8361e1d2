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

PROBLEM_LENGTH = 300  # characters of what a message says about one row


@dataclass(frozen=True)
class RawTable:
    """Columns of one split as they were read; ``where`` is the file or data set named in messages.

    ``others`` are the names of columns that are there and were not read. ``typed`` says whether the source tells
    numbers from text; CSV and TSV do not.
    """

    split: str
    where: str
    columns: Mapping[str, Sequence[object]]
    others: tuple[str, ...] = ()
    typed: bool = True

    @property
    def name(self) -> str:
        """The last part of ``where``, for warnings, which are recorded and shared: they say nothing of folders."""
        return Path(self.where).name

    def __len__(self) -> int:
        return max((len(values) for values in self.columns.values()), default=0)

    def column(self, name: str) -> Sequence[object]:
        """Return one column. Raises a DataError that lists the columns there are."""
        if name not in self.columns:
            there = ", ".join(sorted({*self.columns, *self.others})) or "none"
            raise DataError(f"{self.where}: no column '{name}' (columns: {there}). Rename or add the column.")
        if not len(self):
            raise DataError(f"{self.where}: no rows. Give at least one sample.")
        return self.columns[name]

    def error(self, row: int, problem: str, remedy: str) -> DataError:
        """Return the error for 0-based ``row``, shown 1-based, in one line however long or broken a value is."""
        short = " ".join(problem.split())
        short = short if len(short) <= PROBLEM_LENGTH else f"{short[: PROBLEM_LENGTH - 1]}…"
        return DataError(f"{self.where}, row {row + 1}: {short}. {remedy}")


def is_missing(value: object) -> bool:
    """Return whether a value is NULL or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_texts(table: RawTable, column: str, blank_allowed: bool = False) -> tuple[str, ...]:
    """Return a text column. Raises DataError for NULL, what is not text and (unless allowed) a blank one."""
    values = table.column(column)
    for row, value in enumerate(values):
        if is_missing(value):
            raise table.error(row, f"'{column}' is NULL", "Fill in the text or remove the row.")
        if not isinstance(value, str):
            raise table.error(row, f"'{column}' is {type(value).__name__}, not text", "Store it as a string.")
        if not blank_allowed and not value.strip():
            raise table.error(row, f"'{column}' is empty", "Fill in the text or remove the row.")
        check_encodable(table, row, column, value)
    return tuple(str(value) for value in values)


def check_present(table: RawTable, row: int, value: object) -> None:
    """Raise DataError for a row without a label."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise table.error(row, "label is empty", "Fill in the label or remove the row.")


def check_encodable(table: RawTable, row: int, column: str, value: str) -> None:
    """Raise DataError for text that no file can hold, so that no training is lost for it."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X}"
        raise table.error(row, f"'{column}' has half of a character ({half})", "Correct the text.") from error


def read_class_numbers(table: RawTable, names: Sequence[str]) -> NDArray[np.int64]:
    """Return labels that are stored as class numbers 0..C-1, int64 [N]."""
    values = table.column("label")
    if all(value == -1 for value in values):  # the hub's convention for labels that are kept secret
        raise DataError(f"{table.where}: every label is -1, so it has no labels. Use a labelled split.")
    top = len(names) - 1
    for row, value in enumerate(values):
        check_present(table, row, value)
        if not isinstance(value, int | np.integer) or not 0 <= value <= top:
            classes = f"0..{top} ({', '.join(names)})"
            remedy = "Remove rows without a label." if value == -1 else "Correct the label."
            raise table.error(row, f"label {value!r} is outside the classes {classes}", remedy)
    return np.asarray(values, dtype=np.int64)


def make_split(
    table: RawTable,
    columns: Sequence[str],
    labels: NDArray[np.int64] | NDArray[np.float32],
    blank_allowed: bool = False,
) -> Split:
    """Return the checked split of a table's one or two text ``columns``; ids are ``<split>-<0-based row>``."""
    ids = tuple(f"{table.split}-{row}" for row in range(len(table)))
    first, *second = (read_texts(table, column, blank_allowed) for column in columns)
    return Split(table.split, ids, first, second[0] if second else None, labels, len(table))


def digest_files(files: Iterable[tuple[str, Path]], reading: str = "") -> str:
    """Return a short SHA-256 of named files' contents and of how they are read: it pins data, whatever its path."""
    total = hashlib.sha256(reading.encode())
    for name, path in sorted(files):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return f"sha256-{total.hexdigest()[:16]}"
