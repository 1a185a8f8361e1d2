"""Claims judged: checks give every verdict on planted records, the command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.cli.process import main
from bench.compare.replayed import ReplayedRun, estimate_mean
from bench.errors import UsageError
from bench.inference.replay import make_criterion
from bench.measure.exits import AllExits
from bench.measure.stats import Interval
from bench.measure.trade_off import Costs, TradeOff
from bench.reproduce.base import (
    Judgement,
    Place,
    Trial,
    combine_trials,
    compute_joint_level,
    judge_bound,
    judge_published,
)
from bench.reproduce.checks import make_check, subtract_independent
from bench.results.store import Store
from bench.text import escape_markdown
from tests.helpers.paper_files import GOOD

SAMPLES, LAYERS = 400, 6


# --------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("low", "high", "strict", "verdict"),
    [
        (0.1, 0.3, True, "reproduced"),
        (0.0, 0.3, False, "reproduced"),
        (0.0, 0.3, True, "within noise"),
        (0.0, 0.0, True, "not reproduced"),
        (-0.1, 0.1, False, "within noise"),
        (-0.2, -0.1, False, "not reproduced"),
    ],
)
def test_a_bound(low: float, high: float, strict: bool, verdict: Judgement) -> None:
    assert judge_bound(Interval((low + high) / 2, low, high), 0.0, strict=strict) == verdict


@pytest.mark.parametrize(
    ("published", "verdict"),
    [(0.5, "reproduced"), (0.51, "reproduced"), (0.55, "within noise"), (0.7, "not reproduced")],
)
def test_a_published_number(published: float, verdict: Judgement) -> None:
    assert judge_published(Interval(0.5, 0.4, 0.6), published, 0.01) == verdict


YES, NOISE, NO, OUT = "reproduced", "within noise", "not reproduced", "not run"


@pytest.mark.parametrize(
    ("parts", "every", "some"),
    [
        ([YES, YES], YES, YES),
        ([YES, NOISE], NOISE, YES),
        ([YES, NO], NO, YES),
        ([NOISE, NO], NO, NOISE),
        ([NO, NO], NO, NO),
        ([YES, OUT], YES, YES),
        ([OUT, OUT], OUT, OUT),
        ([], OUT, OUT),
    ],
)
def test_parts_make_a_verdict(parts: list[Judgement], every: Judgement, some: Judgement) -> None:
    found = [Trial(f"place {i}", verdict, detail="why") for i, verdict in enumerate(parts)]
    assert combine_trials(found, "every").verdict == every
    assert combine_trials(found, "any").verdict == some


def test_more_parts_take_wider_intervals() -> None:
    assert compute_joint_level(1) == pytest.approx(0.95)
    assert compute_joint_level(10) == pytest.approx(0.995)


def test_independent_intervals_are_subtracted_as_squares() -> None:
    found = subtract_independent(Interval(5.0, 2.0, 8.0), Interval(1.0, -3.0, 5.0))
    assert (found.estimate, found.low, found.high) == (4.0, -1.0, 9.0)


# --------------------------------------------------------------------------- checks on planted records


def planted(right_at: list[float], sure_at: int = 1, *, depth: int | None = None, seed: int = 0) -> ReplayedRun:
    """A run whose exit l answers the share ``right_at[l]`` of the samples right, the same first ones.

    Two classes, alternating. Samples are sure (low entropy) from exit ``sure_at`` on, in the order of their number, so
    every budget can be met.
    """
    samples, layers = SAMPLES, len(right_at)
    labels = np.arange(samples) % 2
    order = np.random.default_rng(7).permutation(samples)
    right = order[:, None] < np.array(right_at) * samples
    answers = np.where(right, labels[:, None], 1 - labels[:, None])
    surest = 4.0 + np.random.default_rng(seed).random((samples, 1))
    confidence = np.where(np.arange(1, layers + 1) >= sure_at, surest, 0.1) + 0.01 * np.arange(layers)
    logits = np.stack([np.where(answers == c, confidence, 0.0) for c in (0, 1)], axis=2).astype(np.float32)
    exits = AllExits(tuple(f"s{i}" for i in range(samples)), labels.astype(np.int64), logits, np.full(samples, 9))
    criterion, _ = make_criterion("entropy", {})
    tradeoff = TradeOff(criterion, exits, Costs.layers(samples, layers), ["accuracy"])
    # a point at which everybody leaves at the first sure exit
    return ReplayedRun(tradeoff, depth or layers, dict.fromkeys(("no-loss", "default"), 0.5))


def never_below(layers: int) -> ReplayedRun:
    """A run of patience on six exits, which agree from exit ``layers`` - 1 on, and are right."""
    labels, exits = np.arange(SAMPLES) % 2, np.arange(6)
    answers = labels[:, None] ^ (exits % 2 * (exits < layers - 1))
    logits = 4 * np.eye(2, dtype=np.float32)[answers]
    found = AllExits(tuple(f"s{i}" for i in range(SAMPLES)), labels.astype(np.int64), logits, np.full(SAMPLES, 9))
    criterion, _ = make_criterion("patience", {})
    return ReplayedRun(TradeOff(criterion, found, Costs.layers(SAMPLES, 6), ["accuracy"]), 6, {})


def place(task: str = "sst2", block: str = "A", missing: dict[str, str] | None = None, **runs: ReplayedRun) -> Place:
    return Place(block, task, {name: [run] for name, run in runs.items()}, missing or {})


FLAT, RISING, FALLING, CHANCE = [0.9] * 6, [0.6, 0.65, 0.7, 0.8, 0.85, 0.9], [0.9, 0.9, 0.85, 0.8, 0.75, 0.7], [0.5] * 6
ALMOST = [0.89, 0.9, 0.9, 0.9, 0.9, 0.895]


def verdict(check: str, *places: Place, **arguments: object) -> Judgement:
    return make_check(check, {"strategy": "a", **arguments}).judge(places).verdict


@pytest.mark.parametrize(
    ("right", "speedup", "loss", "expected"),
    [
        (FLAT, 2, 0.0, YES),
        (FALLING, 2, 0.0, YES),
        (RISING, 2, 0.0, NO),
        (RISING, 2, 0.5, YES),
        ([0.9, 0.9, 0.895, 0.9, 0.9, 0.9], 2, 0.0, NOISE),
        (FLAT, 10, 0.0, OUT),
        (CHANCE, 2, 0.0, OUT),
    ],
)
def test_quality_at_speedup(right: list[float], speedup: float, loss: float, expected: Judgement) -> None:
    run = planted(right, sure_at=3 if right[2] == 0.895 else 1)
    assert verdict("quality-at-speedup", place(a=run), speedup=speedup, loss=loss) == expected


def test_quality_against_another_model() -> None:
    places = place(a=planted(FLAT), full=planted([0.99] * 6))
    assert verdict("quality-at-speedup", places, speedup=2) == YES
    assert verdict("quality-at-speedup", places, speedup=2, against="full") == NO
    assert verdict("quality-at-speedup", place(a=planted(FLAT)), speedup=2, against="full") == OUT


@pytest.mark.parametrize(
    ("full", "loss", "block", "expected"),
    [
        (0.99, 0.0, None, YES),
        (0.99, 0.0, "A", YES),
        (0.99, 0.0, "B", OUT),
        (0.99, 0.5, None, NO),
        (0.9, 0.0, None, NO),
        (0.7, 0.0, None, NO),
    ],
)
def test_below_the_full_model(full: float, loss: float, block: str | None, expected: Judgement) -> None:
    places = place(a=planted(FLAT), full=planted([full] * 6))
    asked = {"against": "full", "speedup": 2, "loss": loss, "block": block}
    assert verdict("below-full-at-speedup", places, **asked) == expected


def test_of_what_is_never_so_fast_no_loss_is_claimed() -> None:
    assert verdict("below-full-at-speedup", place(a=never_below(4)), speedup=3) == OUT


@pytest.mark.parametrize(("one", "other", "expected"), [(FLAT, RISING, YES), (RISING, FLAT, NO), (FLAT, FLAT, NO)])
def test_curve_above(one: list[float], other: list[float], expected: Judgement) -> None:
    assert verdict("curve-above", place(a=planted(one), b=planted(other)), other="b") == expected


@pytest.mark.parametrize(("shallow", "expected"), [(0.7, YES), (0.99, NO), (0.9, NO)])
def test_quality_at_cost_of(shallow: float, expected: Judgement) -> None:
    other = planted([0.6, 0.6, shallow], depth=6)
    assert verdict("quality-at-cost-of", place(a=planted(FLAT), b=other), other="b") == expected


@pytest.mark.parametrize(("right", "expected"), [(FALLING, YES), (RISING, NO), (FLAT, NO), (CHANCE, OUT)])
def test_overthinking_recovered(right: list[float], expected: Judgement) -> None:
    assert verdict("overthinking-recovered", place(a=planted(right))) == expected


def test_overthinking_does_not_run_where_nobody_leaves_early() -> None:
    late = planted(FALLING, sure_at=LAYERS)
    check = make_check("overthinking-recovered", {"strategy": "a", "point": "default"})
    [part] = check.judge([place(a=late)]).trials
    assert (part.verdict, part.detail) == (OUT, "at default no sample leaves early")


def test_overthinking_tells_what_it_counted() -> None:
    [part] = make_check("overthinking-recovered", {"strategy": "a"}).judge([place(a=planted(FALLING))]).trials
    assert part.detail == "of 80 overthought 80 put right, 0 others put wrong"


@pytest.mark.parametrize(
    ("sure_at", "expected"),
    [((1, 3, 5), YES), ((3, 1, 5), NO), ((2, 2, 5), NO)],
)
def test_ordered_by_speedup(sure_at: tuple[int, int, int], expected: Judgement) -> None:
    tasks = ["x", "y", "z"]
    places = [place(task, a=planted(FLAT, at)) for task, at in zip(tasks, sure_at, strict=True)]
    assert verdict("ordered-by-speedup", *places, tasks=tasks) == expected


def test_a_part_of_an_order_does_not_show_it() -> None:
    tasks = ["x", "y", "z"]
    places = [place("x", a=planted(FLAT, 1)), place("y", a=planted(FLAT, 3)), place("z", missing={"a": "gone"})]
    assert verdict("ordered-by-speedup", *places, tasks=tasks) == OUT
    assert verdict("ordered-by-speedup", *places[::-1][1:], tasks=tasks) == OUT
    wrong = [place("x", a=planted(FLAT, 3)), place("y", a=planted(FLAT, 1)), places[2]]
    assert verdict("ordered-by-speedup", *wrong, tasks=tasks) == NO


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"by": "exit", "published": {1: 0.6, 6: 0.9}}, YES),
        ({"by": "exit", "published": {1: 0.6}, "metric": "f1+accuracy"}, YES),
        ({"by": "exit", "published": {1: 0.61}}, NOISE),
        ({"by": "exit", "published": {1: 0.9}}, NO),
        ({"by": "exit", "published": {7: 0.9}}, OUT),
        ({"by": "threshold", "published": {0.5: 1 / 6}, "quantity": "layers"}, YES),
        ({"by": "threshold", "published": {0.5: 6.0}, "quantity": "speedup"}, YES),
        ({"by": "speedup", "published": {6.0: -0.3}, "quantity": "loss"}, YES),
        ({"by": "speedup", "published": {6.0: 0.0}, "quantity": "loss"}, NO),
        ({"by": "exit", "published": {1: 0.6}, "block": "B"}, OUT),
    ],
)
def test_values_at(asked: dict[str, Any], expected: Judgement) -> None:
    found = verdict("values-at", place(a=planted(RISING)), task="sst2", tolerance=0.005, **asked)
    assert found == expected


SOME: dict[str, dict[str, Any]] = {
    "quality-at-speedup": {"speedup": 5},
    "quality-at-cost-of": {"other": "b"},
    "values-at": {"task": "sst2", "by": "speedup", "published": {5.0: 0.9}, "tolerance": 0.1},
}


@pytest.mark.parametrize("check", SOME)
def test_a_method_without_a_setting_that_is_cheap_enough_is_judged(check: str) -> None:
    """Nobody has two exits that agree before the fourth of six."""
    runs = place(a=never_below(4), b=planted([0.9], depth=6))
    [trial] = make_check(check, {"strategy": "a", **SOME[check]}).judge([runs]).trials
    assert trial.verdict == NO
    assert "no threshold gets below 4.00 layers" in trial.detail


@pytest.mark.parametrize("check", SOME)
def test_a_mistake_of_ours_is_no_verdict_about_a_paper(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(ReplayedRun, "quality", fail)
    with pytest.raises(ValueError, match="broadcast"):
        verdict(check, place(a=planted(FLAT), b=planted([0.9] * 5, depth=6)), **SOME[check])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("quality-at-spedup", {}, "Did you mean 'quality-at-speedup'"),
        ("quality-at-speedup", {"strategy": "a"}, "'speedup' of check 'quality-at-speedup' has no default"),
        ("quality-at-speedup", {"strategy": "a", "speedup": "two"}, "must be a finite number"),
        ("curve-above", {"strategy": "a", "other": "b", "over": "most"}, "must be one of every, any"),
        ("values-at", {"strategy": "a", "task": "x", "by": "exit", "published": {1: "x"}, "tolerance": 0.1}, "numbers"),
        ("values-at", {"strategy": "a", "task": "x", "by": "exit", "published": {}, "tolerance": 0.1}, "no published"),
    ],
)
def test_a_check_refuses_what_it_does_not_take(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_check(name, arguments)


def test_a_place_that_did_not_run_is_told_and_does_not_count() -> None:
    found = make_check("quality-at-speedup", {"strategy": "a", "speedup": 2}).judge(
        [place(a=planted(FLAT)), place("rte", missing={"a": "a: no weights"}), place("mrpc", b=planted(FLAT))]
    )
    assert found.verdict == YES
    assert [(part.where, part.verdict, part.detail) for part in found.trials[1:]] == [("rte, A", OUT, "a: no weights")]


def test_several_seeds_widen_the_interval() -> None:
    runs = [planted([right] * 6) for right in (0.8, 0.85, 0.9)]
    alone, over = (estimate_mean([r.quality(r.last) for r in some], SAMPLES, 0.95) for some in (runs[1:2], runs))
    assert over.estimate == pytest.approx(0.85)
    assert over.high - over.low > alone.high - alone.low


# --------------------------------------------------------------------------- the command

TINY = {"backbone.num_hidden_layers": 3, "backbone.hidden_size": 16, "backbone.intermediate_size": 24, "train.steps": 3}


def paper_file(folder: Path, **cell: object) -> str:
    paper: Any = json.loads(json.dumps(GOOD))
    paper["full"] = {
        "says": "A demo.", "defaults": {"latency": False, "limit": 64, "settings": TINY},
        "blocks": [{"name": "A", "matrix": {"strategy": ["entropy", "fastbert"], "task": "demo", **cell}}],
    }  # fmt: skip
    paper["claims"].append({**GOOD["claims"][0], "id": "b", "scales": ["small"]})
    (folder / "mine.yaml").write_text(yaml.safe_dump(paper), encoding="utf-8")
    return str(folder / "mine.yaml")


@pytest.mark.slow
def test_a_paper_is_reproduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan is shown, then run, then judged; a second time it is only judged."""
    command = ["reproduce", paper_file(tmp_path), "--results-dir", str(tmp_path / "results"), "--offline", "--json"]
    assert main([*command, "--plan"]) == 0
    shown = capsys.readouterr()
    assert [cell["status"] for cell in json.loads(shown.out)["cells"]] == ["missing", "missing"]
    assert not (tmp_path / "results" / "demo").exists()

    assert main([*command, "--markdown", str(tmp_path / "claims.md")]) == 0
    first = capsys.readouterr()
    assert "2 cells, 2 to run" in first.err
    told = json.loads(first.out)
    assert [claim["id"] for claim in told["claims"]] == ["a", "b"]
    assert told["claims"][1]["verdict"] == "not run"
    assert told["claims"][0]["check"] == {"name": "quality-at-speedup", "strategy": "entropy", "speedup": 2}
    assert [part["where"] for part in told["claims"][0]["parts"]] == ["demo, A"]
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    assert "| a: So. |" in text
    assert "| a | demo, A |" in text

    assert main(command) == 0
    again = capsys.readouterr()
    assert "2 cells, 0 to run" in again.err
    assert again.out == first.out

    assert main([*command, "--recorded", "--seed", "0,1"]) == 0
    part = capsys.readouterr()
    assert "4 cells, 2 not recorded" in part.err
    assert "entropy: seed 1 is not recorded" in json.loads(part.out)["claims"][0]["parts"][0]["detail"]
    assert main([*command, "--recorded"]) == 0
    assert capsys.readouterr().out == first.out

    # three steps on 64 samples, six of them held out: what that is worth stands beside the verdicts
    runs = {run.label.partition(" | ")[0]: run for run in Store(tmp_path / "results").runs()[0]}
    expected = {name: [doubt.said for doubt in run.doubts] for name, run in runs.items()}
    assert all("Few held out: " in " ".join(said) for said in expected.values())
    for name, said in expected.items():
        assert [doubt["said"] for doubt in told["doubts"] if doubt["cell"].startswith(name)] == said
    assert main(command[:-1]) == 0
    for shown_text in (" ".join(text.split()), " ".join(capsys.readouterr().out.split())):
        for doubt in {doubt for run in runs.values() for doubt in run.doubts}:
            assert doubt.why in shown_text
            assert escape_markdown(doubt.found) in shown_text or doubt.found in shown_text


@pytest.mark.slow
def test_what_is_not_at_hand_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One cell tries the download, the others of the same lack do not; every claim says why it did not run; exit 5."""
    (tmp_path / "hub").mkdir()
    command = ["reproduce", paper_file(tmp_path, task="rte"), "--results-dir", str(tmp_path / "results"), "--offline"]
    assert main([*command, "--hub-root", str(tmp_path / "hub")]) == 5
    printed = capsys.readouterr()
    assert "not run (entropy: " in " ".join(printed.out.replace("│", " ").split())
    [error] = [line for line in printed.err.splitlines() if line.startswith("Error:")]
    assert error.startswith("Error: 2 of 2 cells could not be run: ")
    assert printed.err.count("[1/1] entropy") == 1


def test_mistakes_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reproduce", "elbrt"]) == 2
    assert "Unknown paper 'elbrt'. Did you mean 'elbert'?" in capsys.readouterr().err
    assert main(["reproduce", paper_file(tmp_path), "--scale", "small"]) == 2
    assert "has no small plan" in capsys.readouterr().err
