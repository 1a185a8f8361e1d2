"""What can go wrong, and the exit code that says so.

Every error that a user can cause is a :class:`backbones.errors.UserError`, also those of :mod:`backbones` and
:mod:`strategies`, and is shown as one line without a traceback. Anything else is an internal error.
"""

from __future__ import annotations

from backbones.errors import UsageError as UsageError
from backbones.errors import UserError as UserError

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
    """A file whose content is not what was written; ``reason`` is the short of it."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}). Delete it and run the cell again.")
        self.reason = reason


class DiskFull(UserError):
    """There is no room for what has to be written."""


class NothingComparable(UserError):
    """A comparison in which nothing could be paired or measured."""

    exit_code = NOTHING_COMPARABLE


class CellsFailed(UserError):
    """Some cells of a run or sweep failed; the others were recorded."""

    exit_code = CELLS_FAILED
