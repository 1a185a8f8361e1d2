"""`bench run --config` in a process of its own, with its workers: started, watched and struck from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.faults.kills import TIMEOUT

# a process started in the background of a shell has Ctrl-C switched off, one under nohup hang-ups, and hands that on
DRIVER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from bench.cli.process import main
sys.exit(main(sys.argv[1:]))
"""


def start_driver(config: Path, results: Path) -> subprocess.Popen[bytes]:
    """Start a sweep with two workers, in a session of its own."""
    words = ["run", "--config", str(config), "--results-dir", str(results), "--offline", "--workers", "2"]
    words += ["--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[3],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_until(happens: Callable[[], object]) -> None:
    """Wait, though not for ever."""
    end = time.monotonic() + TIMEOUT
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def find_workers(driver: int) -> list[int]:
    """The processes that work on cells: what was forked by the server that the driver ``driver`` started."""
    parents = {}
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue  # no process, or one that has ended
        if folder.name.isdigit() and int(fields[3]) == driver and fields[0] != "Z":
            parents[int(folder.name)] = int(fields[1])
    return [process for process, parent in parents.items() if parent != driver and parent in parents]
