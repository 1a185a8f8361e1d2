"""Files that are whole or absent: written beside their place, synced, renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import Damaged, DiskFull, UsageError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, which becomes ``path`` when the block ends without an error.

    The name is unique, so that two processes writing the same file do not meet; the last rename wins.
    Raises DiskFull, with the old file untouched, where there is no room for the new one.
    """
    if path.is_dir():  # also one without a name, as the current one and the root
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            yield temporary
        except FileNotFoundError:
            _refuse_place(path, temporary)
            raise
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(
                f"No space is left on the disk for {path}: free some and run the same command again; "
                "what was finished is kept."
            ) from error
        if isinstance(error, OSError) and error.filename == str(temporary):  # people know the file by its own name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refuse_place(path: Path, temporary: Path) -> None:
    """Raise UsageError where the system has no files made beside ``path``, as in /proc."""
    try:
        temporary.touch()
    except FileNotFoundError:
        raise UsageError(f"{path} cannot be used: no file can be made there.") from None


def make_folder(folder: Path) -> None:
    """Make a folder and what it lies in. Raises UsageError where the system has no folders made, as below /proc."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        raise UsageError(f"{folder} cannot be used: no folder can be made there.") from None


def is_there(path: Path) -> bool:
    """Return whether there is something at ``path``, also where it cannot be read, as a link that leads to itself."""
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def is_disk_full(error: Exception) -> bool:
    """Return whether ``error`` says that the disk or the user's share is full; libraries pass on its text only."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def hash_file(path: Path) -> str:
    """Return the SHA-256, hex, of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes did not finish writing; only while nobody else can be writing there."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object, *, compact: bool = False) -> None:
    """Write ``value`` as JSON, indented unless ``compact``, atomically. NaN and infinity are an error (ValueError)."""
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    text = json.dumps(value, sort_keys=False, allow_nan=False, ensure_ascii=False, **layout)
    write_text(path, text + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``. Raises Damaged where there is half of one, or none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not text, not JSON, or brackets without end
        raise Damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise Damaged(path, f"it holds {type(found).__name__} and no object")
    return found


def refuse_file(folder: Path) -> None:
    """Raise UsageError where the results ``folder``, or what it would lie in, is there and is no folder."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if there is not None and not os.path.isdir(there):
        what = "a file" if os.path.exists(there) else "a link that leads nowhere"
        raise UsageError(f"{there} is {what}, and results are kept in a folder.")
