"""The run that tests kill, and whether what it left in the end is what an undisturbed one leaves."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from bench.training.checkpoint import load_tensors
from tests.helpers.small_runs import SHAPE, settings


def arguments(task: Path, results: Path, strategy: str = "deebert", recipe: str = "deebert") -> list[str]:
    """The command line of a run of two stages with four steps each; exits-only has a pass, and a fit on its states."""
    return [
        *("run", "--strategy", strategy, "--task", str(task), "--backbone", "bert-demo"),
        *("--head", "highway", "--recipe", recipe, "--results-dir", str(results)),
        *("--no-latency", "--offline", "--json", *settings(*SHAPE, "train.steps=4", "train.batch_size=16")),
    ]


def the_cell(results: Path) -> Path:
    """The folder of the only run."""
    (cell,) = results.glob("*/*/*/record.json")
    return cell.parent


def timeless_run(results: Path) -> dict[str, Any]:
    """The record without what may differ: when, how long, how often it was resumed, what was reused."""
    record: dict[str, Any] = copy.deepcopy(json.loads((the_cell(results) / "record.json").read_text()))
    assert record["status"] == "success"
    for name in ("created", "command", "checksum"):
        record.pop(name)
    for name in ("seconds", "resumed", "reused"):
        record["training"].pop(name)
    return record


def assert_same(results: Path, undisturbed: Path) -> None:
    """Record, per-sample exits, weights and probes are equal, and nothing half-written is left."""
    assert timeless_run(results) == timeless_run(undisturbed)
    for name in ("exits-validation.parquet", "exits-select.parquet"):
        assert (the_cell(results) / name).read_bytes() == (the_cell(undisturbed) / name).read_bytes()
    ours, theirs = (
        {path.relative_to(root): load_tensors(path)[0] for path in root.glob(".cache/*/*/*.safetensors")}
        for root in (results, undisturbed)
    )
    assert ours.keys() == theirs.keys()
    for path, weights in ours.items():
        assert weights.keys() == theirs[path].keys()
        assert all(bool((weights[name] == theirs[path][name]).all()) for name in weights), path
    assert find_leftovers(results) == []


def find_leftovers(results: Path) -> list[str]:
    """Files that are written on the way and belong to nobody afterwards."""
    return [p.name for p in results.rglob("*") if p.name.endswith(".tmp") or p.name.startswith("progress")]
