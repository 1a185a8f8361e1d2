"""Where results to compare come from: a results folder, the folder of one run, or a git revision of either."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.results.store import Store, read_record

RESULTS = "results"


@dataclass(frozen=True)
class Found:
    """One recorded cell: its folder and its record."""

    folder: Path
    record: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """What was asked."""
        spec: dict[str, Any] = self.record["spec"]
        return spec

    @property
    def label(self) -> str:
        """How the cell is called in tables."""
        spec = self.spec
        own = f" {spec['head']}+{spec['recipe']}" if "head" in spec else ""
        return f"{spec['strategy']} | {spec['backbone']}{own} | {spec['task']} | seed {spec['seed']}"


@contextmanager
def opened(source: str) -> Iterator[list[Found]]:
    """The cells of a folder, a run's folder, ``REV:folder`` or ``REV`` (its results/).

    Raises UsageError where there is nothing of the kind. A revision is unpacked to a folder that is gone afterwards.
    """
    path = Path(source)
    if os.path.exists(path):  # pathlib fails on names that no file can have
        yield cells_in(path)
        return
    revision, _, inside = source.partition(":")
    with tempfile.TemporaryDirectory(prefix="bench-compare-") as folder:
        _unpack(revision, inside or RESULTS, Path(folder), source)
        yield cells_in(Path(folder) / (inside or RESULTS))


def cells_in(path: Path) -> list[Found]:
    """Cells of a results folder, or the one cell of a run's folder or record. Raises UsageError for an empty one."""
    if path.name == "record.json":
        path = path.parent
    if (path / "record.json").exists():
        return [Found(path, read_record(path / "record.json"))]
    found = [Found(cell.folder, record) for cell in Store(path).cells() if (record := cell.read()) is not None]
    # a folder below the root (one task, one backbone) will do as well
    found = found or [Found(p.parent, read_record(p)) for p in sorted(path.rglob("record.json")) if _visible(p, path)]
    if not found:
        raise UsageError(f"There are no results in {path}: `bench run --results-dir {path}` would put some there.")
    return found


def _visible(path: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _unpack(revision: str, inside: str, folder: Path, source: str) -> None:
    wrong = f"'{source}' is neither a folder nor a git revision of one (REV:{RESULTS})"
    if revision.startswith("-"):
        raise UsageError(f"{wrong}.")
    try:
        top = _git("rev-parse", "--show-toplevel").decode().strip()
        packed = _git("-C", top, "archive", "--format=tar", revision, "--", inside)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        detail = said.decode(errors="replace").strip().splitlines()
        raise UsageError(f"{wrong}: {detail[-1]}." if detail else f"{wrong}.") from error
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", "--no-optional-locks", *arguments], capture_output=True, check=True, timeout=120
    ).stdout
