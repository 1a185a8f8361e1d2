"""What a record says besides measured numbers: what was asked and where it ran, the data, the backbone."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from backbones.load import Loaded
from bench.cell.identify import Cell
from bench.cell.own_exit import OwnExit
from bench.environment import describe_environment
from bench.results.facts import BackboneFacts, ClassifierFacts, Environment, Identity, Rows, TaskFacts
from bench.results.record import SCHEMA_VERSION
from bench.results.spec import RunSpec, hash_identity, identify_quality
from bench.tasks.encode import EncodedSplit
from strategies.base import ExitModel


def describe_cell(cell: Cell) -> dict[str, Any]:
    """Return how the record of a cell begins: what was asked, by which command, and where it runs."""
    return begin_record(cell.spec, identify_quality(cell.spec, cell.facts), cell.context.command)


def begin_record(spec: RunSpec, identity: dict[str, object], command: str) -> dict[str, Any]:
    """Return the fields that every record begins with; ``identity`` is what the result is identified by."""
    return {
        "schema_version": SCHEMA_VERSION,
        "quality_key": hash_identity(identity),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "spec": spec,
        "identity": Identity.from_plain(identity),
        "environment": Environment.from_plain(describe_environment()),
    }


def describe_task(cell: Cell, encoded: Mapping[str, EncodedSplit], max_length: int) -> TaskFacts:
    """Return where the data came from and how much of it was used; samples were cut to ``max_length`` tokens."""
    data, given = cell.data, {} if cell.parts.given is None else {"given": cell.parts.given}
    rows = {}
    for split in (data.train, data.select, *data.evaluation.values()):
        cut = {"truncated": encoded[split.name].truncated} if split.name in encoded else {}
        rows[split.name] = Rows(used=len(split), available=split.available, **cut)
    return TaskFacts(
        name=data.name,
        kind=data.kind,
        labels=data.label_names,
        metrics=data.metrics,
        revision=data.revision,
        source=data.source,
        select=data.select.name,
        evaluation=tuple(data.evaluation),
        rows=rows,
        max_length=max_length,
        **given,
    )


def describe_backbone(cell: Cell, loaded: Loaded, model: ExitModel, *, depth: int) -> BackboneFacts:
    """Return which weights, how many, and how states are pooled; ``depth`` is the whole backbone's, if that was cut."""
    exits = range(1, model.num_layers + 1)
    used = {id(p): p for layer in exits for p in model.head.exit_parameters(layer)}
    own = {} if cell.own is None else {"classifier": describe_classifier(cell.own)}
    return BackboneFacts(
        name=cell.spec.backbone,
        model_type=model.encoder.model_type,
        source=loaded.source,
        revision=loaded.revision,
        digest=loaded.digest,
        init=cell.spec.init,
        layers=model.num_layers,
        depth=depth,
        hidden=model.encoder.hidden_size,
        parameters=sum(p.numel() for p in model.encoder.parameters()),
        head_parameters=sum(p.numel() for p in used.values()),
        pooling=model.head.pooling,
        **own,
    )


def describe_classifier(own: OwnExit) -> ClassifierFacts:
    """Return what the backbone's own classifier answers, and which of its classes are the task's."""
    return ClassifierFacts(labels=own.labels.names, order=own.match.order, matched=own.match.how)
