"""`bench log`: a recorded run in an experiment tracker, or as a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import print_json
from bench.cli.session import RunName, Session, with_session
from bench.errors import UsageError
from bench.text import show_line


@with_session("results_dir", "json", "allow_imports")
def log(
    session: Session,
    run: RunName,
    to: Annotated[str | None, typer.Option(help="wandb, mlflow, tensorboard or trackio.")] = None,
    project: Annotated[str, typer.Option(help="The tracker's project, or experiment.")] = "exitbench",
    card: Annotated[
        Path | None,
        typer.Option(help="Write a model card, README.md in this folder, with the results as metadata."),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(help="Operating point of the card, such as 2x, or a threshold; no-loss where nothing is asked."),
    ] = None,
) -> None:
    """Send a recorded run to a tracker, or write its model card.

    The card has the results as metadata that the hub reads.

    $ bench log last --to mlflow --project my-project
    $ bench log last --card ./my-early-exit-model --point 2x
    """
    from bench.api.view import RunView

    if to is None and card is None:
        raise UsageError("bench log takes --to TRACKER, --card DIR, or both.")
    asked = RunView.of(session.find_run(run).finished(), session)
    written = {} if card is None else {"card": str(asked.write_card(card, point))}
    written |= {} if to is None else {to: asked.log(to, project)}
    if session.json:
        print_json(written)
        return
    for where, what in written.items():
        print(show_line(f"{where}: {what}"))
