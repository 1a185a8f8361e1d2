"""Sweeps on this machine's processes: killed workers, killed drivers, two users, a second place for results."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from bench.cell.run import prepare_cell
from bench.cli.process import main
from bench.errors import UsageError
from bench.sweep import Outcome, make_engine, run_plan
from bench.sweep.engines.local import LocalEngine
from bench.sweep.remote import Remote
from tests.helpers.faults.drivers import find_workers, start_driver, wait_until
from tests.helpers.faults.kills import TIMEOUT
from tests.helpers.small_runs import write_task
from tests.helpers.sweep_recipes import lines
from tests.helpers.sweeps import planned, quiet, records, remote_of, sweep, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


def run(content: dict[str, Any], results: Path, workers: int = 2, sync: str | None = None) -> list[Outcome]:
    return run_plan(planned(content, results), quiet(results), LocalEngine(workers, 1), sync)


def test_a_sweep_from_its_file_to_its_report(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = sweep(task, tmp_path / "log", seed=[0, 1])
    content["include"] = [{"strategy": "full", "task": str(task), "seed": 0, "settings": {"train.lr": 1e18}}]
    words = [
        "run",
        "--config",
        str(write(tmp_path / "sweep.yaml", content)),
        "--results-dir",
        str(tmp_path / "results"),
    ]
    words += ["--offline", "--quiet", "--json", "--workers", "2", "--threads", "1"]

    def say(*more: str) -> tuple[int, Any, str]:
        code = main([*words, *more])
        printed = capsys.readouterr()
        return code, json.loads(printed.out), printed.err

    code, plan, _ = say("--dry-run")
    assert code == 0
    assert ([row["status"] for row in plan["cells"]], plan["trainings"]) == (["missing"] * 5, 3)
    assert plan["total"]["seconds"] > 0
    code, outcomes, error = say()
    assert code == 5
    assert [o["record"]["status"] for o in outcomes[:-1]] == ["success"] * 4
    assert (outcomes[-1]["cell"], "train.lr" in outcomes[-1]["error"]) == (
        "full, reviews, bert-demo, seed 0, train.lr=1e+18",
        True,
    )
    assert error.startswith("Error: 1 of 5 cells failed: full, reviews, bert-demo, seed 0")
    assert "train.lr" in error
    failed = json.loads(next((tmp_path / "results").glob("*/*/full-*/record.json")).read_text())
    assert (failed["status"], failed["error"]["kind"]) == ("error", "user")
    assert len(lines(tmp_path / "log")) == 2  # four cells, two trainings
    _, plan, _ = say("--dry-run")
    assert [row["status"] for row in plan["cells"]] == ["recorded"] * 4 + ["missing"]
    code, outcomes, _ = say()
    assert (code, ["error" in o for o in outcomes]) == (5, [False] * 4 + [True])
    assert len(lines(tmp_path / "log")) == 2
    (journal,) = (tmp_path / "results" / ".cache" / "sweeps").glob("*.jsonl")
    assert sorted(json.loads(line)["status"] for line in lines(journal)) == ["error"] * 2 + ["success"] * 4
    assert main(["report", "--results-dir", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "--format",
                 "md", "--quiet", "--json"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert (said["cells"], said["failed"]) == (5, 1)


def test_a_killed_worker_is_replaced(task: Path, tmp_path: Path) -> None:
    content = sweep(task, tmp_path / "log", seed=[0, 1])
    deadly = {"recipe": "tests.helpers.sweep_recipes:Deadly", "task": str(task), "head": "linear"}
    settings = {"recipe.log": str(tmp_path / "once")}
    always = {"recipe.log": str(tmp_path / "always"), "recipe.times": 99}
    content["include"] = [
        {**deadly, "strategy": ["entropy", "patience"], "settings": settings},
        {**deadly, "strategy": "entropy", "settings": always},
    ]
    found = run(content, tmp_path / "results")
    assert [(o.status, o.attempts) for o in found] == [("success", 1)] * 4 + [
        ("success", 2),
        ("success", 1),
        ("died", 3),
    ]
    assert found[-1].error == "its process was ended by SIGKILL (out of memory?), 3 times"
    assert found[-1].folder is not None
    record = json.loads((found[-1].folder / "record.json").read_text())
    assert (record["status"], record["error"]["kind"]) == ("error", "died")
    assert len(lines(tmp_path / "log")) == 2
    assert len(lines(tmp_path / "once")) == 2  # one was killed, one finished
    assert len(lines(tmp_path / "always")) == 3


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_goes_on_later(how: signal.Signals, task: Path, tmp_path: Path) -> None:
    content = sweep(task, tmp_path / "log", seed=[0, 1, 2])
    config, results = write(tmp_path / "sweep.yaml", content), tmp_path / "results"
    driver = start_driver(config, results)
    wait_until(lambda: len(lines(tmp_path / "log")) >= 2)
    driver.send_signal(how)
    _, said = driver.communicate(timeout=TIMEOUT)
    assert driver.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), said.decode()
    before = len(lines(tmp_path / "log"))
    found = run(content, results)
    assert all(o.ok for o in found)
    assert len(records(results)) == 6
    notes = len(lines(tmp_path / "log"))
    assert 3 <= notes <= 3 + before  # what was in the middle begins again, nothing else does
    assert {r["status"] for r in records(results).values()} == {"success"}
    again = run(content, results)
    assert [o.status for o in again] == ["recorded"] * 6
    assert len(lines(tmp_path / "log")) == notes


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_their_driver(how: signal.Signals, task: Path, tmp_path: Path) -> None:
    """However it is ended: trainings of minutes do not go on without anybody who waits for them."""
    log, results = tmp_path / "log", tmp_path / "results"
    content = sweep(task, log, settings={"recipe.log": str(log), "train.steps": 200_000})
    driver = start_driver(write(tmp_path / "sweep.yaml", content), results)
    wait_until(lambda: lines(log) and find_workers(driver.pid))
    driver.send_signal(how)
    driver.communicate(timeout=TIMEOUT)
    wait_until(lambda: not find_workers(driver.pid))
    found = [json.loads(path.read_text()) for path in results.glob("*/*/*/record.json")]
    assert [record["status"] for record in found] == ["cancelled"]


def test_two_users_share_a_results_folder(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At once, with half of their cells in common; and the same from two folders that are copied into one."""
    log = tmp_path / "log"
    one, other = sweep(task, log, seed=[0, 1]), sweep(task, log, seed=[1, 2])
    both = tmp_path / "both"
    drivers = [start_driver(write(tmp_path / f"{i}.yaml", content), both) for i, content in enumerate((one, other))]
    said = [driver.communicate(timeout=TIMEOUT)[1].decode() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert len(lines(log)) == 3  # seed 1 was trained by one of them
    assert len(records(both)) == 6

    for name, content in (("mine", one), ("yours", other)):
        assert all(o.ok for o in run(content, tmp_path / name))
    merged = tmp_path / "merged"
    for name in ("mine", "yours"):
        shutil.copytree(tmp_path / name, merged, dirs_exist_ok=True)
    assert records(merged) == records(both)

    reports = []
    for results in (both, merged):
        out = tmp_path / f"report-{results.name}"
        words = ["report", "--results-dir", str(results), "--out", str(out), "--format", "md,csv", "--quiet", "--json"]
        assert main(words) == 0
        said_of = json.loads(capsys.readouterr().out)
        assert (said_of["cells"], said_of["failed"], said_of["damaged"]) == (6, 0, 0)
        found = {p.name: p.read_text().splitlines() for p in sorted(out.rglob("*.csv"))}
        found["cells.csv"] = [
            line.partition(",success,")[0] for line in found["cells.csv"]
        ]  # the rest is when and where
        reports.append(found)
    assert len(reports[0]) > 1
    assert len(reports[0]["cells.csv"]) == 7
    assert reports[0] == reports[1]


def test_machines_that_share_nothing_but_a_url(task: Path, tmp_path: Path) -> None:
    """Two stores on two machines; what one has finished the other takes from the URL."""
    content, url = sweep(task, tmp_path / "log", seed=[0]), (tmp_path / "bucket").as_uri()
    assert all(o.ok for o in run(content, tmp_path / "one", sync=url))
    cell = sweep(task, tmp_path / "log", seed=[0], strategy="random")
    found = run({**cell, "include": [content["matrix"] | {"seed": 0}]}, tmp_path / "two", sync=url)
    assert [o.status for o in found] == ["success"] * 3
    assert len(lines(tmp_path / "log")) == 1  # the checkpoint came over, too
    theirs = records(tmp_path / "two")
    assert {name: theirs[name] for name in records(tmp_path / "one")} == records(tmp_path / "one")
    assert remote_of(url, tmp_path / "three").fetch_cells() == 3
    assert remote_of(url, tmp_path / "three").fetch_cells() == 0
    assert records(tmp_path / "three") == theirs


def test_a_half_sent_cell_is_not_there(task: Path, tmp_path: Path) -> None:
    import fsspec

    content = sweep(task, tmp_path / "log", strategy="entropy", seed=0)
    (outcome,) = run(content, tmp_path / "one")
    plan = planned(content, tmp_path / "one")
    cell = prepare_cell(plan.cells[0].request, quiet(tmp_path / "one"))
    remote = Remote("memory://bucket/results", cell.context.store, cell.context.progress)
    remote.send(cell)
    there = remote._list("")
    assert sum(name.endswith("record.json") for name in there) == 1
    assert not any("progress" in name or ".tmp" in name for name in there)
    assert any(name.startswith(".cache/checkpoints/") for name in there)
    memory = fsspec.filesystem("memory")
    assert outcome.folder is not None
    record = f"/bucket/results/{outcome.folder.relative_to((tmp_path / 'one').resolve()).as_posix()}/record.json"
    kept = memory.cat(record)
    memory.rm(record)
    other = remote_of("memory://bucket/results", tmp_path / "two")
    assert other.fetch_cells() == 0
    memory.pipe(record, kept)
    assert other.fetch_cells() == 1
    assert records(tmp_path / "two") == records(tmp_path / "one")


def test_a_place_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backbones.hubcalls.time.sleep", lambda _: None)
    remote = remote_of((tmp_path / "bucket").as_uri(), tmp_path / "results")

    def slow(*_: Any) -> Any:
        raise TimeoutError("slow")

    monkeypatch.setattr(remote.files, "exists", slow, raising=False)
    with pytest.raises(UsageError, match=r"no answer \(TimeoutError\)"):
        remote.fetch_cells()


def test_an_engine_keeps_to_its_memory(task: Path, tmp_path: Path) -> None:
    plan = planned(sweep(task, tmp_path / "log", seed=[0, 1]), tmp_path / "results")
    engine = make_engine("local", 4, 1)
    assert isinstance(engine, LocalEngine)
    engine.memory = 1.0
    found = run_plan(plan, quiet(tmp_path / "results"), engine)
    assert all(o.ok for o in found)
