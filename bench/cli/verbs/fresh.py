"""One cell in a process of its own, so that no strategy is timed in the wake of another."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bench.cell.resolve import Request
from bench.cell.run import Context
from bench.errors import CellsFailed


def run_fresh(asked: Request, context: Context) -> dict[str, Any]:
    """``{"folder", "record"}`` of a cell run by ``bench run`` in a new interpreter; its progress goes to our stderr.

    Raises CellsFailed where that process failed; it has said why on stderr. KeyboardInterrupt reaches both.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments(asked, context)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise CellsFailed(f"its process ended with exit code {done.returncode}, see above")
    [found] = json.loads(done.stdout)
    return dict(found)


def arguments(asked: Request, context: Context) -> list[str]:
    """The command line of one cell: also the exact command that its record keeps."""
    words = ["run", "--strategy", asked.strategy, "--task", asked.task, "--seed", str(asked.seed)]
    options: dict[str, object] = {
        "--backbone": asked.backbone,
        "--recipe": asked.recipe,
        "--head": asked.head,
        "--init": asked.init,
        "--preset": asked.preset,
        "--limit": asked.limit,
        "--device": asked.device,
        "--dtype": asked.dtype,
        "--results-dir": context.store.root,
        "--hub-root": context.hub_root,
        "--overwrite": context.overwrite,
    }
    for option, value in options.items():
        words += [option, str(value)] if value is not None else []
    for name, value in asked.settings.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    for rule in asked.select:
        words += [f"--select={rule}"]
    if asked.thresholds is not None:
        words += [f"--thresholds={','.join(map(repr, asked.thresholds))}"]
    words += [] if asked.latency else ["--no-latency"]
    words += ["--offline"] if context.offline else []
    words += ["--quiet"] if context.progress.quiet else []
    return [*words, "--json"]
