"""`bench compare`: two results, number by number, with a verdict for each and an exit code for the whole."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.cli.display import console, print_json
from bench.errors import NOTHING_COMPARABLE


def compare_results(
    base: str,
    candidate: str,
    *,
    fail_on: str,
    across: str,
    margin: float,
    cost_margin: float,
    latency_factor: float,
    markdown: Path | None,
    junit: Path | None,
    tracker: Path | None,
    tracker_costs: Path | None,
    everything: bool,
    json: bool,
) -> int:
    """Print the comparison and write the files asked for; exit code 0, 3 (a verdict of ``fail_on``) or 4 (nothing)."""
    from bench.compare.compare import compare, parse_fail_on
    from bench.compare.output import headline, table, why_nothing, write_files
    from bench.compare.sources import opened
    from bench.compare.verdict import Margins

    failing = parse_fail_on(fail_on)
    free = [name.strip() for name in across.split(",") if name.strip()]
    margins = Margins(margin / 100, cost_margin / 100, latency_factor / 100)
    with opened(base) as old, opened(candidate) as new:
        found = compare(old, new, margins, free, (base, candidate))
        write_files(found, new, failing, markdown, junit, tracker, tracker_costs)
    code = found.exit_code(failing)
    if json:
        print_json({**found.to_json(), "exit_code": code})
    else:
        out = console()
        if everything or any(row.verdict != "same" for row in found.rows):
            out.print(table(found, everything))
        for cell, notes in found.notes.items():
            out.print(f"{cell}: {'; '.join(notes)}.", markup=False)
        out.print(f"{headline(found)}.", markup=False)
    if code == NOTHING_COMPARABLE:
        print(why_nothing(found), file=sys.stderr)
    return code
