"""What is asked of a model: criteria that so many samples bear, goals that exits can help to meet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench.advise.advise import find_obstacle
from bench.advise.ceiling import DepthTimes
from bench.advise.goal import Goal, parse_goal
from bench.advise.question import (
    Question,
    choose_candidates,
    explain_few_criteria,
    list_looser_goals,
    list_usual_criteria,
)

CERTIFIED = Goal("max_change", 0.01, 0.95)


def make_data(select: int) -> Any:
    """Data of two classes with so many samples to choose on."""
    return SimpleNamespace(num_outputs=2, select=range(select), train=(), evaluation={}, source="task")


@pytest.mark.parametrize("short", [0, 1])
def test_criteria_that_the_samples_do_not_bear_are_named(short: int) -> None:
    question = Question("model", "data", goal=CERTIFIED)
    usual = list_usual_criteria(CERTIFIED, 2)
    data = make_data(CERTIFIED.count_needed(len(usual)) - short)
    compared = choose_candidates(question, data)
    said = explain_few_criteria(question, data, compared)
    if not short:
        assert (list(compared), said) == (usual, None)
        return
    assert list(compared) == usual[:-1]
    assert said is not None
    assert said.startswith(f"{usual[-1]} was not compared")
    assert f"{CERTIFIED.count_needed(len(usual)):,} texts" in said


@pytest.mark.parametrize("there", [3, 20, 44, 45, 120, 298])
@pytest.mark.parametrize("goal", [CERTIFIED, Goal("max_change", 0.02, 0.9), Goal("max_change", 0.05, 0.9)])
def test_a_looser_goal_that_is_named_is_looser_and_can_be_certified(goal: Goal, there: int) -> None:
    *named, last = list_looser_goals(goal, 1, there)
    assert last == "--max-loss 0.005"
    assert len(named) == (there >= 16)  # what the loosest of them needs
    for option in named:
        other = parse_goal(option.removeprefix("--max-change "), None, None, None)
        assert other.count_needed() <= there
        assert other.count_needed() < goal.count_needed()


def test_of_criteria_that_were_named_nothing_is_said() -> None:
    question = Question("model", "data", goal=CERTIFIED, criteria=("entropy",))
    assert explain_few_criteria(question, make_data(400), ("entropy",)) is None


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (3.0, "it would take 4.0 ms, and 3 ms are wanted"),
        (5.0, None),
        (8.0, "the model itself takes 8.0 ms a text, and 8 ms are allowed"),
        (100.0, "the model itself takes 8.0 ms a text, and 100 ms are allowed"),
    ],
)
def test_a_time_that_is_met_already_or_never_is_an_obstacle(target: float, said: str | None) -> None:
    rounds = np.array([[0.004] * 3, [0.008] * 3])  # half of the time at exit 1
    times = DepthTimes((10.0,), rounds[:, :1], rounds[1, :1], rounds, rounds[1])
    found = find_obstacle(times, Goal("target_ms", target))
    assert found is None if said is None else (found or "").endswith(said)
