"""Losses and gradients of the newer systems' recipes equal those recorded from their released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from strategies.base import Recipe
from strategies.cosee import CoseeRecipe
from strategies.entropy import JointRecipe
from strategies.palbert import measure_each_loss, measure_ponder_losses
from strategies.past_future import PastFutureRecipe
from strategies.sweet import SweetRecipe
from tests.helpers.newer_vectors import Case, load_cases, load_past_future


def assert_close(found: Tensor | None, expected: object) -> None:
    assert found is not None
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def leaves(rows: list[Any]) -> list[Tensor]:
    """Return a tensor with gradient for each row."""
    return [torch.tensor(row, requires_grad=True) for row in rows]


@pytest.mark.parametrize("case", load_cases("cosee_loss"), ids=lambda case: f"{case['id']}-{case['params']['signal']}")
def test_cosee(case: Case) -> None:
    p, labels = case["params"], torch.tensor(case["labels"])
    recipe = CoseeRecipe(
        case["num_layers"], alpha=p["alpha"], beta=p["beta0"], margin=p["epsilon"], signal=p["signal"],
        temperature=p["temperature"], samples=len(p["thresholds"]),
    )  # fmt: skip
    recipe.take_schedule(recipe.stages[0], p["total_steps"], 1000)
    thresholds = torch.tensor(p["thresholds"])
    recipe.draw_thresholds = lambda signals, step: thresholds  # type: ignore[method-assign]  # given, not drawn
    exits = leaves(case["logits"])
    labelled, apart = recipe.losses(recipe.stages[0], exits, labels, p["step"])
    signals = torch.stack([recipe.measure(z) for z in exits[:-1]], dim=1).detach()
    found = [recipe.find_exits(signals, one).tolist() for one in thresholds]
    assert found == case["simulated_exit_layers"]
    assert_close(labelled.detach(), case["loss_ce"])
    assert_close(apart.detach() / p["alpha"], case["loss_osc"])
    (labelled + apart).backward()
    for z, expected in zip(exits, case["grad_logits"], strict=True):
        assert_close(z.grad, expected)


def test_cosee_draws_between_the_signals_of_the_epoch_before() -> None:
    """Between 0 and 1 in the first epoch; what is met in one epoch bounds the next, also over a saved state."""
    recipe = CoseeRecipe(3, samples=200)
    recipe.take_schedule(recipe.stages[0], 6, 2)
    for step, met in enumerate(([0.2, 0.5], [0.1, 0.3])):
        drawn = recipe.draw_thresholds(torch.tensor([met]), step)
        assert 0 <= drawn.min() < 0.1
        assert 0.9 < drawn.max() <= 1
    kept = CoseeRecipe(3, samples=200)
    kept.take_schedule(recipe.stages[0], 6, 2)
    kept.load_state_dict(recipe.state_dict())
    for one in (recipe, kept):
        drawn = one.draw_thresholds(torch.tensor([[0.7, 0.8]]), 2)
        assert 0.1 <= drawn.min() < 0.15
        assert 0.45 < drawn.max() <= 0.5
        assert one.draw_thresholds(torch.tensor([[0.7, 0.8]]), 4).min() >= 0.7


@pytest.mark.parametrize("case", load_cases("palbert_loss"), ids=lambda case: str(case["id"]))
def test_palbert(case: Case) -> None:
    p, labels = case["params"], torch.tensor(case["labels"])
    exits, stops = leaves(case["logits"]), leaves(case["exit_logits"])
    each = measure_each_loss(torch.stack(exits, dim=1), labels)
    found = measure_ponder_losses(torch.stack(stops, dim=1), each, p["lambda_p"], p["epsilon"])
    task, divergence, probability = found
    assert_close(probability.detach().T, case["exit_pdf"])
    assert_close(task.detach(), case["task_loss"])
    assert_close(divergence.detach(), case["reg_loss"])
    (task + p["beta"] * divergence).backward()
    for found_grads, name in ((exits, "grad_logits"), (stops, "grad_exit_logits")):
        for leaf, expected in zip(found_grads, case[name], strict=True):
            assert_close(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad, expected)


@pytest.mark.parametrize("case", load_cases("sweet_loss"), ids=lambda case: f"{case['id']}-{case['params']['sweet']}")
def test_sweet(case: Case) -> None:
    """A toy encoder: h_l = tanh(B_l h_{l-1}), an exit V_j h at some of the layers; without SWEET it is `joint`."""
    layers = len(case["exit_layers"])
    recipe: Recipe = SweetRecipe(layers) if case["params"]["sweet"] else JointRecipe(layers)
    [inputs], blocks, heads = leaves([case["inputs"]]), leaves(case["blocks"]), leaves(case["heads"])
    hidden, states = inputs, []
    for number, block in enumerate(blocks, start=1):
        hidden = torch.tanh(hidden @ block.T)
        if number in case["exit_layers"]:
            states.append(hidden)
    logits = [h @ head.T for h, head in zip(recipe.nodes(states), heads, strict=True)]
    loss = torch.stack(recipe.losses(recipe.stages[0], logits, torch.tensor(case["labels"]), 0)).sum()
    assert_close(loss.detach(), case["loss"])
    loss.backward()
    for found, name in (([inputs], "grad_inputs"), (blocks, "grad_blocks"), (heads, "grad_heads")):
        expected = [case[name]] if name == "grad_inputs" else case[name]
        for leaf, gradient in zip(found, expected, strict=True):
            if gradient is None:
                assert leaf.grad is None or not leaf.grad.any()
            else:
                assert_close(leaf.grad, gradient)


@pytest.mark.parametrize("case", load_cases("gpfee_loss"), ids=lambda case: str(case["id"]))
def test_past_and_future(case: Case) -> None:
    """From the recorded pooled states: which gradients are stopped shows in theirs."""
    head = load_past_future(case).train()
    head.dropout.p = 0.0
    recipe, states = PastFutureRecipe(case["num_layers"]), leaves(case["states"])
    recipe.adapt_to(head)
    memory, logits = head.start(len(states[0]), torch.float32, "cpu"), []
    for layer, state in enumerate(states, start=1):
        memory, answer = head.step_from(memory, state, layer)
        logits.append(answer)
    labels, [stage] = torch.tensor(case["labels"]), recipe.stages
    terms = (*recipe.losses(stage, logits, labels, 0), *recipe.memory_losses(stage, memory, labels))
    loss = torch.stack(terms).sum()
    assert_close(loss.detach(), case["loss"])
    loss.backward()
    for state, expected in zip(states, case["grad_states"], strict=True):
        assert_close(state.grad, expected)
    for j, expected in enumerate(case["grad_imitator_weight"]):
        if j > 0:
            found = head.imitators[j - 1].weight.grad  # type: ignore[union-attr]
            assert found is not None
            assert_close(found.T.contiguous(), expected)
    assert_close(head.gate.weight.grad, case["grad_gate_weight"])
