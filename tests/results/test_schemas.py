"""A record of every schema version loads, is compared and shown; what records consist of does not change unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.errors import OK, UsageError
from bench.results.migrations import SCHEMA_VERSION, STEPS, upgrade
from bench.results.record import RunRecord
from bench.results.run import Run

FOLDER = Path(__file__).parents[1] / "schemas"
VERSIONS = range(1, SCHEMA_VERSION + 1)


def without_prose(schema: Any) -> Any:
    """A JSON schema's structure: no titles and descriptions, but fields of these names."""
    if isinstance(schema, dict):
        prose = [k for k, v in schema.items() if k in ("title", "description") and isinstance(v, str)]
        return {k: without_prose(v) for k, v in schema.items() if k not in prose}
    return [without_prose(v) for v in schema] if isinstance(schema, list) else schema


def test_the_fields_of_a_record_are_those_of_its_version() -> None:
    """Whoever adds a field or changes one raises SCHEMA_VERSION, writes the step, and adds the new version's files."""
    recorded = json.loads((FOLDER / f"schema-v{SCHEMA_VERSION}.json").read_text())
    assert without_prose(RunRecord.model_json_schema()) == recorded


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / "task" / "backbone" / "old"
    made.mkdir(parents=True)
    (made / "record.json").write_text((FOLDER / f"record-v{request.param}.json").read_text())
    return made


def test_every_version_loads_and_is_compared_and_shown(folder: Path) -> None:
    run = Run.load(folder)
    assert run.is_finished()
    assert run.result().full.metrics["accuracy"].value > 0.8
    assert main(["compare", str(folder), str(folder)]) == OK
    assert main(["show", str(folder)]) == OK


def test_each_version_left_behind_has_a_step() -> None:
    assert sorted(STEPS) == list(VERSIONS)[:-1]


def test_steps_are_taken_one_after_another() -> None:
    steps: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
        1: lambda r: {**r, "b": r["a"]},
        2: lambda r: {**r, "c": r["b"] + 1},
    }
    assert upgrade({"schema_version": 1, "a": 1}, steps, to=3) == {"schema_version": 3, "a": 1, "b": 1, "c": 2}
    with pytest.raises(UsageError, match="newer"):
        upgrade({"schema_version": 4}, steps, to=3)
    with pytest.raises(UsageError, match="no way leads"):
        upgrade({"schema_version": 0}, steps, to=3)
