"""A criterion that was edited after the run: whatever asks it again says that this is not what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from bench.cli.process import main
from bench.results.run import Run
from strategies.base import Seen, State
from strategies.entropy import NormalisedEntropy
from tests.helpers.compare_records import Made

SAID = "the criterion as it is now gives other exits than were recorded at "
ASKED_AGAIN = {
    "criteria": ["criteria", "--against", "patience"],
    "diagnose --stored": ["diagnose", "RUN", "--stored", "--quiet"],
    "explain --cases": ["explain", "RUN", "--cases", "--offline", "--quiet"],
}
AS_RECORDED = {
    "show": ["show", "RUN"],
    "table": ["table"],
    "history": ["history", "--record"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of the entropy criterion beside others on the same checkpoint, in the results folder from here."""
    monkeypatch.chdir(tmp_path)
    for strategy in ("entropy", "patience", "random"):
        Made(strategy=strategy).write(Path("results"))
    return str(next(Path("results").glob("*/*/entropy-*")))


RECORDED = NormalisedEntropy.step


@pytest.fixture
def edited(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the run the rule was made to leave later, at every cut."""

    def edit(self: NormalisedEntropy, state: State, seen: Seen) -> tuple[State, Tensor]:
        after, score = RECORDED(self, state, seen)
        return after, score * 3

    monkeypatch.setattr(NormalisedEntropy, "step", edit)


@pytest.mark.parametrize("verb", ASKED_AGAIN)
def test_what_asks_the_rule_again_says_it(
    verb: str, folder: str, edited: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("RUN", folder) for word in ASKED_AGAIN[verb]]
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Another rule: " in said
    assert SAID in said
    assert "run it again" in said
    assert main([*words, "--json"]) == 0
    assert SAID in json.dumps(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("verb", {**ASKED_AGAIN, **AS_RECORDED})
def test_the_rule_that_was_recorded_is_not_another_one(
    verb: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Run.load(Path(folder)).find_moved() == {}
    assert main([word.replace("RUN", folder) for word in {**ASKED_AGAIN, **AS_RECORDED}[verb]]) == 0
    assert "another rule" not in capsys.readouterr().out.lower()


@pytest.mark.parametrize("verb", AS_RECORDED)
def test_recorded_numbers_stay_as_they_are(
    verb: str, folder: str, edited: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("RUN", folder) for word in AS_RECORDED[verb]]) == 0
    assert "another rule" not in capsys.readouterr().out.lower()


def test_the_points_that_moved_are_named(folder: str, edited: None) -> None:
    run = Run.load(Path(folder))
    moved = run.find_moved()
    assert moved
    for rule, how in moved.items():
        assert f"recorded exits {list(run.result().reached[rule].exit_counts)}, the present rule gives " in how
    [doubt] = [doubt for doubt in run.find_replay_doubts() if doubt.kind == "another-rule"]
    assert doubt.rules == tuple(moved)
    assert doubt not in run.doubts


def test_seeds_of_another_rule_are_not_pooled(folder: str, edited: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The mean over seeds is the recorded one; an interval over seeds would be of other answers, and is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NormalisedEntropy, "step", RECORDED)
        Made(seed=1).write(Path("results"))
    assert main(["table", "--json"]) == 0
    printed = capsys.readouterr()
    names = [str(path.relative_to("results")) for path in sorted(Path("results").glob("*/*/entropy-*"))]
    lines = [line for line in printed.err.splitlines() if SAID in line]
    assert [line.partition(": ")[0] for line in lines] == [f"No interval over seeds with {name}" for name in names]
    [row] = [row for row in json.loads(printed.out) if row["strategy"] == "entropy"]
    for rule in {"default", "no-loss", "1.5x", "2x"} & set(Run.load(Path(folder)).find_moved()):
        assert "both" not in row[rule]
    assert "both" in row["all layers"]  # which asks no rule
    assert main(["report", "--out", "out", "--format", "md"]) == 0
    assert capsys.readouterr().err.count(SAID) == 2
