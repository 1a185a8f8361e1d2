"""One cell in a process of its own, so that no strategy is timed in the wake of another."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench.cell.command import write_arguments
from bench.cell.request import Context, Request
from bench.errors import CellsFailed


def run_fresh(asked: Request, context: Context) -> dict[str, Any]:
    """``{"folder", "record"}`` of a cell run by ``bench run`` in a new interpreter; its progress goes to our stderr.

    Raises CellsFailed where that process failed; it has said why on stderr. KeyboardInterrupt reaches both.
    """
    quiet = ["--quiet"] if context.progress.quiet else []
    words = [sys.executable, "-m", "bench", *write_arguments(asked, context), *quiet, "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CellsFailed(f"its process ended with exit code {done.returncode}, see above")
    [found] = json.loads(done.stdout)
    return dict(found)
