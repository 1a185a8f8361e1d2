"""The notebook of the documentation: it runs, and its stored outputs are its own and say nothing of a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.fixture(scope="module")
def stored() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def list_outputs(notebook: Any) -> list[tuple[str, list[str]]]:
    """Every code cell with the kinds of what it put out."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source, sorted(kind for out in cell.outputs for kind in out.get("data", {}))) for cell in cells]


def test_stored_outputs_are_clean(stored: Any) -> None:
    nbformat.validate(stored)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert [word for word in ("/home/", "/root/", "/tmp/", "/work/", "file://") if word in text] == []
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
