"""A record of every schema version loads, is compared and shown; what records consist of does not change unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.errors import OK, UsageError
from bench.results.record import SCHEMA_VERSION, RunRecord
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


@pytest.mark.parametrize(("version", "said"), [(SCHEMA_VERSION + 1, "newer"), (0, "no way leads")])
def test_a_version_that_is_not_known_is_refused(folder: Path, version: int, said: str) -> None:
    plain = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**plain, "schema_version": version}))
    with pytest.raises(UsageError, match=said):
        Run.load(folder)
