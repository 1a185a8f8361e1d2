"""Commands that look at some of the recorded runs only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli.process import main
from bench.errors import NOTHING_COMPARABLE, OK
from bench.results.run import Run
from bench.results.store import Only
from tests.helpers.report_store import make_cell


@pytest.mark.parametrize(
    ("tasks", "backbones", "held"),
    [
        (None, None, True),
        ("", " ", True),
        ("sst2", None, True),
        ("rte, sst2", "bert-base", True),
        ("rte", None, False),
        ("sst2", "albert-base", False),
        (None, "albert-base,", False),
    ],
)
def test_names_select_and_no_name_means_all(
    tasks: str | None, backbones: str | None, held: bool, tmp_path: Path
) -> None:
    run = Run.load(make_cell(tmp_path, task="sst2", backbone="bert-base"))
    assert Only.named(tasks, backbones).has(run) is held


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    for task in ("demo", "other"):
        make_cell(tmp_path / "r", "entropy", task)
        make_cell(tmp_path / "r", "elbert-mono", task)
    return tmp_path / "r"


def test_a_report_on_one_task_holds_nothing_of_the_other(
    two_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["report", "--results-dir", str(two_tasks), "--out", str(tmp_path), "--format", "csv", "--json", "--quiet"]
    assert main([*given, "--task", "demo"]) == OK
    assert json.loads(capsys.readouterr().out)["cells"] == 2
    assert "other" not in (tmp_path / "cells.csv").read_text(encoding="utf-8")
    assert main(given) == OK
    assert json.loads(capsys.readouterr().out)["cells"] == 4


@pytest.mark.parametrize("command", ["report", "table", "criteria"])
def test_names_that_no_run_has_are_one_line(
    two_tasks: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")] if command == "report" else []
    assert main([command, "--results-dir", str(two_tasks), "--task", "mrpc", *out]) == NOTHING_COMPARABLE
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
