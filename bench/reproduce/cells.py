"""The cells that a paper's plan asks for, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.cell.request import Request
from bench.errors import UsageError
from bench.reproduce.papers.schema import Block, Plan
from bench.sweep.config import expand_cells


@dataclass(frozen=True)
class Asked:
    """One cell of a block; claims call it by its strategy's name."""

    block: str
    request: Request


def asked_cells(plan: Plan, seeds: Sequence[int] | None = None) -> list[Asked]:
    """Every cell of ``plan`` in its order, with ``seeds`` in place of its own if given.

    Raises UsageError, naming the block, for content that makes no sweep and for two cells of one name.
    """
    found = []
    for block in plan.blocks:
        try:
            requests = expand_cells(_with_defaults(plan, block))
        except UsageError as error:
            raise UsageError(f"block '{block.name}': {error}") from None
        names = [(r.strategy, r.task) for r in requests]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"block '{block.name}' has two cells for {twice[0]} on {twice[1]}.")
        for request in requests:
            found += [Asked(block.name, replace(request, seed=seed)) for seed in seeds or plan.seeds]
    return found


def _with_defaults(plan: Plan, block: Block) -> dict[str, Any]:
    """The block's sweep on top of the plan's defaults; settings are put together one by one."""
    own: Mapping[str, Any] = block.sweep.get("defaults") or {}
    shared = plan.defaults
    settings = {**(shared.get("settings") or {}), **(own.get("settings") or {})}
    return {**block.sweep, "defaults": {**shared, **own, "settings": settings}}
