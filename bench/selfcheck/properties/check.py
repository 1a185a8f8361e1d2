"""`bench check`: everything that must hold of somebody's strategy, criterion, head or recipe, a line a property."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from backbones.names import Registry, make_unknown_error
from bench.errors import UsageError
from bench.selfcheck.properties.contract import Broken, Property, find_broken
from bench.selfcheck.properties.criteria import CRITERION_PROPERTIES, LIVE, REFUSALS
from bench.selfcheck.properties.parts import (
    HEAD_PROPERTIES,
    RECIPE_PROPERTIES,
    JudgedHead,
    JudgedRecipe,
)
from bench.selfcheck.properties.subject import JudgedCriterion, make_first, make_seen, make_strategy_of
from bench.settings import split_settings
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.base import Criterion, Head, Recipe, Strategy
from strategies.entropy import Entropy

ANYTHING: Registry[type] = Registry("class", {}, base="builtins:object")
CRITERIA: Registry[type[Criterion]] = Registry("criterion", {}, base="strategies.base:Criterion")
TIMED_STEPS = 300


@dataclass(frozen=True)
class AskedProperty:
    """One property, of one part of what is checked: criterion, head or recipe."""

    part: str
    asked: Property[Any, Any]
    subject: Any

    @property
    def name(self) -> str:
        """What a report, and a test item, calls it."""
        return f"{self.part}: {self.asked.name}"


@dataclass(frozen=True)
class Answer:
    """How a question came out; not ``asked`` where what the others stand on does not hold."""

    question: AskedProperty
    broken: Broken | None = None
    asked: bool = True


def list_questions(name: str, settings: Mapping[str, object] | None = None) -> list[AskedProperty]:
    """Return what is asked of ``name``: a listed strategy, head or recipe, or ``module:Class``, a criterion too.

    ``settings`` are as --set takes them. Raises UsageError for anything else, and for an upper bound.
    """
    groups = split_settings(settings or {}, ("recipe",))
    strategy, head, recipe = _load_parts(name)
    if strategy is None and groups[""]:
        raise UsageError(f"'{name}' has no criterion to set {', '.join(groups[''])} of.")
    found: list[AskedProperty] = []
    if strategy is not None:
        judged = JudgedCriterion(strategy, groups[""])
        if not strategy.criterion.causal or strategy.criterion.needs_labels:
            raise UsageError(f"'{name}' is an upper bound, which looks at labels or later exits: nothing is stepped.")
        judged.make()  # an argument that is refused ends here
        asked: tuple[Property[Any, Any], ...] = (*CRITERION_PROPERTIES, LIVE, REFUSALS)
        found += [AskedProperty("criterion", one, judged) for one in asked]
    if head is not None:
        found += [AskedProperty("head", one, JudgedHead(head)) for one in HEAD_PROPERTIES]
    if recipe is not None:
        trained = JudgedRecipe(recipe, groups["recipe"], head)
        found += [AskedProperty("recipe", one, trained) for one in RECIPE_PROPERTIES]
    return found


def _load_parts(name: str) -> tuple[type[Strategy] | None, type[Head] | None, type[Recipe] | None]:
    """Return strategy, head and recipe that ``name`` stands for; of a criterion alone no head and no recipe."""
    if ":" not in name:
        if (listed := STRATEGIES.find_name(name)) in STRATEGIES:
            kind = STRATEGIES.load(listed)
            return kind, kind.head, kind.recipe
        if (listed := HEADS.find_name(name)) in HEADS:
            return None, HEADS.load(listed), None
        if (listed := RECIPES.find_name(name)) in RECIPES:
            return None, None, RECIPES.load(listed)
        raise make_unknown_error("strategy, head or recipe", name, {*STRATEGIES, *HEADS, *RECIPES})
    found = ANYTHING.load(name)
    if issubclass(found, Criterion):
        return make_strategy_of(CRITERIA.load(name)), None, None
    if issubclass(found, Head):
        return None, HEADS.load(name), None
    if issubclass(found, Recipe):
        return None, None, RECIPES.load(name)
    kind = STRATEGIES.load(name)
    return kind, kind.head, kind.recipe


def answer_questions(questions: list[AskedProperty]) -> Iterator[Answer]:
    """Yield the answers one by one. What the first property of a part finds broken, its others are not asked of."""
    stopped: set[str] = set()
    first: set[str] = set()
    for question in questions:
        if question.part in stopped:
            yield Answer(question, asked=False)
            continue
        broken = find_broken(question.asked, question.subject)
        if broken and question.part not in first:
            stopped.add(question.part)
        first.add(question.part)
        yield Answer(question, broken)


def describe_speed(questions: list[AskedProperty]) -> str | None:
    """Return how long a step takes, for one sample and for 256, beside entropy's; None without a criterion."""
    judged = next((one.subject for one in questions if isinstance(one.subject, JudgedCriterion)), None)
    if judged is None:
        return None
    ours, usual = ([_time_step(one, n) * 1e6 for n in (1, 256)] for one in (judged, JudgedCriterion(Entropy)))
    said = f"A step takes {ours[0]:.0f} µs for 1 sample, {ours[1]:.0f} µs for 256"
    return f"{said}; entropy's {usual[0]:.0f} and {usual[1]:.0f}."


def _time_step(judged: JudgedCriterion, samples: int) -> float:
    """Return the median seconds of a step over the exits of made-up logits."""
    logits = judged.draw(samples=samples)
    criterion = judged.make_for(logits)
    seen = [make_seen(criterion, logits, layer) for layer in range(1, logits.shape[1] + 1)]
    times: list[float] = []
    with torch.inference_mode():
        while len(times) < TIMED_STEPS:
            state = criterion.start(make_first(logits))
            for one in seen:
                begun = time.perf_counter()
                state, _ = criterion.step(state, one)
                times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2]
