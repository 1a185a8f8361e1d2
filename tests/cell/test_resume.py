"""A run that is killed and started again ends as one that was not, and repeats nothing that was finished."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.process import INTERRUPTION
from tests.helpers.faults.killed_runs import arguments, assert_same, the_cell, timeless_run
from tests.helpers.faults.kills import TIMEOUT, UPDATE, Moment, end, start, work_of
from tests.helpers.small_runs import write_task

pytestmark = pytest.mark.slow

STEPS = 8  # DeeBERT's two stages of four
SPLITS = ["select", "validation"]


def moment(where: str, when: str, nth: int = 1, about: str = "") -> Moment:
    return Moment(where, when, nth, about)  # type: ignore[arg-type]


SAVE = "bench.training.trainer:_Stage._save"
WRITE = "bench.training.checkpoint:save_file"

# moment -> optimiser steps and splits that are left to do; a progress checkpoint is written after every step
MOMENTS: dict[str, tuple[Moment, int, list[str]]] = {
    "before training": (moment("bench.cell.stages:train_model", "before"), 8, SPLITS),
    "in mid-training": (moment(UPDATE, "before", 3), 6, SPLITS),
    "before a progress checkpoint": (moment(SAVE, "before", 2), 7, SPLITS),
    "while writing a progress checkpoint": (moment(WRITE, "after", 2), 7, SPLITS),
    "after a progress checkpoint": (moment(SAVE, "after", 2), 6, SPLITS),
    "at the end of the first stage": (moment(SAVE, "before", 4), 5, SPLITS),
    "between the stages": (moment(SAVE, "after", 4), 4, SPLITS),
    "in the second stage": (moment(UPDATE, "before", 7), 2, SPLITS),
    "before the weights": (moment("bench.cell.stages:save_tensors", "before"), 1, SPLITS),
    "while writing the weights": (moment(WRITE, "after", 1, ".model.safetensors"), 1, SPLITS),
    "after the weights": (moment("bench.cell.stages:save_tensors", "after"), 0, SPLITS),
    "in the pass over all exits": (moment("bench.inference.exits:check_finite", "before", 3), 0, SPLITS),
    "while writing the exits": (moment("bench.results.exits:pq.write_table", "after"), 0, SPLITS),
    "between two splits' exits": (moment("bench.cell.stages:write_exits", "after"), 0, SPLITS[1:]),
    "before the live check": (moment("bench.cell.run:check_live", "before"), 0, []),
    "before the final record": (moment("bench.cell.run:write_record", "before", 2), 0, []),
    "while writing the final record": (moment("pathlib:Path.replace", "before", 2, "record.json"), 0, []),
}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


@pytest.fixture(scope="module")
def undisturbed(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a run that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    notes = results.parent / "notes"
    assert end(start(arguments(task, results), notes)) == 0
    assert work_of(notes) == {"steps": STEPS, "splits": SPLITS}
    return results


@pytest.mark.parametrize("case", MOMENTS)
def test_killed_and_started_again(case: str, task: Path, undisturbed: Path, tmp_path: Path) -> None:
    when, steps, splits = MOMENTS[case]
    results = tmp_path / "results"
    assert end(start(arguments(task, results), tmp_path / "killed", when)) == -signal.SIGKILL
    record = json.loads((the_cell(results) / "record.json").read_text())
    assert record["status"] == "started"
    assert end(start(arguments(task, results), tmp_path / "again")) == 0
    assert work_of(tmp_path / "again") == {"steps": steps, "splits": splits}
    assert_same(results, undisturbed)


KEPT = "bench.training.states:pool"
FITTING = {
    "in the pass that keeps states": (moment(KEPT, "before", 9), False),
    "between states and fit": (moment("bench.cell.exits_only:fit_exits", "before"), True),
    "in the fit": (moment("bench.training.exits:compute_mean_loss", "before", 9), True),
    "before the fitted weights": (moment("bench.cell.stages:save_tensors", "before"), True),
}


@pytest.fixture(scope="module")
def undisturbed_fit(task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a run on a frozen backbone that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed-fit") / "results"
    assert end(start(arguments(task, results, "entropy", "exits-only"), results.parent / "notes")) == 0
    return results


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("case", FITTING)
def test_states_and_fit_are_killed_and_started_again(
    case: str, number: signal.Signals, task: Path, undisturbed_fit: Path, tmp_path: Path
) -> None:
    when, kept = FITTING[case]
    results, words = tmp_path / "results", arguments(task, tmp_path / "results", "entropy", "exits-only")
    assert end(start(words, tmp_path / "killed", replace(when, signal=number))) == -number
    states = {path: path.stat().st_mtime_ns for path in results.glob(".cache/states/*/*.safetensors")}
    assert len(states) == kept
    assert end(start(words, tmp_path / "again")) == 0
    assert all(path.stat().st_mtime_ns == written for path, written in states.items())
    assert_same(results, undisturbed_fit)


def test_killed_again_and_again(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Killed before every third step, a run still gets there."""
    results, total = tmp_path / "results", 0
    for attempt in range(10):
        notes = tmp_path / f"notes{attempt}"
        code = end(start(arguments(task, results), notes, moment(UPDATE, "before", 3)))
        total += work_of(notes)["steps"]
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert total == STEPS
    assert_same(results, undisturbed)


def test_a_finished_run_is_not_run_again(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    before = (the_cell(undisturbed) / "record.json").stat().st_mtime_ns
    assert end(start(arguments(task, undisturbed), tmp_path / "again")) == 0
    assert work_of(tmp_path / "again") == {"steps": 0, "splits": []}
    assert (the_cell(undisturbed) / "record.json").stat().st_mtime_ns == before


def test_interrupted_with_ctrl_c(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    stop = Moment(UPDATE, "after", 5, signal=signal.SIGINT)
    assert end(start(arguments(task, results), tmp_path / "stopped", stop)) == 130
    said = (tmp_path / "stopped.err").read_text().splitlines()
    assert said[-1] == INTERRUPTION
    assert json.loads((the_cell(results) / "record.json").read_text())["status"] == "cancelled"
    assert end(start(arguments(task, results), tmp_path / "again")) == 0
    assert work_of(tmp_path / "again") == {"steps": 4, "splits": SPLITS}
    assert_same(results, undisturbed)


def test_two_runs_of_the_same_cell_at_once(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    notes = [tmp_path / "one", tmp_path / "two"]
    children = [start(arguments(task, results), note, delay=1.0) for note in notes]
    assert [end(child) for child in children] == [0, 0]
    found = [work_of(note) for note in notes]
    assert sum(f["steps"] for f in found) == STEPS
    assert sorted(split for f in found for split in f["splits"]) == SPLITS
    [one], [two] = (json.loads((tmp_path / f"{name}.out").read_text()) for name in ("one", "two"))
    assert one["record"] == two["record"]
    assert ("reused" in one) != ("reused" in two)  # whoever waited found it
    assert_same(results, undisturbed)


def test_two_cells_with_one_checkpoint_at_once(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    notes = [tmp_path / "deebert", tmp_path / "entropy"]
    children = [start(arguments(task, results, note.name), note, delay=1.0) for note in notes]
    assert [end(child) for child in children] == [0, 0]
    found = [work_of(note) for note in notes]
    assert sorted(f["steps"] for f in found) == [0, STEPS]  # one trained, the other waited for it
    assert sorted(split for f in found for split in f["splits"]) == SPLITS
    waited = [note for note, f in zip(notes, found, strict=True) if not f["steps"]]
    assert "waiting for it" in Path(f"{waited[0]}.err").read_text()
    records = [json.loads(p.read_text()) for p in results.glob("*/*/*/record.json")]
    assert [r["status"] for r in records] == ["success", "success"]
    one, other = (r["evaluation"]["validation"]["per_exit"] for r in records)
    assert one == other == timeless_run(undisturbed)["evaluation"]["validation"]["per_exit"]


def test_a_killed_run_leaves_its_lock_free(task: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The one that waits goes on where the one that worked was killed."""
    results = tmp_path / "results"
    killed = start(arguments(task, results), tmp_path / "killed", moment(UPDATE, "before", 6), delay=1.5)
    until = time.monotonic() + TIMEOUT
    while not list(results.glob("*/*/*/record.json")):  # then it has the cell's lock
        assert time.monotonic() < until
        time.sleep(0.05)
    waiting = start(arguments(task, results), tmp_path / "waiting")
    assert (end(killed), end(waiting)) == (-signal.SIGKILL, 0)
    assert work_of(tmp_path / "waiting") == {"steps": 3, "splits": SPLITS}
    assert_same(results, undisturbed)
