"""A record that is not what was written is refused in one line that names the file and the field."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import Damaged, UsageError
from bench.results.part import compute_checksum, name_field
from bench.results.record import SCHEMA_VERSION
from bench.results.record_file import LATER, SINCE_SEALED, read_record, write_record
from bench.results.store import Store

FOLDER = Path(__file__).parents[1] / "schemas"
RECORDS = {version: json.loads((FOLDER / f"record-v{version}.json").read_text()) for version in (1, 2)}
Steps = tuple[str | int, ...]

FREE = ("args", "criterion_args", "head_args", "recipe_args", "backbone_args", "train")
"""Of an identity and a spec: whatever a strategy takes."""


def fields(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """The path of every value in a record."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*steps, name)
        yield from fields(child, (*steps, name))


def changed(record: dict[str, Any], steps: Steps, change: Callable[[Any, Any], None]) -> dict[str, Any]:
    made = copy.deepcopy(record)
    part = made
    for step in steps[:-1]:
        part = part[step]
    change(part, steps[-1])
    return made


def complaint(tmp_path: Path, record: object) -> str:
    """What is said of a record between the brackets, in the one line that names the file; empty where it loads."""
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    try:
        read_record(path)
    except UsageError as found:
        error = found
    else:
        return ""
    assert str(path) in str(error)
    assert "\n" not in str(error)
    return error.reason if isinstance(error, Damaged) else str(error)


def other_type(part: Any, name: Any) -> None:
    value = part[name]
    part[name] = {"x": 1} if value is None else 7 if isinstance(value, str | list | dict) else "7"


def other_value(part: Any, name: Any) -> None:
    value = part[name]
    if isinstance(value, bool):
        part[name] = not value
    elif isinstance(value, int | float):
        part[name] = value + 1
    elif isinstance(value, str):
        part[name] = f"{value}x"
    elif isinstance(value, list):
        part[name] = value[::-1] if value != value[::-1] else [*value, *value, "x"]
    else:
        part[name] = None if value else 0


@pytest.mark.parametrize("version", [1, 2])
def test_a_field_of_another_type_is_named(version: int, tmp_path: Path) -> None:
    record = RECORDS[version]
    for steps in fields(record):
        said = complaint(tmp_path, changed(record, steps, other_type))
        free = any(step in FREE for step in steps[:-1]) and ("checksum" in said or "identity" in said)
        assert name_field(steps) in said or free, (steps, said)


@pytest.mark.parametrize("version", [1, 2])
def test_a_missing_field_is_named(version: int, tmp_path: Path) -> None:
    record = RECORDS[version]
    for steps in fields(record):
        if isinstance(steps[-1], int):
            continue
        path = name_field(steps)
        said = complaint(tmp_path, changed(record, steps, lambda part, name: part.pop(name)))
        if version == 1 and path in LATER:
            continue
        assert said or version == 1, path
        assert path in said or version == 1 or "checksum" in said, (path, said)


def test_every_altered_value_is_noticed(tmp_path: Path) -> None:
    for steps in fields(RECORDS[2]):
        assert complaint(tmp_path, changed(RECORDS[2], steps, other_value)), steps


def means_the_same(one: bytes, other: bytes) -> bool:
    """Space between values, or a digit of a number that no float can tell."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_an_altered_byte_is_noticed(tmp_path: Path) -> None:
    text = (FOLDER / "record-v2.json").read_bytes()
    path = tmp_path / "record.json"
    for at in range(7, len(text), 97):
        other = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        if not means_the_same(other, text):
            path.write_bytes(other)
            with pytest.raises(UsageError) as error:
                read_record(path)
            assert str(path) in str(error.value)
            assert "\n" not in str(error.value)


AWAY = {"value": 0.9, "low": 0.8, "high": 0.89}
CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "quality_key": lambda r: r.update(quality_key="0" * 16),
    "identity.seed": lambda r: r["spec"].update(seed=3),
    "identity.strategy.args": lambda r: r["spec"].update(criterion_args={}),
    "select.split": lambda r: r["select"].update(split="train"),
    "evaluation": lambda r: r["task"].update(evaluation=["test"]),
    "evaluation.evaluation.samples": lambda r: r["evaluation"]["evaluation"].update(samples=999),
    "evaluation.evaluation.points[0].exit_counts": lambda r: point(r).update(exit_counts=[5, 579, 65, 108, 45, 199]),
    "evaluation.evaluation.points[0].mean_layer": lambda r: point(r).update(mean_layer=3.5),
    "evaluation.evaluation.points[0].cost_mean": lambda r: point(r).update(cost_mean=1e6),
    "evaluation.evaluation.points[0].metrics.accuracy.value": lambda r: point(r)["metrics"].update(accuracy=AWAY),
    "evaluation.evaluation.per_exit.accuracy": lambda r: r["evaluation"]["evaluation"]["per_exit"]["accuracy"].pop(),
    "select.full has other metrics": lambda r: r["select"].update(full={"f1": AWAY}),
    "select.full.accuracy.value": lambda r: r["select"]["full"].update(accuracy=AWAY),
    "backbone.name": lambda r: (r["backbone"].update(name="bert-large")),
    "evaluation.evaluation.points[0].metrics are not": lambda r: point(r).update(metrics={"f1": AWAY}),
    "evaluation.evaluation.points[0].metrics.accuracy.value 0.": lambda r: more(point(r)["metrics"]["accuracy"], 4e-4),
    "evaluation.evaluation.points[0].cost_speedup.value": lambda r: wide(point(r)),
    "evaluation.evaluation.points[0].samples": lambda r: point(r).update(samples=871),
    "evaluation.evaluation.points[0].layer_fraction": lambda r: point(r).update(layer_fraction=0.9),
    "evaluation.evaluation.per_exit has other": lambda r: split(r).update(per_exit={"f1": [0.5] * 6}),
    "evaluation.evaluation.per_exit.accuracy ends": lambda r: last(split(r)["per_exit"]["accuracy"], 0.5),
    "evaluation.evaluation.full.exit_counts says": lambda r: everybody_at_five(split(r)["full"]),
    "evaluation.evaluation.curve[1].mean_layer": lambda r: split(r)["curve"][1].update(mean_layer=6.5),
    "evaluation.evaluation.curve[0].mean_layer": lambda r: split(r)["curve"][0].update(mean_layer=0.5),
    "backbone.digest": lambda r: r["backbone"].update(digest="sha256-0"),
    "task.revision": lambda r: r["task"].update(revision="sha256-0"),
    "evaluation.evaluation.points[0].cut 0.443103 does not go": lambda r: point(r, 1).update(cut=0.1),
    "evaluation.evaluation.points[0].threshold 0.443103 does not go": lambda r: point(r, 1).update(threshold=0.4),
    "evaluation.evaluation.points[0].threshold is null": lambda r: point(r).update(threshold=None),
}  # fmt: skip


def split(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["evaluation"]["evaluation"]
    return found


def point(record: dict[str, Any], at: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = split(record)["points"][at]
    return found


def more(estimate: dict[str, float], much: float) -> None:
    """Less than half a sample more than there was, within the interval."""
    estimate["value"] += much


def wide(point: dict[str, Any]) -> None:
    """A speed-up outside its interval; the mean cost goes with it, as it must."""
    speedup = point["cost_speedup"]
    point["cost_mean"] *= speedup["value"] / (2 * speedup["high"])
    speedup["value"] = 2 * speedup["high"]


def last(values: list[float], value: float) -> None:
    values[-1] = value


def everybody_at_five(full: dict[str, Any]) -> None:
    count = sum(full["exit_counts"])
    layers = len(full["exit_counts"])
    full.update(
        exit_counts=[*[0] * (layers - 2), count, 0], mean_layer=layers - 1, layer_fraction=(layers - 1) / layers
    )


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_a_record_without_a_checksum_may_not_contradict_itself(field: str, tmp_path: Path) -> None:
    record = copy.deepcopy(RECORDS[1])
    CONTRADICTIONS[field](record)
    assert complaint(tmp_path, record).startswith(field)


OTHER = {"spec": {"backbone": "albert-base"}, "backbone": {"name": "albert-base"}}
FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "quality_key": lambda r: r.update(quality_key="0" * 16),
    "identity.backbone.name": lambda r: [r[part].update(name) for part, name in OTHER.items()],
    "backbone.name": lambda r: r["spec"].update(backbone="albert-base"),
    "identity.task.name": lambda r: r["spec"].update(task="rte"),
    "identity.train": lambda r: r["spec"]["train"].update(lr=0.5),
    "task.revision": lambda r: r["task"].update(revision="sha256-0"),
}  # fmt: skip


@pytest.mark.parametrize("field", FORGED)
def test_a_checksum_that_was_made_again_does_not_hide_what_was_asked(field: str, tmp_path: Path) -> None:
    record = copy.deepcopy(RECORDS[2])
    FORGED[field](record)
    record["checksum"] = compute_checksum(record)
    assert complaint(tmp_path, record).startswith(field)


@pytest.mark.parametrize("field", SINCE_SEALED)
def test_a_record_that_claims_version_1_to_need_no_checksum_has_nothing_newer(field: str, tmp_path: Path) -> None:
    """An altered number and the older version's name, the checksum taken away."""
    record = {**copy.deepcopy(RECORDS[1]), "warnings": ["altered"]}
    assert complaint(tmp_path, record) == ""
    values = {"sources": {"head": "0" * 16}, "skill": {}, "task.given": "there", "criterion.held_out": None}
    *parents, name = field.split(".")
    part = record.setdefault(parents[0], {"probe": None, "fitted": {}}) if parents else record
    part[name] = values.get(field)
    assert complaint(tmp_path, record) == f"{field} is in no record of schema_version 1"


def test_what_is_no_record_is_said(tmp_path: Path) -> None:
    assert complaint(tmp_path, [1]) == "it is a list, an object is needed"
    assert complaint(tmp_path, {}) == "schema_version is missing"
    assert complaint(tmp_path, {"schema_version": True}) == "schema_version is true or false, a whole number is needed"
    assert complaint(tmp_path, {"schema_version": 2}) == "status is missing"
    assert complaint(tmp_path, {**RECORDS[2], "more": 1}) == "more is no field that this version knows"
    failed = {name: RECORDS[2][name] for name in list(RECORDS[2])[:8]} | {"status": "error"}
    assert complaint(tmp_path, failed) == "error is missing"
    asked = {**RECORDS[2], "spec": {**RECORDS[2]["spec"], "max_length": 1}}
    assert complaint(tmp_path, asked) == "spec: max_length must be at least 4, not 1"


def test_a_newer_record_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**RECORDS[2], "schema_version": 99}))
    with pytest.raises(UsageError) as error:
        read_record(path)
    known = f"schema_version is 99, this one knows {SCHEMA_VERSION}"
    assert str(error.value) == f"{path} was written by a newer ExitBench ({known}): upgrade exitbench."


def test_a_record_is_sealed_when_it_is_written(tmp_path: Path) -> None:
    record = read_record(FOLDER / "record-v2.json")
    write_record(tmp_path / "record.json", record.model_copy(update={"command": "another", "checksum": None}))
    plain = json.loads((tmp_path / "record.json").read_text())
    assert plain["checksum"] == compute_checksum(plain) != RECORDS[2]["checksum"]
    assert plain == {**RECORDS[2], "command": "another", "checksum": plain["checksum"]}
    assert list(plain)[-1] == "checksum"


def test_one_bad_record_is_left_out_and_said(tmp_path: Path) -> None:
    for name, text in {"good": (FOLDER / "record-v2.json").read_text(), "bad": "{}"}.items():
        folder = tmp_path / "task" / "backbone" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)
    runs, [left_out] = Store(tmp_path).runs()
    assert [run.name for run in runs] == ["task/backbone/good"]
    assert left_out.name == "task/backbone/bad"
    assert left_out.why.startswith(f"{tmp_path.name}/{left_out.name}/record.json is damaged (schema_version is missing")
