"""The command `bench` as it is installed: it runs no other package that happens to be called like one of ours."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    """Run the command line of the packages that lie beside this file."""
    check_packages()
    from bench.__main__ import main as run

    return run()


def check_packages() -> None:
    """End the process with one line and exit code 2 where another package hides one of ours."""
    ours = Path(__file__).resolve().parent
    for name in ("bench", "strategies", "backbones"):
        found = find_spec(name)
        folder = None if found is None or found.origin is None else Path(found.origin).resolve().parent
        if folder != ours / name:
            where = folder or "a folder without __init__.py"
            print(
                f"Error: Python finds the package '{name}' in {where}, which hides ExitBench's own in {ours}: rename "
                "that folder, or take the one it lies in off PYTHONPATH.",
                file=sys.stderr,
            )
            sys.exit(2)
