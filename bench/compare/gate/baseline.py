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

from bench.compare.gate.cells import GateCell
from bench.compare.gate.golden import Golden, decide
from bench.environment import cpu_name, versions
from bench.errors import UsageError
from bench.files import write_json
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from bench.results.run import Run

VERSION = 1


@dataclass(frozen=True)
class Baseline:
    """What was accepted, read from its folder."""

    folder: Path
    cells: dict[str, dict[str, Any]]
    probe: dict[str, dict[str, Any]]
    platform: dict[str, Any]

    def exits(self, kept: Mapping[str, Any]) -> AllExits:
        """Return the stored logits of a cell."""
        return read_exits(self.folder / kept["backbone"] / kept["logits"])

    @classmethod
    def read(cls, folder: Path) -> Baseline:
        """Read the baseline in ``folder``. Raises UsageError where there is none, or one of another version."""
        if not (folder / "platform.json").exists():
            raise UsageError(f"There is no baseline in {folder}: `bench gate --accept` makes one.")
        platform = _json(folder / "platform.json")
        if platform["version"] != VERSION:
            raise UsageError(f"The baseline in {folder} has version {platform['version']}: `bench gate --accept`.")
        kept = [_json(path) for path in sorted(folder.glob("*/*.json"))]
        cells = {f"{c['strategy']} | {c['backbone']}": c for c in kept}
        return cls(folder, cells, _json(folder / "probe.json"), platform)


def describe_platform() -> dict[str, Any]:
    """Return what float noise depends on."""
    found = versions()
    return {"version": VERSION, "torch": found["torch"], "transformers": found["transformers"], "cpu": cpu_name()}


def describe_gate_cell(cell: GateCell, run: Run, logits: str) -> dict[str, Any]:
    """Return what is kept of a cell."""
    exits, record = run.exits(), run.record
    table = cell.flops(exits.lengths)
    kept = decide(cell.criterion, exits)
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
        "per_exit": run.result().to_plain()["per_exit"],
        "samples": len(exits.ids),
        "tokens": int(exits.lengths.sum()),
        "flops_by_exit": table.sum(axis=0).tolist(),
        "plain_flops": sum_plain_flops(run),
        **kept,
    }


def sum_plain_flops(run: Run) -> int:
    """Return the FLOPs of the plain model over the evaluation split, from the record's mean and ratio."""
    full = run.result().full
    return round(full.cost_mean * full.samples * full.cost_speedup.value)


def write_baseline(folder: Path, runs: Mapping[GateCell, Run], probe: Mapping[str, Any]) -> None:
    """Replace the baseline. What is written is whole before what was there goes.

    A file of logits is named after head, recipe and depth of its model; where the criterion reads more than logits, it
    is the cell's own.
    """
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for cell, run in runs.items():
        own = "" if run.exits().observed is None else f"-{cell.strategy}"
        name = f"{run.spec.head}-{run.spec.recipe}-{run.layers}{own}.parquet"
        path = made / cell.backbone / name
        if not path.exists():
            write_exits(run.exits(), path)
        write_json(made / cell.backbone / f"{cell.strategy}.json", describe_gate_cell(cell, run, name))
    write_json(made / "probe.json", probe)
    write_json(made / "platform.json", describe_platform())
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
