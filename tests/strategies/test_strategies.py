"""Properties that hold for every registered strategy, and what each says of itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backbones.errors import UserError
from bench.inference.replay import replay
from bench.selfcheck.properties.contract import find_broken
from bench.selfcheck.properties.criteria import CRITERION_PROPERTIES, REFUSALS
from bench.settings import list_settable
from bench.tasks import TASKS
from bench.training.args import TrainArgs
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.base import Seen, StrategyError
from tests.helpers.criteria import (
    CAUSAL,
    JUDGED,
    KINDS,
    LAYERS,
    held_out,
    judge,
    make,
    random_logits,
    reads,
)
from tests.helpers.models.exit_models import make_model

ACAUSAL = [name for name in KINDS if name not in CAUSAL]
PLACED = {"fixed-exit"}  # a control whose exit no threshold moves


# ---------------------------------------------------------------- every criterion


@pytest.mark.parametrize("name", JUDGED)
def test_the_registry_has_the_properties_that_somebody_elses_rules_are_asked(name: str) -> None:
    """Causal, independent of the batch, sound at extremes, ordered by its threshold; a control's exit is placed."""
    broken = {p.name: found for p in CRITERION_PROPERTIES if (found := find_broken(p, judge(name)))}
    assert set(broken) == ({"decides"} if name in PLACED else set()), broken


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_refused_is_refused_on_one_line(name: str) -> None:
    assert find_broken(REFUSALS, judge(name)) is None


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
