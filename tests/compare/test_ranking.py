"""Who is best at a goal: paired where samples are shared, points where their rule says, equal rows once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.ranking_tables import write_difference
from bench.compare.ranking import Ranking, rank_series
from bench.compare.sentences import join_equal, join_names, say_ranking, say_run
from bench.compare.standings import Difference
from bench.errors import UsageError
from bench.measure.rules import Rule
from bench.results.groups import sum_answers
from bench.results.matched import group_series, match_runs
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.compare_records import Made, changed, logits
from tests.helpers.report_store import edit_cell, make_cell, varied_store


def rank(root: Path, goal: str) -> Ranking:
    """The one panel of a store at a goal."""
    runs, left_out = Store(root).runs()
    assert left_out == []
    [(title, series)] = group_series(match_runs(runs, [])).items()
    return rank_series(title, series, Rule.parse(goal))


def set_point(rule: str, quality: float, speedup: float) -> Any:
    """A change of a made-up record: what one point reaches, and at what cost."""

    def change(record: dict[str, Any]) -> None:
        [point] = [p for p in record["evaluation"]["evaluation"]["points"] if p["rule"] == rule]
        point["metrics"]["accuracy"] = {"value": quality, "low": quality - 0.02, "high": quality + 0.02}
        point["cost_speedup"] = {"value": speedup, "low": speedup - 0.05, "high": speedup + 0.05}

    return change


@pytest.mark.parametrize(
    ("low", "high", "noise", "said"),
    [
        (-0.02, -0.0003, False, "[-0.020, -0.0003]"),
        (-0.02, 0.00002, True, "[-0.020, +0.00002]"),
        (-0.02, 0.0, True, "[-0.020, +0.000]"),
        (-0.02, -1e-17, True, "[-0.020, +0.000]"),
        (0.0004, 0.02, False, "[+0.0004, +0.020]"),
        (-0.02, -0.004, False, "[-0.020, -0.004]"),
    ],
)
def test_a_bound_that_decides_shows_on_which_side_of_0_it_lies(low: float, high: float, noise: bool, said: str) -> None:
    found = Difference((low + high) / 2, low, high, paired=True)
    assert found.is_noise is noise
    assert write_difference(found).endswith(said)


def test_differences_are_paired_on_the_same_samples(tmp_path: Path) -> None:
    """The interval of a pair on the same samples is that of the samples on which they differ."""
    same = logits()
    Made("entropy", exits=same).write(tmp_path)
    Made("patience", exits=same).write(tmp_path)
    found = rank(tmp_path, "1.5x")
    best, other = found.ranked
    assert best.level
    assert best.difference is None
    difference = other.difference
    assert difference is not None
    assert difference.paired
    ours, theirs = (
        sum_answers(one.series.runs[0], "evaluation", one.rule) for one in (other, best)
    )  # fmt: skip
    assert ours is not None
    assert theirs is not None
    apart = (ours - theirs)[:, 0]
    assert difference.value == pytest.approx(apart.mean())
    half = 1.96 * apart.std() / len(apart) ** 0.5
    assert difference.high - difference.low == pytest.approx(2 * half, rel=0.15)
    assert other.level == (difference.low <= 0 <= difference.high)


@pytest.mark.parametrize("why", ["logits", "samples", "seed"])
def test_without_common_samples_the_intervals_are_compared(why: str, tmp_path: Path) -> None:
    other = Made("patience", with_samples=why != "logits", seed=3 if why == "seed" else 0)
    if why == "samples":
        other = replace(other, exits=replace(other.exits, ids=tuple(f"t{i}" for i in other.exits.ids)))
    Made("entropy").write(tmp_path)
    other.write(tmp_path)
    found = rank(tmp_path, "1.5x")
    [behind] = found.ranked[1:]
    assert behind.difference is not None
    assert not behind.difference.paired
    both = [one.quality for one in found.ranked]
    assert behind.difference.high - behind.difference.low == pytest.approx(
        np.hypot(*(q.high - q.value for q in both)) + np.hypot(*(q.value - q.low for q in both)), rel=0.2
    )


def test_seeds_that_both_have_are_paired(tmp_path: Path) -> None:
    for seed, share in ((0, 0.0), (1, 0.1), (2, 0.05)):
        exits = changed(logits(), share, seed)
        Made("entropy", seed=seed, exits=exits).write(tmp_path)
        if seed < 2:
            Made("patience", seed=seed, exits=exits).write(tmp_path)
    best, other = rank(tmp_path, "1.5x").ranked
    runs = {one.name: {run.seed: run for run in one.series.runs} for one in (best, other)}
    values = []
    for seed in (0, 1):
        ours, theirs = (sum_answers(runs[one.name][seed], "evaluation", one.rule) for one in (other, best))
        assert ours is not None
        assert theirs is not None
        values.append((ours - theirs)[:, 0].mean())
    assert other.difference is not None
    assert other.difference.value == pytest.approx(np.mean(values))


def test_series_with_the_same_numbers_are_one(tmp_path: Path) -> None:
    """Two classes: entropy and its form in nats are the same order, so the same curve."""
    for strategy in ("entropy", "max-probability", "patience"):
        Made(strategy).write(tmp_path)
    found = rank(tmp_path, "1.5x")
    [merged] = [one for one in found.ranked if "entropy" in one.names]
    assert merged.names == ("entropy", "max-probability")
    assert len(found.ranked) == 2
    assert "entropy and max-probability" in say_ranking(found)


def test_bounds_and_what_has_no_thresholds_stand_apart(tmp_path: Path) -> None:
    make_cell(tmp_path, "entropy")
    make_cell(tmp_path, "full", early=False)
    spec = {"backbone_args": {"num_hidden_layers": 3}}
    cut = make_cell(tmp_path, "truncated", early=False, layers=3, whole=6, spec=spec)
    make_cell(tmp_path, "oracle-correct", upper_bound=True)

    def set_cost(record: dict[str, Any]) -> None:
        record["evaluation"]["evaluation"]["full"]["cost_speedup"] = {"value": 2.0, "low": 2.0, "high": 2.0}

    edit_cell(cut, set_cost)
    found = rank(tmp_path, "2x")
    assert [one.name for one in found.ranked] == ["entropy"]
    assert [one.name for one in found.plain] == ["full", "truncated"]
    assert [one.name for one in found.bounds] == ["oracle-correct"]
    said = say_ranking(found)
    assert "3 of 6 plain layers: " in said
    assert "oracle" not in said
    assert said.count("full") == 1
    assert " All layers (full): " in said


@pytest.mark.parametrize(("speedup", "stands"), [(1.41, "3x"), (1.89, "3x"), (1.91, "2x"), (2.0, "2x"), (7.9, "2x")])
def test_a_point_that_is_slower_than_its_rule_does_not_stand_for_it(
    speedup: float, stands: str, tmp_path: Path
) -> None:
    edit_cell(make_cell(tmp_path, "entropy"), set_point("2x", 0.9, speedup))
    [one] = rank(tmp_path, "2x").ranked
    assert one.rule == stands


def test_who_does_not_reach_the_goal_is_named_with_the_reason(tmp_path: Path) -> None:
    make_cell(tmp_path, "entropy")
    edit_cell(make_cell(tmp_path, "patience"), set_point("3x", 0.7, 2.2))
    found = rank(tmp_path, "3x")
    assert [one.name for one in found.ranked] == ["entropy"]
    assert found.missing == {"patience": "only 2.20x there"}
    none = rank(tmp_path, "9x")
    assert none.best is None
    assert set(none.missing.values()) == {"no point 9x in its record"}
    assert none.fastest is not None
    assert none.fastest.cost_speedup.value == max(
        p.cost_speedup.value for p in none.fastest.series.runs[0].result().reached.values()
    )
    assert f"there is none: the fastest is {none.fastest.name}, " in say_ranking(none)


def test_at_a_loss_the_fastest_is_best_and_loses_no_more_than_it_says(tmp_path: Path) -> None:
    """Counted from the best full model of all, not from each one's own."""
    for strategy, full in (("entropy", 0.90), ("romebert", 0.80)):
        folder = make_cell(tmp_path, strategy, exits=False)

        def change(record: dict[str, Any], full: float = full) -> None:
            result = record["evaluation"]["evaluation"]
            result["full"]["metrics"]["accuracy"] = {"value": full, "low": full - 0.02, "high": full + 0.02}
            result["per_exit"]["accuracy"][-1] = full
            for point in result["points"]:
                if "metrics" in point:
                    lost = {"-1": 0.02, "-0.5": 0.006}.get(point["rule"], 0.0)
                    value = full - lost
                    point["metrics"]["accuracy"] = {"value": value, "low": value - 0.02, "high": value + 0.02}

        edit_cell(folder, change)
    found = rank(tmp_path, "-1")
    assert found.reference is not None
    assert found.reference.name == "entropy"
    [one] = found.ranked
    assert (one.name, one.rule) == ("entropy", "-0.5")  # its point -1 loses two points on what is reported
    assert found.missing == {"romebert": "more is lost there"}
    assert "With at most 1 point lost" in say_ranking(found)
    assert "entropy is the fastest" in say_ranking(found)


def test_what_is_void_is_never_the_best(tmp_path: Path) -> None:
    """A model no better than one answer for all leads by number, and is not said to."""
    Made("entropy", exits=logits(skill=0.0)).write(tmp_path)
    found = rank(tmp_path, "2x")
    assert found.ranked
    assert found.best is None
    assert "nothing can be said: no skill" in say_ranking(found)
    Made("patience").write(tmp_path)
    again = rank(tmp_path, "1.5x")
    assert again.best is not None
    assert again.best.name == "patience"


def test_a_goal_that_is_no_speedup_and_no_loss_is_refused(tmp_path: Path) -> None:
    make_cell(tmp_path)
    with pytest.raises(UsageError, match="speed-up"):
        rank(tmp_path, "budget=0.5")


def test_every_panel_of_a_varied_store_has_its_sentence(tmp_path: Path) -> None:
    runs, _ = Store(varied_store(tmp_path)).runs()
    groups = group_series(match_runs(runs, []))
    assert len(groups) == 3
    for title, series in groups.items():
        found = rank_series(title, series, Rule.parse("2x"))
        assert title.split(" | ")[0] in say_ranking(found)
        names = [name for part in (found.ranked, found.plain, found.bounds) for one in part for name in one.names]
        assert len(names) + len(found.missing) == len(series)
        assert len({*names, *found.missing}) == len(series)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_names_are_joined(names: list[str], said: str) -> None:
    assert join_names(names) == said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a (x)", "b (x)"], "a and b (x)"),
        (["a (x)", "b (y)"], "a (x) and b (y)"),
        (["a (x)", "b"], "a (x) and b"),
        (["a (x)"], "a (x)"),
        (["a)", "b)"], "a) and b)"),
    ],
)
def test_what_equal_ones_have_in_common_is_said_once(names: list[str], said: str) -> None:
    assert join_equal(names) == said


def test_one_run_is_said_with_its_point_without_loss(tmp_path: Path) -> None:
    Made("entropy").write(tmp_path)
    [run] = Store(tmp_path).runs()[0]
    point = run.result().reached["no-loss"]
    said = say_run(run)
    assert said.startswith("entropy on demo has accuracy ")
    assert f"{point.cost_speedup.value:.2f}x fewer FLOPs" in said
    assert f"all layers have {run.result().full.metrics['accuracy'].value:.3f}." in said


@pytest.mark.parametrize(("strategy", "early", "said"), [("full", False, "leaves no earlier than its last layer")])
def test_one_run_without_exits_is_said_too(strategy: str, early: bool, said: str, tmp_path: Path) -> None:
    assert said in say_run(Run.load(make_cell(tmp_path, strategy, early=early)))


def test_one_void_run_says_so(tmp_path: Path) -> None:
    Made("entropy", exits=logits(skill=0.0)).write(tmp_path)
    [run] = Store(tmp_path).runs()[0]
    assert "But no skill: " in say_run(run)


@pytest.mark.parametrize(("latency", "timed"), [("valid", True), ("invalid", False)])
def test_only_a_valid_time_is_said(latency: str, timed: bool, tmp_path: Path) -> None:
    assert ("less time" in say_run(Run.load(make_cell(tmp_path, latency=latency)))) == timed
