"""`bench diagnose`: whether a run's exits know what they do, and how far small or foreign texts throw them off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import RunName, Session, with_session
from bench.errors import UsageError
from bench.files import write_text


@with_session()
def diagnose(
    session: Session,
    run: RunName,
    point: Annotated[
        str | None,
        typer.Option(metavar="POINT,...", help="Operating points, separated by commas; default no-loss and 2x."),
    ] = None,
    on: Annotated[str | None, typer.Option(help="Read another task's texts too: its name, or a folder.")] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Only what the stored exits tell: no model, no texts changed.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Texts to change, and to read of the other task, at most.")] = 200,
    edits: Annotated[int, typer.Option(help="Changes of words in each text.")] = 3,
    candidates: Annotated[int, typer.Option(help="Changes to choose from, in the targeted case.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the changes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, CSV and the figure of the shift.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
) -> None:
    """Ask whether a run's exits know when they are right.

    And whether small changes slow it down, and what happens on other texts.

    $ bench diagnose last --point 2x --stored
    """
    if stored and on:
        raise UsageError("--stored runs no model, and --on needs one: leave one of them out.")
    bounds = {"limit": (limit, 2), "edits": (edits, 1), "candidates": (candidates, 1), "seed": (seed, 0)}
    for name, (given, least) in bounds.items():
        if given < least:
            raise UsageError(f"--{name} must be at least {least}, not {given}.")
    asked, progress = session.find_run(run).finished(), session.progress
    progress.say("Loading torch." if stored else "Loading torch, transformers and the model.")
    from bench.analysis.cases import find_points
    from bench.analysis.diagnose import Change, diagnose_run
    from bench.report import diagnose_view

    points = find_points(asked, point)
    context, change = None if stored else session.context(of=asked), Change(limit, edits, candidates, seed)
    found = diagnose_run(asked, context, points, change, on=on)
    if out is not None:
        for path in diagnose_view.write_diagnosis(found, out):
            progress.say(f"Written: {path}")
    if markdown is not None:
        write_text(markdown, diagnose_view.render_diagnosis(found))
    if session.json:
        print_json(found)
    else:
        diagnose_view.print_diagnosis(found, make_console())
