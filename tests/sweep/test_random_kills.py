"""Whenever a sweep's driver, its workers or all of them are killed: run again, it ends as one that was not.

``EXITBENCH_KILLS=30 pytest tests/sweep/test_random_kills.py`` kills more often than a usual run.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.sweep import run_plan
from bench.sweep.engines.local import LocalEngine
from tests.helpers.faults.drivers import find_workers, start_driver, wait_until
from tests.helpers.faults.killed_runs import find_leftovers
from tests.helpers.faults.kills import TIMEOUT
from tests.helpers.small_runs import write_task
from tests.helpers.sweeps import planned, quiet, records, sweep, write

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("EXITBENCH_KILLS", "3"))
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSTOP]
VICTIMS: dict[str, Callable[[int], list[int]]] = {
    "driver": lambda driver: [driver],
    "workers": find_workers,
    "both": lambda driver: [driver, *find_workers(driver)],
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two trainings, two criteria on each."""
    home = tmp_path_factory.mktemp("task")
    return sweep(write_task(home / "reviews"), home / "log", seed=[0, 1])


@pytest.fixture(scope="module")
def undisturbed(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The records of a sweep that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    run(content, results)
    return records(results)


def run(content: dict[str, Any], results: Path) -> None:
    assert all(o.ok for o in run_plan(planned(content, results), quiet(results), LocalEngine(2, 1)))


def strike(victims: list[int], how: signal.Signals, chance: random.Random) -> None:
    """Send ``how`` to each; what is stopped goes on after a moment, or is killed."""
    after = [chance.choice([signal.SIGCONT, signal.SIGKILL])] if how == signal.SIGSTOP else []
    for number in [how, *after]:
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, number)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment(
    seed: int, content: dict[str, Any], undisturbed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    whom, how = list(VICTIMS)[seed % len(VICTIMS)], SIGNALS[seed // len(VICTIMS) % len(SIGNALS)]
    results = tmp_path / "results"
    driver = start_driver(write(tmp_path / "sweep.yaml", content), results)
    if whom == "driver":
        time.sleep(chance.uniform(0, 8))  # from before its imports until after its end
    else:
        wait_until(lambda: driver.poll() is not None or VICTIMS[whom](driver.pid)[1 if whom == "both" else 0 :])
        time.sleep(chance.uniform(0, 2))
    strike(VICTIMS[whom](driver.pid) if driver.poll() is None else [], how, chance)
    _, said = driver.communicate(timeout=TIMEOUT)
    if whom == "workers":
        assert driver.returncode == 0, (seed, how, said.decode())
    assert "internal" not in json.dumps(records(results)), (seed, whom, how, said.decode())
    wait_until(lambda: not find_workers(driver.pid))
    run(content, results)
    assert records(results) == undisturbed, (seed, whom, how)
    assert find_leftovers(results) == []
