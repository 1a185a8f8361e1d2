"""`bench check` finds planted faults, with a small example; what keeps the contract passes, from pytest too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.cli.process import main
from bench.selfcheck.properties.check import answer_questions, list_questions
from bench.selfcheck.properties.contract import find_broken
from bench.selfcheck.properties.criteria import CRITERION_PROPERTIES
from strategies.base import Criterion, Head, Recipe, Seen, Stage, Start, State

ROOT = Path(__file__).parents[2]
HERE = "tests.selfcheck.test_properties"


class Unsure(Criterion):
    """1 - p of the most probable class: a rule that keeps the contract."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, 1 - seen.logits.softmax(dim=-1).amax(dim=-1)


class Counting(Unsure):
    """The same, counted in a memory, as it should be."""

    def start(self, start: Start) -> State:
        return {"seen": torch.zeros(start.samples, dtype=start.dtype, device=start.device)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        count = state["seen"] + 1
        return {"seen": count}, super().step(state, seen)[1] / count


class Peeks(Unsure):
    """Looks at the last exit's logits, which lie beside what it is given."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        whole = seen.logits._base
        return super().step(state, seen if whole is None else Seen(seen.layer, whole[:, -1]))


class DependsOnTheBatch(Unsure):
    """Leaves the surer half of a batch."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, score - score.mean()


class ChangesItsState(Counting):
    """Counts in the tensor that it was given."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state["seen"] += 1
        return state, Unsure.step(self, state, seen)[1] / state["seen"]


class ChangesTheLogits(Unsure):
    """Subtracts the maximum in place."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return super().step(state, Seen(seen.layer, seen.logits.sub_(seen.logits.amax(dim=-1, keepdim=True))))


class WrongType(Unsure):
    """Judges in half precision."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, score.half()


class WrongShape(Unsure):
    """Keeps the dimension."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, score[:, None]


class IgnoresItsThreshold(Unsure):
    """Has a threshold of its own."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, torch.where(score < 0.3, -torch.inf, torch.inf).to(score)


class TurnsBack(Unsure):
    """Its thresholds are stricter in the middle."""

    def cut(self, threshold: float) -> float:
        return abs(threshold - 0.3)

    def threshold(self, cut: float) -> float:
        return cut + 0.3


class SharesItsState(Unsure):
    """Counts over all that it has ever seen."""

    seen: ClassVar[list[int]] = []

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        self.seen.append(seen.layer)
        state, score = super().step(state, seen)
        return state, score + len(self.seen)


class NotANumber(Unsure):
    """An entropy that is NaN where a probability is 0."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        p = seen.logits.softmax(dim=-1)
        return state, -(p * p.log()).sum(dim=-1)


class Draws(Unsure):
    """Adds noise without a seed."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, score + 0.1 * torch.rand_like(score)


@pytest.mark.parametrize("rule", ["Unsure", "Counting"])
def test_what_keeps_the_contract_passes(rule: str) -> None:
    answers = list(answer_questions(list_questions(f"{HERE}:{rule}")))
    assert len(answers) == 14
    assert [answer.broken for answer in answers if answer.broken or not answer.asked] == []


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (Peeks, {"causal"}),
        (DependsOnTheBatch, {"batch", "alone", "live"}),
        (ChangesItsState, {"inputs"}),
        (ChangesTheLogits, {"inputs"}),
        (WrongType, {"scores"}),
        (WrongShape, {"scores"}),
        (IgnoresItsThreshold, {"decides"}),
        (TurnsBack, {"thresholds"}),
        (SharesItsState, {"repeats"}),
        (NotANumber, {"saturated"}),
        (Draws, {"repeats"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_planted_fault_is_found_by_the_property_it_breaks(fault: type[Criterion], names: set[str]) -> None:
    answers = list(answer_questions(list_questions(f"{HERE}:{fault.__name__}")))
    broken = {answer.question.asked.name: answer.broken for answer in answers if answer.broken}
    assert names <= set(broken)
    for name in names - {"live"}:
        example: Any = broken[name].example  # type: ignore[union-attr]
        assert example.shape[0] <= (2 if fault is DependsOnTheBatch else 3)
        assert example.shape[2] == 2 or fault is NotANumber
    rest = [answer for answer in answers if not answer.asked]
    assert len(rest) == (13 if names == {"scores"} else 0)


def test_the_smallest_example_breaks_the_property_on_its_own() -> None:
    judged = list_questions(f"{HERE}:DependsOnTheBatch")[0].subject
    asked = next(one for one in CRITERION_PROPERTIES if one.name == "batch")
    broken = find_broken(asked, judged)
    assert broken is not None
    assert asked.find(judged, broken.example) == broken.found  # type: ignore[arg-type]
    assert tuple(broken.example.shape) == (2, 2, 2)  # type: ignore[attr-defined]
    assert asked.find(judged, broken.example[:1]) is None  # type: ignore[index]


# ---------------------------------------------------------------- heads and recipes


class CountsTooLittle(Head):
    """A linear head that says it costs nothing, and forgets that padding is none of its business."""

    def __init__(self, encoder: Any, num_outputs: int, **given: Any) -> None:
        super().__init__(encoder, num_outputs, **given)
        self.exits = nn.ModuleList(nn.Linear(self.hidden_size, num_outputs) for _ in range(self.num_layers))

    def forward(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        return self.exits[layer - 1](hidden.mean(dim=1))  # type: ignore[no-any-return]

    def exit_parameters(self, layer: int) -> Any:
        return self.parameters()

    def macs(self, tokens: int, layer: int) -> int:
        return 0


class TrainsTheLastExitOnly(Recipe):
    """Says that it trains all exits."""

    def losses(self, stage: Stage, logits: Any, labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return (logits[-1].square().mean(),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CountsTooLittle", {"padding", "parameters", "macs", "live"}), ("TrainsTheLastExitOnly", {"losses"})],
)
def test_faults_of_heads_and_recipes_are_found(name: str, expected: set[str]) -> None:
    answers = list(answer_questions(list_questions(f"{HERE}:{name}")))
    assert {answer.question.asked.name for answer in answers if answer.broken} == expected


# ---------------------------------------------------------------- the command, and pytest


@pytest.mark.parametrize("columns", [60, 80])
def test_lines_are_no_wider_than_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["check", f"{HERE}:WrongShape", "--quiet"]) == 2
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_the_command_prints_a_line_a_property_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:WrongShape", "--quiet"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fail criterion: scores")
    assert "the scores at exit 1 are [1, 1], not one a sample, [1]" in lines[1]
    assert "smallest example: float32, 1 x 1 x 2: [[[" in lines[2]
    assert sum(line.startswith("-    criterion: ") for line in lines) == 13
    assert lines[-1] == "0 of 14 hold."
    assert main(["check", f"{HERE}:Unsure", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(one["ok"] for one in found["properties"])
    assert "A step takes" in found["speed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["elbrt-mono"], "Did you mean 'elbert-mono'?"),
        (["oracle-correct"], "is an upper bound"),
        (["json:JSONDecoder"], "is no subclass of strategies.base.Strategy"),
        (["json:loads"], "'json:loads' cannot be used: it is no class."),
        ([f"{HERE}:Nothing"], "Unknown class in"),
        (["entropy", "--set", "window=3"], "Unknown argument 'window'"),
        (["highway", "--set", "window=3"], "has no criterion to set window of"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *words, "--quiet"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.slow
def test_pytest_has_an_item_a_property(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nexitbench_check = {HERE}:DependsOnTheBatch\n")
    plugin = "bench.selfcheck.properties.pytest_items"
    command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", "-W", "ignore"]
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 failed, 11 passed" in done.stdout
    assert "smallest example: float32, 2 x 2 x 2" in done.stdout
