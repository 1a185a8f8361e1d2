"""`bench simulate`: whether intervals, tests and certified thresholds keep their word, where the truth is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, split_names, with_session
from bench.errors import INTERNAL, OK, UsageError
from bench.text import build_table

if TYPE_CHECKING:
    from bench.selfcheck.coverage import Coverage


@with_session("results_dir", "json")
def simulate(
    session: Session,
    run: Annotated[
        str | None,
        typer.Argument(help="Only whether `bench advise --max-change` keeps its word on its recorded samples."),
    ] = None,
    scale: Annotated[
        float, typer.Option(metavar="FACTOR", help="Multiplies the numbers of experiments; 1 takes a minute or two.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all experiments.")] = 0,
    max_change: Annotated[
        str | None, typer.Option(help="With RUN: the share and confidence to certify; default 0.01@0.95.")
    ] = None,
    criteria: Annotated[
        str | None, typer.Option(help="With RUN: criteria to choose among, separated by commas.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="With RUN: samples drawn to choose on; default 1000.")] = None,
) -> int:
    """Check intervals, tests and certificates where truth is known.

    Intervals must cover, tests not cry wolf, certified thresholds keep their risk: experiments, many times over.

    $ bench simulate --scale 0.2
    $ bench simulate last --max-change 0.01@0.95
    """
    if not scale > 0:
        raise UsageError(f"--scale must be positive, not {scale:g}.")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, not {seed}.")
    if run is not None:
        return simulate_certificate(
            session, run, scale, seed, max_change, criteria, 1000 if samples is None else samples
        )
    for name, value in (("--max-change", max_change), ("--criteria", criteria), ("--samples", samples)):
        if value is not None:
            raise UsageError(f"{name} is of a certificate on recorded samples: name their RUN.")
    from bench.selfcheck.coverage import check_coverage
    from bench.selfcheck.drifts import check_drifts
    from bench.selfcheck.intervals import run_experiments

    begun = time.perf_counter()
    found, clock = [*run_experiments(scale, seed), *check_drifts(scale, seed)], check_coverage(scale, seed)
    code = OK if all(f.ok for f in found) and all(one.ok for one in clock) else INTERNAL
    if session.json:
        plain = [{**asdict(f), "ok": f.ok, "error": f.error} for f in found]
        print_json([*plain, *(one.to_plain() for one in clock)])
        return code
    rows = []
    for f in found:
        wanted = f"{100 * f.lowest:g}..{100 * f.highest:g} %"
        share, error = f"{100 * f.share:.2f} %", f"{100 * f.error:.2f}"
        rows.append((f.name, share, error, f.times, wanted, "ok" if f.ok else "OUTSIDE", f.note))
    columns = ("what", "share", "±", "experiments", "wanted", "", "note")
    out = make_console()
    out.print(build_table("How often, in simulated experiments", columns, rows))
    print_coverage(clock)
    out.print(f"Seed {seed}, {time.perf_counter() - begun:.0f} s.")
    return code


def print_coverage(found: Sequence[Coverage]) -> None:
    """Print how often the clock's intervals cover the truth: a row a world, a column a noise."""
    from bench.selfcheck.coverage import HIGHEST, LOWEST, MODELS, NOISES, SCATTERS, SCATTERS_SAID, WANDERS

    out = make_console()
    rows = []
    for model, statistic, count, kind in product(MODELS, ("mean", "median"), (1, 4), SCATTERS | WANDERS):
        of = [f for f in found if (f.model, f.statistic, f.configurations, f.kind) == (model, statistic, count, kind)]
        if of:
            by_noise = {f.noise: f"{100 * f.share:.1f}{'' if f.is_inside else '*'}" for f in of}
            rows.append((f"{model}, {statistic}", kind, str(count), *(by_noise.get(noise, "-") for noise in NOISES)))
    columns = ("model, of the", "rounds", "against", *(f"{noise:.1%}" for noise in NOISES))
    out.print(build_table("Coverage of the clock's 95 % intervals, in %, by a round's noise", columns, rows))
    widest = max(f.error for f in found if f.statistic == "mean")
    outside = sum(not f.is_inside for f in found)
    out.print(
        f"Wanted: {100 * LOWEST:g} to {100 * HIGHEST:g} %; * is outside ({outside} of {len(found)}). "
        f"Standard error {100 * widest:.2f} or less, of medians four times that. {SCATTERS_SAID}"
    )


def simulate_certificate(
    session: Session, name: str, scale: float, seed: int, max_change: str | None, criteria: str | None, samples: int
) -> int:
    """Print how often a certificate is kept that is made on samples of a run's recorded ones; 100 times ``scale``."""
    from bench.advise.goal import parse_goal
    from bench.advise.question import check_criterion, list_usual_criteria
    from bench.advise.resampling import describe_resampled, resample_certificate

    goal = parse_goal(max_change, None, None, None)
    found_run = session.find_run(name).finished()
    exits = found_run.exits()
    outputs = exits.logits.shape[2]
    names = list_usual_criteria(goal, outputs) if criteria is None else split_names(criteria, "--criteria")
    for one in names:
        check_criterion(one, goal, outputs)
    found = resample_certificate(exits, names, goal, samples, max(1, round(100 * scale)), seed)
    doubts = found_run.find_doubts(rules=())  # the recorded points are not used: cuts are chosen anew
    if session.json:
        print_json({**found.to_plain(), "doubts": [doubt.to_plain() for doubt in doubts]})
    else:
        out = make_console()
        out.print(describe_resampled(found))
        for doubt in doubts:
            out.print(f"{doubt.said}.")
    return OK if found.broken <= found.allowed else INTERNAL
