"""Runs in a store whose logits are packed: reused as they are, measured again to whole files, made again where lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.cli.process import main
from bench.results.packed.references import read_reference
from tests.helpers.report_store import read_all
from tests.helpers.small_runs import TINY, ask_cell, write_task


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task, and two criteria on one checkpoint in a packed store."""
    home = tmp_path_factory.mktemp("home")
    write_task(home / "reviews")
    assert main(words(home / "results", home / "reviews")) == 0
    shutil.copytree(home / "results", home / "whole")
    assert main(["pack", "--results-dir", str(home / "results")]) == 0
    return home


@pytest.fixture
def packed(home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(home / "results", tmp_path / "results")


def words(results: Path, task: Path, *more: str) -> list[str]:
    return ["run", *ask_cell("entropy,patience", task, results), "--head", "linear", "--recipe", "joint", *TINY, *more]


def references(results: Path) -> int:
    return sum(read_reference(results / name) is not None for name in read_all(results))


def test_packed_runs_are_reused(home: Path, packed: Path) -> None:
    before = read_all(packed)
    assert references(packed) == 2
    assert main(words(packed, home / "reviews")) == 0
    assert read_all(packed) == before


def test_runs_that_are_measured_again_are_whole(home: Path, packed: Path) -> None:
    assert main(words(packed, home / "reviews", "--overwrite", "always")) == 0
    assert read_all(packed) == read_all(home / "whole")


def test_a_run_whose_logits_went_with_another_is_measured_again(home: Path, packed: Path) -> None:
    [kept] = packed.glob("*/*/entropy-*")
    shutil.rmtree(kept)
    assert main(["run", "--strategy", "patience", *words(packed, home / "reviews")[3:]]) == 0
    [record] = packed.glob("*/*/patience-*/record.json")
    assert f"its logits are those of {kept.name}, which are not there" in record.read_text()
    whole = read_all(home / "whole")
    assert read_all(packed) == {name: whole[name] for name in whole if "/patience-" in name}
