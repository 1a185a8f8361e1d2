"""What a record keeps of a cell: results, where data and weights came from, how much of them was used."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import NoneType

from backbones.load import Loaded
from bench.environment import environment
from bench.files import Shape, check_shape
from bench.measure.trade_off import TradeOff
from bench.results.spec import Facts, RunSpec, key, quality_identity
from bench.results.store import Record, read_record
from bench.tasks.base import TaskData
from bench.tasks.encode import EncodedSplit
from strategies.base import ExitModel

ASKED: Shape = {"status": str, "spec": {"strategy": str, "task": str, "backbone": str, "seed": int}}
FINISHED: Shape = {
    **ASKED,
    "environment": dict,
    "task": {"name": str, "metrics": list, "select": str, "evaluation": list, "rows": {"*": dict}},
    "backbone": {"name": str, "layers": int, "pooling": str},
    "training": {"key": str, "steps": dict, "seconds": (int, float), "truncated": int, "reused": bool},
    "upper_bound": bool,
    "evaluation": {"*": {"samples": int, "full": dict, "points": list}},
    "live_check": (dict, NoneType),
    "latency": (dict, NoneType),
    "warnings": list,
}
"""What every record has that is reused and shown instead of being measured; not what came later."""


def usable_record(path: Path) -> Record:
    """The record in ``path``. Raises Damaged also for one that lacks what a run reads of it, or has other types there.

    Raises UsageError for one that a newer version wrote.
    """
    record = read_record(path)
    check_shape(path, record, FINISHED if record.get("status") == "success" else ASKED)
    return record


def record_head(spec: RunSpec, facts: Facts, command: str) -> Record:
    """What a record says before anything is measured: what was asked, by which command, and where it runs."""
    identity = quality_identity(spec, facts)
    return {
        "quality_key": key(identity),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "spec": asdict(spec),
        "identity": identity,
        "environment": environment(),
    }


def summary(curve: TradeOff, points: list[dict[str, object]]) -> Record:
    """One evaluation split: the full model, every exit by itself, the curve, the operating points."""
    return {
        "samples": len(curve.exits.ids),
        "full": curve.at(-float("inf")),
        "per_exit": curve.per_exit(),
        "points": points,
        "curve_rows": len(curve.curve),
        "curve": curve.curve_rows(),
    }


def task_facts(data: TaskData, encoded: Mapping[str, EncodedSplit]) -> Record:
    """Where the data came from and how much of it was used."""
    splits = (data.train, data.select, *data.evaluation.values())
    rows = {
        s.name: {
            "used": len(s),
            "available": s.available,
            **({"truncated": encoded[s.name].truncated} if s.name in encoded else {}),
        }
        for s in splits
    }
    return {
        "name": data.name,
        "kind": data.kind,
        "labels": list(data.label_names),
        "metrics": list(data.metrics),
        "revision": data.revision,
        "source": data.source,
        "select": data.select.name,
        "evaluation": list(data.evaluation),
        "rows": rows,
    }


def backbone_facts(spec: RunSpec, loaded: Loaded, model: ExitModel, depth: int) -> Record:
    """Which weights, how many, and how its states are pooled; ``depth`` is the whole backbone's, if that was cut."""
    return {
        "name": spec.backbone,
        "model_type": model.encoder.model_type,
        "source": loaded.source,
        "revision": loaded.revision,
        "digest": loaded.digest,
        "init": spec.init,
        "layers": model.num_layers,
        "depth": depth,
        "hidden": model.encoder.hidden_size,
        "parameters": sum(p.numel() for p in model.encoder.parameters()),
        "head_parameters": sum(p.numel() for p in model.head.parameters()),
        "pooling": model.head.pooling,
    }
