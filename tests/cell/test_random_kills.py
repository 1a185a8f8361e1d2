"""Whenever a run is killed and with what signal: run again, it ends as one that was not.

``EXITBENCH_KILLS=60 pytest tests/cell/test_random_kills.py`` kills more often than a usual run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.helpers.faults.killed_runs import arguments, assert_same
from tests.helpers.faults.kills import TIMEOUT, end, start
from tests.helpers.small_runs import write_task

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("EXITBENCH_KILLS", "6"))
CELLS = {"deebert": ["deebert"], "prototypes": ["prototypes"], "exits-only": ["entropy", "exits-only"]}
"""One that trains in two stages, one whose probe is fitted too, one that fits exits on states kept from one pass."""
WAYS = [
    [signal.SIGKILL],
    [signal.SIGTERM],
    [signal.SIGINT],
    [signal.SIGHUP],
    [signal.SIGSTOP, signal.SIGCONT],
    [signal.SIGSTOP, signal.SIGKILL],
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


@pytest.fixture(scope="module")
def undisturbed(task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The results folder of a run of each cell that nothing happened to; the first run is for the imports."""
    home = tmp_path_factory.mktemp("undisturbed")
    for cell in CELLS:
        assert end(start(arguments(task, home / cell, *CELLS[cell]), home / "notes")) == 0
    return {cell: home / cell for cell in CELLS}


def calls_of(task: Path, home: Path, cell: str) -> int:
    """How many functions a run calls."""
    notes = home / f"calls-{cell}"
    assert end(start(arguments(task, home / f"counted-{cell}", *CELLS[cell]), notes, stop_at=0)) == 0
    return int(Path(f"{notes}.calls").read_text())


@pytest.fixture(scope="module")
def calls(task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many functions a run of each cell calls, each of them a moment to be killed at."""
    home = tmp_path_factory.mktemp("calls")
    return {cell: calls_of(task, home, cell) for cell in CELLS}


def strike(child: BaseProcess, way: list[signal.Signals]) -> int | None:
    """Wait until the process stops itself, send the signals of ``way``; the exit code."""
    assert child.pid is not None
    until = time.monotonic() + TIMEOUT
    with contextlib.suppress(OSError):  # it has ended already
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until
            time.sleep(0.01)
        for number in [*way, signal.SIGCONT]:
            os.kill(child.pid, number)
    return end(child)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment(
    seed: int, task: Path, undisturbed: dict[str, Path], calls: dict[str, int], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    way, cell = WAYS[seed % len(WAYS)], chance.choice(list(CELLS))
    words = arguments(task, tmp_path / "results", *CELLS[cell])
    for attempt in range(chance.choice([1, 1, 2])):
        moment = chance.randrange(1, calls[cell])
        code = strike(start(words, tmp_path / f"killed{attempt}", stop_at=moment), way)
        said = Path(f"{tmp_path / f'killed{attempt}'}.err").read_text()
        expected = {0} if signal.SIGCONT in way else {130, 0} if signal.SIGINT in way else {-way[-1], 0}
        assert code in expected, (seed, way, moment, said)
        assert "Traceback" not in said, (seed, way, moment, said)
    assert end(start(words, tmp_path / "again")) == 0, Path(f"{tmp_path / 'again'}.err").read_text()
    assert_same(tmp_path / "results", undisturbed[cell])
