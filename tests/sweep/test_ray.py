"""Sweeps on a Ray cluster of three nodes on this machine, one of which is lost; the same records as without Ray."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.sweep import Outcome, make_engine, run_plan
from bench.sweep.engines.local import LocalEngine
from tests.helpers.small_runs import write_task
from tests.helpers.sweep_recipes import lines
from tests.helpers.sweeps import planned, quiet, records, sweep, trained

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that runs nothing and three nodes with a processor each; this process is the driver."""
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(3):
            found.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_killed_workers_and_wrong_cells(cluster: Any, task: Path, tmp_path: Path) -> None:
    """The same answers as from the local engine: a killed worker is replaced, a wrong cell is not tried again."""
    deadly = {"strategy": "entropy", "recipe": "tests.helpers.sweep_recipes:Deadly"}
    content = sweep(task, tmp_path / "log", **deadly, settings={"recipe.log": str(tmp_path / "once")})
    wrong = {"strategy": "full", "task": str(task), "settings": {"train.lr": 1e18}}
    content["include"] = [wrong, {**wrong, "settings": {"train.lr": 0.01}}]
    results = tmp_path / "results"
    found = run_plan(planned(content, results), quiet(results), make_engine("ray"))
    assert [o.status for o in found] == ["success", "error", "success"]
    assert len(lines(tmp_path / "once")) == 2  # one was killed, one finished
    assert "train.lr" in found[1].error
    (failed,) = [r for r in records(results).values() if r["status"] == "error"]
    assert failed["error"]["kind"] == "user"


def test_24_cells_with_a_node_lost_in_the_middle(cluster: Any, task: Path, tmp_path: Path) -> None:
    content = sweep(task, tmp_path / "log", backbone=["bert-demo", "albert-demo"], seed=list(range(6)))
    results = tmp_path / "results"
    ended: list[Outcome] = []

    def lose_a_node(outcome: Outcome) -> None:
        ended.append(outcome)
        if len(ended) == 8:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    plan = planned(content, results)
    assert (len(plan.cells), len(plan.trainings())) == (24, 12)
    found = run_plan(plan, quiet(results), make_engine("ray", threads=1), on_end=lose_a_node)
    assert [o.status for o in found] == ["success"] * 24, [o.error for o in found if not o.ok]
    assert len(cluster.worker_nodes) == 2

    # one node was lost with one processor, so at most one training was in the middle and began again
    assert 12 <= len(lines(tmp_path / "log")) <= 13
    assert trained(results) in (11, 12)  # 11 where the node was lost between a checkpoint and its record
    kept = [json.loads(p.read_text())["training"]["key"] for p in results.glob("*/*/*/record.json")]
    assert set(Counter(kept).values()) == {2}
    assert len(list(results.glob(".cache/checkpoints/*/model.safetensors"))) == 12

    local = tmp_path / "local"  # with the same log, which is a setting and so a part of what identifies a cell
    assert all(o.ok for o in run_plan(planned(content, local), quiet(local), LocalEngine(2, 1)))
    assert records(results) == records(local)
