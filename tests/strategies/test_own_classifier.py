"""Any head before the last exit, the model's own classifier at it: logits, parameters, costs, training, decisions."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.inference.executors import make_executor
from bench.inference.graphs import GraphExecutor
from bench.inference.live import run_live
from bench.inference.segments import EagerSegment
from bench.progress import Progress
from bench.training.checkpoint import load_tensors, save_tensors
from bench.training.trainer import train_model
from strategies import HEADS, RECIPES
from strategies.base import ExitModel, StrategyError
from strategies.entropy import LinearHead, NormalisedEntropy
from strategies.own_classifier import OwnLastExit
from tests.helpers.criteria import cuts_of
from tests.helpers.models.exit_models import make_batch, replay, single
from tests.helpers.models.finetuned_models import VARIANTS, make_own_model, stock_logits
from tests.helpers.models.trainings import plan, snapshot

OUTPUTS, LENGTHS = 3, [12, 5, 9, 2, 12, 7]
LAST = "head.classifier."


@pytest.mark.parametrize("order", [(), (2, 0, 1)], ids=["the model's order", "another order"])
@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_last_exit_is_the_stock_model_and_the_others_are_the_heads(
    variant: str, head: str, order: tuple[int, ...]
) -> None:
    model, stock = make_own_model(variant, HEADS.load(head), OUTPUTS, order)
    batch = make_batch(LENGTHS)
    expected = stock_logits(stock, batch)
    found = model(batch)
    assert torch.equal(found[-1], expected[:, list(order)] if order else expected)
    assert torch.equal(model.plain(batch), found[-1])
    early = ExitModel(model.encoder, model.head.early)(batch)  # type: ignore[arg-type]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found[:-1], early[:-1], strict=True))


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_exit_parameters_are_the_ones_an_exit_uses(variant: str, head: str) -> None:
    model, _ = make_own_model(variant, HEADS.load(head), OUTPUTS)
    sets = []
    for layer in range(1, model.num_layers + 1):
        model.zero_grad(set_to_none=True)
        model.head(torch.randn(2, 9, model.encoder.hidden_size), None, layer).sum().backward()
        sets.append({id(p) for p in model.parameters() if p.grad is not None})
        assert sets[-1] == {id(p) for p in model.head.exit_parameters(layer)}
    assert not sets[0] & sets[-1]
    assert not model.head.shares_parameters
    assert not sets[-1] & {id(p) for p in model.encoder.parameters()}


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_macs_are_what_torch_counts(variant: str, head: str) -> None:
    model, _ = make_own_model(variant, HEADS.load(head), OUTPUTS)
    for layer in range(1, model.num_layers + 1):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.head(torch.randn(1, 9, model.encoder.hidden_size), None, layer)
        assert counter.get_total_flops() == 2 * model.head.macs(9, layer)


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_live_equals_replay_under_every_executor(variant: str, head: str) -> None:
    model = make_own_model(variant, HEADS.load(head), OUTPUTS, (1, 2, 0))[0].double()
    batch, criterion = make_batch(LENGTHS), NormalisedEntropy()
    segments = GraphExecutor(model, EagerSegment)
    depths = set()
    for cut in (-math.inf, *cuts_of(criterion, model, batch)):
        expected = replay(model, criterion, cut, batch, None)
        together = run_live(model, criterion, cut, batch)
        recorded = segments(criterion, cut, batch)
        assert together.layer.tolist() == expected.layer.tolist() == recorded.layer.tolist()
        torch.testing.assert_close(together.logits, expected.logits)
        torch.testing.assert_close(recorded.logits, expected.logits)
        for row in range(len(batch)):
            alone = run_live(model, criterion, cut, single(batch, row))
            assert alone.layer.item() == expected.layer[row]
            depths.add(alone.layer.item())
    assert model.num_layers in depths
    assert len(depths) > 1


def test_compiled_layers_keep_the_last_exit() -> None:
    model, _ = make_own_model("bert", LinearHead, OUTPUTS, (1, 2, 0))
    batch, executor = make_batch(LENGTHS), make_executor(model, "compile", backend="eager")
    found = executor(NormalisedEntropy(), -1.0, batch)
    torch.testing.assert_close(found.logits, model(batch)[-1])


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("head", list(HEADS))
def test_every_recipe_trains_it_or_leaves_it_alone(head: str, recipe: str, tmp_path: Path) -> None:
    """No head shares parameters with the own classifier, so that no recipe has to be refused."""
    model, _ = make_own_model("bert", HEADS.load(head), OUTPUTS)
    fitting = RECIPES.load(recipe)(model.num_layers)
    assert fitting.refuse(model.head) is None
    stages = fitting.stages
    for stage in stages:
        fitting.stages = (stage,)
        before = snapshot(model)
        train_model(model, fitting, plan(tmp_path / stage.name), Progress(quiet=True))
        changed = {name for name, value in snapshot(model).items() if not torch.equal(value, before[name])}
        own = {name for name in before if name.startswith(LAST)}
        assert changed & own == (set() if stage.exits == "early" else own)
        assert bool({name for name in changed if name.startswith("head.early.")}) == (stage.exits != "last")
        assert stage.backbone or not {name for name in changed if name.startswith("encoder.")}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_brings_it_back(variant: str, tmp_path: Path) -> None:
    model, _ = make_own_model(variant, LinearHead, OUTPUTS, (2, 0, 1))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    save_tensors(tmp_path / "model.safetensors", model.state_dict(), {})
    other.load_state_dict(load_tensors(tmp_path / "model.safetensors")[0])
    batch = make_batch(LENGTHS)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(batch), other(batch), strict=True))


def test_another_number_of_outputs_is_refused() -> None:
    model, _ = make_own_model("bert", LinearHead, OUTPUTS)
    own = model.head.classifier
    with pytest.raises(StrategyError, match="the classifier has 3 outputs, the task 2"):
        OwnLastExit(model.encoder, LinearHead(model.encoder, 2), own)  # type: ignore[arg-type]
