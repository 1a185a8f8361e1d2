"""Damage to files as disks, copies and editors do it, drawn from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

KINDS = {
    "record": "*/*/*/record.json",
    "logits": "*/*/*/exits-*.parquet",
    "times": "*/*/*/latency-*.json",
    "checkpoint": ".cache/checkpoints/*/model.safetensors",
    "cached logits": ".cache/exits/*/*.parquet",
}
"""What is damaged: file kinds of a results folder and where they lie."""


def damage(path: Path, chance: random.Random) -> str:
    """Damage ``path`` in one of the ways that fit it, and return which; the file is another one afterwards."""
    before = path.read_bytes()
    ways: list[Callable[[Path, random.Random], None]] = [
        flip_bit,
        change_byte,
        cut_end,
        cut_middle,
        zero_block,
        append,
        empty,
    ]
    if path.suffix == ".json":
        ways += [drop_field, retype_field, change_number, change_number, change_digit, newer_version, duplicate_half]
    if path.suffix == ".parquet":
        ways += [permute_rows, drop_checksum, change_logit, drop_column, halve_rows]
    while True:
        way = chance.choice(ways)
        way(path, chance)
        if path.read_bytes() != before:
            return way.__name__


def flip_bit(path: Path, chance: random.Random) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(content))


def change_byte(path: Path, chance: random.Random) -> None:
    """Replace one byte."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(bytes(content))


def cut_end(path: Path, chance: random.Random) -> None:
    """Keep the first part only."""
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def cut_middle(path: Path, chance: random.Random) -> None:
    """Lose a stretch of up to a hundred bytes."""
    content = path.read_bytes()
    at = chance.randrange(len(content))
    path.write_bytes(content[:at] + content[at + chance.randrange(1, 100) :])


def zero_block(path: Path, chance: random.Random) -> None:
    """Fill a block with zeros, as a crash of the machine leaves it."""
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content))
    end = min(len(content), at + 512)
    content[at:end] = bytes(end - at)
    path.write_bytes(bytes(content))


def append(path: Path, chance: random.Random) -> None:
    """Add some bytes at the end."""
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 50)))


def empty(path: Path, chance: random.Random) -> None:
    """Leave nothing."""
    path.write_bytes(b"")


# --------------------------------------------------------------------------- JSON that still is JSON


def drop_field(path: Path, chance: random.Random) -> None:
    """Remove a field somewhere."""
    value = json.loads(path.read_text(encoding="utf-8"))
    parent, key = chance.choice(places(value))
    del parent[key]
    path.write_text(json.dumps(value), encoding="utf-8")


def retype_field(path: Path, chance: random.Random) -> None:
    """Put a value of another type somewhere."""
    value = json.loads(path.read_text(encoding="utf-8"))
    parent, key = chance.choice(places(value))
    parent[key] = chance.choice([None, "text", 7, 0.5, [], {}, True, [None], -1e300])
    path.write_text(json.dumps(value), encoding="utf-8")


def change_number(path: Path, chance: random.Random) -> None:
    """Make one number another."""
    value = json.loads(path.read_text(encoding="utf-8"))
    numbers = [(p, k) for p, k in places(value) if isinstance(p[k], int | float) and not isinstance(p[k], bool)]
    parent, key = chance.choice(numbers)
    parent[key] = parent[key] + chance.choice([1, -1]) if isinstance(parent[key], int) else parent[key] * 1.5 + 0.1
    path.write_text(json.dumps(value), encoding="utf-8")


def change_digit(path: Path, chance: random.Random) -> None:
    """Make one digit of the text another one: the JSON stays good."""
    content = bytearray(path.read_bytes())
    digits = [i for i, byte in enumerate(content) if 48 <= byte <= 57]
    content[chance.choice(digits)] = 48 + chance.randrange(10)
    path.write_bytes(bytes(content))


def newer_version(path: Path, chance: random.Random) -> None:
    """Say that a version to come wrote it."""
    value = json.loads(path.read_text(encoding="utf-8"))
    value["schema_version"] = 99
    path.write_text(json.dumps(value), encoding="utf-8")


def duplicate_half(path: Path, chance: random.Random) -> None:
    """Write a part twice, as a copy that was taken up again in the wrong place."""
    content = path.read_bytes()
    at = chance.randrange(len(content))
    path.write_bytes(content[:at] + content[at // 2 :])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) inside ``value``."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


# --------------------------------------------------------------------------- Parquet that still is Parquet


def permute_rows(path: Path, chance: random.Random) -> None:
    """Put the logits in another order, and leave the rest."""
    table = pq.read_table(path)
    order = list(range(len(table)))
    chance.shuffle(order)
    column = table.column_names.index("logits")
    pq.write_table(table.set_column(column, "logits", table["logits"].take(pa.array(order))), path)


def drop_checksum(path: Path, chance: random.Random) -> None:
    """Lose the checksum."""
    table = pq.read_table(path)
    facts = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"sha256"}
    pq.write_table(table.replace_schema_metadata(facts), path)


def change_logit(path: Path, chance: random.Random) -> None:
    """Make one logit another."""
    table = pq.read_table(path)
    rows = table["logits"].to_pylist()
    row = chance.randrange(len(rows))
    rows[row][chance.randrange(len(rows[row]))] += 3.0
    column = table.column_names.index("logits")
    changed = pa.array(rows, table.schema.field("logits").type)
    pq.write_table(table.set_column(column, table.schema.field("logits"), changed), path)


def drop_column(path: Path, chance: random.Random) -> None:
    """Lose a column."""
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([chance.choice(table.column_names)]), path)


def halve_rows(path: Path, chance: random.Random) -> None:
    """Lose the second half of the samples."""
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) // 2), path)
