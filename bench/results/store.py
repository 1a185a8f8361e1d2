"""Results on disk: one directory a cell, every file whole or absent.

    RESULTS/<task>/<backbone>/<strategy>-s<seed>-<key>/record.json            what was asked, measured, and with what
                                                      /exits-<split>.parquet  every sample at every exit
                                                      /latency-<key>.json     raw times
    RESULTS/.cache/checkpoints, exits, probes, locks                          what later runs reuse; safe to delete

The key is the first 8 digits of the cell's quality identity, so what differs in any setting never shares a cell.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from bench.errors import UsageError
from bench.files import check_shape, read_object, write_json
from bench.progress import Progress
from bench.results.migrations import SCHEMA_VERSION, upgrade
from bench.results.places import LONGEST, RECORD, exits_file, slug, times_file
from bench.results.record_file import checksum_of
from bench.results.run import Run

Status = Literal["started", "success", "error", "cancelled"]
Record = dict[str, object]


@dataclass(frozen=True)
class Cell:
    """One result's directory."""

    folder: Path

    @property
    def record_file(self) -> Path:
        """The record; its ``status`` says whether the cell is finished."""
        return self.folder / RECORD

    def latency_file(self, speed_key: str) -> Path:
        """Raw times of one machine and protocol, and their summary."""
        return times_file(self.folder, speed_key)

    def exits_file(self, split: str) -> Path:
        """Every sample of ``split`` at every exit."""
        return exits_file(self.folder, split)

    def read(self) -> Record | None:
        """The record, or None before the first is written. Raises Damaged, or UsageError for a newer one."""
        if not self.record_file.exists():
            return None
        return read_record(self.record_file)

    def write(self, status: Status, record: Mapping[str, object]) -> None:
        """Replace the record."""
        plain = {"schema_version": SCHEMA_VERSION, "status": status, **record}
        write_json(self.record_file, {**plain, "checksum": checksum_of(json.loads(json.dumps(plain)))})


@dataclass(frozen=True)
class LeftOut:
    """A record that could not be read: where it lies (relative to the store), and why, in one line."""

    name: str
    why: str


@dataclass(frozen=True)
class Store:
    """A results folder."""

    root: Path

    def cell(self, task: str, backbone: str, strategy: str, seed: int, key: str) -> Cell:
        """The directory of one cell."""
        end = f"-s{seed}-{key[:8]}"
        return Cell(self.root / slug(task) / slug(backbone) / f"{slug(strategy, LONGEST - len(end))}{end}")

    def cache(self, kind: str, key: str) -> Path:
        """Where what ``key`` identifies is kept for reuse."""
        return self.root / ".cache" / kind / key

    def make_cache(self, kind: str) -> Path:
        """Return the folder of one kind of what is kept for reuse, made where it is not there; git leaves it alone."""
        top = self.root / ".cache"
        (top / kind).mkdir(parents=True, exist_ok=True)
        if not (top / ".gitignore").exists():
            (top / ".gitignore").write_text("*\n", encoding="utf-8")
        return top / kind

    def cells(self) -> list[Cell]:
        """Every cell with a record, in order of path."""
        found = self.root.glob("*/*/*/record.json")
        return [Cell(path.parent) for path in sorted(found) if ".cache" not in path.relative_to(self.root).parts]

    def runs(self, only: Only | None = None) -> tuple[list[Run], list[LeftOut]]:
        """Read every run, or those of ``only``, in order of path; what cannot be read is left out, with the reason.

        Raises UsageError where there is no folder.
        """
        if not self.root.is_dir():
            raise UsageError(f"There is no results folder {self.root}. `bench run` makes one.")
        found, left_out = load_runs([cell.folder for cell in self.cells()], self.root)
        return [run for run in found if only is None or only.has(run)], left_out

    def find_run(self, text: str) -> Run:
        """Read a run by its folder, its name, the start of its key, or ``last`` (the newest).

        Raises UsageError where none or several match, Damaged where the record is.
        """
        return Run.load(self.find(text).folder)

    def find(self, run: str) -> Cell:
        """A cell by its folder, its name, the start of its key, or ``last`` (the newest).

        Raises UsageError where none or several match.
        """
        if os.path.exists(Path(run) / "record.json"):  # pathlib fails on names that no file can have
            return Cell(Path(run))
        cells = self.cells()
        if run == "last" and cells:
            return max(cells, key=lambda cell: cell.record_file.stat().st_mtime_ns)
        matches = [c for c in cells if c.folder.name == run or c.folder.name.rpartition("-")[2].startswith(run)]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise UsageError(f"No run '{run}' in {self.root} ({len(cells)} runs there). `bench list runs` shows them.")
        names = ", ".join(c.folder.name for c in matches[:4])
        raise UsageError(f"'{run}' matches {len(matches)} runs ({names}...): give more of the name.")

    @contextmanager
    def lock(self, key: str, progress: Progress) -> Iterator[None]:
        """Only one process at a time works on ``key``; the system frees the lock of one that was killed."""
        path = self.make_cache("locks") / f"{key}.lock"
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            progress.say("Another run is working on the same cell; waiting for it.")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


@dataclass(frozen=True)
class Only:
    """Which of a store's runs are meant; an empty set means all."""

    tasks: frozenset[str] = frozenset()
    backbones: frozenset[str] = frozenset()

    @classmethod
    def named(cls, tasks: str | None, backbones: str | None) -> Only:
        """From ``a,b`` as the command line has it; None and empty text mean all."""
        return cls(*(frozenset(filter(None, map(str.strip, (text or "").split(",")))) for text in (tasks, backbones)))

    def has(self, run: Run) -> bool:
        """Whether ``run`` is one of them."""
        return (not self.tasks or run.task in self.tasks) and (not self.backbones or run.backbone in self.backbones)

    def holds(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is of them."""
        spec = record["spec"]
        return all(not wanted or spec[name] in wanted for name, wanted in
                   (("task", self.tasks), ("backbone", self.backbones)))  # fmt: skip


ALL = Only()


def load_runs(folders: Sequence[Path], root: Path) -> tuple[list[Run], list[LeftOut]]:
    """Read the runs in ``folders`` below ``root``; what cannot be read is left out, with the reason."""
    found: list[Run] = []
    left_out: list[LeftOut] = []
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            found.append(Run.load(folder, name))
        except (UsageError, OSError) as error:
            left_out.append(LeftOut(name, str(error).replace(str(root), root.name)))
    return found, left_out


def read_record(path: Path) -> Record:
    """A record from disk. Raises Damaged for one that is, UsageError for one that was written by a newer version."""
    record = read_object(path)
    check_shape(path, record, {"schema_version": int})
    try:
        return {name: value for name, value in upgrade(record).items() if name != "checksum"}
    except UsageError as error:
        raise UsageError(f"{path} {error}") from None
