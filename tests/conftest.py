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


def pytest_report_header() -> str:
    """Say at the top of every run whether the tests marked ``shared`` take part."""
    if SHARED.is_dir():
        return "shared data: found, tests marked 'shared' run"
    return "shared data: NOT FOUND, tests marked 'shared' are deselected (set EXITBENCH_SHARED to its folder)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, visibly, what needs the shared folder on machines that have none."""
    if SHARED.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("shared")]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if not item.get_closest_marker("shared")]
