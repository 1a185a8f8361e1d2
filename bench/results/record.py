"""The record of a run: what was asked, with what, and what came out; typed, and validated once when it is read.

    RunRecord          a finished run
    UnfinishedRecord   one that was started, cancelled, or failed, with its error

``RunRecord.model_json_schema()`` describes the file.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from bench.results.facts import (
    BackboneFacts,
    Environment,
    ExternalLogits,
    FittedCriterion,
    Identity,
    RunError,
    TaskFacts,
    Training,
)
from bench.results.measures import Counts, HeldOut, LiveCheck, PrecisionChanges, SkillCheck, SplitResult
from bench.results.part import Frozen, Number, Part
from bench.results.spec import RunSpec
from bench.results.times import Latency

FLAT = re.compile(r"[\[{][^\[\]{}]*[\]}]")
"""Lists and objects of plain values alone. Each has one line: a row of a curve on seven is mostly blanks."""
BREAK = re.compile(r"(?<=[\[{])\n *|\n *(?=[\]}])|(?P<between>\n *)")
"""No text in JSON has a line break in it, so that this finds what lies between values alone."""

SCHEMA_VERSION = 2
"""Of the records that are written. Version 1 had the same fields in the end, but no checksum."""


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

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values, in the order in which they are written."""
        plain = super().to_plain()
        if "selected" not in plain and self.status == "success":
            del plain["spec"]["select"]  # records of before operating points could be chosen have neither
        return plain

    def to_json(self) -> str:
        """Return the text of the file."""
        spread = json.dumps(self.to_plain(), indent=1, ensure_ascii=False, allow_nan=False)
        return FLAT.sub(lambda found: BREAK.sub(lambda gap: " " if gap["between"] else "", found[0]), spread) + "\n"


class UnfinishedRecord(RecordHead):
    """A run that was started and did not finish."""

    status: Literal["started", "error", "cancelled"]
    error: RunError | None = None
    checksum: str | None = None


class RunRecord(RecordHead):
    """A finished run."""

    status: Literal["success"]
    speed_key: str | None
    """Hash of the identity of the latency; None where none was measured."""
    task: TaskFacts
    backbone: BackboneFacts
    training: Training
    sources: Frozen[str] | None = None
    """Digests of the source of strategy, criterion, head, recipe, task and backbone; unset in older records."""
    criterion: FittedCriterion | None = None
    """What was fitted after the model; unset in the oldest records."""
    thresholds: tuple[Number, ...] | None
    """Thresholds that the user gave."""
    selected: tuple[str, ...] = ()
    """Operating points that the user asked for besides the standard ones."""
    upper_bound: bool
    """Whether the strategy knows labels or later exits."""
    select: HeldOut
    evaluation: Frozen[SplitResult]
    skill: Frozen[SkillCheck] | None = None
    """By split; unset in records from before it was looked at."""
    precision: Frozen[PrecisionChanges] | None = None
    """By split; None for a run in full precision."""
    live_check: LiveCheck | None
    """None for a strategy that cannot run live."""
    latency: Latency | None
    counts: Counts | None = None
    """What the engine does, counted; unset in older records, and None for a strategy that cannot run live."""
    warnings: tuple[str, ...]
    external: ExternalLogits | None = None
    """Set where the logits were imported: nothing was trained here, and there is no model."""
    checksum: str | None = None
    """Of everything else; unset in version 1."""
