"""Mixed training, gradient equilibrium, distillation between neighbours: losses and gradients worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from backbones import ENCODERS
from bench.progress import Progress
from bench.selfcheck.properties.contract import find_broken
from bench.selfcheck.properties.parts import RECIPE_PROPERTIES, JudgedRecipe
from bench.selfcheck.tiny import TINY
from bench.training.trainer import compute_stage_logits, train_model
from strategies import RECIPES
from strategies.base import ExitModel, Recipe, Stage, compute_task_loss
from strategies.entropy import JointRecipe, LinearHead
from strategies.equilibrium import GradientEquilibriumRecipe
from strategies.learned import BerxitRecipe
from strategies.mixed import MixedRecipe
from strategies.neighbours import NeighbourDistillationRecipe
from tests.helpers.models.exit_models import make_batch, make_model
from tests.helpers.models.trainings import plan, snapshot

LAYERS = TINY["num_hidden_layers"]
LABELS = torch.tensor([0, 1])
EVEN, THREE_TO_ONE = [0.0, 0.0], [math.log(3.0), 0.0]  # probabilities 1/2, 1/2 and 3/4, 1/4


def total(losses: Sequence[Tensor]) -> float:
    """The loss as a number."""
    return float(torch.stack(list(losses)).sum().detach())


def exits(*rows: list[float]) -> list[Tensor]:
    """One sample's logits at each exit, with gradient."""
    return [torch.tensor([row], requires_grad=True) for row in rows]


# --------------------------------------------------------------------------- mixed


def test_mixed_trains_the_last_exit_first_and_then_all_of_them() -> None:
    recipe = MixedRecipe(2)
    first, second = recipe.stages
    assert (first.backbone, first.exits, second.backbone, second.exits) == (True, "last", True, "all")
    label = torch.tensor([0])
    assert total(recipe.losses(first, exits(THREE_TO_ONE), label, 0)) == pytest.approx(math.log(4 / 3))
    z = exits(EVEN, THREE_TO_ONE)
    loss = torch.stack(recipe.losses(second, z, label, 0)).sum()
    assert float(loss.detach()) == pytest.approx(math.log(2) + math.log(4 / 3))
    loss.backward()  # p - y at each exit
    assert [z_i.grad.tolist() for z_i in z if z_i.grad is not None] == [
        [pytest.approx([-0.5, 0.5])],
        [pytest.approx([-0.25, 0.25])],
    ]


def test_the_second_phase_of_mixed_moves_the_backbone_on(tmp_path: Path) -> None:
    full, first = (make_model("bert", LinearHead, 3) for _ in range(2))
    start = snapshot(full)
    short = MixedRecipe(LAYERS)
    short.stages = short.stages[:1]
    train_model(first, short, plan(tmp_path / "a"), Progress(quiet=True))
    log = train_model(full, MixedRecipe(LAYERS), plan(tmp_path / "b"), Progress(quiet=True))
    assert log.steps == {"backbone": 3, "joint": 3}
    early = [n for n in start if n.startswith("head.") and f".{LAYERS - 1}." not in n]
    assert all(torch.equal(first.state_dict()[n], start[n]) for n in early)  # no early exit in phase 1
    assert not any(torch.equal(full.state_dict()[n], start[n]) for n in early)
    weight = next(n for n in start if n.startswith("encoder.") and "query.weight" in n)
    assert not torch.equal(first.state_dict()[weight], start[weight])
    assert not torch.equal(full.state_dict()[weight], first.state_dict()[weight])


# --------------------------------------------------------------------------- gradient equilibrium


class Rescale(torch.autograd.Function):
    """The paper's own operator: the identity whose gradient is multiplied by a weight."""

    @staticmethod
    def forward(ctx, value, weight):  # type: ignore[no-untyped-def]
        ctx.weight = weight
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient * ctx.weight, None


def test_three_scalar_layers_by_hand() -> None:
    """h_i = w_i h_{i-1}, h_0 = 1, w = (2, 3, 5), exit i says v_i h_i with v = (1, 10, 100), the loss is their sum.

    dL_3/dh_3 = 100, so w_3 gets 100 h_2 = 600. At node 2: 1/2 · 10 + 1/2 · 5 · 100 = 255, w_2 gets 255 h_1 = 510. At
    node 1: 1/3 · 1 + 2/3 · 3 · 255 = 1531/3, which w_1 gets. Without balance: 600, 510 · 2 = 1020, 1531.
    """
    w = [torch.tensor([[[x]]], requires_grad=True) for x in (2.0, 3.0, 5.0)]
    v = [torch.tensor(x, requires_grad=True) for x in (1.0, 10.0, 100.0)]

    def gradients(recipe: Recipe) -> list[float]:
        h, states = torch.ones(1, 1, 1), []
        for weight in w:
            h = h * weight
            states.append(h)
        outputs = [a * s for a, s in zip(v, recipe.nodes(states), strict=True)]
        found = torch.autograd.grad(torch.stack(outputs).sum(), [*w, *v])
        return [float(g) for g in found]

    assert gradients(JointRecipe(3)) == pytest.approx([1531, 1020, 600, 2, 6, 30])
    assert gradients(GradientEquilibriumRecipe(3)) == pytest.approx([1531 / 3, 510, 600, 2, 6, 30])


def gradients_of(model: ExitModel, recipe: Recipe) -> dict[str, Tensor]:
    """Gradients of one training step in double precision."""
    model = model.double().requires_grad_(True)
    model.zero_grad()
    _, logits = compute_stage_logits(model, recipe, recipe.stages[0], make_batch([5, 5]))
    recipe.backward(recipe.losses(recipe.stages[0], [z.double() for z in logits], LABELS, 0), model.encoder)
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def rescaled(model: ExitModel) -> dict[str, Tensor]:
    """The same by the paper's operators, put between layers and exits one by one."""
    model = model.double()
    model.zero_grad()
    batch = make_batch([5, 5])
    hidden, mask = model.encoder.embed(batch)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(1, LAYERS + 1):
        hidden = model.encoder.layer(i, hidden, mask)
        behind = LAYERS - i
        exit_i = Rescale.apply(hidden, 1 / (behind + 1))
        loss = loss + compute_task_loss(model.head(exit_i, batch.attention_mask, i), LABELS)
        hidden = Rescale.apply(hidden, behind / (behind + 1))
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_balanced_gradients_are_those_of_the_papers_operators(model_type: str) -> None:
    """Also where one layer's weights serve all depths, as ALBERT's do."""
    found = gradients_of(make_model(model_type, LinearHead), GradientEquilibriumRecipe(LAYERS))
    expected = rescaled(make_model(model_type, LinearHead))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)


def test_a_layer_gets_the_mean_of_the_exits_behind_it_instead_of_their_sum() -> None:
    joint = gradients_of(make_model("bert", LinearHead), JointRecipe(LAYERS))
    balanced = gradients_of(make_model("bert", LinearHead), GradientEquilibriumRecipe(LAYERS))
    for name, gradient in joint.items():
        layer = next((i for i in range(LAYERS) if f"layer.{i}." in name), None)
        share = 1 if name.startswith("head.") else LAYERS if layer is None else LAYERS - layer
        torch.testing.assert_close(balanced[name], gradient / share, rtol=1e-5, atol=1e-8)


# --------------------------------------------------------------------------- neighbours


def test_neighbours_by_hand() -> None:
    """T = 1, alpha = 1/2: exit 1 says (1/2, 1/2), exit 2 (3/4, 1/4), exit 3 (1/2, 1/2); the label is class 0.

    KL(p_2 || p_1) = 3/4 ln 3/2 + 1/4 ln 1/2, KL(p_3 || p_2) = 1/2 ln 2/3 + 1/2 ln 2. Gradient at exit i of both terms:
    1/2 (p_i - y) + 1/2 (p_i - p_{i+1}); at exit 3 p_3 - y: teachers get none.
    """
    z = exits(EVEN, THREE_TO_ONE, EVEN)
    recipe = NeighbourDistillationRecipe(3, alpha=0.5, temperature=1.0)
    loss = torch.stack(recipe.losses(Stage("train"), z, torch.tensor([0]), 0)).sum()
    labelled = 0.5 * math.log(2) + 0.5 * math.log(4 / 3) + math.log(2)
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert float(loss.detach()) == pytest.approx(labelled + 0.5 * (first + second))
    loss.backward()
    found = [z_i.grad[0].tolist() for z_i in z if z_i.grad is not None]
    assert found == [pytest.approx([-0.375, 0.375]), pytest.approx([0.0, 0.0], abs=1e-7), pytest.approx([-0.5, 0.5])]


def test_a_temperature_softens_and_its_square_makes_up_for_it() -> None:
    """T = 2 on logits (2 ln 3, 0) is (3/4, 1/4) again; the gradient at the student is T (q_i - q_{i+1})."""
    z = exits(EVEN, [2 * math.log(3.0), 0.0])
    recipe = NeighbourDistillationRecipe(2, alpha=1.0, temperature=2.0)
    *_, taught = recipe.losses(Stage("train"), z, torch.tensor([0]), 0)
    assert float(taught.detach()) == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))
    taught.backward()
    assert z[0].grad is not None
    assert z[0].grad[0].tolist() == pytest.approx([-0.5, 0.5])
    assert z[1].grad is None


def test_without_teachers_it_is_joint_training() -> None:
    z = [nn.Parameter(torch.randn(2, 3)) for _ in range(3)]
    alone = NeighbourDistillationRecipe(3, alpha=0.0).losses(Stage("train"), z, LABELS, 0)
    joint = JointRecipe(3).losses(Stage("train"), z, LABELS, 0)
    assert total(alone) == pytest.approx(total(joint), rel=1e-6)


# --------------------------------------------------------------------------- alternating


def test_berxit_alternates_between_the_last_exit_and_all_of_them() -> None:
    """Xin et al. (2021), sec. 3.2, by hand: the last exit's loss, then the sum."""
    label, recipe = torch.tensor([0]), BerxitRecipe(2)
    found = [total(recipe.losses(Stage("train"), exits(EVEN, THREE_TO_ONE), label, step)) for step in range(4)]
    last, every = math.log(4 / 3), math.log(2) + math.log(4 / 3)
    assert found == pytest.approx([last, every, last, every])


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_reports_what_it_learned_and_else_nothing(name: str) -> None:
    recipe = RECIPES.load(name)(6)
    learned = any(True for _ in recipe.parameters())
    assert bool(recipe.report()) == learned == (name == "elbert")
    assert isinstance(recipe.report(), dict)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_have_the_properties_that_somebody_elses_are_asked(name: str) -> None:
    judged = JudgedRecipe(RECIPES.load(name))
    assert {p.name: found for p in RECIPE_PROPERTIES if (found := find_broken(p, judged))} == {}
