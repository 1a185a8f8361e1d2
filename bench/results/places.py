"""Places in a store: names of a run's files, safe on every file system, and what is kept for reuse."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from bench.files import make_folder

RECORD = "record.json"
DEPTH = 3
"""How many folders below the results folder a run's own lies."""
LONGEST = 255
"""Bytes of a file's name on the usual file systems."""


def make_cache(root: Path, kind: str) -> Path:
    """Return the folder of the store at ``root`` for one kind of thing that is kept for reuse; make what is missing."""
    top = root / ".cache"
    make_folder(top / kind)
    if not (top / ".gitignore").exists():
        (top / ".gitignore").write_text("*\n", encoding="utf-8")
    return top / kind


def locate_exits(folder: Path, split: str) -> Path:
    """Return where the logits of every exit over ``split`` are kept in a run's ``folder``."""
    return folder / f"exits-{make_slug(split)}.parquet"


def locate_times(folder: Path, speed_key: str) -> Path:
    """Return where the raw times of one machine and protocol are kept in a run's ``folder``."""
    return folder / f"latency-{speed_key[:8]}.json"


def make_slug(name: str, room: int = LONGEST) -> str:
    """Return a name as a safe folder name: letters, digits, dot, dash and underscore, ``room`` of them at most.

    One that is longer keeps its start; a hash of the whole name tells it from others that start alike.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"
    if len(safe) <= room:
        return safe
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()  # a path may be no UTF-8
    return f"{safe[: room - 9]}-{digest[:8]}"
