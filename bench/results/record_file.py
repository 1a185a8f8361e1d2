"""The file of a record: the one reader, which believes nothing, and the one writer, which seals what it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from bench.errors import Damaged, Newer, UsageError
from bench.files import replace_file
from bench.results.checks import find_contradiction
from bench.results.part import compute_checksum, describe_error, has_own_checksum, name_kind, parse_json
from bench.results.record import SCHEMA_VERSION, RunRecord, UnfinishedRecord
from bench.results.spec import LATENCY_SINCE_RECORDS, LatencyArgs, RunSpec
from bench.training.args import TrainArgs

Record = TypeVar("Record", RunRecord, UnfinishedRecord)

LATER = (
    *("spec.select", "spec.latency.depth", "spec.latency.executor", "spec.latency.batch_size"),
    *("backbone.depth", "training.micro_batch", "criterion", "selected", "precision"),
)
"""Fields that came while records were of version 1: missing in its oldest ones, and in no others."""

SINCE_SEALED = (
    *("sources", "skill", "external"),
    *("task.given", "backbone.classifier", "criterion.held_out", "counts"),
)
"""Fields that came after version 1: a record of that version has none of them."""

SETTINGS_SINCE = tuple(f"spec.latency.{name}" for name in LATENCY_SINCE_RECORDS)
"""Settings that came while records were of the present version: where they are missing, they had their default."""


def read_record(path: Path) -> RunRecord | UnfinishedRecord:
    """Return the record in ``path``.

    Raises Damaged, naming the first field that is wrong; Newer for a record that a newer version wrote.
    """
    text = path.read_bytes()
    raw = parse_json(path, text)
    if not isinstance(raw, dict):
        raise Damaged(path, f"it is {name_kind(raw)}, an object is needed")
    version = raw.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        what = f"is {name_kind(version)}, a whole number is needed" if "schema_version" in raw else "is missing"
        raise Damaged(path, f"schema_version {what}")
    if version > SCHEMA_VERSION:
        raise Newer(path, version, SCHEMA_VERSION)
    if version < 1:
        raise Damaged(path, f"schema_version is {version}, the first was 1")
    kind = RunRecord if raw.get("status") == "success" else UnfinishedRecord
    try:
        record = kind.model_validate_json(text)
    except ValidationError as error:
        raise Damaged(path, describe_error(error)) from error
    except UsageError as error:  # a setting that nobody could have asked for
        raise Damaged(path, f"spec: {str(error).removesuffix('.')}") from error
    problem = _find_missing_field(raw) or _find_false_seal(raw)
    problem = problem or find_contradiction(record, sealed="checksum" in raw)
    if problem:
        raise Damaged(path, problem)
    return record


def write_record(path: Path, record: Record) -> Record:
    """Write ``record``, whole or not at all, and return it; from version 2 on it is sealed with a checksum."""
    if record.schema_version > 1:
        record = record.model_copy(update={"checksum": compute_checksum(record.to_plain())})
    with replace_file(path) as temporary:
        temporary.write_text(record.to_json(), encoding="utf-8")
    return record


def _find_false_seal(plain: Mapping[str, Any]) -> str:
    """Return what is wrong with the checksum, or the empty string; version 1 has none, nor what came with it."""
    if "checksum" not in plain:
        if plain["schema_version"] != 1:
            return "checksum is missing"
        later = next((path for path in SINCE_SEALED if _has_field(plain, path)), None)
        return f"{later} is in no record of schema_version 1" if later else ""
    return "" if has_own_checksum(plain) else "its checksum differs"


def _has_field(plain: Mapping[str, Any], path: str) -> bool:
    """Return whether there is a value at ``path``, names with dots between them."""
    *parents, name = path.split(".")
    part = reduce(lambda found, parent: found.get(parent) or {}, parents, plain)
    return name in part


def _find_missing_field(plain: Mapping[str, Any]) -> str:
    """Return the first field that is left to its default. Defaults are for those who ask, not for what was recorded."""
    settings = {"spec": RunSpec, "spec.train": TrainArgs, "spec.latency": LatencyArgs}
    needed = [f"{part}.{field.name}" for part, kind in settings.items() for field in fields(kind)]
    needed += {"success": LATER, "error": ["error"]}.get(plain["status"], ())
    for path in needed:
        *parents, name = path.split(".")
        part = reduce(lambda found, parent: found[parent], parents, plain)
        known = path in SETTINGS_SINCE or (plain["schema_version"] == 1 and path in LATER)
        if part is not None and name not in part and not known:
            return f"{path} is missing"
    return ""
