"""A second place for results, at any URL that fsspec knows (s3://, gs://, file://): for machines that share no folder.

Workers keep a store of their own. Before a cell they fetch what is there of it; after it they send the finished cell's
directory, the checkpoint and the exits. ``record.json`` goes last, so that a cell is there whole or not at all; a
training's first cell is sent before the others start, so that none trains again. Nothing is locked and nothing is
ever changed, but for a record that is replaced by a newer one of the same cell.

What arrives is foreign: it is kept under names that a store has, and only once it has been read. Logits that stand for
another run's (`bench pack`) travel whole, in both directions, for that run may not be there.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from backbones.hubcalls import may_pass, name_cause, retry_call
from bench.cell.identify import Cell
from bench.errors import Damaged, UsageError, UserError
from bench.files import read_object, replace_file
from bench.progress import Progress
from bench.results.exits import read_exits
from bench.results.packed.packing import hold_logits
from bench.results.packed.references import follow_reference, read_reference
from bench.results.places import DEPTH, RECORD
from bench.results.record import RecordHead
from bench.results.record_file import read_record
from bench.results.store import Store
from bench.text import shorten_quotes
from bench.training.checkpoint import load_tensors

CHECKERS: dict[str, Callable[[Path], object]] = {
    ".json": read_object, ".parquet": read_exits, ".safetensors": load_tensors
}  # fmt: skip
"""Ending -> how a file is read to know that it is whole; files with other endings are not kept."""

CELL = re.compile("/".join([r"[A-Za-z0-9._-]+"] * DEPTH))
"""Where a cell lies in a store."""
MOST_JSON = 2**28
"""Bytes of a record or of raw times; what is larger is none, and would be read whole."""

NOWHERE = re.compile(r"[\w+.-]*:/*")
SCHEME = re.compile(r"[\w+.-]+:(//|:)")
ANSWER_WITHIN = 60.0
"""Seconds in which a file system has to answer for the first time."""
LONGEST_REASON = 200
"""Letters of a file system's message that are shown."""


class Remote:
    """The results at ``url``, beside the local ``store``. Raises UsageError for a URL that cannot be used.

    ``progress`` says what is left out of what is there, and why.
    """

    def __init__(self, url: str, store: Store, progress: Progress) -> None:
        self.url, self.store, self.progress = shorten_quotes(url), store, progress
        self.files, self.root, self.is_there = open_url(url)

    def fetch(self, cell: Cell) -> None:
        """Bring what is there of a cell, of its checkpoint and of its exits into the local store."""
        self._fetch_cell(self._name(cell.folder))
        for folder in self._caches(cell):
            missing = [n for n in self._list(self._name(folder)) if not (self.store.root / n).exists()]
            self._fetch_files([n for n in missing if Path(n).parent == Path(self._name(folder))])

    def send(self, cell: Cell) -> None:
        """Bring a finished cell, its checkpoint and its exits to the URL."""
        for folder in (*self._caches(cell), cell.folder):
            paths = [p for p in folder.glob("*") if p.is_file() and not p.name.startswith((".", "progress"))]
            for path in sorted(paths, key=lambda p: p.name == RECORD):
                there = f"{self.root}/{self._name(path)}"
                if path.name == RECORD or not self._try(path.name, partial(self.files.exists, there)):
                    self._try(path.name, partial(self.files.makedirs, there.rpartition("/")[0], exist_ok=True))
                    self._try(path.name, partial(self.files.put_file, str(follow_reference(path)), there))

    def fetch_cells(self) -> int:
        """Bring every finished cell that is not here yet into the local store; return how many there were."""
        names = [name.removesuffix(f"/{RECORD}") for name in self._list("") if name.endswith(f"/{RECORD}")]
        return sum(self._fetch_cell(name) for name in names if not name.startswith(".") and self._may_hold_cell(name))

    def _may_hold_cell(self, name: str) -> bool:
        """Return whether a store has cells under such a name; say so where it has not."""
        fits = CELL.fullmatch(name) is not None
        if not fits:
            self.progress.say(f"{self.url}/{name} is left out: a cell lies in TASK/BACKBONE/RUN.")
        return fits

    def _fetch_cell(self, name: str) -> bool:
        """Bring the cell in the folder ``name``, whole; False where it is here, is not there, or cannot be used."""
        if is_finished(self.store.root / name / RECORD):
            return False
        found = [file for file in self._list(name) if file.rpartition("/")[0] == name]
        return f"{name}/{RECORD}" in found and self._fetch_files(found)

    def _fetch_files(self, names: list[str]) -> bool:
        """Bring files into the local store, all of them or none; each is read first, the record is put last."""
        with tempfile.TemporaryDirectory(dir=self.store.make_cache("incoming")) as folder:
            arrived = [Path(folder) / str(number) for number in range(len(names))]
            for path, name in zip(arrived, names, strict=True):
                if reason := self._fetch_file(name, path):
                    self.progress.say(f"{self.url}/{name} is left out: {reason}.")
                    return False
            if names:
                self._keep_files(arrived, names)
        return True

    def _keep_files(self, arrived: list[Path], names: list[str]) -> None:
        """Put what arrived for one folder in its place, the record last."""
        with hold_logits(self.store, (self.store.root / names[0]).parent.parent, self.progress):
            for path, name in sorted(zip(arrived, names, strict=True), key=lambda pair: pair[1].endswith(RECORD)):
                with replace_file(self.store.root / name) as temporary:
                    path.replace(temporary)

    def _fetch_file(self, name: str, path: Path) -> str:
        """Bring a file to ``path``, in the place of a reference what it refers to; return why it cannot be kept."""
        there = f"{self.root}/{name}"
        if reason := explain_size(name, self._try(name, partial(self.files.size, there))):
            return reason
        self._try(name, partial(self.files.get_file, there, str(path)))
        try:
            reference = read_reference(path) if name.endswith(".parquet") else None
        except Damaged as error:
            return error.reason
        if reference is None:
            return explain_unusable(path, name)
        folder, file = there.rsplit("/", 1)
        whole = f"{folder.rpartition('/')[0]}/{reference.same_as}/{file}"
        if not self._try(name, partial(self.files.exists, whole)):
            return f"its logits are those of {reference.same_as}, which are not there"
        self._try(name, partial(self.files.get_file, whole, str(path)))
        differs = f"its logits are those of {reference.same_as}, which are others by now"
        return explain_unusable(path, name) or (differs if read_exits(path).checksum() != reference.sha256 else "")

    def _caches(self, cell: Cell) -> list[Path]:
        return [self.store.cache("checkpoints", cell.keys.training), self.store.cache("exits", cell.keys.exits)]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.store.root).as_posix()

    def _list(self, name: str) -> list[str]:
        """Files below ``name``, as names below the root, but for those that must not be in a store."""
        top = f"{self.root}/{name}".rstrip("/")
        self.files.invalidate_cache()
        found: list[str] = self._try(name, lambda: self.files.find(top) if self.files.exists(top) else [])
        names = [file.removeprefix(self.root).lstrip("/") for file in found]
        for name in names:
            if not stays_below(name):
                self.progress.say(f"{self.url}/{name} is left out: its name leads out of the results folder.")
        return [name for name in names if stays_below(name) and not is_hidden(name)]

    def _try(self, name: str, call: Any) -> Any:
        """A call over the network: tried again where that may help. Raises UsageError, one line, where it fails."""
        try:
            return retry_call(f"{self.url}/{name}", call)
        except (OSError, NotImplementedError) as error:  # the latter: a file system that can only be read
            raise UsageError(f"{self.url}/{name}: {explain_no_use(error)}.") from error


def open_url(url: str) -> tuple[Any, str, bool]:
    """Return the file system of a URL, the place in it, and whether a folder is there yet.

    Raises UsageError, in one line, for what is no place, cannot be used, or does not answer in time.
    """
    import fsspec

    said, opened = shorten_quotes(url), Future[tuple[Any, str, bool]]()
    if not url.strip():  # fsspec takes it for the current folder
        raise UsageError("--sync is empty: give the URL of a folder, such as s3://bucket/results.")
    scheme = url.partition("/")[0]
    if NOWHERE.fullmatch(url) or (":" in scheme and not SCHEME.match(url) and not os.path.isdir(url)):
        raise UsageError(f"--sync {said} names no place: give a folder, or a URL such as s3://bucket/results.")

    def look() -> None:
        try:
            files, root = fsspec.core.url_to_fs(url)
            kept = root if files.exists(root) else None
            if kept is not None and files.isfile(root):
                raise UsageError(f"--sync {said} is a file: give a folder.")
            opened.set_result((files, root, kept is not None))
        except BaseException as error:  # raised again where it was asked for
            opened.set_exception(error)

    Thread(target=look, daemon=True).start()  # some file systems wait for a host for ever, and can be told nothing else
    try:
        return opened.result(timeout=ANSWER_WITHIN)
    except UserError:
        raise
    except ImportError as error:
        raise UsageError(f"--sync {said} needs another package: {explain_no_use(error)}.") from error
    except TimeoutError as error:
        reason = f"no answer in {ANSWER_WITHIN:g} s" if not opened.done() else explain_no_use(error)
        raise UsageError(f"--sync {said} cannot be used: {reason}.") from error
    except Exception as error:  # every file system has its own way to say that a URL is nothing for it
        raise UsageError(f"--sync {said} cannot be used: {explain_no_use(error)}.") from error


def explain_no_use(error: Exception) -> str:
    """Return what a file system's error says, on one line of readable length."""
    if may_pass(error):
        return f"no answer ({name_cause(error)})"
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def is_finished(path: Path) -> bool:
    """Return whether a finished run's record is there; one that a newer version wrote is left alone, too."""
    try:
        return read_record(path).status == "success"
    except (OSError, Damaged):
        return False
    except UsageError:
        return True


def stays_below(name: str) -> bool:
    """Return whether an object's name, joined to a folder, is a file somewhere in that folder."""
    return not any(part in ("", ".", "..") or set(part) & set("\\\0") for part in name.split("/"))


def is_hidden(name: str) -> bool:
    """Return whether a name is no part of results: in a folder such as ``.git``, or a hidden file, but ``.cache``."""
    return any(part.startswith(".") for part in name.removeprefix(".cache/").split("/"))


def explain_size(name: str, size: int | None) -> str:
    """Return why a file of ``size`` bytes is not fetched, or the empty string; a file system may not know the size."""
    if size is None or size <= MOST_JSON or not name.endswith(".json"):
        return ""
    return f"it has {size:,} bytes, and no record has more than {MOST_JSON:,}"


def explain_unusable(path: Path, name: str) -> str:
    """Return why what arrived at ``path`` cannot be kept as ``name``, or the empty string."""
    reader = read_record if name.endswith(f"/{RECORD}") else CHECKERS.get(Path(name).suffix)
    if reader is None:
        return "no file of a results folder ends like that"
    try:
        found = reader(path)
    except Damaged as error:
        return error.reason
    except UserError as error:
        return str(error).removeprefix(f"{path} ")
    except Exception as error:  # foreign bytes
        return f"{type(error).__name__}: {error}"
    folder = Path(name).parent.name
    if isinstance(found, RecordHead) and folder.rpartition("-")[2] != found.quality_key[:8]:
        return f"the record is another cell's, not that of {folder}"
    return ""
