"""Identities: frozen by golden hashes; everything that can change a result changes them, nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.cell.run import prepare_cell
from bench.errors import UsageError
from bench.progress import Progress
from bench.results.spec import (
    IDENTITY_VERSION,
    Facts,
    LatencyArgs,
    RunSpec,
    hash_identity,
    identify_exits,
    identify_quality,
    identify_speed,
    identify_training,
    resolve_precision,
)
from bench.results.store import Store
from bench.training.args import TrainArgs
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import write_task

SPEC = RunSpec(
    strategy="elbert-mono",
    task="sst2",
    backbone="albert-base",
    head="shared",
    recipe="elbert",
    criterion_args={"window": 8, "margin": 0.0},
    head_args={"pooling": "cls"},
    recipe_args={"weights": "learned"},
    backbone_args={"num_hidden_layers": 6},
    thresholds=(0.1,),
)
FACTS = Facts("0" * 64, "sha256-1234", {"strategy": 1, "head": 1, "recipe": 1})
Identity = Callable[[RunSpec, Facts], dict[str, object]]


def timed(spec: RunSpec, facts: Facts) -> dict[str, object]:
    return identify_speed(spec, facts, "machine")


IDENTITIES: dict[str, Identity] = {
    "training": identify_training,
    "exits": identify_exits,
    "quality": identify_quality,
    "speed": timed,
}

# Frozen: results on disk are filed under these. If they change, raise IDENTITY_VERSION and say so in the changelog.
GOLDEN = {
    "training": "3c94a4ac04b35ca4",
    "exits": "dcbbe8aab233c80e",
    "quality": "2b1a859826c468ca",
    "speed": "a4d01fa6047b2c70",
}


def keys(spec: RunSpec, facts: Facts = FACTS) -> dict[str, str]:
    return {name: hash_identity(identity(spec, facts)) for name, identity in IDENTITIES.items()}


def test_golden_hashes() -> None:
    assert IDENTITY_VERSION == 1
    assert keys(SPEC) == {**GOLDEN, "speed": "a62a63b8d7a8f8e3"}
    former = replace(SPEC, latency=LatencyArgs(protocol="single-stream-v1"))
    assert keys(former) == GOLDEN  # what older records have stands


NOTHING: tuple[str, ...] = ()
SPEED = ("speed",)
QUALITY = ("quality", *SPEED)
LATER = ("exits", *QUALITY)
ALL = ("training", *LATER)

# field -> another value, and which identities it must change
FIELDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "strategy": ("elbert-range", QUALITY),
    "task": ("mrpc", ALL),
    "backbone": ("bert-base", ALL),
    "head": ("linear", ALL),
    "recipe": ("joint", ALL),
    "init": ("scratch", ALL),
    "criterion_args": ({"window": 6, "margin": 0.0}, QUALITY),
    "head_args": ({"pooling": "mean"}, ALL),
    "recipe_args": ({"weights": "equal"}, ALL),
    "backbone_args": ({}, ALL),
    "train": (TrainArgs(lr=1e-4), ALL),
    "max_length": (64, ALL),
    "limit": (100, ALL),
    "seed": (1, ALL),
    "dtype": ("bf16", LATER),
    "device": ("cuda", ALL),  # "auto" precision trains in bf16 there
    "thresholds": ((0.2, 0.3), NOTHING),
    "select": (("max_loss=0.02",), NOTHING),
    "latency": (LatencyArgs(samples=8), SPEED),
}

TRAIN: dict[str, Any] = {
    "epochs": 1.0,
    "steps": 5,
    "lr": 1e-3,
    "batch_size": 8,
    "accumulate": 2,
    "warmup": 0.0,
    "warmup_steps": 7,
    "weight_decay": 0.0,
    "clip": 0.5,
    "precision": "bf16",
}


def changed(spec: RunSpec, facts: Facts = FACTS) -> tuple[str, ...]:
    base, other = keys(SPEC), keys(spec, facts)
    return tuple(name for name in IDENTITIES if base[name] != other[name])


def test_the_tables_below_have_every_field() -> None:
    assert list(FIELDS) == [f.name for f in fields(RunSpec)]
    assert list(TRAIN) == [f.name for f in fields(TrainArgs)]


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_field_changes(name: str) -> None:
    value, expected = FIELDS[name]
    assert changed(replace(SPEC, **{name: value})) == expected


@pytest.mark.parametrize("name", TRAIN)
def test_every_training_setting_makes_another_checkpoint(name: str) -> None:
    assert changed(replace(SPEC, train=replace(SPEC.train, **{name: TRAIN[name]}))) == ALL


def test_a_micro_batch_weighs_as_many_samples_as_it_has() -> None:
    """It did not always: what was trained so then is another checkpoint. Without accumulation nothing has changed."""
    assert "weight" not in identify_training(SPEC, FACTS)["train"]  # type: ignore[operator]
    accumulated = replace(SPEC, train=replace(SPEC.train, accumulate=4))
    assert identify_training(accumulated, FACTS)["train"]["weight"] == "samples"  # type: ignore[index]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FACTS, backbone="1" * 64), ALL),
        (replace(FACTS, task="sha256-5678"), ALL),
        (replace(FACTS, versions={**FACTS.versions, "head": 2}), ALL),
        (replace(FACTS, versions={**FACTS.versions, "recipe": 2}), ALL),
        (replace(FACTS, versions={**FACTS.versions, "strategy": 2}), QUALITY),
        (replace(FACTS, name=SPEC.backbone), ()),
        (replace(FACTS, name="other"), ALL),
    ],
)
def test_what_a_fact_changes(facts: Facts, expected: tuple[str, ...]) -> None:
    assert changed(SPEC, facts) == expected


@pytest.mark.parametrize("later", [{"executor": "compile"}, {"protocol": "offline-batch-v2", "batch_size": 8}])
def test_how_latency_is_measured_changes_the_speed_only(later: dict[str, Any]) -> None:
    assert changed(replace(SPEC, latency=LatencyArgs(**later))) == SPEED


def test_the_machine_changes_the_speed_only() -> None:
    assert hash_identity(identify_speed(SPEC, FACTS, "another")) != keys(SPEC)["speed"]


def test_a_device_with_the_same_precision_shares_the_checkpoint_but_not_the_logits() -> None:
    spec = replace(SPEC, train=TrainArgs(precision="fp32"))
    base, other = keys(spec), keys(replace(spec, device="cuda"))
    assert [name for name in base if base[name] != other[name]] == list(LATER)
    assert keys(replace(SPEC, device="cuda:1")) == keys(replace(SPEC, device="cuda:0"))


def test_auto_precision_is_resolved() -> None:
    assert [resolve_precision(replace(SPEC, device=d)) for d in ("cpu", "cuda", "cuda:1")] == ["fp32", "bf16", "bf16"]
    assert changed(replace(SPEC, train=TrainArgs(precision="fp32"))) == NOTHING
    assert resolve_precision(replace(SPEC, train=TrainArgs(precision="bf16"))) == "bf16"


def test_the_order_of_arguments_does_not_matter() -> None:
    assert changed(replace(SPEC, criterion_args={"margin": 0.0, "window": 8})) == NOTHING


def test_numbers_that_are_none_have_no_identity() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        hash_identity({"lr": float("nan")})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "max_length": ({"max_length": 3}, "max_length must be at least 4"),
    "limit": ({"limit": 7}, "--limit must be at least 8"),
    "seed": ({"seed": 2**32}, "--seed must be in"),
    "fp16": ({"dtype": "fp16"}, "fp16 needs a GPU"),
    "graph": ({"latency": LatencyArgs(executor="graph")}, "The graph executor records CUDA graphs"),
    "conditional": (
        {"latency": LatencyArgs(executor="conditional")},
        "The conditional executor records CUDA graphs",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_specs_that_make_no_sense(case: str) -> None:
    given, message = BAD[case]
    with pytest.raises(UsageError, match=message):
        replace(SPEC, **given)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (TrainArgs, {"lr": 0.0}),
        (TrainArgs, {"lr": float("nan")}),
        (TrainArgs, {"clip": -1.0}),
        (TrainArgs, {"batch_size": 0}),
        (TrainArgs, {"accumulate": 0}),
        (TrainArgs, {"epochs": 0.0}),
        (TrainArgs, {"steps": 0}),
        (TrainArgs, {"warmup": 1.0}),
        (TrainArgs, {"weight_decay": -0.1}),
        (LatencyArgs, {"samples": 0}),
        (LatencyArgs, {"seconds": 0.0}),
        (LatencyArgs, {"protocol": "single-stream-v0"}),
        (LatencyArgs, {"executor": "inductor"}),
        (LatencyArgs, {"batch_size": 2}),
        (LatencyArgs, {"batch_size": -1, "protocol": "offline-batch-v2"}),
        (LatencyArgs, {"depth": True, "protocol": "offline-batch-v2"}),
    ],
)
def test_settings_that_make_no_sense(kind: Callable[..., object], given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        kind(**given)


def test_a_folder_is_one_backbone_however_its_path_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "models" / "tiny")
    write_task(tmp_path / "data" / "reviews")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    context = Context(Store(Path("results")), Progress(quiet=True), offline=True)
    found = set()
    for model, data in (
        ("../models/tiny", "../data/reviews"),
        (str(tmp_path / "models" / "tiny"), str(tmp_path / "data" / "reviews")),
        ("./../here/../models/tiny/", "../data/./reviews/"),
    ):
        cell = prepare_cell(Request("entropy", data, backbone=model, device="cpu"), context)
        found.add((cell.keys, cell.folder))
    assert len(found) == 1
    (tmp_path / "models" / "tiny").rename(tmp_path / "models" / "other")
    cell = prepare_cell(Request("entropy", "../data/reviews", backbone="../models/other", device="cpu"), context)
    assert (cell.keys, cell.folder) not in found


@pytest.mark.parametrize("given", [{"latency.executor": [1]}, {"latency.batch_size": "x"}])
def test_settings_of_what_is_not_timed_are_checked_too(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(given))):
        resolve_request(Request("entropy", "demo", latency=False, settings=given))


@pytest.mark.parametrize("protocol", ["single-stream-v1", "offline-batch-v1"])
def test_a_former_protocol_is_read_and_not_asked_for(protocol: str) -> None:
    assert LatencyArgs(protocol=protocol).samples_per_query == (1 if protocol.startswith("single") else 32)
    with pytest.raises(UsageError, match=f"single-stream-v2, offline-batch-v2: {protocol} is only read"):
        resolve_request(Request("entropy", "demo", latency=False, settings={"latency.protocol": protocol}))


@pytest.mark.parametrize("names", [("protocol", "batch_size"), ("batch_size", "protocol")])
def test_settings_are_checked_together_in_whatever_order_they_are_given(names: tuple[str, ...]) -> None:
    values = {"protocol": "offline-batch-v2", "batch_size": 8}
    settings = {f"latency.{name}": values[name] for name in names}
    spec, _ = resolve_request(Request("entropy", "demo", settings=settings))
    assert spec.latency == LatencyArgs(protocol="offline-batch-v2", batch_size=8)
