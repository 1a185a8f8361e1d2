"""Exits fitted on kept states: they learn, touch nothing else, and pool as is best for samples not fitted on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import UsageError
from bench.selfcheck.tiny import TINY
from bench.training import exits, linear
from bench.training.exits import ExitFit, fit_exits, has_linear_exits, part_rows
from bench.training.linear import Scaled, compute_mean_loss, fit_linear
from bench.training.states import POOLINGS, PooledStates
from strategies import HEADS
from strategies.base import MemoryHead, Pooling
from strategies.exits_only import can_read_pooled
from strategies.pooler import PooledHead
from strategies.state_fit import StateFit
from tests.helpers.models.exit_models import make_model
from tests.helpers.models.trainings import snapshot

LAYERS, WIDTH, OUTPUTS, SAMPLES = TINY["num_hidden_layers"], TINY["hidden_size"], 3, 200
ON_STATES = [name for name in HEADS if can_read_pooled(HEADS.load(name))]
QUICK = StateFit(epochs=6, batch_size=32, lr=4e-3)


def make_head(name: str, outputs: int = OUTPUTS) -> PooledHead:
    """A head of a tiny BERT, with small weights as new heads have them."""
    torch.manual_seed(3)
    head = HEADS.load(name)(make_model("bert").encoder, outputs)
    assert isinstance(head, PooledHead)
    return head.eval()


def draw(telling: Pooling = "mean", outputs: int = OUTPUTS) -> tuple[PooledStates, Tensor]:
    """States of which one pooling tells the class (the value), the later the layer the better; the other is noise."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, LAYERS, SAMPLES, WIDTH, generator=generator)
    labels = torch.randint(0, OUTPUTS, (SAMPLES,), generator=generator)
    for layer in range(LAYERS):
        values[POOLINGS.index(telling), layer, torch.arange(SAMPLES), labels] += layer + 1
    return PooledStates(values), labels.float() if outputs == 1 else labels


def losses(head: PooledHead, states: PooledStates, targets: Tensor) -> list[float]:
    with torch.no_grad():
        logits = [head.eval().read_pooled(states.at(head.pooling, k), k) for k in range(1, LAYERS + 1)]
    return [float(compute_mean_loss(z, targets)) for z in logits]


def test_only_heads_that_look_at_tokens_or_remember_cannot_be_fitted_on_states() -> None:
    remembering = {name for name in HEADS if issubclass(HEADS.load(name), MemoryHead)}
    assert set(HEADS) - set(ON_STATES) == {"student", *remembering}


@pytest.mark.parametrize("outputs", [1, OUTPUTS])
@pytest.mark.parametrize("name", ON_STATES)
def test_every_exit_learns_by_labels_and_only_those_that_are_asked_change(name: str, outputs: int) -> None:
    states, targets = draw(outputs=outputs)
    head = make_head(name, outputs)
    layers = range(1, LAYERS + 1) if head.shares_parameters else range(1, LAYERS)
    fitted = {id(p) for layer in layers for p in head.exit_parameters(layer)}
    before = {n: p.detach().clone() for n, p in head.named_parameters() if id(p) not in fitted}
    untrained = losses(head, states, targets)
    found = fit_exits(ExitFit(head, layers, QUICK, seed=1), states, targets)
    after = losses(head, states, targets)
    assert found.pooling == head.pooling == "mean"
    assert found.samples == SAMPLES
    assert set(found.probed if name != "linear" else found.held_out) == set(POOLINGS)
    assert set(found.held_out) == set(POOLINGS if name == "linear" else ("mean",))
    assert all(len(one) == len(layers) for one in found.held_out.values())
    assert all(after[layer - 1] < 0.9 * untrained[layer - 1] for layer in layers)
    assert all(torch.equal(p, before[n]) for n, p in head.named_parameters() if n in before)
    assert bool(before) != head.shares_parameters
    assert not head.training


@pytest.mark.parametrize("name", ON_STATES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    states, targets = draw()
    heads = [make_head(name) for _ in range(2)]
    for head in heads:
        torch.rand(3)  # whatever was drawn before
        fit_exits(ExitFit(head, range(1, LAYERS + 1), QUICK, seed=1), states, targets)
    first, second = (head.state_dict() for head in heads)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("telling", POOLINGS)
@pytest.mark.parametrize("name", ["linear", "shared"])
def test_the_pooling_that_tells_more_is_taken_unless_one_is_asked_for(name: str, telling: Pooling) -> None:
    states, targets = draw(telling)
    other: Pooling = "cls" if telling == "mean" else "mean"
    head = make_head(name)
    assert fit_exits(ExitFit(head, range(1, LAYERS + 1), QUICK, 1), states, targets).pooling == head.pooling == telling
    asked = fit_exits(ExitFit(head, range(1, LAYERS + 1), QUICK, 1, other), states, targets)
    assert asked.pooling == head.pooling == other
    assert set(asked.held_out) == {other}


def test_linear_exits_are_the_minimum_on_all_samples() -> None:
    states, targets = draw()
    head = make_head("linear")
    fit_exits(ExitFit(head, range(1, LAYERS + 1), StateFit(l2=0.01), 1, "mean"), states, targets)
    expected = fit_linear(Scaled.of(states.at("mean", 2)), targets, OUTPUTS, 0.01)
    weight, bias = head.exit_parameters(2)
    assert torch.allclose(weight, expected.weight.float(), atol=1e-6)
    assert torch.allclose(bias, expected.bias.float(), atol=1e-6)


def test_costly_linear_exits_choose_on_fewer_samples_and_end_after_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a thousand classes do; the pooling is still the one that tells more, and they still learn."""
    states, targets = draw("cls")
    head = make_head("linear")
    before = losses(head, states, targets)
    usual = fit_exits(ExitFit(make_head("linear"), range(1, LAYERS + 1), StateFit(), 1), states, targets)
    monkeypatch.setattr(linear, "COSTLY", SAMPLES // 2 * head.hidden_size * OUTPUTS)
    monkeypatch.setattr(exits, "COSTLY_STEPS", 4)
    seen: list[tuple[int, int]] = []

    def fit(features: Scaled, *given: Any, most_steps: int, **more: Any) -> Any:
        seen.append((len(features.values), most_steps))
        return fit_linear(features, *given, most_steps=most_steps, **more)

    monkeypatch.setattr(linear, "fit_linear", fit)
    monkeypatch.setattr(exits, "fit_linear", fit)
    found = fit_exits(ExitFit(head, range(1, LAYERS + 1), StateFit(), 1), states, targets)
    assert found.pooling == usual.pooling == "cls"
    assert set(found.held_out) == {"cls"}
    assert set(found.probed) == {"cls", "mean"}
    assert {steps for _, steps in seen} == {exits.PROBE_STEPS, 4}
    assert all(rows <= SAMPLES // 2 for rows, _ in seen[:-LAYERS])
    assert seen[-LAYERS:] == [(SAMPLES, 4)] * LAYERS
    assert found.steps < usual.steps
    assert all(then > now for then, now in zip(before, losses(head, states, targets), strict=True))


@pytest.mark.parametrize("name", ON_STATES)
def test_only_linear_exits_of_their_own_are_taken_for_linear(name: str) -> None:
    head = make_head(name)
    assert has_linear_exits(ExitFit(head, range(1, LAYERS + 1), QUICK, 1)) == (name == "linear")


@pytest.mark.parametrize("name", ["linear", "shared"])
def test_exits_learn_a_models_probabilities_without_labels(name: str) -> None:
    states, labels = draw()
    taught = torch.full((SAMPLES, OUTPUTS), 0.1).scatter_(1, labels[:, None], 0.8)
    head = make_head(name)
    before = losses(head, states, taught)
    fit_exits(ExitFit(head, range(1, LAYERS + 1), QUICK, 1), states, taught)
    assert all(then > now for then, now in zip(before, losses(head, states, taught), strict=True))


def test_samples_to_choose_by_are_apart_from_those_to_fit_on() -> None:
    for samples in (2, 3, 100):
        learn, held = part_rows(samples, seed=4)
        assert sorted([*learn.tolist(), *held.tolist()]) == list(range(samples))
        assert len(held) == max(1, samples // 5)
        assert torch.equal(learn, learn.sort().values)
    assert not torch.equal(part_rows(100, 1)[1], part_rows(100, 2)[1])


def test_too_little_and_what_diverges_is_one_line() -> None:
    states, targets = draw()
    with pytest.raises(UsageError, match="single sample"):
        fit_exits(ExitFit(make_head("linear"), [1], QUICK, 1), PooledStates(states.values[:, :, :1]), targets[:1])
    with pytest.raises(UsageError, match=r"recipe\.lr"):
        fit_exits(ExitFit(make_head("shared"), [1], StateFit(lr=1e30), 1), states, targets)


def test_the_backbone_is_no_part_of_it() -> None:
    model = make_model("bert", HEADS.load("linear"), OUTPUTS)
    assert isinstance(model.head, PooledHead)
    before = snapshot(model)
    states, targets = draw()
    fit_exits(ExitFit(model.head, range(1, LAYERS + 1), QUICK, 1), states, targets)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items() if n.startswith("encoder."))
