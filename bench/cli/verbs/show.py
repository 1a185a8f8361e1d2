"""`bench show`: one recorded run, or all that is known of what a name stands for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli import completing
from bench.cli.display import make_console, print_json
from bench.cli.session import MetricNames, Session, split_names, with_session
from bench.errors import Damaged, UsageError
from bench.text import show_line


@with_session("results_dir", "json")
def show(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|KIND",
            help="A recorded run (folder, name, key or 'last'), or strategy, head, recipe, backbone, task or paper.",
            autocompletion=completing.complete_shown,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which one of the KIND.", autocompletion=completing.complete_name),
    ] = None,
    metric: MetricNames = None,
) -> None:
    """Show one recorded run, or what is known of a name.

    Of a strategy, head, recipe, backbone, task or paper: what it is, its settings with their defaults, its source.

    $ bench show last
    $ bench show last --metric auroc,log_loss
    $ bench show strategy elbert-mono
    $ bench show backbone bert-base
    """
    if name is None:
        show_run(what, session, metric)
        return
    if metric is not None:
        raise UsageError("--metric is of a recorded run: leave it out.")
    show_facts(what, name, session)


def show_facts(kind: str, name: str, session: Session) -> None:
    """Print what is known of a name of a kind."""
    from bench.cli.facts import collect_facts, print_facts

    facts = collect_facts(kind, name)
    if session.json:
        print_json(facts)
    else:
        print_facts(facts, make_console())


def show_run(run: str, session: Session, metric: str | None = None) -> None:
    """Print a recorded run with the table it ended with, ``metric`` beside. Raises UsageError where there is none."""
    from bench.cli.facts import FACTS, find_kinds
    from bench.cli.run_tables import make_plain_run, print_run
    from bench.measure.judges import read_metric

    try:
        found = session.find_run(run)
    except UsageError as error:
        if run in FACTS:
            raise UsageError(f"bench show {run} takes a name too: `bench show {run} NAME`.") from error
        if not (kinds := find_kinds(run)):
            raise
        if len(kinds) == 1:
            show_facts(kinds[0], run, session)
            return
        said = [f"The {kind} is shown by `bench show {kind} {run}`." for kind in kinds]
        raise UsageError(" ".join([str(error), *said])) from error
    if found.is_finished():
        try:
            found.check_logits(every=True)
        except Damaged as error:
            print(show_line(f"Left unread: {error}"), file=sys.stderr)
    asked = [read_metric(one) for one in split_names(metric, "--metric")] if metric is not None else []
    if session.json:
        print_json(make_plain_run(found, asked))
    else:
        print_run(found, asked)
