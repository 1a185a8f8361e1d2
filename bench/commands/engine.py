"""`bench bench-engine`: the harness's own speed, as ratios taken in one run."""

from __future__ import annotations

from bench.display import print_json
from bench.errors import OK


def run_benchmarks(only: str | None, json: bool) -> int:
    """Print the ratios."""
    from bench.measure.selfbench import curve_benchmark, describe

    found = curve_benchmark()
    if json:
        print_json(found)
    else:
        print(describe(found))
    return OK
