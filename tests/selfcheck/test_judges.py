"""The gain of judges: both ways decide alike, the pairs take turns, the figures are complete."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.selfcheck import judges
from bench.selfcheck.engine import TIMED_CRITERIA
from bench.selfcheck.judges import ForcedByTensors, describe_judges, estimate_gain, measure_judges, time_in_turn
from strategies.base import ExitModel, Start
from strategies.controls import ForcedExits
from strategies.elbert import SharedHead
from strategies.fast import make_judge
from tests.helpers.models.exit_models import make_model


@pytest.mark.parametrize("check", TIMED_CRITERIA)
def test_one_way_has_a_judge_and_the_other_has_none(check: str) -> None:
    start = Start(1, 6, 2, keys=torch.tensor([0]))
    assert make_judge(ForcedExits(TIMED_CRITERIA[check][0]), start, 0.5) is not None
    assert make_judge(ForcedByTensors(TIMED_CRITERIA[check][0]), start, 0.5) is None


def test_the_gains_are_complete_and_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(size: str) -> ExitModel:
        return make_model("bert", SharedHead, outputs=2, vocab_size=30_000, max_position_embeddings=64)

    monkeypatch.setattr(judges, "build_sized_model", tiny)
    said: list[str] = []
    found = measure_judges(say=said.append, sizes=["tiny"], tokens=12, samples=2, seconds=0.01)
    assert [(row["check"], row["what"]) for row in found["gains"]] == [
        (check, what) for check in TIMED_CRITERIA for what in ("exit L/2", "never")
    ]
    assert all(row["low"] <= row["gain"] <= row["high"] and row["pairs"] >= 2 for row in found["gains"])
    assert describe_judges(found).splitlines()[1:] == said
    assert all("pairs" in line for line in said)


def test_pairs_are_of_one_sample_and_begin_in_turn() -> None:
    asked: list[tuple[str, int]] = []
    now = 0

    def query(name: str, cost: int, i: int) -> float:
        nonlocal now
        asked.append((name, i))
        now += cost
        return 1.0

    times = time_in_turn(lambda i: query("a", 100, i), lambda i: query("b", 103, i), 3, 1e-6, lambda: now)
    assert asked[6:14] == [("a", 0), ("b", 0), ("b", 0), ("a", 0), ("a", 1), ("b", 1), ("b", 1), ("a", 1)]
    assert times[:, 0].tolist() == [100] * len(times)
    found = estimate_gain(times)
    assert (found["gain"], found["low"], found["high"]) == pytest.approx((0.03, 0.03, 0.03))


def test_the_interval_holds_the_median() -> None:
    random = np.random.default_rng(3)
    times = np.stack([np.full(301, 1e6), 1e6 * random.normal(1.02, 0.05, 301)], axis=1)
    found = estimate_gain(times)
    assert found["low"] < found["gain"] < found["high"]
    assert (found["pairs"], found["milliseconds"]) == (301, 1.0)
