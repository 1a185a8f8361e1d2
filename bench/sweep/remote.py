"""A second place for results, at any URL that fsspec knows (s3://, gs://, file://): for machines that share no folder.

Workers keep a store of their own. Before a cell they fetch what is there of it; after it they send the finished cell's
directory, the checkpoint and the exits. ``record.json`` goes last, so that a cell is there whole or not at all; a
training's first cell is sent before the others start, so that none trains again. Nothing is locked and nothing is
ever changed, but for a record that is replaced by a newer one of the same cell.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backbones.hubcalls import patiently
from bench.cell.run import Work
from bench.errors import UsageError
from bench.files import replace_file
from bench.results.spec import exits_identity, key, training_identity
from bench.results.store import Store

RECORD = "record.json"


class Remote:
    """The results at ``url``, beside the local ``store``. Raises UsageError for a URL that cannot be used."""

    def __init__(self, url: str, store: Store) -> None:
        import fsspec

        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UsageError(f"--sync {url} needs another package: {error}.") from error
        except ValueError as error:
            raise UsageError(f"--sync {url} is no URL that fsspec knows: {error}.") from error
        self.url, self.store = url, store

    def fetch(self, work: Work) -> None:
        """Bring what is there of a cell, of its checkpoint and of its exits into the local store."""
        self._fetch_cell(self._name(work.cell.folder))
        for folder in self._caches(work):
            for name in self._list(self._name(folder)):
                self._get(name)

    def send(self, work: Work) -> None:
        """Bring a finished cell, its checkpoint and its exits to the URL."""
        for folder in (*self._caches(work), work.cell.folder):
            paths = [p for p in folder.glob("*") if p.is_file() and not p.name.startswith((".", "progress"))]
            for path in sorted(paths, key=lambda p: p.name == RECORD):
                self._put(path, again=path.name == RECORD)

    def fetch_cells(self) -> int:
        """Bring every finished cell that is not here yet into the local store; how many there were."""
        records = [name for name in self._list("") if name.endswith(f"/{RECORD}") and not name.startswith(".")]
        return sum(self._fetch_cell(name.removesuffix(f"/{RECORD}")) for name in records)

    def _fetch_cell(self, name: str) -> bool:
        if self._finished(self.store.root / name / RECORD) or f"{name}/{RECORD}" not in self._list(name):
            return False
        for file in sorted(self._list(name), key=lambda f: f.endswith(RECORD)):
            self._get(file, again=True)
        return True

    def _finished(self, path: Path) -> bool:
        try:
            return bool(json.loads(path.read_text(encoding="utf-8"))["status"] == "success")
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _caches(self, work: Work) -> list[Path]:
        identities = {"checkpoints": training_identity, "exits": exits_identity}
        return [self.store.cache(kind, key(of(work.spec, work.facts))) for kind, of in identities.items()]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.store.root).as_posix()

    def _list(self, name: str) -> list[str]:
        """Files below ``name``, as names below the root."""
        top = f"{self.root}/{name}".rstrip("/")
        self.files.invalidate_cache()
        found: list[str] = self._try(name, lambda: self.files.find(top) if self.files.exists(top) else [])
        return [file.removeprefix(self.root).lstrip("/") for file in found]

    def _get(self, name: str, again: bool = False) -> None:
        path = self.store.root / name
        if again or not path.exists():
            with replace_file(path) as temporary:
                self._try(name, lambda: self.files.get_file(f"{self.root}/{name}", str(temporary)))

    def _put(self, path: Path, again: bool) -> None:
        there = f"{self.root}/{self._name(path)}"
        if again or not self._try(path.name, lambda: self.files.exists(there)):
            self.files.makedirs(there.rpartition("/")[0], exist_ok=True)
            self._try(path.name, lambda: self.files.put_file(str(path), there))

    def _try(self, name: str, call: Any) -> Any:
        """A call over the network: tried again where that may help. Raises UsageError, one line, where it fails."""
        try:
            return patiently(f"{self.url}/{name}", call)
        except OSError as error:
            raise UsageError(f"{self.url}/{name}: {type(error).__name__}: {error}") from error
