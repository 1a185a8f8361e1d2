"""Judges in plain numbers: never of another opinion than the tensors, and seldom without one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.inference.live import run_live
from strategies import fast
from strategies.base import Criterion, Seen, Start, State, step_through
from strategies.controls import ForcedExits
from strategies.elbert import MonotoneWindow
from strategies.entropy import LinearHead, NormalisedEntropy
from strategies.fast import JUDGES, Judge, entropy_share, is_below, make_judge, softmax_numbers
from tests.helpers.criteria import KINDS, LAYERS, finite_cuts, make, random_logits
from tests.helpers.models.exit_models import make_batch, make_model

ARGUMENTS: dict[str, list[dict[str, object]]] = {
    "elbert-mono": [{}, {"first": "least"}, {"first": "none"}, {"margin": 0.2}, {"window": 0}, {"window": 1}],
    "elbert-range": [{}, {"range": 0.0}, {"range": 0.3, "margin": 0.1}],
    "elbert-label": [{}, {"margin": 0.3, "window": 2}],
    "fastbert": [{}, {"strict": True}],
    "patient-and-confident": [{}, {"measure": "max-probability", "patience": 3}],
}


def judge_for(criterion: Criterion, classes: int, cut: float = 0.1) -> Judge | None:
    return make_judge(criterion, Start(1, LAYERS, classes), cut)


HAVE_ONE = [name for name, kind in KINDS.items() if kind.criterion.causal and judge_for(make(name), 3) is not None]
CASES = [(name, arguments) for name in HAVE_ONE for arguments in ARGUMENTS.get(name, [{}])]


def by_tensors(criterion: Criterion, logits: Tensor, cut: float) -> list[bool]:
    """Whether one sample, [L, C], leaves at each of its exits."""
    return [bool(criterion.leaves(score, cut)) for _, score in step_through(criterion, logits[None])]


def by_judge(criterion: Criterion, logits: Tensor, cut: float) -> list[bool | None]:
    """The judge's verdicts on one sample, [L, C], up to the first that it does not have."""
    judge = make_judge(criterion, Start(1, len(logits), logits.shape[1], logits.dtype), cut)
    assert judge is not None
    found: list[bool | None] = []
    for exit_logits in logits.tolist():
        found.append(judge(exit_logits))
        if found[-1] is None:
            break
    return found


def test_the_common_criteria_have_a_judge() -> None:
    assert {"elbert-mono", "elbert-range", "elbert-label", "entropy", "deebert", "romebert", "fastbert", "patience",
            "max-probability", "margin", "patient-and-confident"} <= set(HAVE_ONE)  # fmt: skip


@st.composite
def samples(draw: st.DrawFn) -> Tensor:
    """Logits [L, C] of one sample: sure and unsure exits, exits that repeat, and some a rounding apart."""
    classes = draw(st.sampled_from([2, 3, 5, fast.MOST_CLASSES]))
    scale = draw(st.sampled_from([0.01, 1.0, 10.0, 300.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = scale * torch.randn(LAYERS, classes, generator=generator)
    for layer in range(1, LAYERS):
        near = draw(st.sampled_from([None, None, 0.0, 1e-7, 1e-6, 1e-5, 1e-4]))
        if near is not None:
            logits[layer] = logits[layer - 1] * (1 + near)
    return logits


@pytest.mark.parametrize(("name", "arguments"), CASES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_a_judge_says_the_tensors_say(name: str, arguments: dict[str, object], data: st.DataObject) -> None:
    """At cuts near and at the scores themselves, where float32 and float64 could differ."""
    criterion, logits = make(name, **arguments), data.draw(samples())
    scores = [math.inf, -math.inf, 0.1, 1.0, *(float(score) for _, score in step_through(criterion, logits[None]))]
    cut = data.draw(st.sampled_from(scores)) * (1 + data.draw(st.sampled_from([0.0, 1e-7, -1e-7, 1e-5, -1e-5, 1e-3])))
    expected = by_tensors(criterion, logits, cut)
    for told, known in zip(by_judge(criterion, logits, cut), expected, strict=False):
        assert told is None or told == known


BIG = 3e38
ODD_LOGITS = [
    [BIG, -BIG],  # their difference is infinite in float32
    [BIG, BIG],
    [1e38, -1e38, 0.0],
    [-math.inf, 1.0],
    [1.0, 2.0, -math.inf],
    [math.nan, 1.0],
    [math.inf, 1.0],
    [88.8, 0.0],  # about where exp overflows, where it underflows, and where it does so in float64
    [103.9, 0.0],
    [104.0, 0.0, 0.0],
    [746.0, 0.0],
    [1e-45, -1e-45],
    [-0.0, 0.0],
    [0.0, 0.0, 0.0],
    [1e8, 1e8 - 8],
    [16777216.0, 16777217.0],  # the same in float32
]
ODD_CUTS = [-math.inf, -1e39, -2 - 1e-11, -2.0, -1 - 1e-11, -1.0, -1 + 1e-11, -0.0, 1e-45, 1e-7, 0.1, 0.5, 1.0, 2.0]
ODD_CUTS += [3.5e38, 1e39, math.inf]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logits", ODD_LOGITS, ids=str)
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_judge_says_nothing_else_of_odd_logits_at_odd_cuts(
    name: str, arguments: dict[str, object], logits: list[float], dtype: torch.dtype
) -> None:
    sample = torch.tensor([logits] * 4, dtype=dtype)
    for cut in ODD_CUTS:
        if judge_for(make(name, **arguments), len(logits), cut) is None:
            continue  # it leaves the cut to the tensors
        expected = by_tensors(make(name, **arguments), sample, cut)
        for told, known in zip(by_judge(make(name, **arguments), sample, cut), expected, strict=False):
            assert told is None or told == known, cut


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_judge_seldom_leaves_it_to_the_tensors(name: str, arguments: dict[str, object], classes: int) -> None:
    criterion = make(name, **arguments)
    logits = random_logits(name, samples=60, classes=classes)
    cuts = finite_cuts(criterion, logits)
    cut = cuts[len(cuts) // 2]
    verdicts = [verdict for row in logits for verdict in by_judge(criterion, row, cut)]
    assert verdicts.count(None) <= 0.02 * len(verdicts)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", HAVE_ONE)
def test_logits_that_are_not_finite_are_left_to_the_tensors(name: str, bad: float) -> None:
    judge = judge_for(make(name), 3)
    assert judge is not None
    if bad == -math.inf:  # a class with probability 0 is nothing special
        assert judge([1.0, 2.0, bad]) in (None, False, True)
    else:
        assert judge([1.0, bad, 2.0]) is None


@pytest.mark.parametrize("name", HAVE_ONE)
def test_many_classes_and_one_are_left_to_the_tensors(name: str) -> None:
    assert judge_for(make(name), fast.MOST_CLASSES) is not None
    assert judge_for(make(name), fast.MOST_CLASSES + 1) is None
    assert judge_for(make(name), 1) is None


class Renamed(MonotoneWindow):
    """Decides as its base does."""

    threshold_name = "puzzlement"


class Halved(NormalisedEntropy):
    """Decides otherwise than its base."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        state, score = super().step(state, seen)
        return state, score / 2


def test_a_subclass_has_no_judge() -> None:
    for criterion in (Renamed(window=2), Halved(), make("temperature"), make("temperature, unfitted")):
        assert judge_for(criterion, 2) is None
    assert judge_for(NormalisedEntropy(), 2) is not None


@pytest.mark.parametrize(("prescribed", "cut"), [((), -2.5), ((9, 3), 0.5)])
def test_an_overruled_criterion_is_heard_by_its_judge(prescribed: tuple[int, ...], cut: float) -> None:
    """It leaves at exit 3; where the inner judge cannot tell, nor can this one."""
    start = Start(1, LAYERS, 3, keys=torch.tensor([1]))
    judge = make_judge(ForcedExits(NormalisedEntropy(), prescribed), start, cut)
    assert judge is not None
    assert [judge([float(layer), 0.0, 1.0]) for layer in range(5)] == [False, False, True, True, True]
    assert judge([math.nan, 0.0, 0.0]) is None
    for without in (ForcedExits(Halved(), prescribed), ForcedExits(exits=prescribed)):
        assert make_judge(without, start, cut) is None


def test_a_prescribed_exit_without_a_key_is_left_to_the_tensors() -> None:
    assert judge_for(ForcedExits(NormalisedEntropy(), [1]), 3) is None


class Hesitant(NormalisedEntropy):
    """Its judge gives up at an exit; before that it is asked as often as it should be."""

    def __init__(self, gives_up: int) -> None:
        self.gives_up, self.asked, self.stepped = gives_up, 0, 0

    def start(self, start: Start) -> State:
        return {"sum": torch.zeros(start.samples)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        self.stepped += 1
        total = state["sum"] + super().step({}, seen)[1]
        return {"sum": total}, -total


def judge_hesitantly(criterion: Hesitant, start: Start, cut: float) -> Judge:
    total = 0.0

    def judge(logits: Sequence[float]) -> bool | None:
        nonlocal total
        criterion.asked += 1
        total += entropy_share(softmax_numbers(logits))
        return None if criterion.asked == criterion.gives_up else is_below(-total, cut)

    return judge


@pytest.mark.parametrize("gives_up", [1, 2, 3, 99])
def test_tensors_take_over_where_a_judge_gives_up(gives_up: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first exit on, so that a criterion with memory has seen them all; and for the rest of the sample."""
    monkeypatch.setitem(JUDGES, Hesitant, judge_hesitantly)
    model, batch = make_model("bert", LinearHead), make_batch([7])
    exits = set()
    for cut in (-0.01, -0.3, -0.6, -1.0, -1.5, -2.0, -2.5, -3.0, -99.0):
        criterion = Hesitant(gives_up)
        found = run_live(model, criterion, cut, batch)
        pair = make_batch([7, 7])
        expected = run_live(model, Hesitant(gives_up), cut, pair)
        assert torch.equal(found.layer, expected.layer[:1])
        last = min(int(found.layer), model.num_layers - 1)
        assert criterion.asked == min(last, gives_up)
        assert criterion.stepped == (last if last >= gives_up else 0)
        exits.add(int(found.layer))
    assert len(exits) >= 3
