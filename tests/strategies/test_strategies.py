"""Properties that hold for every registered strategy, and what each says of itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from backbones.errors import UserError
from bench.inference.replay import replay
from bench.measure.curve import exit_layers
from bench.settings import list_settable
from bench.tasks import TASKS
from bench.training.args import TrainArgs
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.base import Seen, State, StrategyError, select
from tests.helpers.criteria import (
    CAUSAL,
    JUDGED,
    KINDS,
    LAYERS,
    finite_cuts,
    held_out,
    make,
    random_logits,
    reads,
    score_of,
    seen_at,
    start,
)
from tests.helpers.models.exit_models import make_model

ACAUSAL = [name for name in KINDS if name not in CAUSAL]
PLACED = {"full", "truncated", "fixed-exit"}  # controls whose exit no threshold moves


# ---------------------------------------------------------------- every criterion


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", JUDGED)
def test_causal_a_score_does_not_depend_on_later_exits(name: str, classes: int) -> None:
    logits = random_logits(name, classes=classes)
    original = score_of(make(name), logits)
    for layer in range(1, LAYERS):
        changed = logits.clone()
        changed[:, layer:] = 5 * torch.randn(changed[:, layer:].shape, generator=torch.Generator().manual_seed(layer))
        assert np.array_equal(score_of(make(name), changed)[:, :layer], original[:, :layer])


@pytest.mark.parametrize("name", ACAUSAL)
def test_acausal_criteria_cannot_be_stepped_and_are_marked(name: str) -> None:
    logits = random_logits(name)
    criterion = make(name)
    with pytest.raises(StrategyError, match="cannot run live"):
        criterion.step({}, Seen(1, logits[:, 0]))
    assert KINDS[name].upper_bound


@pytest.mark.parametrize("name", JUDGED)
def test_causal_criteria_have_no_acausal_scores(name: str) -> None:
    with pytest.raises(StrategyError, match="causal"):
        make(name).acausal_scores(random_logits(name), None)


@pytest.mark.parametrize("name", JUDGED)
def test_extreme_cuts(name: str) -> None:
    criterion, logits = make(name), random_logits(name)
    found = score_of(criterion, logits)
    full = exit_layers(found, -math.inf, strict=criterion.strict)
    assert (full == LAYERS).all()
    everything = exit_layers(found, math.inf, strict=criterion.strict)
    ready = np.where((found < math.inf).any(axis=1), (found < math.inf).argmax(axis=1) + 1, LAYERS)
    assert (everything == ready).all()
    if name not in PLACED:
        assert (everything == 1).all()
    for layer in range(1, LAYERS):  # the live comparison says the same
        score = torch.from_numpy(found[:, layer - 1])
        assert not criterion.leaves(score, -math.inf).any()
        assert torch.equal(criterion.leaves(score, math.inf), score < math.inf)


@pytest.mark.parametrize("name", JUDGED)
def test_the_live_comparison_is_the_one_of_replay(name: str) -> None:
    criterion, logits = make(name), random_logits(name)
    found = score_of(criterion, logits)
    for cut in finite_cuts(criterion, logits):
        leaving = torch.stack([criterion.leaves(torch.from_numpy(found[:, i]), cut) for i in range(LAYERS)], dim=1)
        leaving[:, -1] = True
        assert np.array_equal(leaving.int().argmax(dim=1).numpy() + 1, exit_layers(found, cut, criterion.strict))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), cuts=st.tuples(*[st.floats(-9, 9, allow_nan=False)] * 2))
@pytest.mark.parametrize("name", JUDGED)
def test_a_looser_cut_never_leaves_later(name: str, seed: int, cuts: tuple[float, float]) -> None:
    criterion = make(name)
    found = score_of(criterion, random_logits(name, seed))
    tight, loose = sorted(cuts)
    assert (exit_layers(found, loose, criterion.strict) <= exit_layers(found, tight, criterion.strict)).all()


@pytest.mark.parametrize("name", JUDGED)
def test_a_threshold_and_its_cut_are_inverse(name: str) -> None:
    criterion, logits = make(name), random_logits(name)
    found = score_of(criterion, logits)
    for cut in finite_cuts(criterion, logits):
        again = criterion.cut(criterion.threshold(cut))
        assert np.array_equal(exit_layers(found, again, criterion.strict), exit_layers(found, cut, criterion.strict))
        assert not criterion.integer or float(criterion.threshold(cut)).is_integer()


@pytest.mark.parametrize("name", CAUSAL)
def test_the_last_exit_always_answers(name: str) -> None:
    logits = random_logits(name)
    criterion = make(name)
    threshold, observed = criterion.threshold(-math.inf), reads(criterion, logits)
    decided = replay(name, logits, threshold, fit_on=held_out(name), observed=observed)
    expected = logits[:, -1].argmax(dim=-1) if logits.shape[-1] > 1 else logits[:, -1, 0]
    assert (decided.layer == LAYERS).all()
    assert np.array_equal(decided.prediction, expected.numpy())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", CAUSAL)
def test_logits_that_are_not_finite_are_an_error_that_names_sample_and_exit(name: str, bad: float) -> None:
    logits = random_logits(name)
    logits[7, 3, 0] = bad
    with pytest.raises(StrategyError, match="sample 7 at exit 4"):
        replay(name, logits, fit_on=held_out(name), observed=reads(make(name), logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [100.0, 1e4, 1e30])
@pytest.mark.parametrize("name", JUDGED)
def test_saturated_but_finite_logits_are_fine(name: str, size: float, dtype: torch.dtype) -> None:
    logits = torch.where(random_logits(name) > 0, size, -size).to(dtype)
    found = score_of(make(name), logits)
    assert not np.isnan(found).any()
    assert (exit_layers(found, make(name).cut(make(name).default_threshold), make(name).strict) >= 1).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", JUDGED)
def test_any_batch_is_each_sample_alone(name: str, seed: int) -> None:
    """Samples that leave, are reordered or travel alone never change a score; nor does saving the state."""
    logits = random_logits(name, seed)
    generator = torch.Generator().manual_seed(seed)
    expected = torch.from_numpy(score_of(make(name), logits))
    criterion, rows = make(name), torch.arange(len(logits))
    state = criterion.start(start(logits))
    for layer in range(1, LAYERS + 1):
        state, score = criterion.step(state, seen_at(criterion, logits[rows], layer))
        assert torch.equal(score.to(expected.dtype), expected[rows, layer - 1])
        kept = torch.randperm(len(rows), generator=generator)[: max(1, len(rows) - 7)]
        state = through_disk(select(state, kept))
        rows = rows[kept]
        mask = torch.rand(len(rows), generator=generator) < 0.9
        if mask.any():
            state, rows = select(state, mask), rows[mask]
    alone = [score_of(make(name), logits[i : i + 1], keys=torch.tensor([i])) for i in range(5)]
    assert np.array_equal(np.concatenate(alone), expected[:5].numpy())


def through_disk(state: State) -> State:
    """The state after saving and loading it as safetensors."""
    loaded = load(save({key: value.contiguous() for key, value in state.items()}))
    for key, value in state.items():
        assert loaded[key].dtype == value.dtype
        assert torch.equal(loaded[key], value) or bool(value.isnan().any())
    return loaded


@pytest.mark.parametrize("name", JUDGED)
def test_the_state_is_per_sample(name: str) -> None:
    logits = random_logits(name)
    criterion = make(name)
    state, _ = criterion.step(criterion.start(start(logits)), seen_at(criterion, logits, 1))
    assert all(value.shape[0] == len(logits) for value in state.values())


# ---------------------------------------------------------------- what they say of themselves


@pytest.mark.parametrize("name", list(KINDS))
def test_every_strategy_explains_itself(name: str) -> None:
    kind = KINDS[name]
    assert kind.name == name
    assert dict(STRATEGIES.summaries())[name].endswith((".", ")"))
    assert kind.equations
    published = bool(kind.presets)
    assert not published or (kind.citation and kind.sources and kind.differences)
    settable = list_settable(kind.criterion)
    for key in kind.sources:  # a source is about something that exists
        prefix, dot, rest = key.partition(".")
        target = {"train": vars(TrainArgs()), "recipe": list_settable(kind.recipe)}.get(prefix) if dot else settable
        assert (
            rest in (target or ())
            if dot
            else key in (*settable, "threshold", kind.criterion.threshold_name, "head", "presets")
        )
    explained = {key.removeprefix("recipe.") for key in kind.sources}
    assert set(settable) | set(list_settable(kind.recipe)) <= explained | {"first", "weights", "seed"}


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.presets])
def test_presets_are_settings_that_exist(name: str) -> None:
    kind = KINDS[name]
    assert set(kind.presets) <= {"*", *TASKS}
    for settings_ in kind.presets.values():
        for key, value in settings_.items():
            prefix, _, rest = key.partition(".")
            if prefix == "train":
                TrainArgs(**{rest: value})  # type: ignore[arg-type]
            elif prefix == "recipe":
                assert rest in list_settable(kind.recipe)
            elif prefix == "backbone":
                assert hasattr(make_model("albert").encoder.model.config, rest)
            else:
                assert key == "max_length" or key in list_settable(kind.criterion)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_strategy_accepts_its_own_parts(name: str) -> None:
    kind = KINDS[name]
    assert kind.head in [HEADS.load(head) for head in HEADS]
    assert kind.recipe in [RECIPES.load(recipe) for recipe in RECIPES]
    head = make_model("bert", kind.head, 3).head
    recipe = kind.recipe(head.num_layers)
    assert recipe.refuse(head) is None
    assert not kind.criterion.uses_early_exits or recipe.trains_early_exits(head)
    assert kind.criterion().refuse(3) is None


@pytest.mark.parametrize("recipe_name", list(RECIPES))
@pytest.mark.parametrize("head_name", list(HEADS))
def test_combinations_that_make_no_sense_are_refused_with_the_reason(head_name: str, recipe_name: str) -> None:
    head = make_model("bert", HEADS.load(head_name), 3).head
    why = RECIPES.load(recipe_name)(head.num_layers).refuse(head)
    early_alone = any(stage.exits == "early" for stage in RECIPES.load(recipe_name)(head.num_layers).stages)
    assert bool(why) == (head.shares_parameters and early_alone)
    assert why is None or "shares parameters" in why


@pytest.mark.parametrize("recipe_name", list(RECIPES))
def test_distillation_is_refused_for_regression(recipe_name: str) -> None:
    head = make_model("bert", HEADS.load("highway"), 1).head
    why = RECIPES.load(recipe_name)(head.num_layers).refuse(head)
    recipe = RECIPES.load(recipe_name)
    assert bool(why) == (recipe.distils or not recipe.regression)


@pytest.mark.parametrize("name", list(KINDS))
def test_regression_is_for_criteria_without_probabilities(name: str) -> None:
    criterion = make(name)
    assert (criterion.refuse(1) is None) == criterion.regression
    assert criterion.regression or "regression" in str(criterion.refuse(1))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("patience", {"tolerance": -0.1}),
        ("fixed-exit", {"layer": 0}),
        ("truncated", {"layers": 0}),
        ("elbert-mono", {"window": -1}),
        ("elbert-mono", {"margin": 0.5}),
        ("elbert-range", {"range": -1.0}),
        ("elbert-label", {"first": "last"}),
        ("patient-and-confident", {"patience": 0}),
        ("divergence-patience", {"patience": -1}),
        ("voting", {"attenuation": 1.0}),
        ("voting", {"attenuation": -0.5}),
        ("temperature", {"of": "entropi"}),
        ("temperature", {"of": "nowhere:Nothing"}),
        ("temperature", {"of": "oracle-correct"}),
        ("temperature", {"of": "full"}),
        ("budget", {"of": "patience"}),
    ],
)
def test_arguments_out_of_range_are_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        make(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("romebert", {"kind": "mean"}),
        ("romebert", {"projection": "reverse"}),
        ("romebert", {"gamma": 1.5}),
        ("romebert", {"temperature": 0.0}),
        ("berxit", {"routine": "two-stage"}),
        ("neighbour-distillation", {"alpha": 1.5}),
        ("neighbour-distillation", {"temperature": 0.0}),
        ("elbert", {"weights": "linear"}),
    ],
)
def test_recipe_arguments_out_of_range_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        RECIPES.load(name)(LAYERS, **arguments)


def test_truncated_cuts_the_backbone() -> None:
    assert KINDS["truncated"].backbone_overrides({"layers": 4}) == {"num_hidden_layers": 4}
