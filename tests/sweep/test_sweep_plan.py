"""Sweep files, plans and estimates: what is asked, what is there, what it would take."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cell.request import Request
from bench.cell.resolve import resolve_request
from bench.cli.process import main
from bench.environment import count_cores
from bench.errors import UsageError
from bench.sweep import Outcome, collect_failures, make_engine, run_plan
from bench.sweep.config import expand_cells, read_sweep
from bench.sweep.engines.base import Ending, Job
from bench.sweep.engines.shares import TrainingLoad
from bench.sweep.estimate import (
    NO_TRAINING,
    CellCost,
    estimate_memory,
    estimate_plan,
    explain_total,
)
from bench.sweep.plan import label_cells
from bench.sweep.speed import measure_layer_speed
from tests.helpers.small_runs import write_task
from tests.helpers.sweeps import TINY, planned, quiet, sweep, write

MATRIX: dict[str, Any] = {"strategy": ["entropy", "patience"], "task": ["demo", "sst2"], "seed": [0, 1]}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


# --------------------------------------------------------------------------- the file


def test_a_matrix_is_a_product() -> None:
    found = expand_cells({"defaults": {"limit": 64, "settings": {"train.lr": 0.1}}, "matrix": MATRIX})
    assert len(found) == 8
    assert [(r.strategy, r.task, r.seed) for r in found[:3]] == [
        ("entropy", "demo", 0), ("entropy", "demo", 1), ("entropy", "sst2", 0),
    ]  # fmt: skip
    assert all(r.limit == 64 and r.settings == {"train.lr": 0.1} for r in found)


def test_what_is_left_out_and_what_is_added() -> None:
    content = {
        "matrix": {**MATRIX, "settings": {"train.lr": [0.1, 0.2], "train.steps": 3}},
        "exclude": [{"strategy": "patience", "task": ["sst2"]}, {"settings": {"train.lr": 0.2}}],
        "include": [{"strategy": "fixed-exit", "task": "rte", "settings": {"layer": [3, 6]}, "thresholds": [0.5, 1]}],
    }
    found = expand_cells(content)
    assert [(r.strategy, r.task, r.seed, dict(r.settings)) for r in found] == [
        *[("entropy", t, s, {"train.lr": 0.1, "train.steps": 3}) for t in ("demo", "sst2") for s in (0, 1)],
        *[("patience", "demo", s, {"train.lr": 0.1, "train.steps": 3}) for s in (0, 1)],
        *[("fixed-exit", "rte", 0, {"layer": layer}) for layer in (3, 6)],
    ]
    assert found[-1].thresholds == (0.5, 1.0)


def test_the_same_cell_twice_is_one() -> None:
    assert len(expand_cells({"matrix": MATRIX, "include": [{"strategy": "entropy", "task": "demo", "seed": 1}]})) == 8


def test_cells_are_called_by_all_that_tells_them_apart(tmp_path: Path) -> None:
    one, other = (str(write_task(tmp_path / name / "reviews")) for name in "ab")
    asked: list[dict[str, Any]] = [
        {"task": one, "limit": 40},
        {"task": one, "limit": 60},
        {"task": other, "limit": 40, "settings": {"train.lr": 0.1}},
        {"task": "demo", "limit": 40, "init": "scratch"},
        {"task": "demo", "limit": 40, "recipe": "joint"},
    ]
    labels = label_cells([(r, resolve_request(r)[0]) for each in asked for r in [Request("entropy", **each)]])
    assert labels == [
        f"entropy, {one}, albert-base, seed 0, limit=40",
        f"entropy, {one}, albert-base, seed 0, limit=60",
        f"entropy, {other}, albert-base, seed 0, train.lr=0.1, limit=40",
        "entropy, demo, albert-12-demo, seed 0, init=scratch, limit=40",
        "entropy, demo, albert-12-demo, seed 0, recipe=joint, limit=40",
    ]
    alone = Request("entropy", "demo", settings={"train.lr": 0.1}, limit=40)
    assert label_cells([(alone, resolve_request(alone)[0])]) == ["entropy, demo, albert-12-demo, seed 0"]


WRONG: dict[str, tuple[object, str]] = {
    "nothing": (None, "A sweep must be a mapping of keys to values, not null"),
    "a list": ([1], "not a list"),
    "part": ({"matirx": {}}, r"Unknown key 'matirx'\. Did you mean 'matrix'\?"),
    "key": ({"matrix": {"strategie": ["a"]}}, r"Unknown key 'matrix\.strategie'\. Did you mean 'matrix\.strategy'\?"),
    "default": ({"defaults": {"limt": 3}}, r"Unknown key 'defaults\.limt'\. Did you mean 'defaults\.limit'\?"),
    "list in defaults": (
        {"defaults": {"seed": [1, 2]}, "matrix": MATRIX},
        r"defaults\.seed must be one value; lists belong into matrix",
    ),
    "empty axis": ({"matrix": {"strategy": []}}, r"matrix\.strategy is an empty list"),
    "twice": ({"matrix": {"seed": [1, 2, 1]}}, r"matrix\.seed has '1' twice"),
    "text seed": ({"matrix": {"seed": ["one"]}}, r"matrix\.seed must be a whole number, not 'one'"),
    "true seed": ({"matrix": {"seed": [True]}}, r"matrix\.seed must be a whole number, not 'True'"),
    "latency": ({"defaults": {"latency": "no"}}, r"defaults\.latency must be true or false, not 'no'"),
    "number as name": ({"matrix": {"task": 3}}, r"matrix\.task must be text, not '3'"),
    "dtype": ({"defaults": {"dtype": "fp23"}}, r"dtype must be 'fp32', 'bf16', 'fp16' or 'fp64', not 'fp23'"),
    "null": ({"matrix": {"task": None}}, r"matrix\.task must be text, not null"),
    "thresholds": ({"defaults": {"thresholds": ["x"]}}, r"defaults\.thresholds must be a number, not 'x'"),
    "mapping": ({"matrix": {"task": {"a": 1}}}, r"matrix\.task must be a value or a list of values"),
    "settings": ({"matrix": {"settings": ["a=1"]}}, r"matrix\.settings must be a mapping of keys to values"),
    "no task": ({"matrix": {"strategy": "entropy"}}, r"a cell has no task"),
    "no cells": ({"defaults": {"seed": 1}}, r"there are no cells: give matrix or include"),
    "exclude": ({"matrix": MATRIX, "exclude": [{"task": "rte"}]}, r"exclude\[0\] leaves nothing out"),
    "exclude no list": ({"matrix": MATRIX, "exclude": {"task": "demo"}}, r"exclude must be a list, not an object"),
    "all excluded": ({"matrix": MATRIX, "exclude": [{"task": ["demo", "sst2"]}]}, r"there are no cells"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_sweep_is_one_line_that_names_the_key(case: str) -> None:
    content, message = WRONG[case]
    with pytest.raises(UsageError, match=message) as caught:
        expand_cells(content)
    assert "\n" not in str(caught.value)


FILES = {
    "no file": (None, "There is no sweep file"),
    "no yaml": ("matrix: [1, 2\nseed: 3", "is no YAML in line 2"),
    "key twice": ("matrix: {seed: 1}\nmatrix: {seed: 2}", "key 'matrix' is there twice"),
    "a number as key": ("1: 2", r"\[1\]: a key must be text"),
    "an object": ("matrix: !!python/object:os.system {}", "is no YAML in line 1"),
    "an integer that is none": ("matrix: {seed: !!int x}", "is no YAML: a value is not of its type"),
    "a float that is none": ("matrix: {seed: !!float x}", "is no YAML: a value is not of its type"),
    "a time that is none": ("matrix: {seed: !!timestamp x}", "is no YAML: a value is not of its type"),
    "a day that is none": ("matrix: {seed: 2024-13-45}", "is no YAML: a value is not of its type"),
    "a date": ("matrix: {seed: 2024-01-02}", "matrix.seed must be a whole number, not '2024-01-02'"),
    "5,000 digits": (f"matrix: {{seed: {'9' * 5000}}}", "is no YAML: a value is not of its type"),
    "5,000 brackets": ("matrix: " + "[" * 5000, "is nested without end"),
    "itself": ("matrix: &a {settings: *a}", "is nested without end"),
    "aliases of aliases": (
        "a: &a0 [1, 2]\n" + "".join(f"b{i}: &a{i + 1} [*a{i}, *a{i}, *a{i}]\n" for i in range(30)),
        "holds more than",
    ),
    "a control character": ("matrix: \x07", "is no YAML"),
    "many cells": (
        "matrix: {strategy: entropy, task: demo, seed: &s [" + ", ".join(map(str, range(200))) + "], limit: *s}",
        "matrix asks for 40,000 cells: at most 10,000 make one sweep",
    ),
    "a long axis": (
        f"matrix: {{strategy: entropy, task: demo, seed: [{', '.join(map(str, range(10_001)))}]}}",
        "matrix.seed has 10,001 values: at most 10,000 cells make one sweep",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_sweeps(case: str, tmp_path: Path) -> None:
    text, message = FILES[case]
    path = tmp_path / "sweep.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_sweep(path)
    assert "\n" not in str(caught.value)
    assert "sweep.yaml" in str(caught.value)


COMMANDS = {
    "an unknown strategy": (["--config", "FILE"], r"zzz, demo, seed 0: Unknown strategy 'zzz'"),
    "both": (["--config", "FILE", "--seed", "1"], r"--seed and --config do not go .*: write 'seed' .* under defaults"),
    "both, no latency": (["--config", "FILE", "--no-latency"], r"--no-latency and --config .*: write 'latency' into"),
    "both, set": (["--config", "FILE", "--set", "a=1"], r"--set and --config do not go together"),
    "neither": (["--seed", "1"], r"--strategy and --task are needed, or --config"),
    "an unknown engine": (["--config", "OK", "--engine", "rai"], r"Unknown engine 'rai'\. Did you mean 'ray'\?"),
    "no workers": (["--config", "OK", "--workers", "0"], r"--workers must be at least 1, not 0"),
    "a strange URL": (["--config", "OK", "--sync", "zz://a"], r"--sync zz://a cannot be used: Protocol not known: zz"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_commands_that_make_no_sense(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = COMMANDS[case]
    bad = write(tmp_path / "bad.yaml", {"matrix": {"strategy": ["entropy", "zzz"], "task": "demo"}})
    good = write(tmp_path / "good.yaml", {"defaults": TINY, "matrix": {"strategy": "entropy", "task": "demo"}})
    given = [{"FILE": str(bad), "OK": str(good)}.get(word, word) for word in words]
    assert main(["run", *given, "--results-dir", str(tmp_path / "results"), "--offline", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)


# --------------------------------------------------------------------------- the plan


def test_cells_that_share_a_training_are_one_group(task: Path, tmp_path: Path) -> None:
    plan = planned(sweep(task, tmp_path / "log", seed=[0, 1]), tmp_path / "results")
    groups = plan.trainings()
    assert [[c.request.strategy for c in group] for group in groups.values()] == [["entropy", "patience"]] * 2
    assert {c.status for c in plan.cells} == {"missing"}
    assert not (tmp_path / "results").exists()


def test_what_was_not_fetched_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    content = {"matrix": {"strategy": ["entropy", "patience"], "recipe": "joint", "head": "linear", "task": "imdb"}}
    content["matrix"]["backbone"] = ["albert-large", "no-such-org/no-such-model"]
    plan = planned(content, tmp_path / "results")
    assert [c.status for c in plan.cells] == ["unknown"] * 4
    assert len(plan.trainings()) == 2
    assert "at hand" in plan.cells[0].why
    total = estimate_plan(plan, quiet(tmp_path / "results"))
    known, unknown = total.cells[0], total.cells[1]
    assert known.seconds is not None
    assert known.seconds > 600
    assert "at most" in known.how
    assert (unknown.seconds, unknown.disk, total.seconds) == (None, None, None)
    assert "unknown" in unknown.how


def test_estimates_follow_what_is_asked(task: Path, tmp_path: Path) -> None:
    def taken(**matrix: Any) -> float:
        content = sweep(task, tmp_path / "log", strategy="entropy", **matrix)
        total = estimate_plan(planned(content, tmp_path / "results"), quiet(tmp_path / "results"))
        assert total.seconds is not None
        return total.seconds

    log = {"recipe.log": "x"}
    assert taken(settings={**log, "train.steps": 100_000}) > taken(settings={**log, "train.steps": 1000}) > 0
    assert measure_layer_speed(64, "cpu") == measure_layer_speed(64, "cpu") > 0
    plan = planned(sweep(task, tmp_path / "log", settings={**log, "train.batch_size": [8, 64]}), tmp_path / "results")
    assert estimate_memory(plan.cells[1]) > estimate_memory(plan.cells[0]) > 2**30


def test_waiting_for_other_processes_is_not_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, clock = measure_layer_speed(64, "cpu"), time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: 1000 * clock())
    measure_layer_speed.cache_clear()
    assert measure_layer_speed(64, "cpu") > plain / 50


def test_exits_on_kept_states_take_one_pass_however_long_others_train(task: Path, tmp_path: Path) -> None:
    def estimate(recipe: str, **more: Any) -> tuple[float, str, int]:
        content = sweep(task, tmp_path / "log", strategy="entropy", recipe=recipe, settings=more)
        (cell,) = estimate_plan(planned(content, tmp_path / "results"), quiet(tmp_path / "results")).cells
        assert cell.seconds is not None
        assert cell.disk is not None
        return cell.seconds, cell.how, cell.disk

    few, many = (estimate("exits-only", **{"train.steps": steps}) for steps in (10, 100_000))
    assert few == many
    assert "one pass" in few[1]
    assert few[0] < estimate("joint", **{"train.steps": 100_000})[0]
    assert estimate("exits-only", **{"recipe.samples": 10})[2] < few[2]


# --------------------------------------------------------------------------- the driver


class Pretended:
    """An engine that runs nothing; ``answers`` gives the endings of a cell by its label, else success."""

    attempts, threads, talks = 3, None, False

    def __init__(self, workers: int, answers: dict[str, list[Ending]] | None = None) -> None:
        self.workers, self.answers = workers, answers or {}
        self.running: list[Job] = []
        self.started: list[tuple[str, int, bool]] = []
        self.most = 0
        self.asked: list[tuple[TrainingLoad, int]] = []

    def share_cores(self, load: TrainingLoad, trainings: int) -> str:
        self.asked.append((load, trainings))
        return ""

    def has_room(self, job: Job) -> bool:
        busy = self.running
        return not busy or (len(busy) < self.workers and not job.timed and not any(j.timed for j in busy))

    def start(self, job: Job) -> None:
        self.running.append(job)
        self.started.append((job.request.strategy, job.request.seed, job.timed))
        self.most = max(self.most, len(self.running))

    def wait(self) -> Sequence[tuple[Job, Ending]]:
        job = self.running.pop(0)
        name = f"{job.request.strategy} {job.request.seed}"
        return [(job, self.answers[name].pop(0) if self.answers.get(name) else Ending("success", "there"))]

    def stop(self) -> None:
        self.running.clear()


def run_pretended(task: Path, tmp_path: Path, engine: Pretended, **matrix: Any) -> list[Outcome]:
    plan = planned(sweep(task, tmp_path / "log", **matrix), tmp_path / "results")
    return run_plan(plan, quiet(tmp_path / "results"), engine)


@pytest.mark.parametrize(("seeds", "latency", "asked"), [(4, False, 4), (3, False, 0), (4, True, 0)])
def test_an_engine_shares_the_cores_where_enough_is_trained_without_a_clock(
    seeds: int, latency: bool, asked: int, task: Path, tmp_path: Path
) -> None:
    engine = Pretended(8)
    run_pretended(task, tmp_path, engine, seed=list(range(seeds)), strategy=["entropy"], latency=[latency])
    assert [trainings for _, trainings in engine.asked] == ([asked] if asked else [])
    for load, _ in engine.asked:
        assert (load.hidden, load.rows) == (16, 8)
        assert 0 < load.tokens <= 128


def test_one_cell_of_every_training_goes_first(task: Path, tmp_path: Path) -> None:
    engine = Pretended(8)
    found = run_pretended(task, tmp_path, engine, seed=[0, 1, 2])
    assert engine.started == [(s, seed, False) for s in ("entropy", "patience") for seed in (0, 1, 2)]
    assert engine.most == 3  # the others wait for their checkpoint
    assert [o.status for o in found] == ["success"] * 6


def test_where_the_first_fails_the_next_one_tries(task: Path, tmp_path: Path) -> None:
    engine = Pretended(8, {"entropy 0": [Ending("error", None, "it is no good")]})
    found = run_pretended(task, tmp_path, engine, strategy=["entropy", "patience", "random"], seed=0)
    assert [s for s, *_ in engine.started] == ["entropy", "patience", "random"]
    assert engine.most == 1
    assert [o.status for o in found] == ["error", "success", "success"]
    error = collect_failures(found)
    assert error is not None
    assert str(error) == f"1 of 3 cells failed: {found[0].cell.label}: it is no good"


def test_the_dead_are_replaced_and_user_errors_are_not(task: Path, tmp_path: Path) -> None:
    died, wrong = Ending("died", message="its process was ended by SIGKILL"), Ending("error", None, "no")
    engine = Pretended(8, {"entropy 0": [died, died], "entropy 1": [wrong], "entropy 2": [died] * 3})
    found = run_pretended(task, tmp_path, engine, strategy="entropy", seed=[0, 1, 2])
    assert [(o.status, o.attempts) for o in found] == [("success", 3), ("error", 1), ("died", 3)]
    assert found[2].error == "its process was ended by SIGKILL, 3 times"
    assert found[2].folder is not None
    record = json.loads((found[2].folder / "record.json").read_text())
    assert (record["status"], record["error"]["kind"]) == ("error", "died")


def test_timed_cells_come_last_and_alone(task: Path, tmp_path: Path) -> None:
    content = sweep(task, tmp_path / "log", strategy="entropy", seed=[0, 1])
    content["include"] = [{**content["matrix"], "seed": 2, "latency": True}, {**content["matrix"], "seed": [3, 4]}]
    engine = Pretended(8)
    run_plan(planned(content, tmp_path / "results"), quiet(tmp_path / "results"), engine)
    assert [(seed, timed) for _, seed, timed in engine.started] == [
        (0, False), (1, False), (3, False), (4, False), (2, True),
    ]  # fmt: skip


def test_ctrl_c_ends_the_workers(task: Path, tmp_path: Path) -> None:
    class Interrupted(Pretended):
        def wait(self) -> Sequence[tuple[Job, Ending]]:
            raise KeyboardInterrupt

    engine = Interrupted(2)
    with pytest.raises(KeyboardInterrupt):
        run_pretended(task, tmp_path, engine, seed=[0, 1])
    assert engine.started
    assert engine.running == []


def test_engines_by_name() -> None:
    assert make_engine("local", 3, 1).threads == 1
    with pytest.raises(UsageError, match="--threads must be 1 to "):
        make_engine("local", 3, count_cores() + 1)
    with pytest.raises(UsageError, match="Unknown engine"):
        make_engine("local:there")


def test_how_times_came_about_says_nothing_twice() -> None:
    trained, reused = CellCost(60.0, 0, "FLOPs over 1 GFLOP/s"), CellCost(8.0, 0, NO_TRAINING)
    assert explain_total([trained, reused, trained], 0, 1)[:-1] == ("Time: FLOPs over 1 GFLOP/s.",)
    assert explain_total([reused], 0, 1)[0] == f"Time: {NO_TRAINING}."
