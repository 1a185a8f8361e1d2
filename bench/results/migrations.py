"""Old records stay readable: one small step from each schema version to the next.

A step takes the record of version n and returns that of n + 1. It is written once, when a version is
left behind, and never changed. tests/schemas holds a record of every version and what it must look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.errors import UsageError

SCHEMA_VERSION = 2

Step = Callable[[dict[str, Any]], dict[str, Any]]

STEPS: Mapping[int, Step] = {1: dict}
"""Version -> step to the next one. Version 2 ends with a checksum, which nobody can give those of version 1."""


def upgrade(record: Mapping[str, Any], steps: Mapping[int, Step] = STEPS, to: int = SCHEMA_VERSION) -> dict[str, Any]:
    """The record in the form of version ``to``. Raises UsageError for one that is newer, or that no step leads from."""
    made = dict(record)
    version = int(made["schema_version"])
    if version > to:
        raise UsageError(f"was written by a newer ExitBench (schema {version}; this one knows {to}).")
    while version < to:
        if version not in steps:
            raise UsageError(f"is of schema {version}, from which no way leads to schema {version + 1}.")
        made = {**steps[version](made), "schema_version": version + 1}
        version += 1
    return made
