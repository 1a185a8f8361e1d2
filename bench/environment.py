"""What a result was made with: versions, commit, machine. Says nothing about who or where."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.errors import UsageError

PACKAGES = ("exitbench", "torch", "transformers", "tokenizers", "datasets", "numpy", "scikit-learn", "safetensors")


@contextmanager
def keep_import_path() -> Iterator[None]:
    """Let Python processes that are started in this block import from where this one does.

    Left to itself, one that is started with ``-m`` or ``-c`` imports from the current folder first: a ``uuid.py`` there
    would be run in place of the library's.
    """
    here = False
    with suppress(FileNotFoundError):  # the folder is gone
        here = sys.path[:1] in ([""], [os.getcwd()])
    before = os.environ.get("PYTHONSAFEPATH")
    if not here:
        os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        os.environ.pop("PYTHONSAFEPATH", None)
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def read_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that results depend on; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@cache
def read_cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def count_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_threads(threads: int | None, option: str) -> None:
    """Raise UsageError, naming ``option``, for fewer than one thread or more than there are cores: they would queue."""
    cores = count_cores()
    if threads is not None and not 1 <= threads <= cores:
        raise UsageError(f"{option} must be 1 to {cores}, the cores that this process may use, not {threads}.")


def read_memory() -> float | None:
    """Return the main memory in GiB, None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def describe_machine() -> dict[str, object]:
    """Return the machine as far as it can change a timing: processor, cores, memory, threads, GPU."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": read_cpu_name(),
        "cores": count_cores(),
        "memory_gib": read_memory(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def identify_machine() -> str:
    """Return 12 hex digits for :func:`describe_machine`: two results with the same one may be compared in time."""
    text = repr(sorted(describe_machine().items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find_source_commit() -> dict[str, object] | None:
    """Return the commit of ExitBench that runs, and whether there are uncommitted changes; None for a wheel."""
    folder = Path(__file__).resolve().parent.parent
    commit = _ask_git(folder, "rev-parse", "HEAD") if (folder / ".git").exists() else ""
    if not commit:
        return None
    # results are written by runs themselves, so they say nothing about the code
    changed = _ask_git(folder, "status", "--porcelain", "--", ".", ":!results", ":!reports")
    return {"commit": commit, "dirty": bool(changed)}


def _ask_git(folder: Path, *arguments: str) -> str:
    try:
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]  # another git may be at work there
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def describe_environment() -> dict[str, object]:
    """Return code, packages and machine, for a record."""
    return {
        "versions": read_versions(),
        "machine": describe_machine(),
        "machine_id": identify_machine(),
        "source": find_source_commit(),
    }
