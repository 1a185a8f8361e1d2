"""What is said of a run that was recorded before it was asked for: who made it, when, and with what else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.environment import read_versions
from bench.results.run import Run

DECISIVE = ("torch", "transformers")
"""Packages whose versions are said where they differ from the installed ones."""


def find_origin(run: Run) -> dict[str, Any]:
    """Return when a run was recorded, by which commit (or release), and which versions and sources are others now."""
    made, here = run.head.environment, read_versions()
    source = made.source
    by = f"version {made.versions.get('exitbench')}" if source is None else source.commit + " (changed)" * source.dirty
    others = {name: [made.versions.get(name), here[name]] for name in DECISIVE}
    return {
        "recorded": run.head.created,
        "by": by,
        "versions": {name: both for name, both in others.items() if both[0] != both[1]},
        "changed": list(run.changed),
    }


def describe_reuse(runs: Sequence[Run]) -> list[str]:
    """Return ``recorded on DATE by COMMIT, not run again`` of each run, said once of those that share it.

    So is a source that has changed since. Damaged logits beside a record are a line each. ``--overwrite never`` leaves
    both as they are.
    """
    lines: Counter[str] = Counter()
    changed = Counter(", ".join(run.changed) for run in runs if run.changed)
    for run in runs:
        origin = find_origin(run)
        by = origin["by"] if origin["by"].startswith("version ") else origin["by"][:9]
        line = f"recorded on {origin['recorded'][:10]} by {by}, not run again"
        for name, (there, here) in origin["versions"].items():
            line += f"; {name} {there} then, {here} now"
        lines[line] += 1
    damaged = [f"{line}; `--overwrite always` measures again." for run in runs for line in run.find_damaged_logits()]
    if len(runs) == 1:
        outgrown = [f"The source of its {names} has changed since; it is left as it is." for names in changed]
        return [*(f"{runs[0].folder.name}: {line}." for line in lines), *damaged, *outgrown]
    outgrown = [
        f"{count} cells: the source of their {names} has changed since; they are left as they are."
        for names, count in changed.items()
    ]
    return [*(f"{count} cells: {line}." for line, count in lines.items()), *damaged, *outgrown]
