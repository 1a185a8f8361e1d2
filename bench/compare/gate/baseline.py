"""The baseline on disk: a JSON a cell, the logits of each trained model once, the probe's decisions, the platform.

BASELINE/<backbone>/<strategy>.json      quality, golden cuts with every sample's exit, FLOPs
        /<backbone>/<name>.parquet       every exit's logits of a trained model, shared by the cells it serves
        /probe.json                      what every criterion decides on made-up logits
        /platform.json                   versions and processor that trained the models
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.compare.gate.cells import GateCell
from bench.compare.gate.golden import read_layers, record_decisions
from bench.compare.gate.kept import (
    REMEDY,
    KeptCell,
    KeptRule,
    Platform,
    count_exits,
    find_misfit,
    find_probe_misfit,
    read_kept,
)
from bench.environment import read_cpu_name, read_versions
from bench.errors import Damaged, DataError, UsageError
from bench.files import write_json
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from bench.results.places import make_slug
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
        """Return the stored logits of a cell. Raises DataError where they are not there, or others."""
        path = self.folder / kept["backbone"] / kept["logits"]
        try:
            found = read_exits(path)
        except FileNotFoundError as error:
            raise DataError(f"The baseline lacks {path}: {REMEDY}.") from error
        except Damaged as error:
            raise DataError(f"The baseline's {error.what}: {REMEDY}.") from error
        if found.logits.shape[:2] != (kept["samples"], count_exits(kept)):
            raise DataError(f"{path} of the baseline has other samples or exits than its cells say: {REMEDY}.")
        return found

    @property
    def strategies(self) -> set[str]:
        """The strategies that it has a probe's decisions or cells of."""
        return {*self.probe, *(cell["strategy"] for cell in self.cells.values())}

    def select(self, strategies: Collection[str]) -> Baseline:
        """Return the part of the baseline that is about these strategies."""
        cells = {label: cell for label, cell in self.cells.items() if cell["strategy"] in strategies}
        return replace(self, cells=cells, probe={n: kept for n, kept in self.probe.items() if n in strategies})

    @classmethod
    def read(cls, folder: Path) -> Baseline:
        """Read the baseline in ``folder``.

        Raises UsageError where there is none, or one of another version; DataError, naming the file, for one that is
        incomplete or damaged.
        """
        if not (folder / "platform.json").exists():
            raise UsageError(f"There is no baseline in {folder}: `bench gate --accept` makes one.")
        platform = read_kept(folder / "platform.json", dict[str, Any])
        version = platform.get("version")
        if isinstance(version, int) and version > VERSION:
            raise UsageError(f"The baseline in {folder} was written by a newer ExitBench (version {version}).")
        if version != VERSION:
            raise UsageError(f"The baseline in {folder} has version {version}: `bench gate --accept`.")
        platform = read_kept(folder / "platform.json", Platform)
        cells = {}
        for path in sorted(folder.glob("*/*.json")):
            kept = read_kept(path, KeptCell)
            if misfit := find_misfit(kept, path):
                raise DataError(f"{path} of the baseline is damaged ({misfit}): {REMEDY}.")
            cells[f"{kept['strategy']} | {kept['backbone']}"] = kept
        path = folder / "probe.json"
        probe = read_kept(path, dict[str, dict[str, KeptRule]])
        if misfit := find_probe_misfit(probe):
            raise DataError(f"{path} of the baseline is damaged ({misfit}): {REMEDY}.")
        return cls(folder, cells, probe, platform)


def describe_platform() -> dict[str, Any]:
    """Return what float noise depends on."""
    found = read_versions()
    return {
        "version": VERSION,
        "torch": found["torch"],
        "transformers": found["transformers"],
        "cpu": read_cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def describe_gate_cell(cell: GateCell, run: Run, logits: str) -> dict[str, Any]:
    """Return what the baseline keeps of a cell."""
    exits, record = run.exits(), run.record
    counts = cell.count(exits)
    table = cell.flops(exits.lengths)
    kept = record_decisions(cell.criterion, exits)
    for cut in kept["cuts"]:
        layers = read_layers(cut["layers"])
        rows = np.arange(len(layers))
        cut["flops"] = int(table[rows, layers - 1].sum())
        cut["correct"] = int((exits.predictions[rows, layers - 1] == exits.labels).sum())
    return {
        "strategy": cell.strategy,
        "backbone": cell.backbone,
        "logits": logits,
        "quality_key": record.quality_key,
        "training": {"limit": record.spec.limit, "steps": dict(record.training.steps)},
        "per_exit": {metric: list(values) for metric, values in run.result().per_exit.items()},
        "samples": len(exits.ids),
        "tokens": int(exits.lengths.sum()),
        "flops_by_exit": table.sum(axis=0).tolist(),
        "plain_flops": sum_plain_flops(run),
        **({} if counts is None else {"counts": counts.to_plain()}),
        **kept,
    }


def sum_plain_flops(run: Run) -> int:
    """Return the FLOPs of the plain model over the evaluation split, from the record's mean and ratio."""
    full = run.result().full
    return round(full.cost_mean * full.samples * full.cost_speedup.value)


def write_baseline(folder: Path, runs: Mapping[GateCell, Run], probe: Mapping[str, Any]) -> None:
    """Replace the baseline; the old one goes when the new one is whole.

    A file of logits is named after head, recipe and depth of its model; where the criterion reads more than logits, it
    is the cell's own.
    """
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    for cell, run in runs.items():
        own = "" if run.exits().observed is None else f"-{make_slug(cell.strategy)}"
        name = f"{make_slug(run.spec.head)}-{make_slug(run.spec.recipe)}-{run.layers}{own}.parquet"
        path = made / cell.backbone / name
        if not path.exists():
            write_exits(run.exits(), path)
        write_json(made / cell.backbone / f"{make_slug(cell.strategy)}.json", describe_gate_cell(cell, run, name))
    write_json(made / "probe.json", probe)
    write_json(made / "platform.json", describe_platform())
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
