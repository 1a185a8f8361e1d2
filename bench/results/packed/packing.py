"""Store logits that several runs share once, and whole again. Only `bench pack` does it.

In a folder ``<task>/<backbone>`` the first run by name keeps the file, the others' become references to it. Every file
is replaced atomically, and at every moment in between the store reads the same, so that a process that was killed
leaves nothing to repair. Whoever writes logits beside a record holds the lock of its ``<task>/<backbone>``.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from bench.errors import Damaged, UsageError
from bench.files import hash_file, replace_file
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.checks import find_other_logits
from bench.results.exits import read_exits, write_exits
from bench.results.packed.references import REFERABLE, LogitsReference, read_reference, write_reference
from bench.results.places import LONGEST, RECORD, make_slug
from bench.results.run import Run
from bench.results.store import LeftOut, Store, load_runs

LOGITS_FILES = "exits-*.parquet"
LOCK = ".lock"


@dataclass(frozen=True)
class Packed:
    """What a store has become: its files of logits, how many of them are references, and the bytes of all.

    ``changed`` files were written; ``left_out`` stayed as they were because something is wrong with them.
    """

    files: int
    references: int
    changed: int
    bytes_before: int
    bytes_after: int
    left_out: tuple[LeftOut, ...]


class Faults:
    """Files below ``root`` that stay as they are, and why."""

    def __init__(self, root: Path) -> None:
        self.root, self.found = root, list[LeftOut]()

    def note(self, path: Path, error: Damaged | OSError) -> None:
        """Note what is wrong with a file."""
        why = error.reason if isinstance(error, Damaged) else f"it cannot be read: {error.strerror}"
        self.found.append(LeftOut(path.relative_to(self.root).as_posix(), why))


def pack_results(store: Store, progress: Progress) -> Packed:
    """Store logits that finished runs of one task and backbone share, byte for byte, once.

    Every file is read; what is damaged, not its run's own, or there by a link stays as it is. Raises UsageError where
    there are no runs.
    """
    return _change_store(store, progress, _pack_folder)


def unpack_results(store: Store, progress: Progress) -> Packed:
    """Make every file of logits whole again, byte for byte as it was. Raises UsageError where there are no runs."""
    return _change_store(store, progress, _unpack_folder)


def hold_logits(store: Store, folder: Path, progress: Progress) -> AbstractContextManager[None]:
    """Let only one process write logits beside the records in ``folder``, which is of a task and a backbone."""
    key = make_slug(f"logits-{folder.parent.name}-{folder.name}", LONGEST - len(LOCK))
    return store.lock(key, progress, "logits of the same backbone")


def replace_logits(store: Store, exits: AllExits, path: Path, progress: Progress) -> None:
    """Write logits beside a run's record; runs that refer to others which are there get files of their own first."""
    folder, sha256 = path.parent.parent, exits.checksum()
    with hold_logits(store, folder, progress):
        for other in folder.glob(f"*/{escape(path.name)}"):
            with suppress(Damaged, FileNotFoundError):  # what cannot be read now could not be before
                reference = read_reference(other)
                if reference is not None and reference.same_as == path.parent.name and reference.sha256 != sha256:
                    read_exits(other)
                    _make_whole(other, reference)
        write_exits(exits, path)


def _change_store(store: Store, progress: Progress, change: Callable[[Path, Faults], int]) -> Packed:
    """Let ``change`` work on every folder of a task and a backbone, and return what the store has become."""
    folders = list(dict.fromkeys(folder.parent for folder in store.folders()))
    if not folders:
        raise UsageError(f"There are no runs in {store.root}: `bench run` makes some.")
    before, changed, faults = _sum_sizes(folders), 0, Faults(store.root)
    with progress.work("logits", len(folders)) as work:
        for folder in folders:
            with hold_logits(store, folder, progress):
                for leftover in folder.glob(f"*/.{LOGITS_FILES}.*.tmp"):  # of a process that was killed here
                    leftover.unlink()
                changed += change(folder, faults)
            work.advance()
    paths = [path for folder in folders for path in folder.glob(f"*/{LOGITS_FILES}")]
    references = sum(len(_find_references(folder)) for folder in folders)
    return Packed(len(paths), references, changed, before, _sum_sizes(folders), tuple(faults.found))


def _sum_sizes(folders: Sequence[Path]) -> int:
    return sum(path.lstat().st_size for folder in folders for path in folder.glob(f"*/{LOGITS_FILES}"))


def _find_references(folder: Path, faults: Faults | None = None) -> dict[Path, LogitsReference]:
    """Return the references beside the records in a folder; what is meant as one and is none is noted."""
    found = {}
    for path in sorted(folder.glob(f"*/{LOGITS_FILES}")):
        try:
            reference = read_reference(path)
        except (Damaged, FileNotFoundError) as error:  # or a link that leads nowhere
            if faults is not None:
                faults.note(path, error)
            continue
        if reference is not None:
            found[path] = reference
    return found


def _pack_folder(folder: Path, faults: Faults) -> int:
    """Let the runs in a folder refer to the first that has the same logits; return how many files were written."""
    runs, left_out = load_runs(sorted(path.parent for path in folder.glob(f"*/{RECORD}")), faults.root)
    faults.found += left_out
    references, changed = _find_references(folder, faults), 0
    whole: dict[str, str] = {}
    for members in _group_by_content(runs, faults):
        own, sha256 = _read_own(members, faults)
        there = dict.fromkeys(map(os.path.realpath, own), sha256)
        whole |= there
        first = next((path for path in own if REFERABLE.fullmatch(path.parent.name)), None)
        if first is None:
            continue
        kept = LogitsReference(first.parent.name, sha256)
        # a reference is followed once: those to a file that becomes one are the first to change
        others = [path for path, to in references.items() if there.get(os.path.realpath(to.locate(path))) == to.sha256]
        for path in (*others, *own):
            if path != first and references.get(path) != kept:
                write_reference(path, kept)
                references[path] = kept
                changed += 1
    for path, reference in references.items():
        if whole.get(os.path.realpath(reference.locate(path))) != reference.sha256:
            _read_or_note(path, faults)
    return changed


def _group_by_content(runs: Sequence[Run], faults: Faults) -> Iterable[list[tuple[Run, str]]]:
    """Return the runs and splits whose files of logits have the same name and bytes, in order of the runs' names."""
    found: defaultdict[tuple[str, str], list[tuple[Run, str]]] = defaultdict(list)
    for run in runs:
        for split in (*run.record.task.evaluation, run.record.task.select) if run.is_finished() else ():
            path = run.exits_file(split)
            try:
                if not path.exists() or read_reference(path) is not None:
                    continue
                if path.is_symlink() or path.parent.is_symlink():  # it could come to refer to itself
                    faults.note(path, Damaged(path, "a link leads to it, so that it may be another run's"))
                else:
                    found[path.name, hash_file(path)].append((run, split))
            except Damaged:  # noted with the references
                continue
            except OSError as error:
                faults.note(path, error)
    return found.values()


def _read_own(members: Sequence[tuple[Run, str]], faults: Faults) -> tuple[list[Path], str]:
    """Return those of some files of the same bytes that are whole and their runs' own, and the content's checksum."""
    own, sha256 = [], ""
    for run, split in members:
        path = run.exits_file(split)
        if (found := _read_or_note(path, faults)) is None:
            continue
        sha256 = found.checksum()
        if fault := find_other_logits(run.record, split, found):
            faults.note(path, Damaged(path, fault))
        else:
            own.append(path)
    return own, sha256


def _read_or_note(path: Path, faults: Faults) -> AllExits | None:
    """Return the logits at ``path``; None, and a note, where they are damaged."""
    try:
        return read_exits(path)
    except Damaged as error:
        faults.note(path, error)
    return None


def _unpack_folder(folder: Path, faults: Faults) -> int:
    """Make what refers to other logits in a folder whole; return how many files were written."""
    changed = 0
    for path, reference in _find_references(folder, faults).items():
        if _read_or_note(path, faults) is not None:
            _make_whole(path, reference)
            changed += 1
    return changed


def _make_whole(path: Path, reference: LogitsReference) -> None:
    """Put a copy of what ``path`` refers to in its place."""
    with replace_file(path) as temporary:
        shutil.copyfile(reference.locate(path), temporary)
