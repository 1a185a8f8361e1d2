"""The folder of data that lives beside the checkout, and what happens to its tests when it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("EXITBENCH_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the hub mirror (``hub/``) and the golden vectors; for tests marked ``shared``."""
    return SHARED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete little BERT in the hub's layout, with random weights."""
    from tests.model_folders import save_model  # here, so that tests without a model do not import torch

    save_model(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache; the folder where the snapshot of HUB_ID at COMMIT belongs."""
    from huggingface_hub import constants

    from tests.model_folders import COMMIT, HUB_ID

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def _note() -> str:
    if SHARED.is_dir():
        return "shared data: found, tests marked 'shared' run"
    return "shared data: NOT FOUND, tests marked 'shared' are deselected (set EXITBENCH_SHARED to its folder)"


def pytest_report_header() -> str:
    """Say at the top of a run whether the tests marked ``shared`` take part."""
    return _note()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it at the end where it matters: quiet runs print no header."""
    if not SHARED.is_dir():
        terminalreporter.write_line(_note())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, visibly, what needs the shared folder on machines that have none."""
    if SHARED.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("shared")]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if not item.get_closest_marker("shared")]
