"""`bench simulate`: whether intervals, tests and certified thresholds keep their word, where the truth is known."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import INTERNAL, OK, UsageError
from bench.text import build_table


@with_session("json")
def simulate(
    session: Session,
    scale: Annotated[float, typer.Option(help="Multiplies the numbers of experiments; 1 takes a minute or two.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all experiments.")] = 0,
) -> int:
    """Do intervals cover, tests not cry wolf, certified thresholds keep their risk? Worlds with a known truth."""
    if not scale > 0:
        raise UsageError(f"--scale must be positive, not {scale:g}.")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, not {seed}.")
    from bench.selfcheck.intervals import run_experiments

    begun = time.perf_counter()
    found = run_experiments(scale, seed)
    code = OK if all(f.ok for f in found) else INTERNAL
    if session.json:
        print_json([{**asdict(f), "ok": f.ok, "error": f.error} for f in found])
        return code
    rows = []
    for f in found:
        wanted = f"{100 * f.lowest:g}..{100 * f.highest:g} %"
        share, error = f"{100 * f.share:.2f} %", f"{100 * f.error:.2f}"
        rows.append((f.name, share, error, f.times, wanted, "ok" if f.ok else "OUTSIDE", f.note))
    columns = ("what", "share", "±", "experiments", "wanted", "", "note")
    out = make_console()
    out.print(build_table("How often, in simulated experiments", columns, rows))
    out.print(f"Seed {seed}, {time.perf_counter() - begun:.0f} s.")
    return code
