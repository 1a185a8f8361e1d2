"""A certificate keeps its word: on recorded logits, among many criteria, where every cut is at the border."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.advise import candidates
from bench.advise.goal import Goal
from bench.advise.resampling import describe_resampled, make_times, resample_certificate
from bench.cli.process import main
from bench.errors import INTERNAL, OK, USAGE
from bench.measure.exits import AllExits
from bench.measure.rules import Choice
from bench.measure.trade_off import TradeOff
from bench.results.run import Run

RECORDED = sorted((Path(__file__).parents[2] / "results/ag_news/minilm-l6").glob("elbert-mono-s0-*"))[0]
ONE_PERCENT = Goal("max_change", 0.01, 0.95)
BORDER = 3000


@pytest.fixture(scope="module")
def recorded() -> AllExits:
    """Logits of a trained model on part of its test samples; they are the population, whose shares are known."""
    exits = Run.load(RECORDED).exits()
    return exits.take(np.arange(2500))


@pytest.mark.parametrize("criteria", [["entropy"], ["entropy", "elbert-mono", "patience", "margin"]])
def test_one_percent_at_95_is_kept_in_95_of_100_resamplings(recorded: AllExits, criteria: list[str]) -> None:
    found = resample_certificate(recorded, criteria, ONE_PERCENT, 600, 100, 0)
    assert len(found.changes) == 100
    assert found.broken <= 5
    assert np.mean(found.speedups) > 2  # kept by cuts at which samples do leave


def make_border(share: float) -> AllExits:
    """Samples of which as good as every cut changes ``share``: by entropy others than by patience.

    Either by a first exit that is sure and wrong before others that are right, or by exits that agree, unsure, on what
    the last one denies. All others are right at every exit, one surer than the other.
    """
    random = np.random.default_rng(5)
    margin = random.uniform(2, 8, BORDER)[:, None] * np.ones(6)
    bad = round(share * BORDER)
    margin[:bad] = [-9, 0.05, -0.06, 0.07, -0.08, 1]
    margin[bad : 2 * bad] = [-0.01, -0.02, -0.01, -0.02, -0.01, 1]
    logits = np.stack([np.zeros_like(margin), margin], axis=2).astype(np.float32)
    ids = tuple(map(str, range(BORDER)))
    return AllExits(ids, np.ones(BORDER, dtype=np.int64), logits, np.full(BORDER, 10))


@pytest.mark.parametrize("criteria", [["entropy"], ["entropy", "patience", "elbert-mono"]])
def test_where_every_cut_is_a_little_beyond_what_is_allowed(criteria: list[str]) -> None:
    found = resample_certificate(make_border(0.0103), criteria, ONE_PERCENT, 473, 100, 0)
    assert 1 <= found.broken <= 5  # none at all would not show that the border is felt


def test_a_choice_without_a_test_breaks_it(recorded: AllExits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loosest cut that changes no more of the samples it is chosen on: half of the time it changes more."""

    def choose(self: TradeOff, rule: object) -> Choice:
        for cut in reversed(self.curve.midpoints):
            if candidates.measure_change(self.exits, self.layers_at(cut)) <= ONE_PERCENT.value:
                return Choice(self.curve.row(cut), float(cut))
        raise AssertionError

    monkeypatch.setattr(TradeOff, "choose", choose)
    found = resample_certificate(recorded, ["entropy"], ONE_PERCENT, 600, 30, 0)
    assert found.broken > found.allowed
    assert "BROKEN" in describe_resampled(found)


def test_the_choice_among_criteria_is_within_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were each certified as if it were the only one, the best of those that err independently would err more often."""
    border, criteria = make_border(0.0103), ["entropy", "patience"]
    found = resample_certificate(border, criteria, ONE_PERCENT, 473, 100, 1)
    whole = Goal.make_rule
    monkeypatch.setattr(Goal, "make_rule", lambda goal, ms, criteria=1: whole(goal, ms, 1))
    alone = resample_certificate(border, criteria, ONE_PERCENT, 473, 100, 1)
    assert found.broken < alone.broken


def test_costs_are_layers() -> None:
    costs = make_times(3).predict_costs(make_border(0.01))
    np.testing.assert_array_equal(costs.early[0], np.array([1, 2, 3]) * 1e6)
    np.testing.assert_array_equal(costs.plain, np.full(BORDER, 3e6))


def test_the_command_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", str(RECORDED), "--scale", "0.03", "--samples", "500"]
    assert main([*words, "--criteria", "entropy,patience"]) == OK
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(
        "At most 1 % of answers change, with 95 % confidence: kept in 3 of 3 resamplings of 500 from"
    )
    assert main([*words, "--criteria", "entropy", "--json"]) == OK
    found = json.loads(capsys.readouterr().out)
    assert (found["times"], found["broken"], found["chosen"]) == (3, 0, {"entropy": 3})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([str(RECORDED), "--samples", "100"], "needs 437 samples for 4 criteria, not 100"),
        ([str(RECORDED), "--criteria", "budget"], "learns on the samples that certify"),
        ([str(RECORDED), "--criteria", "full"], "never leaves early"),
        (["--samples", "100"], "--samples is of a certificate on recorded samples: name their RUN."),
    ],
)
def test_what_cannot_be_asked_is_one_line(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *more]) == USAGE
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_a_broken_certificate_is_our_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.advise.resampling.measure_change", lambda *_: 0.5)
    words = ["simulate", str(RECORDED), "--scale", "0.03", "--samples", "500", "--criteria", "entropy"]
    assert main(words) == INTERNAL
    assert "kept in 0 of 3" in " ".join(capsys.readouterr().out.split())
