"""Calls of the system that are refused from a chosen one on, as a disk that is full or read-only does it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MADE = ("open", "os.mkdir")
"""What needs room; names can be changed and removed on a full disk."""
CHANGED = (*MADE, "os.rename", "os.remove", "os.rmdir")


class Refusal:
    """Counts what is written below ``root`` and, from number ``nth`` on, refuses it with ``how``.

    ``how`` is ENOSPC, EROFS, or 0 for the deletion of all that is there, once. ``nth`` 0 counts only.
    """

    def __init__(self, root: Path, how: int, nth: int) -> None:
        self.root, self.how, self.nth = str(root), how, nth
        self.seen = 0
        self.refused: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Judge one call."""
        if event not in (MADE if self.how == errno.ENOSPC else CHANGED) or not str(args[0]).startswith(self.root):
            return
        if event == "open" and not args[2] & WRITES:
            return
        self.seen += 1
        if not self.nth or self.seen < self.nth:
            return
        self.refused.append(str(args[0]))
        if self.how:
            raise OSError(self.how, os.strerror(self.how), str(args[0]))
        self.nth = 0
        shutil.rmtree(self.root, ignore_errors=True)


_active: list[Refusal] = []


@contextmanager
def refuse(refusal: Refusal) -> Iterator[Refusal]:
    """Let ``refusal`` judge every call of this process; Python's own, not those of libraries in other languages."""
    if not hasattr(refuse, "hooked"):
        sys.addaudithook(lambda event, args: _active[0](event, args) if _active else None)  # there is no way back
        refuse.hooked = True  # type: ignore[attr-defined]
    _active.append(refusal)
    try:
        yield refusal
    finally:
        _active.clear()
