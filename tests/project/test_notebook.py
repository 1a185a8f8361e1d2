"""The notebook of the documentation runs, its demo keeps its promise, and its outputs say nothing of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from bench.results.run import Run
from bench.results.store import Store
from bench.selfcheck.demo import ASKED, find_window_share, read_facts

ROOT = Path(__file__).parents[2]
FOLDER = re.compile(r"file:/|(?<![\w.<~/:])/(?:\w[\w.-]*/)+")
"""A folder of some machine, written from its root; no web address, no closing tag."""
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def list_shown(notebook: Any) -> list[str]:
    """All that the notebook shows as text: sources, and outputs but for pictures."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    shown = [text for out in outputs for kind, text in out.get("data", {}).items() if kind.startswith("text/")]
    return [cell.source for cell in notebook.cells] + shown


def list_outputs(notebook: Any) -> list[tuple[str, list[str]]]:
    """Every code cell with the kinds of what it put out."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source, sorted(kind for out in cell.outputs for kind in out.get("data", {}))) for cell in cells]


def test_stored_outputs_are_clean(stored: Any) -> None:
    nbformat.validate(stored)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert FOLDER.findall("\n".join(list_shown(stored))) == []
    assert len(text) < 400_000
    outputs = list_outputs(stored)
    assert len(outputs) == 6
    assert all(kinds for _, kinds in outputs)
    assert not [out for cell in stored.cells for out in cell.get("outputs", ()) if out.output_type == "stream"]


@pytest.mark.slow
def test_the_notebook_runs(stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    fresh = nbformat.from_dict(stored)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(fresh, timeout=300, kernel_name="python3", resources=resources).execute()
    assert list_outputs(fresh) == list_outputs(stored)
    assert any("image/png" in kinds for _, kinds in list_outputs(fresh))
    check_promise(Store(tmp_path / "results").runs()[0])


def check_promise(runs: list[Run]) -> None:
    """The demo as anybody runs it: 1.8x without loss or more, 0.95 with all layers, converged, a window that fires."""
    [found] = [run for run in runs if run.strategy == ASKED[0]]
    facts = read_facts(found, 1, "native", 0.0)
    assert (facts.accuracy >= 0.95, facts.speedup >= 1.8) == (True, True), facts
    assert facts.no_loss >= facts.accuracy - 0.015
    assert find_window_share(found, "default") >= 0.05
    assert not found.record.warnings
    losses = next(iter(found.record.training.stages.values()))
    assert losses[-1] > 0.8 * losses[-2]  # the descent is over
