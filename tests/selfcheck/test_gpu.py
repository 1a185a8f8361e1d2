"""`bench selfcheck gpu`, rehearsed: all parts, resumed; what a card would have to tell is made up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.cli.process import main
from bench.errors import OK, USAGE
from bench.latency.energy import NO_COUNTER, NO_GPU, compare_energy
from bench.selfcheck import gpu
from bench.selfcheck.engine import Setup
from bench.selfcheck.tiny import make_tiny_model
from strategies.elbert import SharedHead


@pytest.mark.slow
def test_a_rehearsal_measures_every_part_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["selfcheck", "gpu", "--dry-run", "--out", str(tmp_path)]
    assert main(asked) == OK
    shown = capsys.readouterr().out
    for words in (
        "Decisions: ",
        "executor graph",
        "executor conditional",
        "Depth table",
        "Serving, exit L/2",
        "Energy",
    ):
        assert words in shown
    parts = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert set(parts) == {"card", *gpu.GPU_PARTS}
    full = [row for row in parts["decisions"]["rows"] if row["dtype"] == "float32"]
    assert {row["executor"] for row in full} == {"graph", "compile", "conditional"}
    assert all(row["other_exit"] == 0 for row in full)
    (tmp_path / "depth.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.stem != "card"}
    assert main([*asked, "--json"]) == OK
    assert set(json.loads(capsys.readouterr().out)) == set(parts)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    card = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**card, "card": "another"}))
    assert main(asked) == USAGE
    assert "what another card or another torch measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["gpu"], "--out"),
        (["gpus", "--out", "x"], "Did you mean 'gpu'?"),
        (["--dry-run"], "bench selfcheck gpu"),
        (["gpu", "--out", "x"], "torch finds no GPU here"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["selfcheck", *options]) == USAGE
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_sample_that_leaves_elsewhere_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_tiny_model("bert", SharedHead)
    assert gpu.compare_executor(model, Setup(executor="graph", rehearsal=True))["other_exit"] == 0
    made = Setup.make_executor

    def other(setup: Setup, model: object) -> object:
        if setup.executor == "eager":
            return made(setup, model)  # type: ignore[arg-type]
        return made(Setup(), make_tiny_model("bert", SharedHead, initializer_range=0.2))

    monkeypatch.setattr(Setup, "make_executor", other)
    assert gpu.compare_executor(model, Setup(executor="graph"))["other_exit"] > 0


class Meters:
    """A clock that a query moves on by 20 ms, a counter, and a power that rises by 1 W every 100 ms."""

    def __init__(self, factor: float = 1.0) -> None:
        self.now, self.factor = 0, factor

    def query(self, i: int) -> float:
        self.now += 20_000_000
        return 1.0

    def power(self) -> float:
        return 100 + self.now / 1e8

    def counter(self) -> int:
        seconds = self.now / 1e9
        return round(1e3 * self.factor * (100 * seconds + 5 * seconds**2))


@pytest.mark.parametrize(("factor", "valid"), [(1.0, True), (0.97, True), (0.9, False), (1.1, False)])
def test_two_meters_that_differ_by_more_than_a_twentieth_are_invalid(factor: float, valid: bool) -> None:
    meters = Meters(factor)
    found = compare_energy(
        meters.query, [0], "cuda", seconds=3.0, meters=(meters.counter, meters.power), clock=lambda: meters.now
    )
    assert found["valid"] is valid
    assert found["difference"] == pytest.approx(found["integrated"] / found["counter"] - 1)
    assert found["difference"] == pytest.approx(1 / factor - 1, abs=1e-3)
    assert found["seconds"] == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize(
    "meters", [(lambda: None, lambda: 1.0), (lambda: 1, lambda: None)], ids=["no counter", "no power"]
)
def test_a_missing_meter_is_said(meters: tuple[Callable[[], int | None], Callable[[], float | None]]) -> None:
    ticks = Meters()
    found = compare_energy(ticks.query, [0], "cuda", seconds=0.1, meters=meters, clock=lambda: ticks.now)
    assert (found["counter"], found["valid"], found["note"]) == (None, False, NO_COUNTER)
    assert compare_energy(ticks.query, [0], "cpu")["note"] == NO_GPU
    assert not math.isnan(found["seconds"])
