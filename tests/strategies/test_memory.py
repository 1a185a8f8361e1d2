"""Heads that remember: the plain model, the stock forward and the stages of training give them what they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.latency.queries import make_stock_call
from bench.progress import Progress
from bench.training.trainer import train_model
from strategies import HEADS
from strategies.base import ExitModel, MemoryHead
from strategies.head import answer_exits, answer_last
from strategies.past_future import PastFutureRecipe
from strategies.zero_time import CascadeHead, ZeroTimeRecipe
from tests.helpers.models.exit_models import make_batch, make_model
from tests.helpers.models.trainings import plan, snapshot

REMEMBERING = [name for name in HEADS if issubclass(HEADS.load(name), MemoryHead)]


@pytest.fixture(params=REMEMBERING)
def model(request: pytest.FixtureRequest) -> ExitModel:
    return make_model("bert", HEADS.load(request.param)).double()


@torch.inference_mode()
def test_a_model_without_early_exits_answers_as_the_last_exit_does(model: ExitModel) -> None:
    """Stepped, by transformers' own forward pass, and from states that are there already."""
    batch = make_batch([9, 5, 12])
    every, last = model(batch), model.num_layers
    assert torch.equal(model.plain(batch), every[-1])
    torch.testing.assert_close(make_stock_call(model)(batch), every[-1])
    states = model.encoder(batch)
    assert torch.equal(answer_last(model.head, states, batch.attention_mask, last), every[-1])


@torch.inference_mode()
def test_what_exits_said_before_is_heard(model: ExitModel) -> None:
    """An exit asked alone answers otherwise than one after others, but for the first and a last that hears nothing."""
    batch = make_batch([9, 5, 12])
    states, mask = model.encoder(batch), batch.attention_mask
    _, together = answer_exits(model.head, states, mask)
    alone = [model.head(hidden, mask, layer) for layer, hidden in enumerate(states, start=1)]
    same = [torch.equal(a, b) for a, b in zip(together, alone, strict=True)]
    assert same == [True, *[False] * (model.num_layers - 2), not model.head.last_remembers]


@torch.inference_mode()
def test_the_memory_is_per_sample_and_no_step_changes_it(model: ExitModel) -> None:
    batch = make_batch([9, 5, 12])
    states, mask = model.encoder(batch), batch.attention_mask
    before = model.head.start(3, torch.float64, "cpu")
    kept = {name: value.clone() for name, value in before.items()}
    after, _ = model.head.step(before, states[0], mask, 1)
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in kept.items()}
    assert all(len(value) == 3 for value in after.values())


def test_zero_time_waste_trains_exits_and_then_ensembles(tmp_path: Path) -> None:
    model = make_model("bert", CascadeHead)
    recipe, parts = ZeroTimeRecipe(model.num_layers), {}
    recipe.adapt_to(model.head)
    stages = recipe.stages
    for stage in stages:
        recipe.stages = (stage,)
        before = snapshot(model)
        train_model(model, recipe, plan(tmp_path / stage.name), Progress(quiet=True))
        changed = {name for name, value in snapshot(model).items() if not torch.equal(value, before[name])}
        parts[stage.name] = {name.split(".")[1] if name.startswith("head.") else "backbone" for name in changed}
    assert parts["fine-tune"] == {"backbone", "pooler", "classifier"}
    assert parts["exits"] == {"exits", "norms"}
    assert parts["ensembles"] == {"ensembles"}


def test_imitations_are_learned_where_the_head_makes_them() -> None:
    """The loss of a head with a memory has a term more; others have the weighted sum alone."""
    for name, terms in (("past-future", 1), ("linear", 0)):
        model = make_model("bert", HEADS.load(name)).train()
        recipe, batch = PastFutureRecipe(model.num_layers), make_batch([5, 5])
        recipe.adapt_to(model.head)
        memory, _ = answer_exits(model.head, model.encoder(batch), batch.attention_mask)
        assert len(recipe.memory_losses(recipe.stages[0], memory, torch.tensor([0, 1]))) == terms
        assert not list(recipe.parameters())  # the head's stay the head's
