"""Operating points are what their rule says, by exhaustive comparison."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure.curve import Curve, exact_curve, exit_layers
from bench.measure.rules import STANDARD, Choice, Rule, Unreachable, choose_cut, pareto, shorten_rule

Array = NDArray[Any]


def curve_of(rows: int) -> Curve:
    """A curve with the given number of rows: rows - 1 samples of distinct scores."""
    scores = np.column_stack([np.arange(max(rows - 1, 1), dtype=float), np.zeros(max(rows - 1, 1))])
    if rows == 1:
        scores[0, 0] = np.inf
    return exact_curve(scores, [])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("risk=0.01@0.9833333333333333", "risk=0.01@0.983"),
        ("gap=0.01@0.9999999", "gap=0.01@0.9999999"),
        ("risk=0.02@0.95", "risk=0.02@0.95"),
        ("2x", "2x"),
        ("risk=0.02@nothing", "risk=0.02@nothing"),
    ],
)
def test_a_confidence_is_shown_in_few_digits_and_never_as_certain(name: str, short: str) -> None:
    assert shorten_rule(name) == short


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("no-loss", Rule("max_loss", 0.0)),
        ("max_loss=0", Rule("max_loss", 0.0)),
        ("-0.5", Rule("max_loss", 0.005)),
        ("-1", Rule("max_loss", 0.01)),
        ("max_loss=0.01", Rule("max_loss", 0.01)),
        ("2x", Rule("speedup", 2.0)),
        (" speedup=2 ", Rule("speedup", 2.0)),
        ("1.5x", Rule("speedup", 1.5)),
        ("budget=0.5", Rule("budget", 0.5)),
    ],
)
def test_parse(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize("text", STANDARD)
def test_the_standard_points_are_their_own_short_form(text: str) -> None:
    assert Rule.parse(text).format() == text


@given(st.sampled_from(["max_loss", "speedup", "budget"]), st.floats(1e-300, 1e300))
def test_format_and_parse_are_inverses(kind: Any, value: float) -> None:
    rule = Rule(kind, value)
    assert Rule.parse(rule.format()) == rule


@pytest.mark.parametrize(
    "text",
    ["", "x", "fast", "2", "-", "-x", "--1", "-nan", "nanx", "-inf", "infx", "0x", "-2x", "budget=0", "budget=",
     "speedup=two", "speedup=-1", "max_loss=-0.1", "loss=0.1", "max_loss=nan"],
)  # fmt: skip
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Rule.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["loss=0.1", "risk", "gap", "max_loss", "speedup=two"])
def test_what_is_not_known_is_said_beside_what_is(text: str) -> None:
    with pytest.raises(UsageError, match=rf"Unknown operating point '{text}'\. Known: no-loss, "):
        Rule.parse(text)


COARSE = st.integers(0, 6)


@given(
    st.lists(st.tuples(st.one_of(COARSE, st.just(math.nan)), COARSE), min_size=1, max_size=12),
    COARSE,
    st.sampled_from(["max_loss", "speedup", "budget"]),
    st.integers(1, 6),
)
def test_choice_by_exhaustion(rows: list[tuple[float, int]], full: int, kind: Any, value: int) -> None:
    """Against a rule written down in plain Python; small integers make ties the usual case."""
    rule = Rule(kind, 1 / value if kind == "budget" else float(value - 1 if kind == "max_loss" else value))
    curve = curve_of(len(rows))
    point = choose_cut(curve, [q for q, _ in rows], [s for _, s in rows], full, rule)
    if kind == "max_loss":
        allowed = [(s, k) for k, (q, s) in enumerate(rows) if q >= full - rule.value]
    else:
        allowed = [(q, s, k) for k, (q, s) in enumerate(rows) if s >= value and not math.isnan(q)]  # type: ignore[misc]
    if allowed:
        index = max(allowed)[-1]
        assert point == Choice(index, curve.midpoints[index])
    else:
        assert isinstance(point, Unreachable)
        assert point.reason.startswith(rule.format())


def test_floating_point_does_not_miss_a_margin_by_its_last_bit() -> None:
    full, wanted = 301 / 600, 298 / 600
    assert full - 0.005 > wanted  # why there is slack
    assert choose_cut(curve_of(2), [full, wanted], [1, 2], full, Rule.parse("-0.5")).index == 1


def test_the_cut_gives_the_row() -> None:
    rng = np.random.default_rng(1)
    scores, correct = rng.random((200, 6)), rng.random((200, 6)) < np.linspace(0.6, 0.9, 6)
    layers = np.broadcast_to(np.arange(1, 7), (200, 6))
    curve = exact_curve(scores, [correct, layers])
    quality, speedup = curve.sums[0][:, 0] / 200, 1200 / curve.sums[1][:, 0]
    for text in STANDARD:
        point = choose_cut(curve, quality, speedup, quality[0], Rule.parse(text))
        assert isinstance(point, Choice)
        at = np.arange(200), exit_layers(scores, point.cut) - 1
        assert correct[at].mean() == quality[point.index]
        assert 6 / layers[at].mean() == pytest.approx(speedup[point.index])


def test_no_loss_on_the_curves_own_full_quality_is_always_reachable() -> None:
    assert choose_cut(curve_of(3), [0.9, 0.8, 0.7], [0.99, 2, 3], 0.9, Rule.parse("no-loss")).index == 0


def test_reasons_name_the_best_there_is() -> None:
    curve = curve_of(2)
    assert "2.50x, 4.00x is wanted" in choose_cut(curve, [0.9, 0.8], [1.0, 2.5], 0.9, Rule.parse("4x")).reason
    assert "0.8000, 0.9000 is wanted" in choose_cut(curve, [0.8, 0.7], [1.0, 2.5], 0.9, Rule.parse("no-loss")).reason


def test_reasons_have_the_digits_that_tell_what_there_is_from_what_is_wanted() -> None:
    def reason(rule: str, quality: float, speedup: float) -> str:
        return choose_cut(curve_of(2), [quality, 0.5], [1.0, speedup], 0.9, Rule.parse(rule)).reason

    assert reason("3x", 0.9, 2.998) == "3x: the largest FLOPs speed-up is 2.998x, 3.000x is wanted."
    assert reason("3x", 0.9, 2.99999) == "3x: the largest FLOPs speed-up is 2.99999x, 3.00000x is wanted."
    assert reason("no-loss", 0.89998, 2.0) == "no-loss: the best quality is 0.89998, 0.90000 is wanted."


def test_one_quality_for_each_row() -> None:
    with pytest.raises(ValueError, match="One quality"):
        choose_cut(curve_of(3), [1.0], [1.0], 1.0, Rule.parse("2x"))


VALUES = st.one_of(st.integers(0, 4).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))


@given(st.lists(st.tuples(VALUES, VALUES), max_size=15))
def test_pareto_by_definition(points: list[tuple[float, float]]) -> None:
    def dominated(q: float, c: float) -> bool:
        return any(q2 >= q and c2 <= c and (q2 > q or c2 < c) for q2, c2 in points)

    want = [not (math.isnan(q) or math.isnan(c)) and not dominated(q, c) for q, c in points]
    have = pareto([q for q, _ in points], [c for _, c in points])
    assert have.tolist() == want
