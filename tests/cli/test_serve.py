"""`bench serve` and timed batches through the command line: what is recorded and printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cell.latency import draw_queries
from bench.cli.process import INTERRUPTION, main
from bench.cli.run_tables import describe_run
from bench.environment import count_cores
from bench.results.run import Run
from bench.results.store import Store
from bench.results.times import TimedPoint
from tests.helpers.small_runs import SHAPE, STEPS, run_json, settings, write_task

FAST = ["--offline", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the task of reviews and, in ``results``, one recorded run on it."""
    home = tmp_path_factory.mktemp("serve")
    task = write_task(home / "task", validation=80)
    arguments = ["--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", *settings(*SHAPE, *STEPS)]
    code = main(["run", *arguments, "--no-latency", *FAST, "--json", "--results-dir", str(home / "results")])
    assert code == 0
    return home


@pytest.fixture(autouse=True)
def _beside_the_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's files are looked for where they lie."""
    monkeypatch.chdir(folder)


def test_a_folder_that_is_out_of_sight_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    there, away = folder / "task", tmp_path / "elsewhere"
    there.rename(away)
    try:
        assert serve(folder, "--points", "default") == 2
    finally:
        away.rename(there)
    assert "task', which is neither here nor beside the results" in capsys.readouterr().err


def serve(folder: Path, *more: str) -> int:
    return main(["serve", "last", "--results-dir", str(folder / "results"), "--threads", "1", *more, *FAST])


def test_every_scenario_is_measured_and_kept(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "served.json"
    asked = [
        "--seconds",
        "0.2",
        "--queries",
        "64",
        "--percentile",
        "50",
        "--searches",
        "2",
        "--batch-size",
        "8",
        "--energy",
        "0.01",
    ]
    assert serve(folder, "--points", "default", *asked, "--json", "--out", str(out)) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == found
    assert set(found["serving"]) == {found["single"]["baseline"], "default"}
    assert 8 <= len(found["single"]["sizes"]) <= 64  # as many as there is time for
    assert set(found["single"]["sizes"]) == {1}
    assert set(found["offline"]["sizes"]) == {8}
    for held in found["serving"].values():
        assert [run["rate"] for run in held["tried"]] == sorted(run["rate"] for run in held["tried"])
        assert len(held["rates"]) == 2 or held["rate"] is None
        if held["rate"] is not None:
            assert held["rate_low"] <= held["rate"] <= held["rate_high"]
            assert set(held["predicted"]) == {"rate", "rate_low", "rate_high", "tail"}
    assert all("no NVIDIA GPU" in energy["note"] for energy in found["energy"].values())


def test_the_table_names_target_and_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--seconds", "0.1", "--queries", "64", "--percentile", "50", "--target-ms", "1000", "--searches", "1"]
    assert serve(folder, "--points", "default", *asked) == 0
    printed = capsys.readouterr().out
    assert "p50 ≤ 1000 ms" in printed
    assert "1 threads" in printed
    assert "Poisson" in printed
    assert "over rounds, [" in printed
    assert "] over samples." in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--points", "9x"], "no operating point '9x'"),
        (["--points", ","], "--points is empty"),
        (["--percentile", "42"], "--percentile must be 50, 95 or 99"),
        (["--points", "default", "--target-ms", "0"], "must be positive"),
        (["--points", "default", "--dtype", "fp16"], "fp16 needs a GPU"),
        (["--points", "default", "--dtype", "int8"], "Invalid value for"),
        (["--points", "default", "--executor", "graph"], "needs an NVIDIA GPU"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    folder: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(folder, *more) == 2
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert "\n" not in printed


def test_offline_batches_in_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_task(tmp_path / "task", validation=80)
    shape = settings(
        *SHAPE, *STEPS, "latency.protocol=offline-batch-v2", "latency.batch_size=16", "latency.seconds=0.2"
    )
    arguments = ["--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", "--offline", "--quiet"]
    [found] = run_json(capsys, *arguments, *shape, "--results-dir", str(tmp_path / "results"))
    latency: dict[str, Any] = found["record"]["latency"]
    assert (latency["protocol"], latency["batch_size"], latency["executor"]) == ("offline-batch-v2", 16, "eager")
    assert latency["samples"] == 64  # four batches
    timed = [p for p in found["record"]["evaluation"]["validation"]["points"] if "latency" in p]
    assert timed
    for point in timed:
        reached = point["latency"]["speedup"]["value"] / point["latency"]["cost_speedup"]
        assert point["latency"]["realisation"] == pytest.approx(reached)
    assert any("a batch of 16" in note for note in latency["notes"])
    point = timed[0]["latency"]["sampling"]
    [shown] = [
        note for note in describe_run(Run.load(Path(found["folder"]))) if "over samples instead of rounds" in note
    ]
    assert f"{timed[0]['rule']} [{point['low']:.2f}, {point['high']:.2f}]" in shown


@pytest.mark.parametrize(("samples", "size"), [(80, 16), (83, 16), (5, 16), (7, 1)])
def test_queries_hold_no_sample_twice_and_are_full(samples: int, size: int) -> None:
    queries = draw_queries(samples, size)
    rows = [row for query in queries for row in query]
    assert len(set(rows)) == len(rows) <= samples
    assert {len(query) for query in queries} == {min(size, samples)}
    assert queries == draw_queries(samples, size)
    assert np.isin(rows, np.arange(samples)).all()


def test_interrupted_while_the_clock_runs_all_but_its_rounds_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, results = write_task(tmp_path / "task", validation=80), tmp_path / "results"
    asked = [*FAST, *settings(*SHAPE, *STEPS, "latency.seconds=0.1")]
    words = ["run", "--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", *asked]
    words += ["--results-dir", str(results)]

    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bench.latency.rounds.find_baseline", stop)  # after the first round
        assert main(words) == 130
    assert capsys.readouterr().err.splitlines()[-1] == INTERRUPTION
    assert list(results.glob("*/*/*/latency-*.json")) == []
    kept = {path: path.stat().st_mtime_ns for path in results.glob(".cache/*/*/*") if "locks" not in path.parts}
    assert {path.suffix for path in kept} == {".safetensors", ".parquet"}
    assert main(words) == 0
    assert "checkpoint reused" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    [run], _ = Store(results).runs()
    assert run.record.latency is not None


def test_more_threads_than_cores_are_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, results, most = write_task(tmp_path / "task"), tmp_path / "results", count_cores()
    asked = [*FAST, *settings(*SHAPE, *STEPS, f"latency.threads={most + 1}")]
    words = ["run", "--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", *asked]
    assert main([*words, "--results-dir", str(results)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"Error: latency.threads must be 1 to {most}, ")
    assert list(results.glob("*/*/*/record.json")) == []


def test_baselines_that_are_asked_for_are_rows_and_the_fastest_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path / "task", validation=80)
    asked = settings(*SHAPE, *STEPS, "latency.seconds=0.3", "latency.baselines=bf16,int8,first-1,fp32")
    arguments = ["--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo", *FAST, *asked]
    assert main(["run", *arguments, "--threads", "1", "--results-dir", str(tmp_path / "results")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    [made], _ = Store(tmp_path / "results").runs()
    latency = made.record.latency
    assert latency is not None
    assert {"plain", "stock", "bf16", "int8", "first-1"} <= set(latency.configurations)
    assert latency.threads == 1
    assert latency.baseline in ("plain", "stock", "bf16", "int8")  # with all layers
    assert f"speed-ups against {latency.baseline}, the fastest with all layers" in shown
    assert "fp32 does not run here" in shown
    fastest = min((t.mean_ms, n) for n, t in latency.configurations.items() if n in ("plain", "stock", "bf16", "int8"))
    assert fastest[0] == pytest.approx(latency.configurations[latency.baseline].mean_ms, rel=0.05)
    first = latency.configurations["first-1"]
    assert isinstance(first, TimedPoint)
    assert first.mean_layer == 1
    assert first.cost_speedup > 1
