"""Decisions of the systems of 2021 to 2025 equal their released code's, or the formula where none is released."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.inference.replay import make_criterion
from strategies.base import step_through
from strategies.null_space import NullSpaceShare
from strategies.performance import EMPTY, ReliabilityDiagram
from tests.helpers.newer_vectors import DEVIATIONS, Case, load_cascade, load_cases, load_past_future
from tests.helpers.vector_counts import write_tables


@dataclass(frozen=True)
class Question:
    """One decision of the reference's: what is asked of ours, exit and answer as recorded, signals where they are."""

    strategy: str
    threshold: float
    logits: list[list[float]]
    expected: tuple[int, int]
    arguments: dict[str, Any] = field(default_factory=dict)
    observed: list[list[float]] | None = None
    signals: list[Any] = field(default_factory=list)

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Return logits [1, L, C] and what the probe read, [1, L, K]."""
        observed = None if self.observed is None else torch.tensor([self.observed])
        return torch.tensor([self.logits]), observed


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


def ask_nsp(case: Case) -> Iterator[Question]:
    """The probe reads with the recorded classifiers; the final exit, which has none of them, is not read."""
    probe = NullSpaceShare()
    probe.take_classifiers(torch.tensor(case["weight"]), torch.tensor(case["bias"]))
    read = [probe.read({}, torch.tensor([x]), i)[1][0].tolist() for i, x in enumerate(case["features"], start=1)]
    logits = [*case["logits"], case["final_logits"]]
    arguments, threshold = {"alpha": case["params"]["alpha"]}, case["params"]["threshold"]
    yield Question("nsp", threshold, logits, left(case), arguments, [*read, [0.0]], signals=case["signals"])


def ask_palbert(case: Case) -> Iterator[Question]:
    observed = [[e] for e in case["exit_logits"]]
    yield Question("palbert", case["params"]["threshold"], case["logits"], left(case), observed=observed)


def ask_consistentee(case: Case) -> Iterator[Question]:
    observed = [[math.log(p / (1 - p)) if 0 < p < 1 else 99.0 * (2 * p - 1)] for p in case["policy_probs"]]
    yield Question("consistent-ee", case["params"]["threshold"], case["logits"], left(case), observed=observed)


def ask_sweet(case: Case) -> Iterator[Question]:
    for one in case["decisions"]:  # of the exits there are, numbered from 1
        expected = one["exit_index"], one["prediction"]
        yield Question("sweet", one["params"]["threshold"], case["logits"], expected)


def ask_de3(case: Case) -> Iterator[Question]:
    threshold, weight = case["params"]["threshold"], case["params"]["lam"]
    logits, distances, signals = case["logits"], case["distances"], case["signals"]
    yield Question("de3-bert", threshold, logits, left(case), {"weight": weight}, distances, signals=signals)


ASK: dict[str, Callable[[Case], Iterator[Question]]] = {
    "beem": ask_beem,
    "consistentee": ask_consistentee,
    "cosee": ask_cosee,
    "de3_formula": ask_de3,
    "nsp_cap": ask_nsp,
    "palbert": ask_palbert,
    "sweet": ask_sweet,
}


def decide(question: Question) -> tuple[int, int]:
    """Return our exit and answer, by the criterion's steps and its own comparison."""
    criterion, _ = make_criterion(question.strategy, question.arguments)
    z, observed = question.tensors()
    cut = criterion.cut_at(question.threshold)
    steps = enumerate(step_through(criterion, z, observed=observed), start=1)
    layer = next((i for i, (_, score) in steps if criterion.leaves(score, cut)), z.shape[1])
    return layer, int(z[0, layer - 1].argmax())


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
            answer = decide(question)
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
            if not question.signals or not case.get("f64_agrees", True):  # there float32's rounding decides
                continue
            criterion, _ = make_criterion(question.strategy, question.arguments)
            z, observed = question.tensors()
            scores = [float(score) for _, score in step_through(criterion, z, observed=observed)]
            for ours, theirs in zip(scores, question.signals, strict=False):  # the reference has none for exit L
                if theirs is not None and theirs != "nan":
                    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6), case["id"]


@pytest.mark.parametrize(("name", "number"), DEVIATIONS)
def test_every_deviation_has_its_reason(name: str, number: int) -> None:
    [case] = [case for case in load_cases(name) if case["id"] == number]
    kind, [question] = DEVIATIONS[name, number].partition(":")[0], ASK[name](case)
    if kind == "regression":
        assert (case["num_labels"], case["exit_layer"]) == (1, case["num_layers"])
        assert make_criterion(question.strategy, {})[0].refuse(1)
    elif kind == "nan":
        assert "nan" in case["signals"][: case["exit_layer"]]
        assert decide(question)[0] < case["exit_layer"]
    else:
        assert (case["criterion"], case["exit_layer"]) == ("expectation", case["num_layers"])


def test_the_guide_counts_the_vectors_and_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    found = write_tables()
    with capsys.disabled():
        totals = [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("| all |")]
        print("".join(f"\n{same} of {many} vectors reproduced, {rest} listed" for _, many, same, rest in totals))
    guide = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    lines = [line for line in found.splitlines() if line]
    assert [line for line in lines if line not in guide.splitlines()] == []


@pytest.mark.parametrize("case", load_cases("gpfee"), ids=lambda case: str(case["id"]))
def test_past_and_future_answer_as_recorded(case: Case) -> None:
    """Logits from the recorded pooled states, exit by exit, and the exits that their entropy takes."""
    head, answers = load_past_future(case), []
    memory = head.start(1, torch.float32, "cpu")
    for layer, row in enumerate(case["states"], start=1):
        memory, logits = head.step_from(memory, torch.tensor([row]), layer)
        answers.append(logits[0])
    torch.testing.assert_close(torch.stack(answers), torch.tensor(case["logits"]), rtol=1e-4, atol=1e-6)
    for one in case["decisions"]:
        threshold, expected = one["params"]["entropy_threshold"], (one["exit_layer"], one["prediction"])
        assert decide(Question("gpfee", threshold, torch.stack(answers).tolist(), expected)) == expected


@pytest.mark.parametrize("case", load_cases("ztw"), ids=lambda case: f"{case['id']}-{case['criterion']}")
def test_zero_time_waste_answers_as_recorded(case: Case) -> None:
    """Logits of the cascade and of the ensembles from the recorded states, and the exits taken."""
    head, answers = load_cascade(case), []
    memory = head.start(1, torch.float32, "cpu")
    for layer, row in enumerate(case["features"], start=1):
        memory, answer = head.step(memory, torch.tensor([[row]]), None, layer)
        answers.append(answer[0])
    torch.testing.assert_close(memory["said"][0], torch.tensor(case["head_logits"]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.stack(answers), torch.tensor(case["ensemble_outputs"]), rtol=1e-4, atol=1e-6)
    logits = [*torch.stack(answers).tolist(), case["final_logits"]]
    for one in case["decisions"]:
        threshold, expected = 1 - one["params"]["threshold"], (one["exit_layer"], one["prediction"])
        assert decide(Question("zero-time-waste", threshold, logits, expected)) == expected, one


@pytest.mark.parametrize("case", load_cases("perfcontrol_formula"), ids=lambda case: str(case["id"]))
def test_performance_control_equals_its_formula(case: Case) -> None:
    """Estimates and exits, from confidences; bins that no held-out sample is in have no estimate and never leave."""
    criterion = ReliabilityDiagram(bins=case["params"]["bins"])
    held_out = torch.tensor(case["heldout_confidence"], dtype=torch.float64).T
    criterion.fill_bins(held_out, torch.tensor(case["heldout_correct"]).T.bool())
    assert criterion.scores is not None
    layers = len(case["confidence"])
    bins = criterion.find_bins(torch.tensor(case["confidence"], dtype=torch.float64))
    scores = criterion.scores[torch.arange(len(criterion.scores))[:layers], bins]
    found = [None if score == EMPTY else -float(score) for score in scores]
    assert found == [one if one is None else pytest.approx(one) for one in case["estimated_accuracy"]]
    ready = criterion.leaves(scores, criterion.cut(case["params"]["delta"])).tolist()
    ready[case["num_layers"] - 1 :] = [True]
    assert ready.index(True) + 1 == case["exit_layer"]
