"""The baseline on disk: a JSON a cell, the logits of each trained model once, the probe's decisions, the platform.

BASELINE/<backbone>/<strategy>.json      quality, golden cuts with every sample's exit, FLOPs
        /<backbone>/<name>.parquet       every exit's logits of a trained model, shared by the cells it serves
        /probe.json                      what every criterion decides on made-up logits
        /platform.json                   versions and processor that trained the models
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.compare.gate.cells import GateCell, Observed
from bench.compare.gate.golden import Golden, decided
from bench.environment import cpu_name, versions
from bench.errors import UsageError
from bench.files import write_json
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from bench.results.record import RunRecord

VERSION = 1


@dataclass(frozen=True)
class Baseline:
    """What was accepted, read from its folder."""

    folder: Path
    cells: dict[str, dict[str, Any]]
    probe: dict[str, dict[str, Any]]
    platform: dict[str, Any]

    def exits(self, kept: Mapping[str, Any]) -> AllExits:
        """The stored logits of a cell."""
        return read_exits(self.folder / kept["backbone"] / kept["logits"])

    @classmethod
    def read(cls, folder: Path) -> Baseline:
        """Raises UsageError where there is none, or one of another version."""
        if not (folder / "platform.json").exists():
            raise UsageError(f"There is no baseline in {folder}: `bench gate --accept` makes one.")
        platform = _json(folder / "platform.json")
        if platform["version"] != VERSION:
            raise UsageError(f"The baseline in {folder} has version {platform['version']}: `bench gate --accept`.")
        kept = [_json(path) for path in sorted(folder.glob("*/*.json"))]
        cells = {f"{c['strategy']} | {c['backbone']}": c for c in kept}
        return cls(folder, cells, _json(folder / "probe.json"), platform)


def platform() -> dict[str, Any]:
    """What float noise depends on."""
    found = versions()
    return {"version": VERSION, "torch": found["torch"], "transformers": found["transformers"], "cpu": cpu_name()}


def describe(cell: GateCell, observed: Observed, logits: str) -> dict[str, Any]:
    """What is kept of a cell."""
    exits, record = observed.exits, observed.record
    (result,) = record.evaluation.values()
    table = cell.flops(exits.lengths)
    kept = decided(cell.criterion, exits)
    for cut in kept["cuts"]:
        layers = Golden(**cut).exits
        rows = np.arange(len(layers))
        cut["flops"] = int(table[rows, layers - 1].sum())
        cut["correct"] = int((exits.predictions[rows, layers - 1] == exits.labels).sum())
    return {
        "strategy": cell.strategy,
        "backbone": cell.backbone,
        "logits": logits,
        "quality_key": record.quality_key,
        "training": {"limit": record.spec.limit, "steps": dict(record.training.steps)},
        "per_exit": result.to_plain()["per_exit"],
        "samples": len(exits.ids),
        "tokens": int(exits.lengths.sum()),
        "flops_by_exit": table.sum(axis=0).tolist(),
        "plain_flops": plain_flops(record),
        **kept,
    }


def plain_flops(record: RunRecord) -> int:
    """Return the FLOPs of the plain model over the evaluation split, from the record's mean and ratio."""
    (full,) = (result.full for result in record.evaluation.values())
    return round(full.cost_mean * full.samples * full.cost_speedup.value)


def logits_name(cell: GateCell, observed: Observed) -> str:
    """The file of a trained model's logits: head, recipe, depth; the cell's own where it reads more than logits."""
    spec, own = observed.record.spec, "" if observed.exits.observed is None else f"-{cell.strategy}"
    return f"{spec.head}-{spec.recipe}-{observed.record.backbone.layers}{own}.parquet"


def write(folder: Path, observed: Mapping[GateCell, Observed], probe: Mapping[str, Any]) -> None:
    """Replace the baseline. What is written is whole before what was there goes."""
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for cell, found in observed.items():
        name = logits_name(cell, found)
        path = made / cell.backbone / name
        if not path.exists():
            write_exits(found.exits, path)
        write_json(made / cell.backbone / f"{cell.strategy}.json", describe(cell, found, name))
    write_json(made / "probe.json", probe)
    write_json(made / "platform.json", platform())
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
