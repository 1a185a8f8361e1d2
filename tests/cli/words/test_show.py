"""`bench show KIND NAME` and `bench list`: everything that has a name can be shown, in any case of letters."""

from __future__ import annotations

import json

import pytest

from backbones.catalog import BACKBONES
from bench.cli.completing import LISTED_KINDS, SINGULAR
from bench.cli.facts import FACTS, collect_facts
from bench.cli.process import main
from bench.reproduce.papers import list_papers
from bench.tasks import TASKS
from strategies import HEADS, PUBLISHED, RECIPES, STRATEGIES, STRATEGY_GROUPS

NAMES = {
    "strategy": list(STRATEGIES.builtin), "head": list(HEADS), "recipe": list(RECIPES), "task": list(TASKS.builtin),
    "backbone": list(BACKBONES), "paper": list_papers(),
}  # fmt: skip


def test_every_kind_is_shown_and_listed() -> None:
    assert set(NAMES) == set(FACTS) == set(SINGULAR)
    assert set(SINGULAR.values()) == set(LISTED_KINDS) - {"claims", "runs"}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_what_has_a_name_is_shown(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", kind, name.upper(), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == name
    assert facts.get("summary") or facts["title"]
    assert main(["show", kind, name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"name: {name}\n")
    for key, value in facts.get("settings", {}).items():
        assert f"{key} = {value}" in shown


@pytest.mark.parametrize(
    ("kind", "name", "settings"),
    [
        ("head", "linear", {"head.pooling": "cls"}),
        ("recipe", "elbert", {"recipe.weights": "learned", "recipe.initial": 4.0, "recipe.lr": 0.01}),
        ("task", "sst2", {"max_length": 128, "backbone": "albert-base"}),
    ],
)
def test_settings_are_shown_with_their_defaults(kind: str, name: str, settings: dict[str, object]) -> None:
    assert collect_facts(kind, name)["settings"] == settings


def test_what_a_kind_says_of_itself() -> None:
    assert collect_facts("head", "shared")["strategies"].startswith("elbert-label, elbert-mono, ")
    assert collect_facts("backbone", "bert-base")["hub"] == (
        "google-bert/bert-base-uncased, revision 86b5e0934494bd15c9632b12f734a8a67f723594"
    )
    assert collect_facts("task", "SST-2")["rows"] == {"train": "67,349", "validation": "872"}
    assert collect_facts("paper", "patience")["name"] == "pabee"
    assert collect_facts("strategy", "ELBERT")["name"] == "elbert-mono"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["foo", "x"], "Unknown kind 'foo'"),
        (["task", "ss2"], "Unknown task 'ss2'. Did you mean 'sst2'?"),
        (["backbone", "bert-bas"], "Did you mean 'bert-base'?"),
        (["paper", "elbrt"], "Did you mean 'elbert'?"),
        (["strategy"], "bench show strategy takes a name too"),
        (["fastbert"], "`bench show strategy fastbert`. The recipe is shown by `bench show recipe fastbert`."),
    ],
)
def test_what_is_not_there(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_name_of_one_kind_alone_needs_no_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "bert-base"]) == 0
    alone = capsys.readouterr().out
    assert main(["show", "backbone", "bert-base"]) == 0
    assert alone == capsys.readouterr().out


def test_the_list_of_strategies_says_what_stands_for_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "strategies"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"--strategy {name}: " in shown for name in STRATEGY_GROUPS)
    assert ", ".join(PUBLISHED) in shown
    assert all(f"{alias} as {meant}" in shown for alias, meant in STRATEGIES.aliases.items())
