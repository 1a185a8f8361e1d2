"""What can go wrong, and the exit code that says so.

Every error that a user can cause is a :class:`backbones.errors.UserError`, also those of :mod:`backbones` and
:mod:`strategies`, and is shown as one line without a traceback. Anything else is an internal error.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backbones.errors import UsageError as UsageError
from backbones.errors import UserError as UserError
from backbones.names import find_makers_fault

OK = 0
INTERNAL = 1
USAGE = 2
REGRESSION = 3
NOTHING_COMPARABLE = 4
CELLS_FAILED = 5
INTERRUPTED = 130
READER_GONE = 141
"""What a shell gives for a process that SIGPIPE ended: never 0, so that a verdict that nobody read is no success."""


class DataError(UsageError):
    """A data set that cannot be used as it is; the message names file, row and remedy."""


class Damaged(UsageError):
    """A file whose content is not what was written: ``what`` says which and why, ``reason`` is the short of it."""

    def __init__(self, path: object, reason: str) -> None:
        self.reason, self.what = reason, f"{path} is damaged ({reason})"
        super().__init__(f"{self.what}. Delete it and run the cell again.")


class Unsealed(Damaged):
    """A file without the checksum that all have today: it may be whole, but nothing tells."""

    def __init__(self, path: object) -> None:
        super().__init__(path, "it has no checksum sha256")
        self.what = f"{path} has no checksum sha256, so that nothing tells whether it is as it was written"
        self.args = (f"{self.what}. The first versions wrote none: run the cell again.",)


class Unfollowed(Damaged):
    """A reference whose other end is not there: nothing is damaged, it is only not whole here."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(path, reason)
        self.what = f"{path} is not whole here ({reason})"
        self.args = (f"{self.what}.",)


class Newer(UsageError):
    """A record that a newer version wrote: nothing is wrong with it, but it cannot be read here."""

    def __init__(self, path: object, version: int, known: int) -> None:
        what = f"schema_version is {version}, this one knows {known}"
        super().__init__(f"{path} was written by a newer ExitBench ({what}): upgrade exitbench.")


class DiskFull(UserError):
    """There is no room for what has to be written."""


class NothingComparable(UserError):
    """A comparison in which nothing could be paired or measured."""

    exit_code = NOTHING_COMPARABLE


class CellsFailed(UserError):
    """Some cells of a run or sweep failed; the others were recorded."""

    exit_code = CELLS_FAILED


class LimitReached(UserError):
    """The machine has, or gives this process, no more of what the work needs."""


class MakersFault(UsageError):
    """A module that the user named fails, or gives what it may not; its traceback is for him, and is in the record."""


PATH_ERRORS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ELOOP,
)  # fmt: skip
"""What is wrong with a path that somebody gave; a file that is missing may be our own mistake and is not among them."""

LIMITS = {
    "Too many files are open at once: raise the limit (`ulimit -n`)": ("Too many open files",),
    "The memory does not suffice: free some, or raise the limit (`ulimit -v`)": (
        *("Cannot allocate memory", "can't allocate memory", "std::bad_alloc", "CUDA out of memory"),
        *("failed to map segment from shared object", "can't start new thread"),
    ),
}
"""What to do about a limit of the machine, and how the system and libraries speak of it: many as text only."""


def find_cause(error: BaseException) -> BaseException:
    """Return what ``error`` comes from, where that is nothing of ours; else ``error``.

    That is a limit, a path, a Ctrl-C, or a module of the user's. Libraries pass such things on in words of their own,
    and turn even a Ctrl-C into an error.
    """
    if isinstance(error, UserError):
        return error
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if any(isinstance(link, KeyboardInterrupt) or "KeyboardInterrupt" in str(link) for link in chain):
        return KeyboardInterrupt()
    for remedy, words in LIMITS.items():
        out_of_memory = "ulimit -v" in remedy and any(isinstance(link, MemoryError) for link in chain)
        if out_of_memory or any(word in str(link) for link in chain for word in words):
            return LimitReached(f"{remedy} and run the same command again; what was finished is kept.")
    if isinstance(error, OSError) and error.errno in PATH_ERRORS:
        path = error.filename2 or error.filename or "The output"  # the second is where a finished file was to go
        return UsageError(f"{path} cannot be used: {error.strerror}.")
    fault = find_makers_fault(error)
    return error if fault is None else MakersFault(fault)


@contextmanager
def name_causes() -> Iterator[None]:
    """Raise in place of an error what :func:`find_cause` makes of it; a module of somebody's may raise anything."""
    try:
        yield
    except BaseException as error:
        cause = find_cause(error)
        if cause is error:
            raise
        raise cause from error
