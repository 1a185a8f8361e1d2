"""`bench list`: names with a line each, without importing torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from backbones.names import Registry, unknown_name
from bench.cli.display import console, name_table, print_json
from bench.cli.session import Session, with_session
from bench.errors import OK
from strategies import HEADS, RECIPES, STRATEGIES

Rows = list[dict[str, object]]


@with_session("results_dir", "json")
def list_names(
    session: Session,
    kind: Annotated[str, typer.Argument(help="strategies, heads, recipes, backbones, tasks, papers or runs.")],
) -> int:
    """What there is, a line each."""
    kinds: dict[str, Callable[[], Rows]] = {
        "strategies": lambda: _summaries(STRATEGIES),
        "heads": lambda: _summaries(HEADS),
        "recipes": lambda: _summaries(RECIPES),
        "backbones": _backbones,
        "tasks": _tasks,
        "papers": _papers,
        "runs": lambda: _runs(session),
    }
    if kind not in kinds:
        raise unknown_name("kind", kind, kinds)
    rows = kinds[kind]()
    if session.json:
        print_json(rows)
    elif rows:
        console().print(name_table(kind, rows))
    else:
        console().print(f"No {kind} in {session.results_dir}." if kind == "runs" else f"No {kind}.")
    return OK


def _summaries(registry: Registry[Any]) -> Rows:
    return [{"name": name, "what": what} for name, what in registry.summaries()]


def _backbones() -> Rows:
    from backbones.catalog import BACKBONES

    return [
        {
            "name": b.name,
            "layers": b.layers,
            "hidden": b.hidden,
            "hub id": b.hub_id or "built in",
            "revision": b.revision[:12],
            "what": b.summary,
        }
        for b in BACKBONES.values()
    ]


def _tasks() -> Rows:
    from bench.tasks import TASKS

    return _summaries(TASKS)


def _papers() -> Rows:
    from bench.reproduce.papers import list_papers, load_paper

    found = [load_paper(name) for name in list_papers()]
    return [{"name": p.name, "claims": len(p.claims), "title": p.title, "citation": p.citation} for p in found]


def _runs(session: Session) -> Rows:
    return [
        {
            "run": run.folder.name,
            "strategy": run.strategy,
            "task": run.task,
            "backbone": run.backbone,
            "seed": run.seed,
            "status": run.status,
            "created": run.head.created,
        }
        for run in (session.read_runs() if session.results_dir.is_dir() else [])
    ]
