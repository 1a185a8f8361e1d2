"""Plain models that are timed on request: those that run answer, those that cannot say why, and none goes missing."""

from __future__ import annotations

import pytest
import torch

from bench.errors import UsageError
from bench.latency import baselines
from bench.latency.baselines import describe_requested, make_requested
from bench.latency.names import parse_baselines
from bench.latency.queries import make_stock_call
from bench.results.spec import LatencyArgs
from bench.selfcheck.tiny import make_tiny_batch, make_tiny_model

BATCHES = [make_tiny_batch([length], seed=length) for length in (5, 9, 12)]


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("bf16, int8,bf16", ("bf16", "int8")), ("first-3,compile,fp32", ("first-3", "compile", "fp32"))],
)
def test_names_are_read(text: str, names: tuple[str, ...]) -> None:
    assert parse_baselines(text) == names


@pytest.mark.parametrize("text", ["fp8", "first-0", "first-", "bf16;int8"])
def test_other_names_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"latency\.baselines: '.*' is none of fp32, bf16, compile, int8, first-K"):
        LatencyArgs(baselines=text)


def test_settings_that_came_later_leave_older_keys_alone() -> None:
    assert not {"baselines", "threads"} & set(LatencyArgs().identity())
    assert LatencyArgs(baselines="bf16", threads=2).identity().items() >= {"baselines": "bf16", "threads": 2}.items()


def test_what_runs_answers_and_what_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny_model("bert")

    def refuse(*_: object) -> None:
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(baselines, "make_executor", refuse)
    names = ("fp32", "bf16", "int8", "first-2", "first-5", "compile")
    found = {one.name: one for one in make_requested(names, model, BATCHES[0])}
    assert tuple(found) == names
    assert {name for name, one in found.items() if one.call is not None} == {"bf16", "int8", "first-2"}
    assert (found["first-2"].layers, found["bf16"].layers) == (2, 5)
    assert found["compile"].why == "RuntimeError: no compiler here"
    lines = describe_requested(list(found.values()), make_stock_call(model), BATCHES)
    assert "fp32 does not run here: it is what the model runs in anyway" in lines
    assert "first-5 does not run here: the model has 5 layers" in lines
    assert sum("of 3 timed samples otherwise" in line for line in lines) == 3
    half = found["bf16"].call
    assert half is not None
    assert half(BATCHES[0]).dtype == torch.bfloat16
    assert next(model.parameters()).dtype == torch.float32  # a copy was cast
