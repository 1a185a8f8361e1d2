"""What goes wrong on real machines: full disks, damaged files, memory that runs out. Nothing finished is lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import files
from bench.cli.process import main
from bench.errors import Damaged, DiskFull, UsageError
from bench.files import replace_file
from bench.inference import exits as exits_module
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from bench.training import trainer
from bench.training.checkpoint import load_tensors, save_tensors
from tests.helpers.compare_records import logits
from tests.helpers.faults.kills import UPDATE, Moment, end, start, work_of
from tests.helpers.small_runs import TINY, ask_cell, run_json, timeless, write_task

STEPS, SPLITS = 3, ["select", "validation"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


def arguments(task: Path, results: Path, strategy: str = "entropy") -> list[str]:
    return [*ask_cell(strategy, task, results), *(word for word in TINY if word != "--quiet")]


# --------------------------------------------------------------------------- disk full


def full_disk(monkeypatch: pytest.MonkeyPatch, about: str) -> None:
    """No room for files whose name contains ``about``."""
    sync = os.fsync

    def refuse(handle: int) -> None:
        if about in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", refuse)


@pytest.mark.parametrize("about", ["model.safetensors", "select.parquet", "exits-validation.parquet", "record.json"])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    about: str, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    with monkeypatch.context() as patch:
        full_disk(patch, f".{about}")
        assert main(["run", *arguments(task, results)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("Error: No space is left on the disk for ")
    assert "run the same command again" in said[-1]
    assert list(results.rglob("*.tmp")) == []
    (again,) = run_json(capsys, *arguments(task, results))
    (undisturbed,) = run_json(capsys, *arguments(task, tmp_path / "undisturbed"))
    assert timeless(again["record"]) == timeless(undisturbed["record"])
    assert again["record"]["training"]["reused"] == (about not in ("model.safetensors", "record.json"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), ValueError(
    "Error while serializing: I/O error: No space left on device (os error 28)"
)])  # fmt: skip
def test_what_a_full_disk_looks_like(error: Exception, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def write() -> None:
        with replace_file(tmp_path / "file") as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(DiskFull, match="file"):
        write()
    assert (tmp_path / "file").read_text() == "old"


def test_other_errors_of_writing_stay_what_they_are(tmp_path: Path) -> None:
    def write() -> None:
        with replace_file(tmp_path / "file"):
            raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        write()


# --------------------------------------------------------------------------- damaged files


def flip(path: Path, where: float) -> None:
    """Change one byte at a fraction of the file."""
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize("where", [0.0, 0.02, 0.5, 1.0])
def test_weights_know_their_checksum(where: float, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"a": torch.arange(600.0), "b": torch.ones(3, 4, dtype=torch.bfloat16), "c": torch.tensor(7)}
    save_tensors(path, tensors, {"step": 3})
    found, facts = load_tensors(path)
    assert facts == {"step": 3}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    flip(path, where)
    with pytest.raises(Damaged, match="is damaged"):
        load_tensors(path)


@pytest.mark.parametrize("where", [0.05, 0.1, 0.3, 1.0])  # of the file: its values, and the mark at its end
def test_exits_know_their_checksum(where: float, tmp_path: Path) -> None:
    path = tmp_path / "exits.parquet"
    made = logits()
    write_exits(made, path)
    assert np.array_equal(read_exits(path).logits, made.logits)
    flip(path, where)
    with pytest.raises(Damaged, match="is damaged"):
        read_exits(path)


def test_a_changed_label_is_noticed(tmp_path: Path) -> None:
    made = logits()
    other = AllExits(made.ids, 1 - made.labels, made.logits, made.lengths)
    assert made.checksum() != other.checksum()


def spoil(results: Path, pattern: str) -> None:
    (path,) = results.glob(pattern)
    flip(path, 1.0 if path.suffix == ".parquet" else 0.5)


DAMAGED = {
    ".cache/checkpoints/*/model.safetensors": "model.safetensors",
    ".cache/exits/*/select.parquet": "select.parquet",
    ".cache/exits/*/validation.parquet": "validation.parquet",
    ".cache/probes/*/probe.safetensors": "probe.safetensors",
    ".cache/probes/*/validation.safetensors": "validation.safetensors",
}


@pytest.mark.parametrize("pattern", DAMAGED)
def test_a_damaged_file_is_set_aside_and_made_again(
    pattern: str, task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    words = arguments(task, results, "prototypes" if "probes" in pattern else "entropy")
    (first,) = run_json(capsys, *words)
    spoil(results, pattern)
    assert main(["run", *words, "--overwrite", "always", "--json"]) == 0
    printed = capsys.readouterr()
    (again,) = json.loads(printed.out)
    assert "was damaged" in printed.err
    (warning,) = [w for w in again["record"]["warnings"] if "damaged" in w]
    (kept,) = (results / ".cache" / "quarantine").iterdir()
    assert warning.endswith(f".cache/quarantine/{kept.name}")
    assert DAMAGED[pattern] in kept.name
    assert timeless(again["record"]) == timeless(first["record"])
    (third,) = run_json(capsys, *words, "--overwrite", "always")
    assert not [w for w in third["record"]["warnings"] if "damaged" in w]


@pytest.mark.slow
def test_a_damaged_progress_checkpoint_begins_training_anew(task: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    words = ["run", *arguments(task, results)]
    end(start(words, tmp_path / "killed", Moment(UPDATE, "before", 3)))
    spoil(results, ".cache/checkpoints/*/progress.safetensors")
    assert end(start(words, tmp_path / "again")) == 0
    assert work_of(tmp_path / "again") == {"steps": STEPS, "splits": SPLITS}
    assert "was damaged" in Path(f"{tmp_path / 'again'}.err").read_text()


# --------------------------------------------------------------------------- out of memory


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device with room for five samples in training and in the pass over all exits; what it was asked for."""
    asked: list[int] = []
    in_training, in_passing = trainer.compute_stage_logits, exits_module.collate_batch

    def guard(batch: Any) -> None:
        asked.append(len(batch.input_ids))
        if asked[-1] > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def training(model: Any, recipe: Any, stage: Any, batch: Any) -> Any:
        guard(batch)
        return in_training(model, recipe, stage, batch)

    def passing(*given: Any) -> Any:
        batch = in_passing(*given)
        guard(batch)
        return batch

    monkeypatch.setattr(trainer, "compute_stage_logits", training)
    monkeypatch.setattr(exits_module, "collate_batch", passing)
    return asked


def test_without_memory_for_a_batch_smaller_parts_make_the_same_batch(
    small_memory: list[int], task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    calm = ("--set", "backbone.classifier_dropout=0.0")  # its random numbers depend on how a batch is cut
    (small,) = run_json(capsys, *arguments(task, tmp_path / "small"), *calm)
    assert max(small_memory) > 5
    monkeypatch.undo()
    (whole,) = run_json(capsys, *arguments(task, tmp_path / "whole"), *calm)
    assert small["record"]["training"]["micro_batch"] == 4
    assert whole["record"]["training"]["micro_batch"] is None
    (warning,) = [w for w in small["record"]["warnings"] if "memory did not suffice for batches of 16" in w]
    assert "4 samples" in warning
    assert small["record"]["training"]["steps"] == whole["record"]["training"]["steps"]
    losses = [r["record"]["training"]["stages"]["train"] for r in (small, whole)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    ours, theirs = (read_exits(Path(r["folder"]) / "exits-validation.parquet").logits for r in (small, whole))
    assert np.abs(ours - theirs).max() < 1e-3


def test_without_memory_for_one_sample_it_is_the_users_turn(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(trainer, "compute_stage_logits", refuse)
    assert main(["run", *arguments(task, tmp_path)]) == 2
    assert "no memory to train on a single sample" in capsys.readouterr().err
    monkeypatch.setattr(exits_module, "collate_batch", refuse)
    with pytest.raises(UsageError, match="single sample"):
        exits_module.compute_all_logits(None, None, np.arange(3), torch.device("cpu"))  # type: ignore[arg-type]


# --------------------------------------------------------------------------- our own mistakes


def test_a_mistake_of_ours_keeps_its_traceback(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr("bench.cell.run.measure_trade_offs", broken)
    assert main(["run", *arguments(task, tmp_path)]) == 1
    assert "in broken" in capsys.readouterr().err
    (path,) = tmp_path.glob("*/*/*/record.json")
    error = json.loads(path.read_text())["error"]
    assert (error["kind"], error["message"]) == ("internal", "operands could not be broadcast")
    assert "in broken" in error["traceback"]
