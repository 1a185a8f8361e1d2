"""A record of every schema version still loads, fits its schema file, and can be compared and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.compare.compare import compare
from bench.compare.history import make_entry
from bench.compare.sources import read_results
from bench.errors import OK, UsageError
from bench.results.migrations import STEPS, upgrade
from bench.results.store import SCHEMA_VERSION, read_record
from tests.helpers.compare_records import Made

FOLDER = Path(__file__).parents[1] / "schemas"
VERSIONS = range(1, SCHEMA_VERSION + 1)
KINDS = {"bool": bool, "int": int, "number": (int, float), "text": str, "list": list, "map": dict, "any": object}


def misfits(schema: Any, value: Any, where: str = "") -> list[str]:
    """Where ``value`` does not fit: a missing key or a value of another kind. More keys are welcome."""
    if isinstance(schema, str):
        return [] if isinstance(value, KINDS[schema]) else [f"{where} is {value!r}, not {schema}"]
    if not isinstance(value, dict):
        return [f"{where} is no mapping"]
    named = {key: part for key, part in schema.items() if key != "*"}
    found = [f"{where}.{key} is missing" for key in named if key not in value]
    found += [m for key, part in named.items() if key in value for m in misfits(part, value[key], f"{where}.{key}")]
    others = [key for key in value if key not in named] if "*" in schema else []
    return found + [m for key in others for m in misfits(schema["*"], value[key], f"{where}.{key}")]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_a_record_that_fits_its_schema(version: int) -> None:
    record = json.loads((FOLDER / f"record-v{version}.json").read_text())
    assert record["schema_version"] == version
    assert misfits(json.loads((FOLDER / f"schema-v{version}.json").read_text()), record) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_loads_and_upgrades_to_the_present_schema(version: int, tmp_path: Path) -> None:
    folder = tmp_path / "demo" / "albert-demo" / "old"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text((FOLDER / f"record-v{version}.json").read_text())
    record = upgrade(read_record(folder / "record.json"))
    assert misfits(json.loads((FOLDER / f"schema-v{SCHEMA_VERSION}.json").read_text()), record) == []
    results = read_results(folder)
    assert compare(results, results).exit_code() == OK
    assert make_entry(results.runs[0]).values["accuracy at all layers"].value == pytest.approx(0.877)
    assert main(["show", str(folder)]) == OK


def test_synthetic_records_of_the_tests_fit_what_comparison_reads() -> None:
    schema = json.loads((FOLDER / f"schema-v{SCHEMA_VERSION}.json").read_text())
    full = Made().record()["evaluation"]["evaluation"]["full"]
    assert misfits(schema["evaluation"]["*"]["full"], full) == []


def test_misfits_are_found() -> None:
    assert misfits({"a": "int"}, {"a": "x"})
    assert misfits({"a": {"b": "text"}}, {"a": {}})
    assert misfits({"*": "int"}, {"a": 1, "b": None})


def test_each_version_left_behind_has_a_step() -> None:
    assert sorted(STEPS) == list(VERSIONS)[:-1]


def test_steps_are_taken_one_after_another() -> None:
    steps = {1: lambda r: {**r, "b": r["a"]}, 2: lambda r: {**r, "c": r["b"] + 1}}
    assert upgrade({"schema_version": 1, "a": 1}, steps, to=3) == {"schema_version": 3, "a": 1, "b": 1, "c": 2}
    with pytest.raises(UsageError, match="newer"):
        upgrade({"schema_version": 4}, steps, to=3)
    with pytest.raises(UsageError, match="no way leads"):
        upgrade({"schema_version": 0}, steps, to=3)
