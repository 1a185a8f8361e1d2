"""How a sweep shares the cores: the ways there are, the choice among what was measured, and that it is measured."""

from __future__ import annotations

import pytest

from bench.sweep.engines import local
from bench.sweep.engines.local import LocalEngine
from bench.sweep.engines.shares import CoreShare, TrainingLoad, choose_share, list_shares, measure_shares

LOAD = TrainingLoad(hidden=32, rows=2, tokens=8, memory=2**20)


@pytest.mark.parametrize(
    ("cores", "most", "ways"),
    [
        (1, 9, [(1, 1)]),
        (2, 9, [(2, 1), (1, 2)]),
        (16, 5, [(4, 4), (2, 8), (1, 16)]),
        (6, 9, [(6, 1), (3, 2), (1, 6)]),
        (8, 0, [(1, 8)]),
    ],
)
def test_ways_use_all_cores(cores: int, most: int, ways: list[tuple[int, int]]) -> None:
    assert list_shares(cores, most) == ways


@pytest.mark.parametrize(
    ("speeds", "workers"),
    [((3.0, 1.0), 2), ((1.0, 3.0), 1), ((1.0, 1.05), 2)],
    ids=["two at once", "one on both", "too near to tell"],
)
def test_the_fastest_is_chosen_and_more_at_once_where_they_are_near(
    speeds: tuple[float, float], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [CoreShare(2, 1, speeds[0]), CoreShare(1, 2, speeds[1])]
    assert choose_share(found).workers == workers
    monkeypatch.setattr(local, "count_cores", lambda: 2)
    monkeypatch.setattr(local, "measure_shares", lambda *_: found)
    engine = LocalEngine()
    said = engine.share_cores(LOAD, 8)
    assert (engine.workers, engine.threads, engine.talks) == (workers, 3 - workers, workers == 1)
    assert said.startswith("Training 2 cells at once on 1 thread each" if workers == 2 else "Training one cell")


@pytest.mark.parametrize("asked", [{"workers": 1}, {"threads": 1}])
def test_what_was_asked_for_stands(asked: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "measure_shares", lambda *_: pytest.fail("measured"))
    engine = LocalEngine(**asked)
    before = (engine.workers, engine.threads)
    assert engine.share_cores(LOAD, 8) == ""
    assert (engine.workers, engine.threads) == before


def test_memory_bounds_how_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "count_cores", lambda: 4)
    seen: list[object] = []
    monkeypatch.setattr(local, "measure_shares", lambda load, ways, processes: seen.extend(ways) or [])
    engine = LocalEngine()
    engine.memory = 2.5 * LOAD.memory
    assert engine.share_cores(LOAD, 8) == ""
    assert seen == [(2, 2), (1, 4)]


def test_every_way_is_measured() -> None:
    found = measure_shares(LOAD, [(2, 1), (1, 1)], LocalEngine().forks)
    assert [(one.workers, one.threads) for one in found] == [(2, 1), (1, 1)]
    assert all(one.speed > 0 for one in found)
