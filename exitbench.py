"""The command `bench` as it is installed: it runs no other package that happens to be called like one of ours."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> int:
    """Run the command line of the packages that lie beside this file."""
    refuse_hidden_packages()
    from bench.cli.process import main as run

    return run()


def refuse_hidden_packages() -> None:
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
    tell_hidden_modules()


def tell_hidden_modules() -> None:
    """Say on stderr, in one line, which of Python's own modules are hidden by files of the current folder."""
    try:
        here = os.getcwd()
    except FileNotFoundError:  # told elsewhere
        return
    folders = [os.path.realpath(entry or here) for entry in sys.path]
    library = os.path.realpath(os.path.dirname(os.__file__))
    if here not in folders[: folders.index(library) if library in folders else None]:
        return
    own = {entry.stem for entry in Path(here).glob("*.py")} | {p.parent.name for p in Path(here).glob("*/__init__.py")}
    hidden = sorted(own & sys.stdlib_module_names - {"test"})
    if hidden:
        print(
            f"Warning: Python takes {', '.join(hidden)} from the current folder instead of its own modules of these "
            "names: rename them, or take the folder off PYTHONPATH.",
            file=sys.stderr,
        )
