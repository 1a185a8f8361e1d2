"""A record of every schema version loads, is compared and shown; what records consist of does not change unnoticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bench.cli.process import main
from bench.errors import OK, UsageError
from bench.results.record import SCHEMA_VERSION, RunRecord
from bench.results.record_file import read_record
from bench.results.run import Run
from bench.results.store import Store

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


@pytest.mark.parametrize(("version", "said"), [(SCHEMA_VERSION + 1, "newer"), (0, "schema_version is 0, ")])
def test_a_version_that_is_not_known_is_refused(folder: Path, version: int, said: str) -> None:
    plain = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**plain, "schema_version": version}))
    with pytest.raises(UsageError, match=said):
        Run.load(folder)


OLD = sorted((FOLDER / "v1").glob("*.json"))
COMMITTED = FOLDER.parents[1] / "results"


def spread(value: Any, at: str = "") -> Iterator[tuple[str, object]]:
    """Every typed value in a record with its path."""
    if isinstance(value, BaseModel) or is_dataclass(value):
        names = type(value).model_fields if isinstance(value, BaseModel) else [f.name for f in fields(value)]
        for name in names:
            yield from spread(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, dict | list | tuple):
        yield at, (type(value), len(value))
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from spread(child, f"{at}.{name}")
    else:
        yield at, (type(value), value)


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_record_of_version_1_reads_as_the_one_that_was_sealed_since(path: Path) -> None:
    """One of each set of fields that version 1 had in its time, and the same with a checksum."""
    old, new = (dict(spread(read_record(one))) for one in (path, FOLDER / "v2" / path.name))
    assert {at for at in old.keys() | new.keys() if old.get(at) != new.get(at)} == {".schema_version", ".checksum"}


def test_every_committed_record_has_a_checksum() -> None:
    assert len(OLD) >= 3
    runs, left_out = Store(COMMITTED).runs()
    assert left_out == []
    assert len(runs) > 200
    assert all(run.is_sealed for run in runs)


def test_of_records_without_a_checksum_it_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in OLD:
        folder = tmp_path / "r" / "task" / "backbone" / path.stem
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "record.json")
    assert main(["table", "--results-dir", str(tmp_path / "r"), "--json"]) == OK
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{len(OLD)} of {len(OLD)} records have no checksum (schema_version 1)")
    assert main(["show", str(folder), "--json"]) == OK
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"{folder}/record.json has no checksum (schema_version 1)")
