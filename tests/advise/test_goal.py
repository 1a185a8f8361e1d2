"""Goals: what may be asked, the rule that chooses for it, how many samples a certificate needs."""

from __future__ import annotations

import numpy as np
import pytest

from bench.advise.goal import Goal, parse_goal
from bench.errors import UsageError
from bench.measure.risk import p_value
from bench.measure.rules import Rule


def test_one_answer_in_a_hundred_is_the_default() -> None:
    goal = parse_goal(None, None, None, None)
    assert goal == Goal("max_change", 0.01, 0.95)
    assert goal.describe() == "at most 1 % of answers change, with 95 % confidence"


@pytest.mark.parametrize(
    ("given", "goal", "rule"),
    [
        (("0.02@0.9", None, None, None), Goal("max_change", 0.02, 0.9), Rule("risk", 0.02, 0.9)),
        (("0.02", None, None, None), Goal("max_change", 0.02, 0.95), Rule("risk", 0.02, 0.95)),
        ((None, 0.005, None, None), Goal("max_loss", 0.005), Rule("max_loss", 0.005)),
        ((None, None, 20.0, None), Goal("target_ms", 20.0), Rule("budget", 0.5)),
        ((None, None, None, 1.5), Goal("speedup", 1.5), Rule("speedup", 1.5)),
    ],
)
def test_a_goal_is_its_rule(given: tuple[str, float, float, float], goal: Goal, rule: Rule) -> None:
    assert parse_goal(*given) == goal
    made = goal.make_rule(plain_ms=40.0)
    assert (made.kind, made.value) == (rule.kind, rule.value)
    assert made.confidence == (None if rule.confidence is None else pytest.approx(rule.confidence))


@pytest.mark.parametrize(
    "given",
    [
        ("0.01@0.95", 0.005, None, None),
        ("x", None, None, None),
        ("0.01@1", None, None, None),
        ("0", None, None, None),
        ("nan@0.9", None, None, None),
        (None, -0.1, None, None),
        (None, None, 0.0, None),
        (None, None, None, 1.0),
    ],
)
def test_what_is_no_goal_is_one_line(given: tuple[str, float, float, float]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_goal(*given)
    assert "\n" not in str(caught.value)
    assert "--max" in str(caught.value) or "--target" in str(caught.value) or "--speedup" in str(caught.value)


@pytest.mark.parametrize("criteria", [1, 3, 6])
@pytest.mark.parametrize("goal", [Goal("max_change", 0.01, 0.95), Goal("max_change", 0.05, 0.9)])
def test_so_many_samples_without_a_change_are_just_enough(goal: Goal, criteria: int) -> None:
    needed, allowed = goal.count_needed(criteria), (1 - (goal.confidence or 0)) / criteria
    assert p_value(np.zeros(needed), goal.value) <= allowed < p_value(np.zeros(needed - 1), goal.value)
    assert goal.make_rule(1.0, criteria).confidence == pytest.approx(1 - allowed)


def test_other_goals_need_no_certificate() -> None:
    assert Goal("max_loss", 0.005).count_needed(6) == 1
