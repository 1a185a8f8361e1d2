"""The file of every exit's logits over a split: the one writer and the one reader. Needs no torch.

One row a sample: ``id``, ``label``, ``tokens``, ``logits`` (all exits, flat) and maybe ``observed``; the schema's
metadata say how many ``exits`` and ``outputs`` there are, and the ``sha256`` of the content. A file may stand
for that of another run (:mod:`bench.results.packed.references`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.errors import Damaged, Unfollowed, Unsealed
from bench.files import replace_file
from bench.measure.exits import AllExits
from bench.results.packed.references import read_reference

LABELS = (pa.int64(), pa.float32())
"""Types of labels: a class, or a value."""


def write_exits(exits: AllExits, path: Path) -> None:
    """Write ``exits`` as Parquet, one row a sample, whole or not at all."""
    _, layers, outputs = exits.logits.shape
    columns = {
        "id": pa.array(exits.ids, pa.string()),
        "label": pa.array(exits.labels),
        "tokens": pa.array(exits.lengths),
        "logits": _make_lists(exits.logits),
    }
    if exits.observed is not None:
        columns["observed"] = _make_lists(exits.observed)
    facts = {"exits": str(layers), "outputs": str(outputs), "sha256": exits.checksum()}
    table = pa.table(columns).replace_schema_metadata(facts)
    with replace_file(path) as temporary:
        # floats byte by byte: signs and exponents are alike and compress, which takes two fifths off a file
        numbers = [f"{name}.list.element" for name in ("logits", "observed") if name in columns]
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["id"], use_byte_stream_split=numbers)


def read_exits(path: Path) -> AllExits:
    """Return what :func:`write_exits` wrote; nobody can write to these arrays, for all readers of a run share them.

    A reference is followed once. Raises Damaged, naming the field, where something else is there now or what is
    referred to is gone; FileNotFoundError where there is no file.
    """
    reference = read_reference(path)
    if reference is None:
        return _read_whole(path)
    there, said = reference.locate(path), f"its logits are those of {reference.same_as}"
    try:
        chained = read_reference(there) is not None
        found = None if chained else _read_whole(there)
    except Damaged as error:
        raise Damaged(path, f"{said}, whose file is damaged: {error.reason}") from error
    except OSError as error:
        remedy = "`bench pack --unpack` comes before runs are moved or deleted"
        raise Unfollowed(path, f"{said}, which are not there: {remedy}") from error
    if found is None:
        raise Damaged(path, f"{said}, which stand for another run's themselves")
    if found.checksum() != reference.sha256:
        raise Damaged(path, f"{said}, which are others by now")
    return found


def _read_whole(path: Path) -> AllExits:
    """Return the logits in a file of their own. Raises as :func:`read_exits`."""
    try:
        if path.stat().st_size == 0:
            raise Damaged(path, "it is empty")
        table = pq.read_table(path, partitioning=None)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (pa.ArrowException, OSError) as error:
        said = str(error).partition("\n")[0].rpartition("': ")[2]  # what comes before is the path
        raise Damaged(path, getattr(error, "strerror", None) or said.removesuffix(".")) from error
    metadata = table.schema.metadata or {}
    facts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}
    layers, outputs = (_count(path, facts, name) for name in ("exits", "outputs"))
    labels = _read_column(path, table, "label", *LABELS)
    found = AllExits(
        ids=tuple(_read_column(path, table, "id", pa.string()).to_pylist()),
        labels=labels.combine_chunks().to_numpy(),
        logits=_read_array(path, table, "logits", (layers, outputs)),
        lengths=_read_column(path, table, "tokens", pa.int64()).combine_chunks().to_numpy(),
        observed=_read_array(path, table, "observed", (layers, 0)) if "observed" in table.column_names else None,
    )
    if "sha256" not in facts:
        raise Unsealed(path)
    if facts["sha256"] != found.checksum():
        raise Damaged(path, "its checksum sha256 differs: values or the order of rows are not those that were written")
    return found


def is_plain_table(path: Path) -> bool:
    """Return whether a Parquet file is somebody else's: nothing says how many exits, and lists are not flat."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return False
    if b"exits" in (schema.metadata or {}):
        return False
    if "logits" not in schema.names:
        return True
    exits = getattr(schema.field("logits").type, "value_type", None)
    return hasattr(exits, "value_type")


def read_plain_table(path: Path) -> dict[str, list[object]]:
    """Return the columns of a Parquet file as Python lists."""
    table = pq.read_table(path, partitioning=None)
    return {name: table[name].to_pylist() for name in table.column_names}


def _count(path: Path, facts: dict[str, str], name: str) -> int:
    """Return a positive number of the metadata."""
    text = facts.get(name)
    if text is None:
        raise Damaged(path, f"{name} is missing")
    if not (text.isdecimal() and int(text)):
        raise Damaged(path, f"{name} is '{text}', a positive whole number is needed")
    return int(text)


def _read_column(path: Path, table: pa.Table, name: str, *kinds: pa.DataType) -> pa.ChunkedArray:
    """Return a column of one of ``kinds`` without gaps."""
    if name not in table.column_names:
        raise Damaged(path, f"{name} is missing")
    column = table[name]
    if column.type not in kinds:
        raise Damaged(path, f"{name} is {column.type}, {' or '.join(map(str, kinds))} is needed")
    if column.null_count:
        raise Damaged(path, f"{name} has {column.null_count} gaps")
    return column


def _read_array(path: Path, table: pa.Table, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a column of lists as float32 [N, exits, outputs], 0 for any number of outputs."""
    if name not in table.column_names:
        raise Damaged(path, f"{name} is missing")
    kind = table[name].type
    if not (pa.types.is_fixed_size_list(kind) and pa.types.is_float32(kind.value_type)):
        raise Damaged(path, f"{name} is {kind}, lists of float32 of one length are needed")
    layers, outputs = shape
    if kind.list_size != layers * outputs if outputs else kind.list_size % layers:
        raise Damaged(path, f"{name} has {kind.list_size} numbers a row, which is not {layers} exits")
    flat = table[name].combine_chunks().flatten()
    if flat.null_count or len(flat) != len(table) * kind.list_size:
        raise Damaged(path, f"{name} has gaps")
    return flat.to_numpy().reshape(len(table), layers, -1)


def _make_lists(values: NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Return [N, L, K] as a column with a list of L * K numbers a row."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values[0].size)
