"""What panels and series are called, and that a name means the same on every panel."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.series import make_panels
from bench.results.groups import pick_telling
from bench.results.store import Store
from tests.helpers.report_store import make_cell


def labels(root: Path) -> list[list[str]]:
    return [[s.label for s in p.series] for p in make_panels(Store(root).runs()[0])]


def titles(root: Path) -> list[str]:
    return [p.title for p in make_panels(Store(root).runs()[0])]


def test_depths_of_one_backbone_are_panels_of_their_own_and_named(tmp_path: Path) -> None:
    make_cell(tmp_path, layers=12)
    make_cell(tmp_path, layers=24, spec={"backbone_args": {"num_hidden_layers": 24}})
    make_cell(tmp_path, "truncated", layers=3, whole=12, early=False, spec={"backbone_args": {"num_hidden_layers": 3}})
    assert titles(tmp_path) == ["demo · albert-demo · 12 layers", "demo · albert-demo · 24 layers"]
    assert labels(tmp_path) == [["elbert-mono", "truncated"], ["elbert-mono"]]


def test_limits_are_named_beside_depths(tmp_path: Path) -> None:
    make_cell(tmp_path, layers=12)
    make_cell(tmp_path, layers=6, spec={"limit": 100})
    assert titles(tmp_path) == [
        "demo · albert-demo · 12 layers · no limit",
        "demo · albert-demo · 6 layers · limit 100",
    ]


def test_the_usual_recipe_is_not_said_and_another_is_everywhere(tmp_path: Path) -> None:
    own = {"recipe": "patience", "head": "shared-pooler", "train": {"epochs": 3.0}}
    make_cell(tmp_path, "patience", spec=own)
    make_cell(tmp_path, "patience", task="rte", spec=own)
    make_cell(tmp_path, "patience", spec={"recipe": "joint", "head": "linear"})
    make_cell(tmp_path, "patience", task="zoo", spec={"recipe": "joint", "head": "linear"})
    make_cell(tmp_path, "patience", task="wnli", spec=own)
    # nobody knows which of two settings that differ together made a difference: both are said
    assert labels(tmp_path) == [["patience (recipe=joint, train.epochs=5.0)", "patience (train.epochs=3.0)"],
                                ["patience"], ["patience"], ["patience (recipe=joint)"]]  # fmt: skip


def test_where_two_recipes_are_as_usual_both_are_said(tmp_path: Path) -> None:
    for recipe in ("joint", "elbert"):
        make_cell(tmp_path, spec={"recipe": recipe})
    assert labels(tmp_path) == [["elbert-mono (recipe=elbert)", "elbert-mono (recipe=joint)"]]


def test_an_argument_that_tells_series_apart_is_said_on_every_panel(tmp_path: Path) -> None:
    for window in (4, 8):
        make_cell(tmp_path, criterion={"window": window, "margin": 0.0})
    make_cell(tmp_path, task="rte", criterion={"window": 4, "margin": 0.0})
    assert labels(tmp_path) == [["elbert-mono (window=4)", "elbert-mono (window=8)"], ["elbert-mono (window=4)"]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([{"a": 1, "b": 1}, {"a": 2, "b": 2}], ["a", "b"]),
        ([{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 1}], ["b", "c"]),
        ([{"recipe": "x", "head": 1}, {"recipe": "y", "head": 2}], ["recipe"]),
        ([{"recipe": "x", "head": 1}, {"recipe": "y", "head": 2}, {"recipe": "y", "head": 1}], ["recipe", "head"]),
        ([{"head": 1}, {"head": 2}], ["head"]),
        ([{"window": 1, "recipe": "x"}, {"window": 1, "recipe": "y"}], ["recipe"]),
        ([{"recipe": "x", "lr": 1}, {"recipe": "y", "lr": 1}, {"recipe": "y", "lr": 2}], ["recipe", "lr"]),
        ([{"a": 1}], []),
        ([{"identity": 1}, {"identity": 2}], []),
    ],
)
def test_all_settings_that_differ_but_a_head_that_follows_from_its_recipe(
    settings: list[dict[str, object]], expected: list[str]
) -> None:
    assert pick_telling(settings) == expected
