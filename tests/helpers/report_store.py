"""Made-up stores of results: every shape of record that a report must show, without training anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.files import write_json
from bench.measure.exits import AllExits
from bench.measure.metrics import from_statistics, statistics
from bench.measure.stats import wilson
from bench.results.exits import write_exits
from bench.results.part import compute_checksum
from bench.results.places import locate_exits
from bench.results.record import SCHEMA_VERSION
from bench.results.run import Run
from bench.results.spec import Facts, RunSpec, hash_identity, identify_quality
from bench.results.store import Store
from bench.selfcheck.tables import multiply_runs
from bench.training.args import TrainArgs

MACHINE = {"system": "Linux x86_64", "cpu": "Test CPU", "cores": 2, "memory_gib": 8.0, "threads": 1, "gpus": []}
VERSIONS = {"python": "3.11.7", "exitbench": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "numpy": "2.4.6"}
LOGITS = ("exits-evaluation.parquet", "exits-select.parquet")
RULES = {"no-loss": 1.4, "-0.5": 1.7, "-1": 1.9, "2x": 2.05, "3x": 3.1, "4x": None}


def make_cell(
    root: Path,
    strategy: str = "elbert-mono",
    task: str = "demo",
    backbone: str = "albert-demo",
    seed: int = 0,
    *,
    criterion: Mapping[str, object] | None = None,
    layers: int = 6,
    whole: int | None = None,
    samples: int = 80,
    metric: str = "accuracy",
    revision: str = "sha256-1",
    commit: str = "a" * 40,
    dirty: bool = False,
    status: str = "success",
    error: str = "",
    latency: str | None = None,
    depth: bool = False,
    early: bool = True,
    upper_bound: bool = False,
    checkpoint: str | None = None,
    exits: bool = True,
    labels: Sequence[str] = ("negative", "positive"),
    ids: Sequence[str] = (),
    warnings: Sequence[str] = (),
    spec: Mapping[str, object] | None = None,
    command: str | None = None,
    machine: str = "0123456789ab",
    place: str | None = None,
    version: int = 1,
) -> Path:
    """Write one cell and return its folder, which is ``place`` where that is given.

    ``latency`` is None, "valid", "invalid", "moved" (of a machine of two speeds) or "former", by a former protocol;
    ``whole`` the layers of the backbone that this one was cut from.
    """
    asked: dict[str, Any] = {
        "head": "shared", "recipe": "elbert", "init": "scratch", "criterion_args": dict(criterion or {}),
        "train": {"epochs": 5.0}, "max_length": 48, "latency": None, **(spec or {}),
    }  # fmt: skip
    asked["train"] = TrainArgs(**asked["train"])
    made = RunSpec(strategy=strategy, task=task, backbone=backbone, seed=seed, **asked)
    versions = {"head": 1, "recipe": 1, "strategy": version}
    identity = identify_quality(made, Facts("digest", revision, versions))
    folder = root / place if place else Store(root).place(task, backbone, strategy, seed, hash_identity(identity))
    record: dict[str, Any] = {
        "quality_key": hash_identity(identity),
        "created": "2026-01-02T03:04:05+00:00",
        "command": f"bench run --strategy {strategy} --task {task} --seed {seed}" if command is None else command,
        "spec": asdict(made),
        "identity": identity,
        "environment": {"versions": VERSIONS, "machine": MACHINE, "machine_id": machine,
                        "source": {"commit": commit, "dirty": dirty}},
    }  # fmt: skip
    if status != "success":
        if error:
            record["error"] = {"kind": "user", "message": error, "traceback": ""}
        return write_sealed(folder, {"schema_version": SCHEMA_VERSION, "status": status, **record})
    random = np.random.default_rng(hash_of([identity, asked["train"].epochs]))
    truth = random.integers(0, len(labels), samples)
    logits = random.normal(size=(samples, layers, len(labels)))
    logits[np.arange(samples)[:, None], np.arange(layers), truth[:, None]] += np.linspace(0.3, 2.2, layers)
    sums = statistics(metric, logits.argmax(axis=2), truth).sum(axis=0)
    per_exit = [round(float(v), 6) for v in from_statistics(metric, sums)]
    points = [_point(rule, speed, per_exit, samples, layers, metric) for rule, speed in RULES.items()] if early else []
    full = _numbers(per_exit[-1], 1.0, samples, layers, metric)
    record |= {
        "speed_key": None,
        "task": {"name": task, "kind": "classification", "labels": list(labels), "metrics": [metric],
                 "revision": revision, "source": "made up", "select": "select", "evaluation": ["evaluation"],
                 "rows": {"train": {"used": 400, "available": 400},
                          "select": {"used": min(50, samples), "available": 450},
                          "evaluation": {"used": samples, "available": samples}}},
        "backbone": {"name": backbone, "model_type": "albert", "source": "made up", "revision": "r1",
                     "digest": "digest", "init": made.init, "layers": layers, "depth": whole or layers, "hidden": 8,
                     "parameters": 10, "head_parameters": 2, "pooling": "cls"},
        "training": {"key": checkpoint or hash_identity(identity), "reused": False, "truncated": 0,
                     "stages": {"train": [1.0]}, "steps": {"train": 3}, "recipe": {}, "seconds": 1.0, "resumed": 0,
                     "micro_batch": None},
        "criterion": None,
        "thresholds": None,
        "selected": [],
        "upper_bound": upper_bound,
        "select": {"split": "select", "full": full["metrics"]},
        "evaluation": {"evaluation": {
            "samples": samples,
            "full": full,
            "per_exit": {metric: per_exit},
            "points": points,
            "curve_rows": 41 if early else 1,
            "curve": _curve(per_exit, layers) if early else [_row(None, per_exit[-1], layers, 1.0)],
        }},
        "precision": None,
        "live_check": None,
        "latency": _time(points, latency, layers if depth else 0) if latency else None,
        "warnings": list(warnings),
    }  # fmt: skip
    if exits:
        names = tuple(ids[i] if i < len(ids) else f"s{i}" for i in range(samples))
        found = AllExits(names, truth.astype(np.int64), logits.astype(np.float32), np.full(samples, 9))
        write_exits(found, locate_exits(folder, "evaluation"))
    return write_sealed(folder, {"schema_version": SCHEMA_VERSION, "status": "success", **record})


def edit_cell(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a cell's record again after ``change`` was made to it, as a run would have written it."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    change(record)
    write_sealed(folder, {**record, "quality_key": hash_identity(record["identity"])})


def record_exits(folder: Path) -> None:
    """Record where the samples leave at a cell's points, as its criterion lets those leave whose logits are there."""
    run = Run.load(folder)
    layers = {rule: run.layers_at(rule) for rule in run.result().reached}
    counts = {rule: np.bincount(found, minlength=run.layers + 1)[1:].tolist() for rule, found in layers.items()}

    def change(record: dict[str, Any]) -> None:
        for point in record["evaluation"][run.primary]["points"]:
            if point["rule"] in counts:
                point["exit_counts"] = counts[point["rule"]]

    edit_cell(folder, change)


def write_sealed(folder: Path, plain: Mapping[str, Any]) -> Path:
    """Write a record with the checksum that it needs; returns ``folder``."""
    write_json(folder / "record.json", {**plain, "checksum": compute_checksum(plain)})
    return folder


def make_shared(root: Path, copies: int = 3) -> Path:
    """Fill ``root`` with ``copies`` of two runs, with their logits, as criteria on one checkpoint have; return it."""
    source = root.with_name(f"{root.name}-source")
    for strategy in ("entropy", "patience"):
        folder = make_cell(source, strategy, samples=50)
        record_exits(folder)
        shutil.copyfile(folder / LOGITS[0], folder / LOGITS[1])
    multiply_runs(Store(source), Store(root), 2 * copies)
    return root


def list_runs(root: Path, strategy: str = "entropy") -> list[Path]:
    """The folders of a strategy's runs, by name."""
    return sorted(root.glob(f"*/*/{strategy}-*"))


def read_all(root: Path) -> dict[str, bytes]:
    """The bytes of every file of logits, by its place."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.glob("*/*/*/exits-*.parquet"))}


def hash_of(value: object) -> int:
    """The same number for the same JSON in every process."""
    import zlib

    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _numbers(quality: float, speed: float, samples: int, layers: int, metric: str) -> dict[str, Any]:
    band = wilson(round(quality * samples), samples)
    counts = [0] * layers
    stay = samples if speed == 1 else samples // 5
    counts[min(layers, max(1, round(layers / speed))) - 1] += samples - stay
    counts[-1] += stay
    mean = sum(k * count for k, count in enumerate(counts, start=1)) / samples
    return {
        "metrics": {metric: {"value": quality, "low": band.low, "high": band.high}}, "samples": samples,
        "mean_layer": mean, "layer_fraction": mean / layers, "cost_unit": "flops",
        "cost_speedup": {"value": speed, "low": speed * 0.97, "high": speed * 1.03}, "cost_mean": 1e6 * layers / speed,
        "exit_counts": counts,
    }  # fmt: skip


def _point(rule: str, speed: float | None, per_exit: list[float], samples: int, layers: int, metric: str) -> Any:
    head = {"rule": rule, "chosen_on": "select"}
    if speed is None:
        return {**head, "reason": f"{rule} cannot be reached: the largest FLOPs speed-up is 3.20x, 4.00x is wanted."}
    quality = per_exit[min(layers, max(1, round(layers / speed))) - 1]
    found = _numbers(quality, speed, samples, layers, metric)
    return {**head, "cut": 0.1 * speed, "threshold": 0.1 * speed, **found}


def _row(threshold: float | None, quality: float, layer: float, speed: float, front: bool = False) -> dict[str, Any]:
    return {"threshold": threshold, "quality": round(quality, 6), "mean_layer": layer, "cost_speedup": round(speed, 6),
            "pareto": front}  # fmt: skip


def _curve(per_exit: list[float], layers: int) -> list[dict[str, Any]]:
    rows = [_row(None, per_exit[-1], layers, 0.995)]
    for k, layer in enumerate(np.linspace(layers, 1.2, 40)):
        quality = float(np.interp(layer, np.arange(1, layers + 1), per_exit))
        rows.append(_row(round(0.02 * (k + 1), 4), quality, float(layer), float(layers / layer), k % 3 == 0))
    return rows


def _time(points: list[Any], latency: str, depth: int) -> dict[str, Any]:
    valid, version = latency != "invalid", 1 if latency == "former" else 2
    moved = {"moved": 0.08} if latency == "moved" else {}
    timed = {}
    for point in points:
        if "metrics" in point and point["rule"] in ("no-loss", "2x", "3x"):
            speed = point["cost_speedup"]["value"]
            interval = {"value": speed * 0.8, "low": speed * 0.75, "high": speed * 0.85}
            point["latency"] = {"mean_ms": 3.0 / speed, "percentiles": {"p50": 2.9 / speed}, "speedup": interval,
                                "sampling": {**interval, "low": speed * 0.7, "high": speed * 0.9},
                                "mean_layer": point["mean_layer"], "cost_speedup": speed,
                                "realisation": 0.8}  # fmt: skip
            timed[point["rule"]] = point["latency"]
    found: dict[str, Any] = {
        "protocol": f"single-stream-v{version}", "valid": valid,
        "reasons": [] if valid else ["the clock was throttled"], "stop": "seconds", "rounds": 9, "samples": 64,
        "batch_size": 1, "device": "cpu", "dtype": "fp32", "threads": 1, "executor": "eager",
        "baseline": "int8" if latency == "int8" else "plain",
        "file": "latency-00000000.json", "configurations": timed, "notes": [], **moved,
    }  # fmt: skip
    if depth:
        bare = [[0.001 * k, 0.0012 * k] for k in range(1, depth + 1)]
        checks = [[0.0001 * k, 0.0001 * k] for k in range(1, depth + 1)]
        checked = [[a + b for a, b in zip(*both, strict=True)] for both in zip(bare, checks, strict=True)]
        found["depth"] = {"buckets": [16, 32], "lengths": [12.0, 30.0], "checked": checked, "bare": bare,
                          "checks": checks, "points": {}, "valid": True, "reasons": [], **moved}  # fmt: skip
    return found


def varied_store(root: Path) -> Path:
    """A store with a bit of everything: seeds, windows, controls, a shared checkpoint, timing, failures, revisions."""
    for seed in (0, 1, 2):
        make_cell(root, seed=seed, criterion={"window": 4}, latency="valid", depth=seed == 0, checkpoint=f"c{seed}")
    for window in (2, 8):
        make_cell(root, criterion={"window": window}, checkpoint="c0")
    make_cell(root, "entropy", checkpoint="c0", latency="invalid")
    make_cell(root, "patience", commit="b" * 40, dirty=True, machine="ffffffffffff")
    make_cell(root, "full", early=False)
    make_cell(root, "truncated", early=False, layers=3, whole=6, spec={"backbone_args": {"num_hidden_layers": 3}})
    make_cell(root, "oracle-correct", upper_bound=True, checkpoint="c0")
    make_cell(root, task="rte", backbone="minilm-l6", labels=("a", "b", "c"), metric="f1")
    make_cell(root, "entropy", task="rte", backbone="minilm-l6", labels=("a", "b", "c"), metric="f1")
    make_cell(root, task="rte", backbone="minilm-l6", revision="sha256-2", labels=("a", "b", "c"), metric="f1")
    make_cell(root, "romebert", status="error", error="Logits of sample 3 at exit 2 are not finite.")
    make_cell(root, "deebert", status="started")
    return root
