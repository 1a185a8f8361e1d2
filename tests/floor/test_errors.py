"""What an error comes from: limits, paths and Ctrl-C are told from our own mistakes, however libraries word them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import LimitReached, UsageError, UserError, find_cause, name_causes
from bench.files import write_text


def chained(error: Exception, cause: BaseException) -> Exception:
    """``error`` raised from ``cause``."""
    error.__cause__ = cause
    return error


LIMITS: dict[str, tuple[Exception, str]] = {
    "descriptors": (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    "descriptors, as text": (RuntimeError("I/O error: Too many open files (os error 24)"), "ulimit -n"),
    "a library that cannot be loaded": (
        ImportError("libtorch.so: failed to map segment from shared object"), "ulimit -v"
    ),
    "memory": (MemoryError(), "ulimit -v"),
    "memory, further back": (chained(ValueError("no array"), MemoryError()), "ulimit -v"),
    "threads": (RuntimeError("can't start new thread"), "ulimit -v"),
    "a card's memory": (RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB."), "ulimit -v"),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_a_limit_is_named_with_its_remedy(case: str) -> None:
    error, remedy = LIMITS[case]
    found = find_cause(error)
    assert isinstance(found, LimitReached)
    assert remedy in str(found)
    assert found.exit_code == 2


@pytest.mark.parametrize("make", [
    lambda: RuntimeError("Error calling function `<lambda>`: KeyboardInterrupt: "),
    lambda: chained(ValueError("half done"), KeyboardInterrupt()),
])  # fmt: skip
def test_a_ctrl_c_that_a_library_turned_into_an_error(make: Callable[[], Exception]) -> None:
    assert isinstance(find_cause(make()), KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt), name_causes():
        raise make()


def test_a_path_is_the_users() -> None:
    found = find_cause(OSError(errno.EROFS, "Read-only file system", "out/a.json"))
    assert isinstance(found, UsageError)
    assert str(found) == "out/a.json cannot be used: Read-only file system."


OURS: list[Exception] = [
    ValueError("operands could not be broadcast"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "a"),
    chained(KeyError("a"), PermissionError(errno.EACCES, "Permission denied")),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_where_no_folder_can_be_made_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"^/proc/nope/out cannot be used: no folder can be made there\.$"):
        write_text(Path("/proc/nope/out/a.json"), "x")


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_our_own_mistakes_stay_what_they_are(error: Exception) -> None:
    assert find_cause(error) is error
    with pytest.raises(type(error)) as caught, name_causes():
        raise error
    assert caught.value is error


def test_what_is_told_already_is_told_as_it_is() -> None:
    error = chained(UserError("no room"), MemoryError())
    assert find_cause(error) is error
