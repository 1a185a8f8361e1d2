"""Results on disk: one folder a run, every file whole or absent.

    RESULTS/<task>/<backbone>/<strategy>-s<seed>-<key>/record.json            what was asked, measured, and with what
                                                      /exits-<split>.parquet  every sample at every exit
                                                      /latency-<key>.json     raw times
    RESULTS/.cache/checkpoints, exits, probes, answers, locks                 what later runs reuse; safe to delete

The key is the first 8 digits of the cell's quality identity, so what differs in any setting never shares a cell.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import glob
from itertools import count
from pathlib import Path
from typing import Literal, TypeVar

from filelock import FileLock, Timeout

from backbones.catalog import find_backbone_name
from bench.errors import Damaged, Newer, UsageError, UserError
from bench.files import refuse_file
from bench.measure.judges import AskedMetric
from bench.progress import Progress
from bench.results.doubts import doubt_outgrown
from bench.results.judged_by.judging import judge_run
from bench.results.places import DEPTH, LONGEST, RECORD, make_cache, make_slug
from bench.results.run import Run
from bench.tasks import find_task_name

T = TypeVar("T")

FIRST_RUN = "bench run --strategy elbert-mono --task demo"
"""What makes a first result in about a minute."""


@dataclass(frozen=True)
class LeftOut:
    """A record that could not be read: where it lies (relative to the store), why, in one line, and the short of it."""

    name: str
    why: str
    state: Literal["damaged", "newer", "unusable"] = "damaged"


@dataclass(frozen=True)
class Store:
    """A results folder."""

    root: Path

    def place(self, task: str, backbone: str, strategy: str, seed: int, key: str) -> Path:
        """Return the folder of the run with this quality key."""
        end = f"-s{seed}-{key[:8]}"
        return self.root / make_slug(task) / make_slug(backbone) / f"{make_slug(strategy, LONGEST - len(end))}{end}"

    def cache(self, kind: str, key: str) -> Path:
        """Return the folder in which what ``key`` identifies is kept for reuse."""
        return self.root / ".cache" / kind / key

    def make_cache(self, kind: str) -> Path:
        """Return the folder for one kind of thing that is kept for reuse; make it where it is missing."""
        return make_cache(self.root, kind)

    def folders(self) -> list[Path]:
        """Return every run's folder, in order of path."""
        return find_folders(self.root, DEPTH)

    def runs(self, only: Only | None = None) -> tuple[list[Run], list[LeftOut]]:
        """Read every run, or those of ``only``, in order of path; what cannot be read is left out, with the reason.

        Raises UsageError where there is no folder.
        """
        refuse_file(self.root)
        if not self.root.is_dir():
            raise UsageError(f"There is no results folder {self.root}. `bench run` makes one.")
        found, left_out = load_runs(self.folders(), self.root)
        return [run for run in found if only is None or only.has(run)], left_out

    def explain_none(self) -> str:
        """Return that no finished run is of the tasks and backbones that were asked for, and what there is instead."""
        found: dict[str, dict[str, None]] = {}
        for run in self.runs()[0]:
            if run.is_finished():
                found.setdefault(run.task, {})[run.backbone] = None
        if not found:
            return f"No finished runs in {self.root} yet: `{FIRST_RUN}` makes a first one."
        *some, last = [f"{task} ({', '.join(backbones)})" for task, backbones in found.items()]
        recorded = f"are {', '.join(some)} and {last}" if some else f"is {last}"
        return f"No finished runs in {self.root} for these tasks and backbones. Recorded {recorded}."

    def find_run(self, text: str) -> Run:
        """Read the run that :meth:`find_folder` finds. Raises its errors, and Damaged where the record is."""
        return Run.load(self.find_folder(text))

    def find_folder(self, text: str) -> Path:
        """Return a run's folder by its path, its name, the start of its key, or ``last`` (the newest).

        Raises UsageError where none or several match.
        """
        if os.path.exists(Path(text) / RECORD):  # pathlib fails on names that no file can have
            return Path(text)
        folders = self.folders()
        if text == "last" and folders:
            return max(folders, key=lambda folder: (folder / RECORD).stat().st_mtime_ns)
        matches = [f for f in folders if f.name == text or f.name.rpartition("-")[2].startswith(text)]
        if len(matches) == 1:
            return matches[0]
        if not self.root.is_dir():
            raise UsageError(f"There is no run '{text}' and no results folder {self.root}.")
        if not matches:
            raise UsageError(
                f"No run '{text}' in {self.root} ({len(folders)} runs there). `bench list runs` shows them."
            )
        names = ", ".join(f.name for f in matches[:4])
        raise UsageError(f"'{text}' matches {len(matches)} runs ({names}...): give more of the name.")

    def find_home(self, folder: Path) -> Store:
        """Return the store that a run's ``folder`` lies in, by its place; this one where that has no cache."""
        above = folder.resolve().parents
        home = above[DEPTH - 1] if len(above) >= DEPTH else self.root
        return Store(home) if (home / ".cache").is_dir() and home != self.root.resolve() else self

    def set_aside(self, path: Path) -> str:
        """Move ``path`` into the quarantine under a name that is free; return its place below the store."""
        folder = self.make_cache("quarantine")
        ends = (f"-{number}-{path.name}" for number in count(1))
        places = (folder / f"{make_slug(path.parent.name, LONGEST - len(end))}{end}" for end in ends)
        place = next(place for place in places if not place.exists())
        path.replace(place)
        return place.relative_to(self.root).as_posix()

    @contextmanager
    def lock(self, key: str, progress: Progress, what: str = "the same cell") -> Iterator[None]:
        """Let only one process at a time work on ``key``; the system frees the lock of one that was killed.

        Whoever has to wait says on ``what``.
        """
        path = self.make_cache("locks") / f"{key}.lock"
        lock = FileLock(path)
        try:
            held = lock.acquire(timeout=0.2)
        except Timeout:
            progress.say(f"Another run is working on {what}; waiting for it.")
            held = lock.acquire()
        with held:
            yield


@dataclass(frozen=True)
class Only:
    """Which of a store's runs are meant; an empty set means all."""

    tasks: frozenset[str] = frozenset()
    backbones: frozenset[str] = frozenset()

    @classmethod
    def named(cls, tasks: str | None, backbones: str | None) -> Only:
        """Return the choice that ``a,b`` of the command line makes, in any case; None and empty text mean all.

        A backbone that is given as a folder is meant by the last part of its path, as records name it.
        """
        wanted = (frozenset(filter(None, map(str.strip, (text or "").split(",")))) for text in (tasks, backbones))
        asked, models = wanted
        folders = {Path(name).resolve().name for name in models if os.path.isdir(name)}
        return cls(asked | set(map(find_task_name, asked)), models | set(map(find_backbone_name, models)) | folders)

    def has(self, run: Run) -> bool:
        """Return whether ``run`` is one of those that are meant."""
        return (not self.tasks or run.task in self.tasks) and (
            not self.backbones or bool(self.backbones & {run.backbone, run.spec.backbone})
        )


ALL = Only()


def find_folders(root: Path, depth: int) -> list[Path]:
    """Return the folders of runs that lie ``depth`` folders below ``root``, in order of path; it looks no deeper.

    What cannot be listed has none, and neither has what is hidden.
    """
    return [(root / found).parent for found in sorted(glob(f"{'*/' * depth}{RECORD}", root_dir=root))]


def load_runs(folders: Sequence[Path], root: Path) -> tuple[list[Run], list[LeftOut]]:
    """Read the runs in ``folders`` below ``root``; what cannot be read is left out, with the reason."""
    found: list[Run] = []
    left_out: list[LeftOut] = []
    for folder in folders:
        name = folder.relative_to(root).as_posix()
        try:
            found.append(Run.load(folder, name))
        except OSError as error:
            left_out.append(LeftOut(name, f"{RECORD} cannot be read: {error.strerror}"))
        except UsageError as error:
            left_out.append(LeftOut(name, _name_below(root, error), "newer" if isinstance(error, Newer) else "damaged"))
    return found, left_out


def _name_below(root: Path, error: Exception) -> str:
    """Return what an error says with the paths in it from the last part of ``root`` on, so that pages tell no more."""
    return str(error) if root == Path() else str(error).replace(f"{root}{os.sep}", f"{root.name}{os.sep}")


def find_damaged_logits(runs: Iterable[Run]) -> list[LeftOut]:
    """Return which finished runs have logits beside their record that are not those that were written."""
    found = []
    for run in runs:
        try:
            if run.is_finished():
                run.check_logits()
        except Damaged as error:
            found.append(LeftOut(run.name, _name_below(run.root, error)))
    return found


def make_all_answers(runs: Iterable[Run]) -> None:
    """Make and keep what finished runs answer at their points; who reads them next needs no torch.

    Those that cannot be judged here are passed over: whoever needs them says why.
    """
    for run in runs:
        for split in run.record.task.evaluation if run.is_finished() else ():
            with suppress(UserError):
                run.answers(split)


def find_refused_criteria(runs: Iterable[Run]) -> list[LeftOut]:
    """Return whose logits cannot be judged here, because the criterion that the record names cannot be had."""
    judged = (run for run in runs if run.is_finished() and run.has_exits())
    return [LeftOut(run.name, why, "unusable") for run in judged if (why := run.find_refusal())]


def find_unpooled(runs: Iterable[Run]) -> list[LeftOut]:
    """Return whose samples cannot be pooled with those of other seeds: no criterion can be had, or another one by now.

    Of ``runs`` with whole logits, or none.
    """
    refused = find_refused_criteria(kept := list(runs))
    found = []
    for run in leave_out(kept, refused):
        if run.is_finished() and run.has_exits() and (moved := run.find_moved()):
            found.append(LeftOut(run.name, doubt_outgrown(list(moved)).found, "unusable"))
    return [*refused, *found]


def judge_runs(runs: Iterable[Run], asked: AskedMetric, *, curves: bool = False) -> tuple[list[Run], list[LeftOut]]:
    """Return the runs judged by the metric that is asked for, with ``curves`` their curves too, and who cannot be.

    Raises UsageError, with the first reason, where no finished run can.
    """
    judged, left_out = [], []
    for run in runs:
        try:
            judged.append(judge_run(run, asked, curves=curves) if run.is_finished() else run)
        except UserError as error:
            left_out.append(LeftOut(run.name, str(error), "unusable"))
    if left_out and not any(run.is_finished() for run in judged):
        raise UsageError(f"No run can be judged by {asked.name}: {left_out[0].why}")
    return judged, left_out


def leave_out(runs: Iterable[Run], left_out: Iterable[LeftOut]) -> list[Run]:
    """Return the runs that are not among ``left_out``."""
    names = {bad.name for bad in left_out}
    return [run for run in runs if run.name not in names]


# --------------------------------------------------------------------------- files that turn out damaged


def load_or_set_aside(
    store: Store, path: Path, load: Callable[[Path], T], progress: Progress, warn: Callable[[str], None]
) -> T | None:
    """Return the loaded file; None where it is not there, or is damaged and has been moved to the quarantine.

    The quarantine is ``.cache/quarantine`` of the store. The move is said on stderr and to ``warn``; the caller makes
    the file again. Only while the caller holds the lock of what it is about.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except Damaged as error:
        what = f"{path.relative_to(store.root).as_posix()} was damaged ({error.reason}) and made again"
    warning = f"{what}; it is kept as {store.set_aside(path)}"
    progress.say(f"{warning}.")
    warn(warning)
    return None


def is_damaged(path: Path, load: Callable[[Path], object]) -> bool:
    """Return whether ``path`` is there and ``load`` finds it damaged; moves nothing and needs no lock."""
    try:
        if path.exists():
            load(path)
    except Damaged:
        return True
    return False
