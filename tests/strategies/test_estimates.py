"""What a criterion estimates of one sample in plain numbers is its step's score, within the error that it states."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.inference.live import Estimator, Stepper
from bench.inference.replay import make_criterion
from bench.selfcheck.tiny import make_tiny_model
from strategies import STRATEGIES
from strategies.base import Criterion, ScoreEstimate, Seen, Start, State, step_through
from strategies.controls import ForcedExits
from strategies.entropy import NormalisedEntropy
from strategies.plain_numbers import UNSURE

KINDS = [name for name in STRATEGIES.builtin if "estimate" in vars(STRATEGIES.load(name).criterion)]
SETTINGS: Mapping[str, list[dict[str, object]]] = {
    "elbert-mono": [{"window": 3}, {"window": 2, "first": "least"}, {"window": 3, "first": "none", "margin": 0.1}],
    "elbert-range": [{"window": 3, "range": 0.05}],
    "elbert-label": [{"window": 2, "margin": 0.2}],
}
CASES = [(name, settings) for name in KINDS for settings in [{}, *SETTINGS.get(name, [])]]
LAYERS = 6
VALUES = st.one_of(
    st.floats(-4, 4, width=32), st.floats(-60, 60, width=32), st.sampled_from([0.0, 1.0, 1.0000001, 88.0, -1e4, 1e30])
)


@st.composite
def draw_logits(draw: st.DrawFn, classes: tuple[int, ...]) -> Tensor:
    """Logits of one sample [1, L, C]: any, or an exit like the one before it but for a little."""
    outputs = draw(st.sampled_from(classes))
    rows = [draw(st.lists(VALUES, min_size=outputs, max_size=outputs))]
    while len(rows) < LAYERS:
        near = st.tuples(*(st.sampled_from([v, v * (1 + 1e-7), v + 1e-6, v + 0.5]) for v in rows[-1])).map(list)
        rows.append(draw(st.one_of(near, st.lists(VALUES, min_size=outputs, max_size=outputs))))
    return torch.tensor([rows], dtype=torch.float64)


def test_the_published_systems_estimate() -> None:
    assert {"entropy", "elbert-mono", "elbert-range", "elbert-label", "deebert", "fastbert", "patience"} <= set(KINDS)


@pytest.mark.parametrize(("name", "settings"), CASES)
@given(data=st.data(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_the_score_is_within_the_error(
    name: str, settings: dict[str, object], data: st.DataObject, dtype: torch.dtype
) -> None:
    criterion = make_criterion(STRATEGIES.load(name), settings)[0]
    asked = (outputs for outputs in (1, 2, 3, 20) if criterion.refuse(outputs) is None)
    classes = tuple(outputs for outputs in asked if criterion.estimates(outputs))
    logits = data.draw(draw_logits(classes)).to(dtype)
    exits = []
    for layer, (_, score) in enumerate(step_through(criterion, logits), start=1):
        exits.append(logits[0, layer - 1].tolist())
        estimate = criterion.estimate(exits, LAYERS)
        if estimate == UNSURE:
            continue
        truth = score.item()
        assert truth == estimate.score or abs(truth - estimate.score) < estimate.error
        for cut in (truth, estimate.score, math.inf, -math.inf, 0.1, truth + 1e-9, truth - 1e-9, 1e-50):
            sure = criterion.decide(estimate, cut)
            assert sure is None or sure == criterion.leaves(score, cut).item()


@pytest.mark.parametrize("name", KINDS)
def test_it_is_mostly_sure(name: str) -> None:
    criterion = make_criterion(STRATEGIES.load(name), {})[0]
    logits = torch.randn(50, LAYERS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [
        criterion.estimate([row.tolist() for row in sample[: layer + 1]], LAYERS)
        for sample in logits
        for layer in range(LAYERS)
    ]
    assert sum(estimate.error == math.inf for estimate in found) < 0.02 * len(found)


EXTREME = st.sampled_from([0.0, 1.0, 20.0, 3e38, -3e38, math.inf, -math.inf, math.nan])
MODEL = make_tiny_model("bert", STRATEGIES.load("entropy").head, 2)


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize("overruled", [False, True])
@given(
    rows=st.lists(st.lists(EXTREME, min_size=2, max_size=2), min_size=4, max_size=4),
    cut=st.sampled_from([0.0, 0.1, math.inf, -math.inf, -1.0, -1 - 1e-9, -2 + 1e-9, 1e-50]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_live_decisions_are_the_steps_at_extremes(
    name: str, settings: dict[str, object], overruled: bool, rows: list[list[float]], cut: float, dtype: torch.dtype
) -> None:
    asked = make_criterion(STRATEGIES.load(name), settings)[0]
    criterion = ForcedExits(asked) if overruled else asked
    logits, start = torch.tensor(rows, dtype=dtype), Start(1, MODEL.num_layers, 2, dtype)
    by_step, by_estimate = (kind(MODEL, criterion, cut, start) for kind in (Stepper, Estimator))
    for layer in range(1, len(rows)):
        said = logits[layer - 1 : layer]
        leaves = by_step.lets_go(layer, said, said[:, None], None)
        assert by_estimate.lets_go(layer, said, said[:, None], None) == leaves
        if leaves:
            break


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("score", [math.inf, -math.inf, 0.0, -3.0])
@pytest.mark.parametrize("cut", [math.inf, -math.inf, 0.0, 1e-50, -3 - 1e-9, -3 + 1e-9, -3.0])
def test_an_exact_score_is_cut_as_the_steps(cut: float, score: float, strict: bool, dtype: torch.dtype) -> None:
    criterion = NormalisedEntropy()
    criterion.strict = strict
    sure = criterion.decide(ScoreEstimate(score), cut)
    assert sure is None or sure == criterion.leaves(torch.tensor([score], dtype=dtype), cut).item()


def test_whoever_reads_more_than_logits_is_stepped() -> None:
    asked = NormalisedEntropy()
    asked.probe = STRATEGIES.load("palbert").criterion().probe
    assert not asked.estimates(2)
    assert not ForcedExits(asked).estimates(2)


class Derived(NormalisedEntropy):
    """Another rule, written on top of one that estimates."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, 1 - super().step(state, seen)[1]


def test_an_estimate_is_not_inherited() -> None:
    assert NormalisedEntropy().estimates(2)
    assert not Derived().estimates(2)


@pytest.mark.parametrize("inner", [NormalisedEntropy(), Derived()])
def test_who_is_overruled_is_asked_as_it_asks_itself(inner: Criterion) -> None:
    assert ForcedExits(inner).estimates(2) == inner.estimates(2)
    assert not ForcedExits(inner, [3]).estimates(2)
