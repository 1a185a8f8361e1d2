"""Little sweeps, and what of their records may not depend on the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bench.cell.request import Context
from bench.progress import Progress
from bench.results.store import Store
from bench.sweep import Plan, make_plan
from bench.sweep.config import expand_cells
from bench.sweep.remote import Remote

SHAPE = {"backbone.num_hidden_layers": 2, "backbone.hidden_size": 16, "backbone.intermediate_size": 24}
TINY: dict[str, Any] = {
    "limit": 24, "latency": False, "backbone": "bert-demo",
    "settings": {**SHAPE, "train.steps": 2, "train.batch_size": 8},
}  # fmt: skip


def sweep(task: Path, log: Path, **matrix: Any) -> dict[str, Any]:
    """A sweep over the reviews at ``task`` whose trainings are noted in ``log``."""
    watched = {"head": "linear", "recipe": "tests.helpers.sweep_recipes:Watched", "settings": {"recipe.log": str(log)}}
    return {"defaults": TINY, "matrix": {"task": str(task), "strategy": ["entropy", "patience"], **watched, **matrix}}


def write(path: Path, content: dict[str, Any]) -> Path:
    """A sweep file."""
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def quiet(results: Path) -> Context:
    """A context that says nothing."""
    return Context(Store(results), Progress(quiet=True), offline=True)


def remote_of(url: str, results: Path) -> Remote:
    """The results at ``url`` beside those in ``results``."""
    context = quiet(results)
    return Remote(url, context.store, context.progress)


def planned(content: dict[str, Any], results: Path) -> Plan:
    """The plan of a sweep."""
    return make_plan(expand_cells(content), quiet(results))


def records(results: Path) -> dict[str, dict[str, Any]]:
    """Every record by its folder, without times, commands and machine, and without which cell trained first."""
    found = {}
    for path in sorted(results.glob("*/*/*/record.json")):
        record = json.loads(path.read_text())
        for name in ("created", "command", "environment", "checksum"):
            record.pop(name)
        for name in ("seconds", "resumed", "reused"):
            record.get("training", {}).pop(name, None)
        found[path.parent.relative_to(results).as_posix()] = record
    return found


def trained(results: Path) -> int:
    """How many cells trained themselves instead of taking a checkpoint."""
    paths = results.glob("*/*/*/record.json")
    return sum(not json.loads(p.read_text())["training"]["reused"] for p in paths)
