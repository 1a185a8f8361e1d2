"""The sentence, word for word, and when it says that early exit pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.advise.goal import Goal
from bench.advise.verdict import Way, give_verdict
from bench.measure.stats import Interval

CHANGE = Goal("max_change", 0.01, 0.95)
OWN = Way("the model itself", {1: 10.0}, {}, Interval(0.0, 0.0, 0.004), Interval(0.914, 0.89, 0.93), 6.0)
EARLY = Way(
    "early exit", {1: 6.76}, {1: Interval(1.48, 1.44, 1.52)}, Interval(0.006, 0.003, 0.013), Interval(0.912, 0.89, 0.93)
)
BF16 = Way("bf16", {1: 4.8}, {1: Interval(2.1, 2.0, 2.2)}, Interval(0.001, 0.0, 0.006), Interval(0.914, 0.89, 0.93))
FOUND = (
    "entropy < 0.21 is 1.48x [1.44, 1.52] faster at batch 1 on this machine, 0.6 % of answers change (certified below "
    "1 % with 95 % confidence), accuracy 0.912 against 0.914"
)


def give(goal: Goal = CHANGE, early: Way = EARLY, *rivals: Way) -> tuple[bool, str]:
    found = give_verdict(goal, "accuracy", "entropy < 0.21", [OWN, early, *rivals])
    return found.pays, found.sentence


def test_it_pays() -> None:
    assert give() == (True, f"Pays: {FOUND}.")


def test_more_change_than_certified_that_chance_explains_is_explained() -> None:
    pays, sentence = give(CHANGE, replace(EARLY, changed=Interval(0.011, 0.007, 0.016)))
    assert pays
    said = "(certified below 1 % with 95 % confidence, which more than that on these few texts does not contradict)"
    assert f"1.1 % of answers change {said}," in sentence


def test_nothing_pays_on_a_model_without_skill() -> None:
    both = replace(BF16, name="early exit, bf16", speedup={1: Interval(3.0, 2.9, 3.1)})
    found = give_verdict(CHANGE, "accuracy", "entropy < 0.21", [OWN, EARLY, BF16, both], skilled=False)
    assert not found.pays
    assert found.sentence == (
        f"Does not pay: {FOUND}; the model itself is not shown to be better on these texts than one answer for all."
    )


def test_a_faster_rival_that_is_as_true_is_named() -> None:
    slower = replace(BF16, name="int8", speedup={1: Interval(2.0, 1.9, 2.1)})
    assert give(CHANGE, EARLY, slower, BF16) == (False, f"Does not pay: {FOUND}; bf16 alone gives 2.1x.")


@pytest.mark.parametrize(
    "rival",
    [
        Way("bf16", why="no such kernel"),
        replace(BF16, changed=Interval(0.02, 0.01, 0.03)),
        replace(BF16, speedup={1: Interval(1.4, 1.36, 1.54)}),
        replace(BF16, speedup={32: Interval(2.1, 2.0, 2.2)}),
    ],
)
def test_other_rivals_are_not(rival: Way) -> None:
    assert give(CHANGE, EARLY, rival) == (True, f"Pays: {FOUND}.")


@pytest.mark.parametrize(
    ("goal", "early", "why"),
    [
        (CHANGE, replace(EARLY, speedup={1: Interval(1.1, 0.98, 1.2)}), "that is no certain gain"),
        (CHANGE, replace(EARLY, speedup={1: Interval(1.02, 1.01, 1.03)}), "less than 1.05x is not worth an exit"),
        (CHANGE, replace(EARLY, changed=Interval(0.03, 0.02, 0.04)), "the reported texts contradict the certificate"),
        (Goal("speedup", 1.5), EARLY, "1.5x is wanted"),
        (Goal("target_ms", 5.0), EARLY, "it takes 6.8 ms a text, 5 ms are wanted"),
        (Goal("max_loss", 0.001), EARLY, "it loses 0.002"),
    ],
)
def test_what_was_asked_has_to_hold(goal: Goal, early: Way, why: str) -> None:
    pays, sentence = give(goal, early)
    assert not pays
    assert sentence.startswith("Does not pay: entropy < 0.21 is ")
    assert why in sentence


def test_values_move() -> None:
    early = replace(EARLY, changed=Interval(0.0062, 0.005, 0.007))
    found = give_verdict(CHANGE, "pearson", "patience with patience 3", [OWN, early])
    assert (
        "answers move by 0.0062 on average (certified below 0.01 with 95 % confidence), Pearson 0.912" in found.sentence
    )


def test_a_rival_that_may_be_faster_is_named_too() -> None:
    rival = replace(BF16, speedup={1: Interval(1.5, 1.46, 1.54)})
    said = f"Pays: {FOUND}; bf16 alone gives 1.50x [1.46, 1.54], no certain difference."
    assert give(CHANGE, EARLY, rival) == (True, said)


def test_only_a_certificate_is_called_one() -> None:
    assert "certified" not in give(Goal("speedup", 1.2))[1]


BOTH = Way("early exit, bf16", {1: 3.3}, {1: Interval(3.0, 2.9, 3.1)}, Interval(0.008, 0.004, 0.014), EARLY.quality)


@pytest.mark.parametrize(
    ("both", "pays"),
    [
        (BOTH, True),
        (replace(BOTH, speedup={1: Interval(2.3, 2.15, 2.4)}), False),  # no certain difference
        (replace(BOTH, changed=Interval(0.02, 0.01, 0.03)), False),
        (Way("early exit, bf16", why="no such kernel"), False),
    ],
)
def test_early_exit_on_top_of_less_precision_is_measured_against_it_alone(both: Way, pays: bool) -> None:
    found = give_verdict(CHANGE, "accuracy", "entropy < 0.21", [OWN, EARLY, both, BF16])
    assert found.pays == pays
    if pays:
        assert found.sentence == (
            "Pays: entropy < 0.21 in bf16 is 3.00x [2.90, 3.10] faster at batch 1 on this machine, bf16 alone 2.10x "
            "[2.00, 2.20], 0.8 % of answers change (measured, a certificate is for float32), accuracy 0.912 against "
            "0.914."
        )
    else:
        assert found.sentence == f"Does not pay: {FOUND}; bf16 alone gives 2.1x."


@pytest.mark.parametrize(
    ("goal", "pays", "why"),
    [
        (Goal("speedup", 2.5), True, ""),
        (Goal("speedup", 4.0), False, "bf16 alone gives 2.1x; 4x is wanted"),
        (Goal("target_ms", 4.0), True, ""),
        (Goal("target_ms", 2.0), False, "bf16 alone gives 2.1x; it takes 6.8 ms a text, 2 ms are wanted"),
    ],
)
def test_early_exit_on_top_of_less_precision_has_to_reach_the_goal_too(goal: Goal, pays: bool, why: str) -> None:
    both = replace(BOTH, changed=EARLY.changed)
    found = give_verdict(goal, "accuracy", "entropy < 0.21", [OWN, EARLY, BF16, both])
    assert found.pays == pays
    assert found.sentence.startswith("Pays: " if pays else "Does not pay: ")
    assert why in found.sentence
    assert "certificate" not in found.sentence
