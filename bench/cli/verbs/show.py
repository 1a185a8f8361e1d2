"""`bench show`: one recorded run, or all that is known of a strategy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import Damaged, UsageError
from bench.settings import list_settable
from bench.text import show_line
from strategies import STRATEGIES


@with_session("results_dir", "json")
def show(
    session: Session,
    what: Annotated[list[str], typer.Argument(help="RUN (folder, name, key or 'last'), or 'strategy NAME'.")],
) -> None:
    """One recorded run, or everything about a strategy."""
    if what[0] == "strategy" and len(what) == 2:
        show_strategy(what[1], session.json)
    elif len(what) == 1:
        show_run(what[0], session)
    else:
        raise UsageError("bench show takes a run, or 'strategy NAME'.")


def show_run(run: str, session: Session) -> None:
    """Print a recorded run with the table it ended with. Raises UsageError where there is none."""
    from bench.cli.run_tables import make_plain_run, print_run

    try:
        found = session.find_run(run)
    except UsageError as error:
        if run not in STRATEGIES:
            raise
        raise UsageError(f"{error} The strategy is shown by `bench show strategy {run}`.") from error
    if found.is_finished():
        try:
            found.check_logits(every=True)
        except Damaged as error:
            print(show_line(f"Left unread: {error}"), file=sys.stderr)
    if session.json:
        print_json(make_plain_run(found))
    else:
        print_run(found)


def show_strategy(name: str, json: bool) -> None:
    """Print a strategy's paper, equations, arguments with their sources, and what differs from the paper."""
    strategy = STRATEGIES.load(name)
    arguments = {strategy.criterion.threshold_name: strategy.criterion.default_threshold}
    for prefix, part in (("", strategy.criterion), ("recipe.", strategy.recipe), ("head.", strategy.head)):
        arguments |= {f"{prefix}{p.name}": p.default for p in list_settable(part).values()}
    presets = {task: dict(settings) for task, settings in strategy.presets.items()}
    facts: dict[str, object] = {
        "name": strategy.name,
        "summary": (strategy.__doc__ or "").partition("\n")[0],
        "citation": strategy.citation,
        "head": strategy.head.__name__,
        "recipe": strategy.recipe.__name__,
        "criterion": strategy.criterion.__name__,
        "version": strategy.version,
        "upper_bound": strategy.upper_bound,
        "equations": list(strategy.equations),
        "arguments": arguments,
        "sources": dict(strategy.sources),
        "differences": list(strategy.differences),
        "presets": presets,
    }
    if json:
        print_json(facts)
        return
    out = make_console()
    for key, value in facts.items():
        if not value:
            continue
        if key == "presets":
            lines = [
                f"{'all tasks' if task == '*' else task}: {', '.join(f'{k}={v}' for k, v in preset.items())}"
                for task, preset in presets.items()
            ]
        elif isinstance(value, dict):
            lines = [f"{k} = {v}" if key != "sources" else f"{k}: {v}" for k, v in value.items()]
        else:
            lines = [str(v) for v in value] if isinstance(value, list) else [str(value)]
        out.print(f"{key}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{key}:", *lines]))
