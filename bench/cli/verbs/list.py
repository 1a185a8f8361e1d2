"""`bench list`: names with a line each, without importing torch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backbones.names import Registry, make_unknown_error
from bench.cli.completing import LISTED_KINDS
from bench.cli.display import make_console, print_json
from bench.cli.session import Session, Tasks, split_names, with_session
from bench.errors import UsageError
from bench.reproduce.published import EVIDENCE, PublishedNumber, find_published
from bench.text import build_table
from strategies import HEADS, RECIPES, STRATEGIES, STRATEGY_GROUPS


@with_session("results_dir", "json")
def list_names(
    session: Session,
    kind: Annotated[str, typer.Argument(help=f"{', '.join(LISTED_KINDS[:-1])} or {LISTED_KINDS[-1]}.")] = "",
    method: Annotated[
        str | None, typer.Option(help="Only published numbers of these methods, separated by commas.")
    ] = None,
    task: Tasks = None,
    evidence: Annotated[
        str | None,
        typer.Option(help="Only published numbers known so: V (primary text), A (abstract), S (second hand)."),
    ] = None,
) -> None:
    """List what there is, a line each.

    Claims are the numbers that papers publish.

    $ bench list strategies
    $ bench list runs --results-dir results
    $ bench list claims --method PABEE --task sst2,mnli --evidence V
    """
    if not kind:
        raise UsageError(f"bench list takes one of {', '.join(LISTED_KINDS)}.")
    if kind not in LISTED_KINDS:
        raise make_unknown_error("kind", kind, LISTED_KINDS)
    asked = {"--method": method, "--task": task, "--evidence": evidence}
    if kind == "claims":
        list_claims(session, *([] if text is None else split_names(text, name) for name, text in asked.items()))
        return
    for name, text in asked.items():
        if text is not None:
            raise UsageError(f"{name} is for bench list claims, not for bench list {kind}.")
    rows = list_kind(kind, session)
    if session.json:
        print_json(rows)
    elif rows:
        out = make_console()
        out.print(build_table(kind, rows[0], [row.values() for row in rows]))
        for line in describe_other_names(kind):
            out.print(line)
    else:
        make_console().print(f"No {kind} in {session.results_dir}." if kind == "runs" else f"No {kind}.")


def describe_other_names(kind: str) -> list[str]:
    """Return what other names --strategy and --task take: for several of a kind, and for one."""
    if kind == "tasks":
        from bench.tasks import TASK_GROUPS

        return [f"--task {name}: {', '.join(tasks)}." for name, tasks in TASK_GROUPS.items()]
    if kind != "strategies":
        return []
    several = [f"--strategy {name}: {what}." for name, what in STRATEGY_GROUPS.items()]
    return [*several, f"Also read: {', '.join(f'{a} as {b}' for a, b in STRATEGIES.aliases.items())}; in any case."]


def list_claims(session: Session, methods: list[str], tasks: list[str], evidence: list[str]) -> None:
    """Print the published numbers that are asked for, then what must be known to read them."""
    found = find_published(methods, tasks, evidence)
    if session.json:
        print_json([vars(number) for number in found])
        return
    out = make_console()
    if not found:
        out.print("No claims of this kind.")
        return
    columns = ("method", "on", "published", "speed-up", "known", "where")
    out.print(build_table("claims", columns, map(describe_number, found)))
    known = "; ".join(f"{letter} {said}" for letter, said in EVIDENCE.items())
    out.print(f"Known: {known}. Published numbers: {len(found)}.")
    defined = dict.fromkeys((n.paper, n.speedup_definition) for n in found if n.speedup and n.speedup_definition)
    for paper, definition in defined:
        out.print(f"Speed-up of {paper}: {definition}.")
    if any(n.speedup_of == "several tasks" for n in found):
        out.print("* One speed-up for several tasks.")
    for note in dict.fromkeys(n.note for n in found if n.note):
        out.print(f"! {note[:1].upper()}{note[1:]}.")


def describe_number(number: PublishedNumber) -> tuple[str, ...]:
    """Return the cells of a published number; ``!`` is a note on it, ``*`` a speed-up that is not of this task."""
    several = "*" * (number.speedup_of == "several tasks")
    times = f"{number.speedup}x{several} {number.cost}".strip() if number.speedup else "-"
    value = f"{number.value}{'!' * bool(number.note)} {number.metric}".strip() or "-"
    where = [f"{number.paper.partition(' (')[0]}, {number.table}", number.split.removeprefix("GLUE "), number.setting]
    on = f"{number.task}, {number.backbone}" if number.backbone else number.task
    return number.method, on, value, times, number.evidence, "; ".join(filter(None, where))


def list_kind(kind: str, session: Session) -> list[dict[str, object]]:
    """Return what there is of one of the :data:`LISTED_KINDS`, each by its name and what is good to know."""
    if kind == "backbones":
        from backbones.catalog import BACKBONES

        return [
            {"name": b.name, "layers": b.layers, "hidden": b.hidden, "hub id": b.hub_id or "built in",
             "revision": b.revision[:12], "what": b.summary}
            for b in BACKBONES.values()
        ]  # fmt: skip
    if kind == "papers":
        from bench.reproduce.papers import list_papers, load_paper

        found = [load_paper(name) for name in list_papers()]
        return [{"name": p.name, "claims": len(p.claims), "title": p.title, "citation": p.citation} for p in found]
    if kind == "runs":
        nothing_yet = session.results_dir == Session().results_dir and not session.results_dir.exists()
        return [
            {"run": run.folder.name, "strategy": run.strategy, "task": run.task, "backbone": run.backbone,
             "recipe": run.spec.recipe, "seed": run.seed, "status": run.status, "created": run.head.created}
            for run in ([] if nothing_yet else session.read_runs())
        ]  # fmt: skip
    from bench.tasks import TASKS

    tables: dict[str, Registry[Any]] = {"strategies": STRATEGIES, "heads": HEADS, "recipes": RECIPES, "tasks": TASKS}
    return [{"name": name, "what": what} for name, what in tables[kind].summaries()]
