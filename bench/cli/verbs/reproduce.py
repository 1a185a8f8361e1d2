"""`bench reproduce`: a paper's runs planned, made as far as possible, and its claims judged."""

from __future__ import annotations

import os
from pathlib import Path

from bench.cli.display import print_json
from bench.errors import OK, CellsFailed, UsageError
from bench.files import replace_file
from bench.progress import Progress
from bench.reproduce.papers import load_paper
from bench.reproduce.papers.schema import Scale


def reproduce_paper(
    name: str,
    *,
    scale: Scale,
    plan_only: bool,
    seeds: str | None,
    results_dir: Path,
    hub_root: Path | None,
    offline: bool,
    markdown: Path | None,
    json: bool,
    quiet: bool,
) -> int:
    """Plan, run what is missing, print every claim with ours, interval and verdict.

    Exit code 5, after the claims are printed, where cells could not be run; the last line says why.
    """
    paper = load_paper(name)
    chosen = paper.full if scale == "full" else paper.small
    if chosen is None:
        raise UsageError(f"Paper '{name}' has no {scale} plan.")
    progress = Progress(quiet=quiet)
    progress.say("Loading torch and transformers.")
    from bench.cell.command import command_line
    from bench.cell.request import Context
    from bench.cell.resolve import hub_root as find_hub
    from bench.cli.verbs.run import whole_numbers
    from bench.cli.verbs.sweep import in_bytes, in_words, show_plan
    from bench.reproduce import output
    from bench.reproduce.cells import asked_cells
    from bench.reproduce.run import gathered_places, judged, run_possible
    from bench.results.store import Store
    from bench.sweep import make_engine, make_plan
    from bench.sweep.estimate import estimate

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    context = Context(Store(results_dir), progress, find_hub(hub_root, os.environ), offline, "missing", command_line())
    asked = asked_cells(chosen, whole_numbers(seeds) if seeds is not None else None)
    plan = make_plan([one.request for one in asked], context)
    total = estimate(plan, context)
    progress.say(f"{paper.title}. {chosen.says}")
    if plan_only:
        show_plan(plan, total, json)
        return OK
    to_run = sum(cell.status != "recorded" for cell in plan.cells)
    progress.say(
        f"{len(plan.cells)} cells, {to_run} to run: {in_words(total.seconds)} and {in_bytes(total.disk)} "
        f"({in_bytes(total.free)} free). The cells one by one: --plan."
    )
    for why in dict.fromkeys(cell.why for cell in plan.cells if cell.why):
        progress.say(f"Not at hand: {why}")
    outcomes = run_possible(plan, context, make_engine())
    found = judged(paper, scale, gathered_places(asked, outcomes))
    if markdown is not None:
        with replace_file(markdown) as temporary:
            temporary.write_text(output.markdown(paper, scale, found), encoding="utf-8")
    if json:
        print_json(output.as_data(paper, scale, found))
    else:
        output.show_claims(paper, scale, found)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if failed:
        reasons = "; ".join(dict.fromkeys(outcome.error for outcome in failed))
        raise CellsFailed(f"{len(failed)} of {len(outcomes)} cells could not be run: {reasons}")
    return OK
