"""Synthetic results on disk: records and logits as `bench run` writes them, without training anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.files import write_json
from bench.inference.replay import make_criterion
from bench.measure.exits import AllExits
from bench.measure.rules import STANDARD, Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.exits import write_exits
from bench.results.points import choose_points, make_split_result, measure_given, measure_performance
from bench.results.record import RunRecord
from bench.results.run import Run
from bench.results.spec import Facts, RunSpec, hash_identity, identify_quality
from bench.training.args import TrainArgs

LAYER, HEAD, EMBED = 1_000_000, 20_000, 50_000


def logits(seed: int = 0, samples: int = 400, layers: int = 6, skill: float = 1.0, classes: int = 2) -> AllExits:
    """Exits that get better and surer with depth."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    easy = random.normal(size=samples)
    walk = random.normal(size=(samples, layers, classes)).cumsum(axis=1) / np.sqrt(np.arange(1, layers + 1))[:, None]
    strength = skill * (0.4 + np.linspace(0.2, 1.6, layers) + 0.6 * easy[:, None])
    z = 0.8 * walk + strength[:, :, None] * np.eye(classes)[labels][:, None, :]
    ids = tuple(f"s-{i:04d}" for i in range(samples))
    return AllExits(ids, labels.astype(np.int64), z.astype(np.float32), random.integers(6, 30, samples))


@dataclass
class Made:
    """One result to write; change a field to make another."""

    strategy: str = "entropy"
    task: str = "demo"
    backbone: str = "albert-demo"
    seed: int = 0
    exits: AllExits = field(default_factory=logits)
    select: AllExits = field(default_factory=lambda: logits(seed=77, samples=200))
    arguments: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[str] = ("accuracy",)
    revision: str = "sha256-1"
    digest: str = "d1"
    version: int = 1
    commit: str = "a" * 40
    machine: str = "m1"
    head_flops: int = HEAD
    created: str = "2026-01-01T00:00:00+00:00"
    times: Mapping[str, float] | None = None
    status: str = "success"
    extra_spec: Mapping[str, Any] = field(default_factory=dict)
    with_samples: bool = True
    wrapped: Sequence[int] = ()

    def costs(self, exits: AllExits) -> Costs:
        """FLOPs linear in length, one head at each visited exit."""
        layer = np.arange(1, exits.logits.shape[1] + 1)
        tokens = exits.lengths[:, None]
        early: NDArray[np.int64] = tokens * (EMBED + LAYER * layer) + self.head_flops * layer
        return Costs(early, tokens[:, 0] * (EMBED + LAYER * layer[-1]) + HEAD)

    def record(self) -> dict[str, Any]:
        """The record."""
        criterion, _ = make_criterion(self.strategy, dict(self.arguments))
        report, select = (TradeOff(criterion, e, self.costs(e), self.metrics) for e in (self.exits, self.select))
        given = measure_given(report, [criterion.default_threshold])
        result = make_split_result(report, [*choose_points(select, report, map(Rule.parse, STANDARD)), *given])
        train = {"lr": 5e-4, **self.extra_spec.get("train", {})}
        spec = RunSpec(
            strategy=self.strategy, task=self.task, backbone=self.backbone, head="linear", recipe="joint",
            init="scratch", criterion_args=dict(self.arguments), max_length=48, seed=self.seed, latency=None,
            **{**self.extra_spec, "train": TrainArgs(**train)},
        )  # fmt: skip
        versions = {"strategy": self.version, "head": 1, "recipe": 1}
        identity = identify_quality(spec, Facts(self.digest, self.revision, versions, tuple(self.wrapped)))
        machine = {"system": "Linux x86_64", "cpu": "made up", "cores": 2, "memory_gib": 8.0, "threads": 1, "gpus": []}
        head = {
            "schema_version": 1, "status": self.status, "quality_key": hash_identity(identity), "created": self.created,
            "command": "bench run", "spec": asdict(spec), "identity": identity,
            "environment": {"versions": {"torch": "2.9"}, "machine": machine, "machine_id": self.machine,
                            "source": {"commit": self.commit, "dirty": False}},
        }  # fmt: skip
        if self.status != "success":
            return head
        used = {"train": 400, "select": len(self.select.ids), "evaluation": len(self.exits.ids)}
        layers = self.exits.logits.shape[1]
        latency = None
        if self.times is not None:
            latency = {
                "protocol": "single-stream-v1", "valid": True, "reasons": [], "stop": "precision", "rounds": 48,
                "samples": 4, "batch_size": 1, "device": "cpu", "dtype": "fp32", "threads": 1, "executor": "eager",
                "baseline": "plain", "file": "latency-1.json", "configurations": {}, "notes": [],
            }  # fmt: skip
        return {
            **head,
            "speed_key": None,
            "task": {"name": self.task, "kind": "classification", "labels": ["no", "yes"],
                     "metrics": list(self.metrics), "revision": self.revision, "source": "made up", "select": "select",
                     "evaluation": ["evaluation"],
                     "rows": {name: {"used": count, "available": count} for name, count in used.items()}},
            "backbone": {"name": self.backbone, "model_type": "albert", "source": "made up", "revision": "r1",
                         "digest": self.digest, "init": "scratch", "layers": layers, "depth": layers, "hidden": 8,
                         "parameters": 10, "head_parameters": 2, "pooling": "cls"},
            "training": {"key": "k", "reused": False, "truncated": 0, "stages": {"train": [1.0]},
                         "steps": {"train": 1}, "recipe": {}, "seconds": 1.0, "resumed": 0},
            "thresholds": None,
            "selected": [],
            "upper_bound": False,
            "select": {"split": "select", "full": measure_performance(select, -np.inf).to_plain()["metrics"]},
            "evaluation": {"evaluation": result.to_plain()},
            "live_check": None,
            "latency": latency,
            "warnings": [],
        }  # fmt: skip

    def write(self, root: Path) -> Path:
        """Write it as a cell below ``root``; returns ``root``."""
        folder = root / self.task / self.backbone / f"{self.strategy}-s{self.seed}-{self.version:08d}"
        write_json(folder / "record.json", json.loads(json.dumps(self.record())))
        if self.with_samples:
            write_exits(self.exits, folder / "exits-evaluation.parquet")
            write_exits(self.select, folder / "exits-select.parquet")
        if self.times is not None:
            write_json(folder / "latency-1.json", raw_times(self.times))
        return root


def fake_run(folder: Path, exits: AllExits) -> Run:
    """A run for the gate to read, with these logits instead of its own."""
    record = RunRecord.model_validate_json(json.dumps(Made(exits=logits(samples=160)).record()))
    run = Run(folder / "none", record, "none")
    run._exits[run.exits_file()] = exits
    return run


def raw_times(times: Mapping[str, float], rounds: int = 48, seed: int = 0, machine: float = 1.0) -> dict[str, Any]:
    """Raw times: mean nanoseconds by configuration, 1 % noise a round, drift that a round shares."""
    random = np.random.default_rng(seed)
    made = []
    for r in range(rounds):
        drift = machine * (1 + 0.02 * np.sin(r))
        made.append(
            {"times": {k: [int(v * drift * random.normal(1, 0.01)) for _ in range(4)] for k, v in times.items()}}
        )
    return {
        "protocol": "single-stream-v1", "device": "cpu", "dtype": "fp32", "threads": 1, "samples": [0, 1, 2, 3],
        "options": {"executor": "eager"}, "baseline": "plain", "order": list(times), "rounds": made, "reasons": [],
        "layers": {k: [6.0] * 4 for k in times}, "stop": "precision", "validity": "VALID", "notes": [],
        "summary": {
            k: {"mean": float(np.mean([r["times"][k] for r in made])) / 1e9, "percentiles": {}, "mean_layer": 6.0,
                "timer": None, "sampling": None}
            for k in times
        },
    }  # fmt: skip


def changed(exits: AllExits, share: float, seed: int = 5) -> AllExits:
    """The same samples with the answers of all exits of a share of them spoilt: logits with classes swapped."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(exits.ids))[: round(share * len(exits.ids))]
    z = exits.logits.copy()
    z[rows] = z[rows][:, :, ::-1]
    return AllExits(exits.ids, exits.labels, z, exits.lengths)
