"""`bench bench-engine`: the harness's own speed, as ratios taken in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bench.display import print_json
from bench.errors import OK
from bench.progress import Progress
from bench.registry import unknown


def run_benchmarks(only: str | None, json: bool, threads: int | None, seconds: float) -> int:
    """Print the ratios of all parts, or of one. Raises UsageError for an unknown part."""
    known = ("curve", "engine", "sweep")
    if only is not None and only not in known:
        raise unknown("part", only, known)
    progress = Progress()
    found: dict[str, Mapping[str, Any]] = {}
    for name, title, run, describe in _parts(threads, seconds):
        if only in (None, name):
            progress.say(f"{title} ...")
            found[name] = run()
            if not json:
                print(f"{title}\n{describe(found[name])}\n", flush=True)
    if json:
        print_json(found)
    return OK


def _parts(threads: int | None, seconds: float) -> list[tuple[str, str, Callable[[], Any], Callable[[Any], str]]]:
    from bench.measure import enginebench, selfbench, sweepbench

    return [
        ("curve", "Exact curves and bootstraps (MNLI size: 9,815 x 12)", selfbench.curve_benchmark, selfbench.describe),
        ("sweep", "A whole sweep against one plain pass", sweepbench.sweep_benchmark, sweepbench.describe),
        (
            "engine",
            "Early exit against the plain model",
            lambda: enginebench.engine_benchmark(threads=threads, seconds=seconds),
            enginebench.describe,
        ),
    ]
