"""What tests may need and not find: data beside the checkout, a browser, a shell; tests are deselected, visibly."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

# before torch is imported: workers that each use every core wait for one another
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(os.environ.get("EXITBENCH_SHARED") or Path(__file__).resolve().parents[1].parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the hub mirror (``hub/``) and the golden vectors; for tests marked ``shared``."""
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _default_width() -> None:
    """Tables have the width of a pipe, whatever terminal the tests run in; workers of xdist are told theirs."""
    os.environ.pop("COLUMNS", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete little BERT in the hub's layout, with random weights."""
    from tests.helpers.models.model_folders import save_model  # here, so that tests without a model do not import torch

    save_model(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache; the folder where the snapshot of HUB_ID at COMMIT belongs."""
    from huggingface_hub import constants

    from tests.helpers.models.model_folders import COMMIT, HUB_ID

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


BROWSER = shutil.which("chromium") and shutil.which("chromedriver") and importlib.util.find_spec("selenium")

# marker -> whether its tests can run here, and what to say
MARKED = {
    "shared": (SHARED.is_dir(), "shared data", "set EXITBENCH_SHARED to its folder"),
    "ray": (importlib.util.find_spec("ray") is not None, "ray", "pip install 'exitbench[ray]'"),
    "browser": (bool(BROWSER), "chromium, chromedriver and selenium", "install them"),
    "zsh": (shutil.which("zsh") is not None, "zsh", "install it"),
}


def _notes() -> list[str]:
    return [
        f"{what}: found, tests marked '{marker}' run"
        if there
        else f"{what}: NOT FOUND, tests marked '{marker}' are deselected ({remedy})"
        for marker, (there, what, remedy) in MARKED.items()
    ]


def pytest_report_header() -> list[str]:
    """Say at the top of a run which marked tests take part."""
    return _notes()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it at the end where it matters: quiet runs print no header."""
    for note in _notes():
        if "NOT FOUND" in note:
            terminalreporter.write_line(note)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, visibly, what needs something that this machine does not have."""
    lacking = [marker for marker, (there, *_) in MARKED.items() if not there]
    absent = [item for item in items if any(item.get_closest_marker(marker) for marker in lacking)]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]
