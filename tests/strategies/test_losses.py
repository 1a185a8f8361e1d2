"""Training losses and their gradients equal the reference code's on prescribed logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from backbones.base import LayeredEncoder
from strategies.base import Recipe, Stage
from strategies.deebert import DeeBertRecipe
from strategies.elbert import ElbertRecipe
from strategies.entropy import JointRecipe
from strategies.fastbert import FastBertRecipe
from strategies.learned import BerxitRecipe
from strategies.patience import PatienceRecipe
from strategies.romebert import RomeBertRecipe, list_layer_weights, project_gradient

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "losses.json").read_text(encoding="utf-8")
)["cases"]
LOSSES = [case for case in CASES if case["what"] == "train_loss"]
PROJECTIONS = [case for case in CASES if case["what"] == "gradient_projection"]
TOLERANCE = 1e-5


def name_of(case: dict[str, Any]) -> str:
    variant = [str(v) for k, v in case["params"].items() if k != "t"]
    return "-".join([str(case["id"]), case["system"], *variant])


def recipe_of(case: dict[str, Any]) -> tuple[Recipe, Stage, int]:
    """The reference's training routine in our words: recipe, stage, step."""
    p, layers = case["params"], case["num_layers"]
    recipe: Recipe
    number, step = 0, 0
    if case["system"] == "elbert":
        elbert = ElbertRecipe(layers, weights="equal" if p["weight_name"] == "equal" else "learned")
        if elbert.t is not None:
            elbert.t.data = torch.tensor(p["t"])
        recipe = elbert
    elif case["system"] == "pabee":
        recipe = PatienceRecipe(layers)
    elif case["system"] == "deebert":
        recipe, number = DeeBertRecipe(layers), p["stage"] - 1
    elif case["system"] == "fastbert":
        recipe, number = FastBertRecipe(layers), ("backbone", "distill").index(p["stage"])
    elif case["system"] == "berxit":
        step, routine = p["step_num"], p["train_strategy"]
        if routine == "weight-linear":
            recipe = PatienceRecipe(layers)
        elif routine == "all":
            recipe = JointRecipe(layers)
        elif routine == "two_stage":
            recipe = DeeBertRecipe(layers)
        else:
            recipe = BerxitRecipe(layers, routine=routine.replace("_", "-"))
    else:
        more = {"beta": p["beta"], "span": p["irange"]} if "irange" in p else {}
        recipe = RomeBertRecipe(layers, kind=p["kd_loss_type"], gamma=p["gamma"], temperature=p["temper"], **more)
    return recipe, recipe.stages[number], step


def exits_of(case: dict[str, Any]) -> list[Tensor]:
    """Logits of exits 1..L with gradient; exit L is the model's own classifier where the reference has both."""
    rows = case["logits"] if "final_logits" not in case else [*case["logits"][:-1], case["final_logits"]]
    return [torch.tensor(row, requires_grad=True) for row in rows]


def expected_gradients(case: dict[str, Any]) -> list[Any]:
    if "final_logits" not in case:
        return list(case["grad_logits"])
    assert case["grad_logits"][-1] is None  # the reference's last highway is never trained
    return [*case["grad_logits"][:-1], case["grad_final_logits"]]


def close(found: Tensor, expected: object) -> bool:
    return torch.allclose(found, torch.tensor(expected), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", LOSSES, ids=name_of)
def test_loss_and_gradients_equal_the_reference(case: dict[str, Any]) -> None:
    recipe, stage, step = recipe_of(case)
    exits = exits_of(case)
    kind = torch.float32 if case["num_labels"] == 1 else torch.long
    # distillation has no labels
    labels = torch.zeros(len(exits[0]), dtype=kind) if case["labels"] is None else torch.tensor(case["labels"])
    shown = exits if stage.exits != "last" else exits[-1:]
    loss = torch.stack(recipe.losses(stage, shown, labels.to(kind), step)).sum()
    loss.backward()
    assert close(loss, case["loss"])
    for z, expected in zip(exits, expected_gradients(case), strict=True):
        if expected is None:
            assert z.grad is None or not z.grad.any()
        else:
            assert z.grad is not None
            assert close(z.grad, expected)
    if "grad_t" in case:
        assert isinstance(recipe, ElbertRecipe)
        assert recipe.t is not None
        assert recipe.t.grad is not None
        assert close(recipe.t.grad, case["grad_t"])
        assert close(recipe.weights(), case["weights"])


@pytest.mark.parametrize("case", [c for c in LOSSES if "loss_distill" in c], ids=name_of)
def test_romebert_splits_its_loss_as_the_reference_does(case: dict[str, Any]) -> None:
    recipe, stage, step = recipe_of(case)
    last, early = recipe.losses(stage, exits_of(case), torch.tensor(case["labels"]), step)
    assert close(last, case["loss_last"])
    assert close(early, case["loss_distill"] + case["loss_multi"])


class TwoLayers(nn.Module):
    """As much of an encoder as the gradient projection looks at."""

    num_layers = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([nn.Linear(width // 2, 2), nn.Linear(width // 2, 2)])


@pytest.mark.parametrize("accumulated", [False, True])
@pytest.mark.parametrize("projection", ["origin", "paper", "none"])
@pytest.mark.parametrize("case", PROJECTIONS, ids=name_of)
def test_gradient_projection_equals_the_reference(case: dict[str, Any], projection: str, accumulated: bool) -> None:
    first, second = torch.tensor(case["grad_last"]), torch.tensor(case["grad_multi"])
    assert close(project_gradient([second], [first])[0], case["projected_multi"])

    toy = TwoLayers(len(first))
    encoder = cast(LayeredEncoder, toy)
    projected, other = cast("nn.ModuleList", toy.model.layers)
    linear = cast(nn.Linear, projected)
    assert [id(p) for p in list_layer_weights(encoder)] == [id(linear.weight)]
    everything = [*linear.parameters(), *other.parameters()]

    def loss(gradient: Tensor) -> Tensor:
        """A loss with ``gradient`` on the projected weight, and with 1 on all else."""
        rest = sum((p.sum() for p in everything[1:]), torch.zeros(()))
        return (linear.weight * gradient.view_as(linear.weight)).sum() + rest

    start = 1.0 if accumulated else 0.0
    if accumulated:
        for p in everything:
            p.grad = torch.ones_like(p)
    # "paper" projects the last exit's gradient, "origin" the early exits'; the vectors project their second
    losses = (loss(second), loss(first)) if projection == "paper" else (loss(first), loss(second))
    RomeBertRecipe(2, projection=projection).backward(losses, encoder)
    expected = first + second if projection == "none" else torch.tensor(case["final_grad"])
    assert linear.weight.grad is not None
    assert torch.allclose(linear.weight.grad.flatten(), expected + start, atol=TOLERANCE)
    for p in everything[1:]:
        assert p.grad is not None
        assert torch.equal(p.grad, torch.full_like(p, 2.0 + start))


def test_projection_leaves_agreeing_gradients_alone() -> None:
    g, r = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5])
    assert torch.equal(project_gradient([g], [r])[0], g)
    assert torch.equal(project_gradient([g], [torch.zeros(2)])[0], g)
    against = project_gradient([g], [-r])[0]
    assert float((against * r).sum()) == pytest.approx(0, abs=1e-6)


def test_counts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nlosses: {len(LOSSES)} losses with gradients and {len(PROJECTIONS)} projections, no deviations")
    assert len(LOSSES) + len(PROJECTIONS) == len(CASES)
