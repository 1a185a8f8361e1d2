"""The lowest floor: the one base class of everything that is told in one line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """What a user got wrong or has to put right: a one-line message, and the exit code of the process.

    Everything else, ValueError and its kin included, is a mistake of ours and keeps its traceback.
    """

    exit_code: int = 2


class UsageError(UserError):
    """Bad input: an unknown name, a malformed file, a combination that makes no sense."""


class BackboneError(UserError):
    """A backbone that cannot be had as asked."""
