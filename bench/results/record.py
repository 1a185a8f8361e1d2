"""The record of a run: what was asked, with what, and what came out; typed, and validated once when it is read.

    RunRecord          a finished run
    UnfinishedRecord   one that was started, cancelled, or failed, with its error

``RunRecord.model_json_schema()`` describes the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bench.errors import Damaged, UsageError
from bench.files import replace_file
from bench.results.facts import BackboneFacts, Environment, FittedCriterion, Identity, RunError, TaskFacts, Training
from bench.results.measures import HeldOut, LiveCheck, PrecisionChanges, SplitResult
from bench.results.migrations import upgrade
from bench.results.part import Number, Part, describe_error, field_path, kind_of
from bench.results.spec import LatencyArgs, RunSpec
from bench.results.times import Latency
from bench.training.args import TrainArgs

TAGS = ("reached", "unreached", "plain", "point")
"""The tags of unions, which pydantic puts into the paths of its errors."""


class RecordHead(Part):
    """What every record says, whatever became of the run."""

    schema_version: int
    status: Literal["started", "success", "error", "cancelled"]
    quality_key: str
    """Hash of ``identity``: results with the same one are interchangeable."""
    created: str
    """UTC, ISO 8601."""
    command: str
    """The exact command that made the run."""
    spec: RunSpec
    """What was asked, every default written out."""
    identity: Identity
    environment: Environment

    def to_json(self) -> str:
        """Return the text of the file."""
        plain = self.to_plain()
        if "selected" not in plain and self.status == "success":
            del plain["spec"]["select"]  # records of before operating points could be chosen have neither
        return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class UnfinishedRecord(RecordHead):
    """A run that was started and did not finish."""

    status: Literal["started", "error", "cancelled"]
    error: RunError | None = None


class RunRecord(RecordHead):
    """A finished run."""

    status: Literal["success"]
    speed_key: str | None
    """Hash of the identity of the latency; None where none was measured."""
    task: TaskFacts
    backbone: BackboneFacts
    training: Training
    criterion: FittedCriterion | None = None
    """What was fitted after the model; unset in the oldest records."""
    thresholds: tuple[Number, ...] | None
    """Thresholds that the user gave."""
    selected: tuple[str, ...] = ()
    """Operating points that the user asked for besides the standard ones."""
    upper_bound: bool
    """Whether the strategy knows labels or later exits."""
    select: HeldOut
    evaluation: Mapping[str, SplitResult]
    precision: Mapping[str, PrecisionChanges] | None = None
    """By split; None for a run in full precision."""
    live_check: LiveCheck | None
    """None for a strategy that cannot run live."""
    latency: Latency | None
    warnings: tuple[str, ...]


def read_record(path: Path) -> RunRecord | UnfinishedRecord:
    """Return the record in ``path``.

    Raises Damaged, naming the first field that is wrong; UsageError for a record that a newer version wrote.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:  # not text, not JSON, or brackets without end
        raise Damaged(path, str(error)) from error
    if not isinstance(raw, dict):
        raise Damaged(path, f"it is {kind_of(raw)}, an object is needed")
    version = raw.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool):
        what = "missing" if version is None else f"{kind_of(version)}, a whole number is needed"
        raise Damaged(path, f"schema_version is {what}")
    try:
        upgraded = upgrade(raw)
    except UsageError as error:
        raise UsageError(f"{path} {error}") from None
    present = {**upgraded, "schema_version": version}  # it is written again as what it is
    kind = RunRecord if raw.get("status") == "success" else UnfinishedRecord
    try:
        record = kind.model_validate_json(text if present == raw else json.dumps(present))
    except ValidationError as error:
        raise Damaged(path, describe_error(error, TAGS)) from error
    except UsageError as error:
        raise Damaged(path, f"spec: {error}") from error
    lacking = _find_missing_setting(present["spec"])
    if lacking:
        raise Damaged(path, f"{lacking} is missing")
    return record


def write_record(path: Path, record: RecordHead) -> None:
    """Write ``record``, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(record.to_json(), encoding="utf-8")


def _find_missing_setting(spec: Mapping[str, Any]) -> str:
    """Return the first setting that a record's spec leaves to its default, or the empty string.

    Defaults are for those who ask, not for what was recorded; only what came later may be missing.
    """
    parts = {(): (RunSpec, spec), ("train",): (TrainArgs, spec["train"]), ("latency",): (LatencyArgs, spec["latency"])}
    for where, (kind, given) in parts.items():
        for field in fields(kind) if given is not None else ():
            if field.name not in given and field.name not in ("select", "executor", "batch_size"):
                return field_path(["spec", *where, field.name])
    return ""
