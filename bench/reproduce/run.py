"""A paper's plan carried out as far as this machine can, and its claims judged from what was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cell.request import Context
from bench.compare.evidence import Evidence, NotRun
from bench.errors import UserError
from bench.reproduce.cells import Asked
from bench.reproduce.checks import make_check
from bench.reproduce.papers.schema import Claim, Paper, Scale
from bench.reproduce.places import Place
from bench.reproduce.verdict import Finding
from bench.results.run import Run
from bench.sweep import Engine, Outcome, Plan, Planned, run_plan


@dataclass
class Gathered:
    """What became of one strategy's cells at one place: folders of records by seed, or why there are none."""

    folders: list[Path] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


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
    for cell in rest:
        if cell.why in lacking:
            outcomes[id(cell)] = Outcome(cell, "error", None, lacking[cell.why].error)
    follow = [cell for cell in rest if id(cell) not in outcomes]
    if follow:
        outcomes |= {id(o.cell): o for o in run_plan(Plan(tuple(follow)), context, engine)}
    return [outcomes[id(cell)] for cell in plan.cells]


def gather_places(asked: Sequence[Asked], outcomes: Sequence[Outcome]) -> list[Place]:
    """Every task of every block with its records, in the plan's order.

    ``outcomes`` are of the cells that :func:`bench.sweep.make_plan` made of ``asked``: two blocks may ask for one cell.
    """
    by_request = {repr(o.cell.spec): o for o in outcomes}
    found: dict[tuple[str, str], dict[str, Gathered]] = {}
    from bench.cell.resolve import resolve_request

    for one in asked:
        spec, _ = resolve_request(one.request)
        outcome = by_request[repr(spec)]
        cell = found.setdefault((one.block, spec.task), {}).setdefault(spec.strategy, Gathered())
        if outcome.ok and outcome.folder is not None:
            cell.folders.append(outcome.folder)
        else:
            cell.reasons.append(outcome.error or "not run")
    return [_place(block, task, strategies) for (block, task), strategies in found.items()]


def _place(block: str, task: str, strategies: Mapping[str, Gathered]) -> Place:
    runs, missing = {}, {}
    for name, cell in strategies.items():
        try:
            if cell.reasons:
                raise NotRun(cell.reasons[0])
            runs[name] = [Evidence.from_run(Run.load(folder)) for folder in cell.folders]
        except (NotRun, UserError) as reason:
            missing[name] = f"{name}: {reason}"
    return Place(block, task, runs, missing)


def judge_claims(paper: Paper, scale: Scale, places: Sequence[Place]) -> list[tuple[Claim, Finding]]:
    """Every claim of ``paper`` with its finding; one about the full scale only is not run on the small one."""
    found = []
    for claim in paper.claims:
        check = make_check(claim.check, claim.arguments)
        if scale in claim.scales:
            found.append((claim, check.judge(places)))
        else:
            found.append((claim, Finding("not run", (), "a number of the paper's own model: needs --scale full")))
    return found
