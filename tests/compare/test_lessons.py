"""What a ranking teaches: each sentence's figures are the ranking's, and what is not there is not said."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from bench.compare.leaderboard import Standings
from bench.compare.lessons import draw_lessons

FAMILIES = {
    "entropy": "confidence",
    "energy": "confidence",
    "margin": "confidence",
    "patience": "windows and patience",
    "probe": "learned",
    "random": "controls",
}
QUALITY = {
    "entropy": (0.80, 0.90),
    "energy": (0.81, 0.90),
    "patience": (0.70, 0.89),
    "probe": (0.80, 0.90),
    "random": (0.60, 0.90),
}


def make_standings(quality: Mapping[str, tuple[float, ...]], bounds: Mapping[int, float]) -> Standings:
    """Two checkpoints whose draws move by a thousandth; margin decides as energy does."""
    random = np.random.default_rng(0)
    places = {name: dict(enumerate(values)) for name, values in quality.items()}
    drawn = {n: {at: v + 0.001 * random.normal(size=2000) for at, v in found.items()} for n, found in places.items()}
    return Standings([None, None], places, drawn, bounds, {"energy": ["margin"]})  # type: ignore[list-item]


def test_there_are_five_with_the_rankings_figures() -> None:
    sure, windows, learned, chance, room = draw_lessons(
        make_standings(QUALITY, {0: 0.90, 1: 0.95}), FAMILIES, "entropy"
    )
    assert sure == (
        "Of 2 other criteria that go by how sure one exit is, 0 are level with entropy on every checkpoint; their mean "
        "difference from it is +0.0050, from +0.0050 (margin) to +0.0050 (energy), and they are worse in 0 and better "
        "in 2 of 4 comparisons."
    )
    assert "Of 1 criteria that ask whether several exits agree, 0 are level" in windows
    assert "is -0.0550," in windows
    assert "worse in 2 and better in 0 of 2 comparisons" in windows
    assert re.search(r"Of 1 criteria that are fitted .*, 1 are level with entropy", learned)
    assert chance.startswith("Leaving at random is worse than entropy on 1 of 2 checkpoints, by 0.2000 on average")
    assert "on the other 1" in chance
    assert room == (
        "An oracle that knows the labels has +0.0750 more than entropy; the best criterion, energy, has +0.0050: "
        "choosing among criteria settles 7% of what there is to gain."
    )


@pytest.mark.parametrize(
    ("left_out", "bounds", "many"), [((), {}, 4), (("random",), {0: 0.9}, 4), (("probe", "random"), {}, 2)]
)
def test_what_is_not_there_is_not_said(left_out: tuple[str, ...], bounds: dict[int, float], many: int) -> None:
    some = {name: values for name, values in QUALITY.items() if name not in left_out}
    assert len(draw_lessons(make_standings(some, bounds), FAMILIES, "entropy")) == many


def test_nothing_is_taught_without_the_reference() -> None:
    assert draw_lessons(make_standings(QUALITY, {}), FAMILIES, "voting") == []


def test_where_chance_is_as_good_nothing_matters() -> None:
    level = {**QUALITY, "random": QUALITY["entropy"]}
    *_, chance = draw_lessons(make_standings(level, {}), FAMILIES, "entropy")
    assert chance.startswith("Leaving at random is as good as entropy on all of 2 checkpoints")
