"""A paper's plan carried out as far as this machine can, and its claims judged from what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.compare.replayed import NotRun, ReplayedRun
from bench.errors import UsageError, UserError
from bench.reproduce.base import ClaimResult, Place
from bench.reproduce.checks import make_check
from bench.reproduce.papers import Block, Claim, Paper, PaperPlan, Scale
from bench.results.run import Run
from bench.results.series_doubts import SeriesDoubt, find_series_doubts
from bench.sweep import Engine, Outcome, Plan, Planned, run_plan
from bench.sweep.config import expand_cells

Asked = tuple[str, Request]
"""A block's name and one cell of it; claims call it by its strategy's name."""


def expand_plan(plan: PaperPlan, seeds: Sequence[int] | None = None) -> list[Asked]:
    """Return every cell of ``plan`` in its order, with ``seeds`` in place of its own if given.

    Raises UsageError, naming the block, for content that makes no sweep and for two cells of one name.
    """
    found = []
    for block in plan.blocks:
        try:
            requests = expand_cells(_add_defaults(plan, block))
        except UsageError as error:
            raise UsageError(f"block '{block.name}': {error}") from None
        names = [(r.strategy, r.task) for r in requests]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"block '{block.name}' has two cells for {twice[0]} on {twice[1]}.")
        found += [(block.name, replace(r, seed=seed)) for r in requests for seed in seeds or plan.seeds]
    return found


def _add_defaults(plan: PaperPlan, block: Block) -> dict[str, Any]:
    """Return the block's sweep on top of the plan's defaults; settings are put together one by one."""
    shared, own = plan.defaults, block.sweep.get("defaults") or {}
    settings = {**(shared.get("settings") or {}), **(own.get("settings") or {})}
    return {**block.sweep, "defaults": {**shared, **own, "settings": settings}}


def run_possible(plan: Plan, context: Context, engine: Engine) -> list[Outcome]:
    """Run ``plan``; of the cells that lack the same download one tries it, and the others follow only if it came.

    One outcome a cell, in the plan's order.
    """
    scouts: dict[str, Planned] = {}
    for cell in plan.cells:
        if cell.status == "unknown":
            scouts.setdefault(cell.why, cell)
    first = [cell for cell in plan.cells if cell.status != "unknown" or scouts[cell.why] is cell]
    outcomes = {id(o.cell): o for o in run_plan(Plan(tuple(first)), context, engine)}
    lacking = {why: outcomes[id(cell)] for why, cell in scouts.items() if not outcomes[id(cell)].ok}
    rest = [cell for cell in plan.cells if id(cell) not in outcomes]
    outcomes |= {id(c): Outcome(c, "error", None, lacking[c.why].error) for c in rest if c.why in lacking}
    follow = tuple(cell for cell in rest if cell.why not in lacking)
    if follow:
        outcomes |= {id(o.cell): o for o in run_plan(Plan(follow), context, engine)}
    return [outcomes[id(cell)] for cell in plan.cells]


def take_recorded(plan: Plan, context: Context, engine: Engine) -> list[Outcome]:
    """Return one outcome a cell, in the plan's order: what is recorded is read, and nothing else is run."""
    kept = tuple(cell for cell in plan.cells if cell.status == "recorded")
    outcomes = {id(o.cell): o for o in run_plan(Plan(kept), context, engine)} if kept else {}
    return [
        outcomes.get(id(cell)) or Outcome(cell, "error", None, f"seed {cell.spec.seed} is not recorded")
        for cell in plan.cells
    ]


def gather_places(asked: Sequence[Asked], outcomes: Sequence[Outcome]) -> list[Place]:
    """Return every task of every block with its runs, in the plan's order.

    ``outcomes`` are of the cells that :func:`bench.sweep.make_plan` made of ``asked``: two blocks may ask for one cell.
    """
    by_request = {repr(o.cell.spec): o for o in outcomes}
    found: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for block, request in asked:
        spec, _ = resolve_request(request)
        strategies = found.setdefault((block, spec.task), {})
        strategies.setdefault(spec.strategy, []).append(by_request[repr(spec)])
    places = []
    for (block, task), strategies in found.items():
        runs: dict[str, list[ReplayedRun]] = {}
        missing = {}
        for name, seeds in strategies.items():
            try:
                runs[name] = _replay_runs(seeds)
            except (NotRun, UserError) as reason:
                missing[name] = f"{name}: {reason}"
        places.append(Place(block, task, runs, missing))
    return places


def _replay_runs(outcomes: Sequence[Outcome]) -> list[ReplayedRun]:
    """Replay each outcome's run. Raises NotRun, with the reason, where one of them has none."""
    folders: list[Path] = []
    for outcome in outcomes:
        if not outcome.ok or outcome.folder is None:
            raise NotRun(outcome.error or "not run")
        folders.append(outcome.folder)
    return [ReplayedRun.from_run(Run.load(folder)) for folder in folders]


def find_outcome_doubts(outcomes: Sequence[Outcome]) -> list[tuple[str, list[SeriesDoubt]]]:
    """Return the doubts about each cell that there is a run of, by the cell's name."""
    runs = {o.cell.label: Run.load(o.folder) for o in outcomes if o.ok and o.folder is not None}
    return [(label, find_series_doubts([run], run.primary, replayed=True)) for label, run in runs.items()]


def judge_claims(paper: Paper, scale: Scale, places: Sequence[Place]) -> list[tuple[Claim, ClaimResult]]:
    """Return every claim of ``paper`` with its verdict; one about the full scale only is not run on the small one."""
    elsewhere = ClaimResult("not run", (), "a number of the paper's own model: needs --scale full")
    checks = [make_check(claim.check, claim.arguments) for claim in paper.claims]
    return [
        (claim, check.judge(places) if scale in claim.scales else elsewhere)
        for claim, check in zip(paper.claims, checks, strict=True)
    ]
