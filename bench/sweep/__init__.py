"""Many cells: planned, estimated, run on an engine, and gone on with after any fault.

A sweep is a list of :class:`bench.cell.request.Request` (:mod:`bench.sweep.config` reads one from YAML).
:func:`make_plan` resolves all of them before anything runs and groups what shares a training; :func:`run_plan` runs
the plan on an engine (:func:`make_engine`) and says what became of every cell; :func:`run_cells` is the two in one.
"""

from __future__ import annotations

from bench.sweep.driver import Outcome, collect_failures, fetch_and_plan, run_cells, run_plan
from bench.sweep.engines import make_engine
from bench.sweep.engines.base import Engine
from bench.sweep.plan import Plan, Planned, make_plan

__all__ = [
    "Engine",
    "Outcome",
    "Plan",
    "Planned",
    "collect_failures",
    "fetch_and_plan",
    "make_engine",
    "make_plan",
    "run_cells",
    "run_plan",
]
