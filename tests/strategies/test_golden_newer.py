"""Decisions of the systems of 2021 to 2025 equal their released code's, or the formula where none is released."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.inference.replay import make_criterion, replay
from strategies.base import Evidence, step_through

GOLDEN = Path(__file__).parents[1] / "golden" / "newer"
Case = dict[str, Any]

DEVIATIONS = {
    ("beem", 19): "regression: the released sum stays 0 and nobody leaves; here it is refused in one line",
}
"""Vectors that ours departs from, and why; all others are reproduced."""


@dataclass(frozen=True)
class Question:
    """One decision of the reference's: what is asked of ours, exit and answer as recorded, signals where they are."""

    strategy: str
    threshold: float
    logits: list[list[float]]
    expected: tuple[int, int]
    arguments: dict[str, Any] = field(default_factory=dict)
    observed: list[list[float]] | None = None
    fit_on: Evidence | None = None
    signals: list[Any] = field(default_factory=list)

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Return logits [1, L, C] and what the probe read, [1, L, K]."""
        observed = None if self.observed is None else torch.tensor([self.observed])
        return torch.tensor([self.logits]), observed


def load_cases(name: str) -> list[Case]:
    found: list[Case] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return found


def left(case: Case) -> tuple[int, int]:
    return case["exit_layer"], case["prediction"]


def ask_beem(case: Case) -> Iterator[Question]:
    if case["criterion"] == "bert":  # PABEE's counter, against a threshold that need not be whole
        yield Question("patience", math.ceil(case["params"]["threshold"]), case["logits"], left(case))
    else:
        yield Question("beem", case["params"]["threshold"], case["logits"], left(case))


def ask_cosee(case: Case) -> Iterator[Question]:
    threshold, temperature = case["params"]["threshold"], case["params"]["temperature"]
    if case["criterion"] == "energy":
        arguments, signals = {"temperature": temperature}, case["signals"]
        yield Question("cosee", threshold, case["logits"], left(case), arguments, signals=signals)
        return
    scaled = [[z / temperature for z in row] for row in case["logits"]]
    name = {"entropy": "entropy", "labelscore": "max-probability"}[case["criterion"]]
    yield Question(name, threshold if name == "entropy" else 1 - threshold, scaled, left(case))


ASK: dict[str, Callable[[Case], Iterator[Question]]] = {"beem": ask_beem, "cosee": ask_cosee}


@pytest.mark.parametrize("name", ASK)
def test_decisions_equal_the_reference_but_for_the_listed_deviations(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, wrong, made = load_cases(name), [], 0
    deviating = [case["id"] for case in cases if (name, case["id"]) in DEVIATIONS]
    for case in cases:
        if case["id"] in deviating:
            continue
        for question in ASK[name](case):
            z, observed = question.tensors()
            found = replay(question.strategy, z, question.threshold, observed=observed, fit_on=question.fit_on,
                           **question.arguments)  # fmt: skip
            answer = (int(found.layer[0]), int(found.prediction[0]))
            made += 1
            if answer != question.expected:
                wrong.append((case["id"], case["criterion"], answer, question.expected))
    with capsys.disabled():
        count = len(cases) - len(deviating)
        print(f"\n{name}: {count} of {len(cases)} vectors ({made} decisions) reproduced, {len(deviating)} listed")
    assert wrong == []


@pytest.mark.parametrize("name", ASK)
def test_signals_equal_the_reference(name: str) -> None:
    for case in load_cases(name):
        for question in ASK[name](case):
            if not question.signals:
                continue
            criterion, _ = make_criterion(question.strategy, question.arguments)
            z, observed = question.tensors()
            scores = [float(score) for _, score in step_through(criterion, z, observed=observed)]
            for ours, theirs in zip(scores, question.signals, strict=False):  # the reference has none for exit L
                if theirs is not None and theirs != "nan":
                    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6), case["id"]


@pytest.mark.parametrize(("name", "number"), DEVIATIONS)
def test_every_deviation_is_one(name: str, number: int) -> None:
    [case] = [case for case in load_cases(name) if case["id"] == number]
    assert (case["num_labels"], case["exit_layer"]) == (1, case["num_layers"])
    [question] = ASK[name](case)
    assert make_criterion(question.strategy, {})[0].refuse(1)
