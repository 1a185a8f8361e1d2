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
        typer.Option(metavar="DIR", help="Write a model card, DIR/README.md, with the results as metadata."),
    ] = None,
    point: Annotated[str, typer.Option(help="Operating point of the card, such as 2x, or a threshold.")] = "no-loss",
) -> None:
    """A recorded run sent to an experiment tracker, or written as a model card for the hub."""
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
