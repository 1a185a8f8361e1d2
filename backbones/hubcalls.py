"""The hub: whether it may be asked at all, and calls that may fail for a moment, tried again after a wait."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

WAITS = (2.0, 8.0, 30.0)
"""Seconds before the second, third and fourth attempt. Downloads go on where they broke off."""

_BUSY = (408, 429, 500, 502, 503, 504)
# the HTTP libraries that hub clients have used name these alike and share no base class
_PASSING = ("Timeout", "ConnectionError", "ConnectError", "ReadError", "ProtocolError", "IncompleteRead")

_silent = False
"""Whether the last call gave up after all its attempts: until something answers, the next ones have one each."""

log = logging.getLogger("exitbench.hub")

_OFFLINE = "HF_HUB_OFFLINE"
_READERS = ("huggingface_hub.constants", "datasets.config")
"""The modules that read the switch when they are imported, and keep what they read."""


def quiet_libraries() -> None:
    """Keep the libraries' own progress bars and advice from mixing with ours, where nobody has asked for them.

    Counts for those that are imported after it.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    warnings.filterwarnings("ignore", "IProgress not found")  # of notebooks, where none of their bars is shown


def is_offline() -> bool:
    """Return whether the environment forbids the hub's libraries to use the network."""
    return any(
        os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in (_OFFLINE, "TRANSFORMERS_OFFLINE")
    )


@contextmanager
def keep_offline(asked: bool = True) -> Iterator[None]:
    """Keep the hub's libraries off the network inside the block and in processes that it starts, where ``asked``."""
    if not asked:
        yield
        return
    named = os.environ.get(_OFFLINE)
    before = {name: vars(sys.modules[name])[_OFFLINE] for name in _READERS if name in sys.modules}
    os.environ[_OFFLINE] = "1"
    for name in before:
        setattr(sys.modules[name], _OFFLINE, True)
    try:
        yield
    finally:
        del os.environ[_OFFLINE]
        if named is not None:
            os.environ[_OFFLINE] = named
        for name in _READERS:
            if name in sys.modules:  # one that was imported meanwhile has read what holds no longer
                setattr(sys.modules[name], _OFFLINE, before.get(name, is_offline()))


@contextmanager
def hide_bars(logging: Any) -> Iterator[None]:
    """Hide the progress bars of a hub library, given its ``utils.logging``, for work that takes a second."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def retry_call(what: str, call: Callable[[], T]) -> T:
    """Return what ``call`` gives; where it fails for a passing reason, try again after each of WAITS.

    ``what`` is named in the messages. Raises the last attempt's error, and any other error at once. After a call
    that all attempts failed for, the next calls are not tried again: a plan of many data sets waits once, not for each.
    Offline there is one attempt, which looks into the cache only.
    """
    global _silent
    for attempt, wait in enumerate(() if _silent or is_offline() else WAITS, start=1):
        try:
            return call()
        except Exception as error:
            if not may_pass(error):
                raise
            log.warning(
                "%s: the hub did not answer (%s); attempt %d of %d in %g s.",
                what, name_cause(error), attempt + 1, len(WAITS) + 1, wait,
            )  # fmt: skip
        time.sleep(wait)
    try:
        answer = call()
    except Exception as error:
        _silent = may_pass(error)
        raise
    _silent = False
    return answer


@contextmanager
def ask_once() -> Iterator[None]:
    """Give calls inside the block one attempt each: what they fetch can be done without, and is not worth a wait."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


def may_pass(error: BaseException) -> bool:
    """Return whether ``error``, or one that it comes from, is of a kind that another attempt may not meet."""
    for cause in walk_causes(error):
        if type(cause).__name__ == "OfflineModeIsEnabled":
            return False
        if _is_passing(cause):
            return True
    return False


def _is_passing(error: BaseException) -> bool:
    """Return whether ``error`` alone, whatever it comes from, is of that kind."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _BUSY or isinstance(error, ConnectionError | TimeoutError):
        return True
    return any(name in kind.__name__ for kind in type(error).__mro__ for name in _PASSING)


def walk_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what it was raised from, outermost first."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def name_cause(error: BaseException) -> str:
    """Return the type of the innermost error that may pass of those behind ``error``, else of the innermost.

    Beside a failed call, libraries look into their cache: that a file is missing there is not why the call failed.
    """
    found = list(walk_causes(error))
    return type(next((e for e in reversed(found) if _is_passing(e)), found[-1])).__name__
