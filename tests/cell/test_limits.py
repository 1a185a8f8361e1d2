"""Limits of the machine in the middle of a run: one line, and the next run ends as an undisturbed one.

``EXITBENCH_LIMITS=1000 pytest tests/cell/test_limits.py`` refuses every write of a run in turn, not only some.
"""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.cli.process import main
from tests.helpers.faults.killed_runs import find_leftovers
from tests.helpers.faults.refusals import Refusal, refuse
from tests.helpers.small_runs import TINY, timeless, write_task

pytestmark = pytest.mark.slow

MOST = int(os.environ.get("EXITBENCH_LIMITS", "5"))
HOW = {"full": errno.ENOSPC, "read-only": errno.EROFS, "deleted": 0}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


def words(task: Path, results: Path) -> list[str]:
    cell = ["--strategy", "prototypes", "--recipe", "joint", "--head", "linear", "--backbone", "bert-demo"]
    tiny = [word for word in TINY if word != "--quiet"]
    return ["run", *cell, "--task", str(task), *tiny, "--results-dir", str(results), "--json"]


def record_of(task: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    code = main(words(task, results))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return timeless(json.loads(printed.out)[0]["record"])


@pytest.fixture(scope="module")
def undisturbed(task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of a run that nothing happened to."""
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    assert main(words(task, results)) == 0
    (path,) = results.glob("*/*/*/record.json")
    return timeless(json.loads(path.read_text()))


def assert_one_line(said: str, where: object) -> None:
    """Nothing but what a run always says, and an error of one line."""
    assert "Traceback" not in said, (where, said)
    assert [line.startswith("Error: ") for line in said.splitlines()].count(True) == 1, (where, said)
    assert said.splitlines()[-1].startswith("Error: "), (where, said)


@pytest.mark.parametrize("name", HOW)
def test_every_write_refused_in_turn(
    name: str, task: Path, undisturbed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with refuse(Refusal(tmp_path / "counted", HOW[name], 0)) as counted:
        assert main(words(task, tmp_path / "counted")) == 0
    assert counted.seen > 20
    step = max(1, counted.seen // MOST)
    for nth in range(1, counted.seen + 1, step):
        results = tmp_path / f"results{nth}"
        capsys.readouterr()
        with refuse(Refusal(results, HOW[name], nth)) as refusal:
            code = main(words(task, results))
        said = capsys.readouterr().err
        spared = all(".cache/answers" in path for path in refusal.refused)  # which whoever needs them makes again
        if code or (name != "deleted" and not spared):  # what was deleted may not have been needed again
            assert code == 2, (nth, said)
            assert_one_line(said, (name, nth))
        assert record_of(task, results, capsys) == undisturbed, (name, nth)
        assert find_leftovers(results) == [] or name == "read-only", (name, nth)


def test_a_finished_run_in_a_read_only_folder_is_read(
    task: Path, undisturbed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    assert main(words(task, results)) == 0
    with refuse(Refusal(results, errno.EROFS, 1)):
        assert record_of(task, results, capsys) == undisturbed
        for verb in (["show", "last"], ["table"], ["report", "--out", str(tmp_path / "out")]):
            assert main([*verb, "--results-dir", str(results), "--json"]) == 0, (verb, capsys.readouterr().err)


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """This process with a limit, for a while."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@pytest.mark.parametrize("most", [100, 3000, 10_000])
def test_files_may_not_be_large(
    most: int, task: Path, undisturbed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with limited(resource.RLIMIT_FSIZE, most):
        code = main([*words(task, tmp_path / "results"), "--quiet"])
    said = capsys.readouterr().err
    assert code == 2, said
    assert_one_line(said, most)
    assert main(words(task, tmp_path / "results")) == 0
    assert timeless(json.loads(capsys.readouterr().out)[0]["record"]) == undisturbed


@pytest.mark.parametrize("more", [0, 1, 2])
def test_few_files_may_be_open(
    more: int, task: Path, undisturbed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest + more):
        code = main(words(task, tmp_path / "results"))
    said = capsys.readouterr().err
    assert code in (0, 2), said
    if code:
        assert_one_line(said, more)
        assert "ulimit -n" in said
    assert record_of(task, tmp_path / "results", capsys) == undisturbed


OUT_OF_MEMORY = [
    MemoryError("Unable to allocate 9. GiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
STAGES = ["train_model", "record_exits", "encode_split"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["python", "torch", "system"])
def test_no_memory_is_left(
    stage: str, error: Exception, task: Path, undisturbed: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse_memory(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"bench.cell.stages.{stage}", refuse_memory)
        assert main(words(task, tmp_path / "results")) == 2
    said = capsys.readouterr().err
    assert_one_line(said, stage)
    assert "The memory does not suffice" in said
    (path,) = (tmp_path / "results").glob("*/*/*/record.json")
    assert json.loads(path.read_text())["error"]["kind"] == "user"
    assert record_of(task, tmp_path / "results", capsys) == undisturbed
