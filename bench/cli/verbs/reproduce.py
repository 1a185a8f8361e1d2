"""`bench reproduce`: a paper's runs planned, made as far as possible, and its claims judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import format_seconds, make_console, print_json
from bench.cli.session import Session, split_seeds, with_session
from bench.errors import CellsFailed, UsageError
from bench.files import write_text
from bench.reproduce.papers import Scale, load_paper
from bench.text import format_bytes


@with_session()
def reproduce(
    session: Session,
    paper: Annotated[str, typer.Argument(help="A paper (`bench list papers`), or a YAML file of claims.")],
    scale: Annotated[Scale, typer.Option(metavar="full|small", help="The paper's own runs, or scaled down.")] = "full",
    plan: Annotated[bool, typer.Option("--plan", help="Only print the plan.")] = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Run nothing: judge what there is.")] = False,
    seed: Annotated[
        str | None,
        typer.Option(metavar="SEED,...", help="Other seeds than the plan's, separated by commas; 0-4 is a range."),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", "-o", help="Write the claims to this file too.")
    ] = None,
) -> None:
    """Judge a paper's claims, running first what is missing.

    Each published number stands beside ours, with an interval and a verdict.

    $ bench reproduce elbert --scale small
    $ bench reproduce pabee --plan
    $ bench reproduce elbert --scale small --recorded
    """
    published = load_paper(paper)
    chosen = published.full if scale == "full" else published.small
    if chosen is None:
        raise UsageError(f"Paper '{paper}' has no {scale} plan.")
    progress = session.progress
    progress.say("Loading torch and transformers.")
    from bench.cli.run_tables import print_plan
    from bench.reproduce import output
    from bench.reproduce.run import (
        expand_plan,
        find_outcome_doubts,
        gather_places,
        judge_claims,
        run_possible,
        take_recorded,
    )
    from bench.sweep import make_engine, make_plan
    from bench.sweep.estimate import estimate_plan

    context = session.context()
    asked = expand_plan(chosen, split_seeds(seed) if seed is not None else None)
    planned = make_plan([request for _, request in asked], context)
    total = estimate_plan(planned, context)
    progress.say(f"{published.title}. {chosen.says}")
    if plan:
        print_plan(planned, total, session.json)
        return
    missing = sum(cell.status != "recorded" for cell in planned.cells)
    if recorded:
        progress.say(f"{len(planned.cells)} cells, {missing} not recorded. The cells one by one: --plan.")
        outcomes = take_recorded(planned, context, make_engine())
    else:
        progress.say(
            f"{len(planned.cells)} cells, {missing} to run: {format_seconds(total.seconds)} and "
            f"{format_bytes(total.disk)} ({format_bytes(total.free)} free). The cells one by one: --plan."
        )
        for why in dict.fromkeys(cell.why for cell in planned.cells if cell.why):
            progress.say(f"Not at hand: {why}")
        outcomes = run_possible(planned, context, make_engine())
    found = judge_claims(published, scale, gather_places(asked, outcomes))
    doubts = find_outcome_doubts(outcomes)
    if markdown is not None:
        write_text(markdown, output.write_claims(published, scale, found, doubts))
    if session.json:
        print_json(output.make_plain_claims(published, scale, found, doubts))
    else:
        output.print_claims(make_console(), published, scale, found, doubts)
    failed = [outcome for outcome in outcomes if not outcome.ok and not recorded]
    if failed:
        reasons = "; ".join(dict.fromkeys(outcome.error for outcome in failed))
        raise CellsFailed(f"{len(failed)} of {len(outcomes)} cells could not be run: {reasons}")
