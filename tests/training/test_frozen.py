"""Frozen means frozen: what a stage does not train is bit-identical after it, under the real trainer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backbones import ENCODERS
from backbones.base import Batch
from bench.progress import Progress
from bench.selfcheck.tiny import TINY
from bench.training.trainer import compute_stage_logits, freeze_for_stage, train_model
from strategies import HEADS, RECIPES
from strategies.base import ExitModel, Recipe
from tests.helpers.models.exit_models import make_model
from tests.helpers.models.trainings import plan, snapshot

KEY_BIAS = ("key.bias", "k_lin.bias")
LAYERS, OUTPUTS = TINY["num_hidden_layers"], 3


def trained_names(model: ExitModel, recipe: Recipe) -> set[str]:
    """The names of all that the recipe's one stage may change, worked out from its declaration alone."""
    (stage,) = recipe.stages
    exits = {"all": range(1, LAYERS + 1), "early": range(1, LAYERS), "last": range(LAYERS, LAYERS + 1)}[stage.exits]
    chosen = {id(p) for layer in exits for p in model.head.exit_parameters(layer)}
    if stage.backbone:
        chosen |= {id(p) for p in model.encoder.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in chosen}


def combinations() -> list[tuple[str, str, str, int]]:
    """Every recipe on every head that it does not refuse, stage by stage; on other encoders than BERT one head."""
    found = []
    for head_name in HEADS:
        head = make_model("bert", HEADS.load(head_name), OUTPUTS).head
        for recipe_name in RECIPES:
            recipe = RECIPES.load(recipe_name)(LAYERS)
            types = sorted(ENCODERS) if head_name == "linear" else ["bert"]
            if recipe.refuse(head) is None:
                stages = range(len(recipe.stages))
                found += [(kind, head_name, recipe_name, number) for kind in types for number in stages]
    return found


@pytest.mark.parametrize(("model_type", "head_name", "recipe_name", "number"), combinations())
def test_outside_a_stage_nothing_changes(
    model_type: str, head_name: str, recipe_name: str, number: int, tmp_path: Path
) -> None:
    model = make_model(model_type, HEADS.load(head_name), OUTPUTS)
    recipe = RECIPES.load(recipe_name)(LAYERS)
    recipe.stages = (replace(recipe.stages[number], epochs=None),)
    before, allowed = snapshot(model), trained_names(model, recipe)
    train_model(model, recipe, plan(tmp_path), Progress(quiet=True))
    after = snapshot(model)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed <= allowed
    # and what is trained does change, but for what has no gradient: the stock pooler, which heads only copy, the
    # bias of attention keys, which shifts all scores of a query alike, and embeddings that no sample looks up
    idle = {n for n in allowed if "encoder.model.pooler" in n or n.endswith(KEY_BIAS) or "embeddings" in n}
    assert allowed - idle <= changed
    assert all(p.requires_grad for p in model.parameters())


def two_stage() -> list[str]:
    """The recipes that declare the backbone and the last exit frozen in all stages but the first."""
    found = {name: RECIPES.load(name)(LAYERS).stages[1:] for name in RECIPES}
    return [n for n, later in found.items() if later and not any(s.backbone or s.exits != "early" for s in later)]


@pytest.mark.parametrize("name", two_stage())
def test_whole_recipes_leave_the_fine_tuned_model_alone(name: str, tmp_path: Path) -> None:
    """After all stages, backbone and last exit are those of the first stage alone."""
    full, first = (make_model("bert", HEADS.load("highway"), OUTPUTS) for _ in range(2))
    recipe, short = RECIPES.load(name)(LAYERS), RECIPES.load(name)(LAYERS)
    short.stages = short.stages[:1]
    train_model(full, recipe, plan(tmp_path / "a"), Progress(quiet=True))
    train_model(first, short, plan(tmp_path / "b"), Progress(quiet=True))
    kept = {n: v for n, v in first.state_dict().items() if n.startswith("encoder.") or f".{LAYERS - 1}." in n}
    for key, value in kept.items():
        assert torch.equal(full.state_dict()[key], value), key
    early = [n for n in first.state_dict() if n.startswith("head.") and n not in kept]
    assert early
    assert not any(torch.equal(full.state_dict()[n], first.state_dict()[n]) for n in early)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_frozen_parts_stay_in_evaluation_mode_and_hand_out_no_gradient(name: str, tmp_path: Path) -> None:
    model = make_model("bert", HEADS.load("highway"), OUTPUTS, hidden_dropout_prob=0.5)
    recipe = RECIPES.load(name)(LAYERS)
    seen: list[tuple[bool, bool, bool, bool]] = []
    stages = recipe.stages
    losses = recipe.losses

    def watch(stage, logits, labels, step):  # type: ignore[no-untyped-def]
        seen.append((stage.backbone, stage.exits == "early", model.encoder.training, logits[-1].requires_grad))
        return losses(stage, logits, labels, step)

    recipe.losses = watch  # type: ignore[method-assign]
    train_model(model, recipe, plan(tmp_path), Progress(quiet=True))
    assert {(backbone, early) for backbone, early, _, _ in seen} == {(s.backbone, s.exits == "early") for s in stages}
    assert all(training == backbone for backbone, _, training, _ in seen)
    assert all(last != early for _, early, _, last in seen)  # beside early exits the last one is a teacher


def test_the_teacher_hands_out_what_it_says_in_evaluation() -> None:
    """Its head has dropout of its own (FastBERT's students learn from it): off while it teaches, on in the students."""
    model = make_model("bert", HEADS.load("student"), OUTPUTS)
    for module in model.head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    recipe = RECIPES.load("fastbert")(LAYERS)
    stage = recipe.stages[1]
    batch = Batch(torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0)), None, None)
    with torch.no_grad():
        expected = model.eval()(batch)
    freeze_for_stage(model, stage)
    torch.manual_seed(0)
    _, (*students, teacher) = compute_stage_logits(model, recipe, stage, batch)
    assert torch.equal(teacher, expected[-1])
    assert not torch.allclose(students[0], expected[0])
    assert model.head.training
