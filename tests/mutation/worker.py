"""Runs in a copy of the tree: records which tests run which lines, then runs the tests of one mutant after another.

Every run of tests is a fork of a process that has imported everything but the product, which spares the seconds of
importing torch. ``python -m tests.mutation.worker record OUT`` or ``... mutants TASKS OUT``, in the copy.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path.cwd()
OWN = {"bench", "strategies", "backbones", "exitbench", "tests", "conftest"}
PLAIN = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header", "--tb=line"]
CHOSEN = ["-m", "not slow and not ray and not browser"]
FOLDERS = [
    f"tests/{name}"
    for name in "measure strategies results compare training analysis reproduce cell/test_spec.py".split()
]
"""Where tests are taken from: the mirrors of what is changed, and what uses it most."""
WALL = 300.0
"""Seconds after which a run of tests that does not end is taken as one that failed."""


class Recorder:
    """Which lines of ``folders`` every passed test runs, set-up and fixtures with it, and its CPU seconds."""

    def __init__(self, folders: list[str]) -> None:
        self.prefix = str(ROOT) + "/"
        self.folders = tuple(self.prefix + folder for folder in folders)
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: set[str] = set()
        self.lines: dict[str, set[int]] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(self.folders):
            return None
        lines = self.lines.setdefault(name[len(self.prefix) :], set())

        def local(frame: FrameType, event: str, argument: object) -> Any:
            lines.add(frame.f_lineno)
            return local

        return local

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.lines, begun = {}, time.process_time()
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            lines = {path: sorted(found) for path, found in self.lines.items()}
            self.tests[item.nodeid] = {"seconds": time.process_time() - begun, "lines": lines}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)


class Chosen:
    """Runs the named tests alone, in their order, and keeps the first that fails."""

    def __init__(self, names: list[str]) -> None:
        self.places = {name: at for at, name in enumerate(names)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.places), key=lambda i: self.places[i.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def in_child(work: Callable[[], tuple[int, object]], cpu: float = 0.0) -> tuple[int | None, Any]:
    """Return the exit status and the answer of ``work`` done in a fork; None for the status where time ran out."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if cpu:
            resource.setrlimit(resource.RLIMIT_CPU, (int(cpu) + 1, int(cpu) + 1))
        status, answer = work()
        with os.fdopen(writing, "w") as file:
            json.dump(answer, file)
        os._exit(status)
    os.close(writing)
    if cpu:
        alarm = threading.Timer(WALL, lambda: os.killpg(child, signal.SIGKILL))
        alarm.start()
    with os.fdopen(reading) as file:
        text = file.read()
    _, ended = os.waitpid(child, 0)
    if cpu:
        alarm.cancel()
    return (os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else None), json.loads(text or "null")


def warm_up() -> None:
    """Import what the tests import, but nothing of ours."""

    def names() -> tuple[int, object]:
        status = int(pytest.main([*PLAIN, "--collect-only", *FOLDERS]))
        return status, [name for name in sys.modules if name.partition(".")[0] not in OWN]

    for name in in_child(names)[1]:
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def record(folders: list[str]) -> tuple[int, object]:
    """Return every test that passes, with what it runs."""
    recorder = Recorder(folders)
    status = pytest.main([*PLAIN, *CHOSEN, *FOLDERS], plugins=[recorder])
    passed = {name: facts for name, facts in recorder.tests.items() if name not in recorder.failed}
    return int(status), {"tests": passed, "left out": sorted(recorder.failed)}


def run_tests(names: list[str]) -> tuple[int, object]:
    """Run tests until one fails; return its name."""
    chosen = Chosen(names)
    files = list(dict.fromkeys(name.partition("::")[0] for name in names))
    status = pytest.main([*PLAIN, *CHOSEN, "-x", *files], plugins=[chosen])
    return int(status), chosen.failed


def judge(task: dict[str, Any]) -> dict[str, object]:
    """Return what became of a mutant: ``killed`` by a test, at the import or by its time; or survived."""
    path = ROOT / task["path"]
    before, stamp = path.read_bytes(), path.stat()
    begun = time.monotonic()
    path.write_text(task["source"], encoding="utf-8")
    try:
        for names, seconds in task["stages"]:
            if not names:
                continue
            status, failed = in_child(lambda names=names: run_tests(names), 30 + 5 * seconds)
            if status is None:
                return {"killed": "time limit", "seconds": time.monotonic() - begun}
            if status != pytest.ExitCode.OK:
                return {"killed": failed or f"import (status {status})", "seconds": time.monotonic() - begun}
        return {"killed": "", "seconds": time.monotonic() - begun}
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def main() -> None:
    sys.dont_write_bytecode = sys.argv[1] != "record"
    warm_up()
    if sys.argv[1] == "record":
        found = in_child(lambda: record(sys.argv[3:]))[1]
        Path(sys.argv[2]).write_text(json.dumps(found))
        return
    with Path(sys.argv[3]).open("a") as out:
        for task in json.loads(Path(sys.argv[2]).read_text()):
            print(json.dumps({"rank": task["rank"], **judge(task)}), file=out, flush=True)


if __name__ == "__main__":
    main()
