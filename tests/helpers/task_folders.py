"""Task folders of a user's own files, written in each of the formats, and loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from bench.tasks import get_task
from bench.tasks.base import LoadOptions, TaskData

Columns = Mapping[str, list[object]]
GOOD: Columns = {"text": [f"Text, nö {i} “x”" for i in range(10)], "label": ["pos", "neg"] * 5}


def write(path: Path, columns: Columns) -> None:
    """``columns`` in the format of the path's suffix; None is an empty cell in csv and tsv."""
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(dict(columns)), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        cells = [["" if value is None else str(value) for value in row] for row in rows]
        quoted = [[f'"{c}"' if path.suffix == ".csv" and "," in c else c for c in row] for row in cells]
        separator = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join(separator.join(r) for r in [list(columns), *quoted]) + "\n", encoding="utf-8")


def load(folder: Path, limit: int | None = None) -> TaskData:
    return get_task(str(folder)).load(LoadOptions(limit=limit))
