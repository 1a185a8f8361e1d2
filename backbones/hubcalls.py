"""Calls to the hub that may fail for a moment: tried again, each time after a longer wait, and said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

WAITS = (2.0, 8.0, 30.0)
"""Seconds before the second, third and fourth attempt. Downloads go on where they broke off."""

_BUSY = (408, 429, 500, 502, 503, 504)
# the HTTP libraries that hub clients have used name these alike and share no base class
_PASSING = ("Timeout", "ConnectionError", "ConnectError", "ReadError", "ProtocolError", "IncompleteRead")

log = logging.getLogger("exitbench.hub")


def patiently(what: str, call: Callable[[], T]) -> T:
    """What ``call`` gives; one that fails for a passing reason is tried again after each of WAITS.

    ``what`` is named in the messages. Raises the last attempt's error, and any other error at once.
    """
    for attempt, wait in enumerate(WAITS, start=1):
        try:
            return call()
        except Exception as error:
            if not passing(error):
                raise
            log.warning(
                "%s: the hub did not answer (%s); attempt %d of %d in %g s.",
                what, root(error), attempt + 1, len(WAITS) + 1, wait,
            )  # fmt: skip
        time.sleep(wait)
    return call()


def passing(error: BaseException) -> bool:
    """Whether ``error``, or one that it comes from, is of a kind that another attempt may not meet."""
    for cause in causes(error):
        if type(cause).__name__ == "OfflineModeIsEnabled":
            return False
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in _BUSY or isinstance(cause, ConnectionError | TimeoutError):
            return True
        if any(name in kind.__name__ for kind in type(cause).__mro__ for name in _PASSING):
            return True
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it was raised from, outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def root(error: BaseException) -> str:
    """The type of the error that ``error`` comes from."""
    return type(list(causes(error))[-1]).__name__
