"""The engine's benchmark: exits are the prescribed ones, and every ratio is there with its spread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.cli.process import main
from bench.errors import OK, USAGE
from bench.inference.conditional import EagerProgram
from bench.inference.executors import EXECUTORS, make_executor
from bench.inference.live import run_live
from bench.inference.segments import EagerSegment
from bench.latency.queries import make_baselines
from bench.latency.result import LatencyOptions
from bench.selfcheck.engine import TIMED_CRITERIA, Setup, describe_engine, measure_ratios
from strategies.base import ExitModel
from strategies.controls import ForcedExits
from strategies.elbert import SharedHead
from tests.helpers.models.exit_models import make_batch, make_model

QUICK = LatencyOptions(samples=3, seconds=0.1, rounds=2, threads=1)


def model() -> ExitModel:
    return make_model("bert", SharedHead, outputs=2, vocab_size=30_000, max_position_embeddings=64)


@pytest.mark.parametrize("check", TIMED_CRITERIA)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_script_is_followed_by_every_executor(executor: str, check: str) -> None:
    made = make_executor(model(), executor, record=EagerSegment, program=EagerProgram, backend="eager")
    batch, exits = make_batch([4, 9, 7, 7]), [2, 5, 1, 9]
    keys = make_batch([1]).input_ids.new_tensor([3, 0, 1, 2])
    found = made(ForcedExits(TIMED_CRITERIA[check][0], exits), 0.5, batch, keys)
    assert found.layer.tolist() == [5, 2, 5, 1]


def test_a_script_needs_keys() -> None:
    with pytest.raises(ValueError, match="need the samples' keys"):
        run_live(model(), ForcedExits(TIMED_CRITERIA["entropy"][0], [1]), 0.5, make_batch([4]))


def test_the_ratios_are_complete_and_printable() -> None:
    ratios = [row for batch in (1, 32) for row in measure_ratios("tiny", model(), batch, QUICK, tokens=12)]
    expected = [(1, "exit L/2"), (1, "never"), (32, "mixed"), (32, "never")]
    for check in TIMED_CRITERIA:
        assert [(r["batch"], r["what"].split(", ")[0]) for r in ratios if r["what"].endswith(check)] == expected
    flops = {(r["batch"], r["what"]): r["flops"] for r in ratios}
    assert flops[1, "exit L/2, entropy"] == pytest.approx(5 / 2, rel=0.3)
    assert flops[1, "never, entropy"] < 1  # the heads on the way are counted
    assert flops[32, "mixed, elbert-mono"] > 1
    for ratio in ratios:
        reached = ratio["realisation"]
        assert reached["low"] <= reached["estimate"] <= reached["high"]
        assert reached["estimate"] == pytest.approx(ratio["latency"]["estimate"] / ratio["flops"])
    whole = {
        "executor": "eager",
        "clock": "perf_counter_ns",
        "device": "cpu",
        "dtype": "float32",
        "threads": 1,
        "tokens": 12,
        "machine": "2 cores",
        "ratios": ratios,
        "predictions": {},
    }
    json.dumps(whole, allow_nan=False)
    assert len(describe_engine(whole).splitlines()) == 2 + len(ratios)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "grahp"], "Unknown executor 'grahp'. Did you mean 'graph'?"),
        (["--executor", "graph"], "needs an NVIDIA GPU"),
        (["--executor", "conditional"], "needs an NVIDIA GPU"),
        (["--dtype", "fp16"], "needs a GPU"),
        (["--device", "cuda"], "torch finds no GPU here"),
        (["--seconds", "0"], "must be positive"),
        (["--only", "engines"], "Unknown part 'engines'. Did you mean 'engine'?"),
    ],
)
def test_what_cannot_be_measured_is_said_first(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["selfcheck", *options]) == USAGE
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_the_benchmark_runs_as_asked_and_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def benchmark(setup: Setup, **arguments: object) -> dict[str, object]:
        asked.update(arguments, setup=setup)
        del asked["say"]
        return {"ratios": []}

    monkeypatch.setattr("bench.selfcheck.engine.measure_engine", benchmark)
    given = [
        "--only",
        "engine",
        "--executor",
        "compile",
        "--dtype",
        "bf16",
        "--threads",
        "1",
        "--seconds",
        "2",
        "--json",
    ]
    assert main(["bench-engine", *given, "--out", str(tmp_path / "made.json")]) == OK
    assert asked == {"threads": 1, "seconds": 2.0, "setup": Setup("cpu", torch.bfloat16, "compile")}
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "made.json").read_text()) == {
        "engine": {"ratios": []}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("executor", "triton", "expected"),
    [
        ("eager", True, {"plain", "stock"}),
        ("compile", False, {"plain", "stock", "plain-compile"}),
        ("graph", True, {"plain", "stock", "plain-graph", "plain-compile"}),
        ("conditional", True, {"plain", "stock", "plain-graph", "plain-compile"}),
        ("graph", False, {"plain", "stock", "plain-graph"}),
    ],
)
def test_an_executor_stands_against_every_plain_model_there_is(
    executor: str, triton: bool, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if triton else None)
    made = make_executor(model(), executor, record=EagerSegment, program=EagerProgram, backend="eager")
    baselines = make_baselines(model(), made)
    assert set(baselines) == expected
    batch = make_batch([5])
    for name in expected - {"plain-compile"}:
        torch.testing.assert_close(baselines[name](batch), model().plain(batch))
