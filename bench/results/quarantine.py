"""Files that are kept for reuse and turn out damaged: set aside, said, and made again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from bench.errors import Damaged
from bench.progress import Progress
from bench.results.places import LONGEST, slug
from bench.results.store import Store

T = TypeVar("T")


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
    warning = f"{what}; it is kept as {set_aside(store, path)}"
    progress.say(f"{warning}.")
    warn(warning)
    return None


def is_damaged(path: Path, load: Callable[[Path], object]) -> bool:
    """Whether ``path`` is there and ``load`` finds it damaged: a look that moves nothing and needs no lock."""
    try:
        if path.exists():
            load(path)
    except Damaged:
        return True
    return False


def set_aside(store: Store, path: Path) -> str:
    """Move ``path`` into the store's quarantine under a name that is free; its place below the store."""
    folder = store.make_cache("quarantine")
    ends = (f"-{number}-{path.name}" for number in count(1))
    places = (folder / f"{slug(path.parent.name, LONGEST - len(end))}{end}" for end in ends)
    place = next(place for place in places if not place.exists())
    path.replace(place)
    return place.relative_to(store.root).as_posix()
