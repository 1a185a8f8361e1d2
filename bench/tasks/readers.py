"""Data files: CSV, TSV, JSONL and Parquet as tables. Only the columns that are used are read and checked."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.tasks.checks import RawTable

Columns = Mapping[str, Sequence[object]]
Read = tuple[Columns, tuple[str, ...]]
"""The wanted columns that a file has, and the names of the others."""

FIELD = 2**31 - 1
"""Largest field of a CSV file in characters: a document may be one; csv's own limit is 131,072."""


def read_columns(path: Path, split: str, wanted: Sequence[str]) -> RawTable:
    """Read the ``wanted`` columns of one file, as far as it has them.

    Raises DataError, naming file and row, for anything that cannot be read as the file's suffix says.
    """
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty. Give a header and at least one row.")
    columns, others = READ_BY_SUFFIX[path.suffix](path, wanted)
    return RawTable(split, str(path), columns, others, typed=path.suffix not in (".csv", ".tsv"))


def read_lines(path: Path) -> Iterator[str]:
    """Return the lines of a UTF-8 file. They end at \\n, \\r\\n and \\r only: str.splitlines would cut within texts."""
    data = path.read_bytes()
    try:
        return io.StringIO(data.decode("utf-8-sig"), newline=None)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8. Save the file with the encoding UTF-8.") from error


def _read_separated(path: Path, wanted: Sequence[str]) -> Read:
    if path.suffix == ".csv":
        rows, remedy = csv.reader(read_lines(path), strict=True), "Quote texts that contain the separator."
        between = "commas between columns"
    else:
        between = "tabs between columns"
        rows = csv.reader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
        remedy = "TSV has no quoting here: take the tabs out of the texts, or save the file as CSV."
    header: list[str] = []
    columns: dict[int, list[object]] = {}
    row, limit = 0, csv.field_size_limit(FIELD)
    try:
        for fields in filter(None, rows):
            if not header:
                header = [name.strip() for name in fields]
                if len(header) == 1 and (other := next((mark for mark in ";\t,|" if mark in header[0]), None)):
                    raise DataError(f"{path}: columns are separated by {other!r}. Save it as {path.suffix}: {between}.")
                columns = {at: [] for at, name in enumerate(header) if name in wanted}
                if len({header[at] for at in columns}) < len(columns):
                    raise DataError(f"{path}: two columns have the same name. Rename one of them.")
                continue
            row += 1
            if len(fields) != len(header):
                raise DataError(f"{path}, row {row}: {len(fields)} fields, the header has {len(header)}. {remedy}")
            for at, values in columns.items():
                values.append(fields[at])
    except csv.Error as error:
        raise DataError(f"{path}, row {row + 1}: {error}. Correct the quoting.") from error
    finally:
        csv.field_size_limit(limit)
    return {header[at]: values for at, values in columns.items()}, tuple(n for n in header if n not in wanted)


def _read_jsonl(path: Path, wanted: Sequence[str]) -> Read:
    rows: list[dict[str, object]] = []
    others: dict[str, None] = {}
    for line in read_lines(path):
        if not line.strip():
            continue
        here = f"{path}, row {len(rows) + 1}"
        try:
            value = json.loads(line, parse_int=_whole_number, parse_float=_exact_number, object_pairs_hook=_Object)
        except json.JSONDecodeError as error:
            raise DataError(f"{here}: not JSON ({error.msg}). Give one object a line.") from error
        except RecursionError as error:
            raise DataError(f"{here}: brackets within brackets without end. Give one flat object a line.") from error
        if not isinstance(value, _Object):
            raise DataError(f"{here}: not a JSON object. Give one object a line.")
        if twice := value.twice.intersection(wanted):
            raise DataError(f"{here}: key '{min(twice)}' is there twice. Take one of them out.")
        others |= dict.fromkeys(name for name in value if name not in wanted)
        rows.append({name: value[name] for name in wanted if name in value})
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}, tuple(others)


class _Object(dict[str, object]):
    """A JSON object that knows which of its keys are there ``twice``: reading alone would take the last one."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.twice = {name for name, count in counts.items() if count > 1}


def _exact_number(digits: str) -> object:
    """Return a number with a fraction or an exponent, or its text where it would become a neighbour."""
    value = float(digits)
    return value if not 2**53 <= abs(value) < math.inf or Decimal(digits) == Decimal(value) else digits


def _whole_number(digits: str) -> object:
    """Return an integer, or its text where Python will not convert so long a one: the column may not be used."""
    return int(digits) if len(digits) < 4000 else digits


def _read_parquet(path: Path, wanted: Sequence[str]) -> Read:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            there = [name for name in wanted if name in names]
            table = file.read(columns=there)
            return {name: _list_values(table[name]) for name in there}, tuple(n for n in names if n not in wanted)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: a text that is not UTF-8, a far date
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{path}: not a readable Parquet file ({reason}). Write it again.") from error


class FarDate:
    """A date that Python has no number for: nothing to learn from, but a column that is not used may hold it."""


def _list_values(column: Any) -> list[object]:
    try:
        values: list[object] = column.to_pylist()
    except OverflowError:
        return [FarDate()] * len(column)
    return values


READ_BY_SUFFIX: dict[str, Callable[[Path, Sequence[str]], Read]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
