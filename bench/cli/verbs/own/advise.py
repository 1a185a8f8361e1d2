"""`bench advise`: does early exit pay for somebody's own fine-tuned model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, split_names, with_session
from bench.errors import UsageError
from bench.files import refuse_file


@with_session("results_dir", "hub_root", "offline", "json", "quiet")
def advise(
    session: Session,
    model: Annotated[str, typer.Argument(help="A fine-tuned classifier: a folder or a hub id.")],
    data: Annotated[
        str, typer.Option(help="A file with texts and labels (csv, tsv, jsonl, parquet), a folder of files, or a task.")
    ],
    train: Annotated[
        str | None, typer.Option(help="A file of texts without labels, to fit exits on the model's own answers.")
    ] = None,
    max_change: Annotated[
        str | None,
        typer.Option(help="Share of answers that may change, certified with a confidence; default 0.01@0.95."),
    ] = None,
    max_loss: Annotated[float | None, typer.Option(help="Instead: accuracy that may be lost, such as 0.005.")] = None,
    target_ms: Annotated[float | None, typer.Option(help="Instead: milliseconds a text may take on average.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Instead: how many times faster it has to be.")] = None,
    batch_size: Annotated[int, typer.Option(help="Size of the batches that are timed beside single texts.")] = 32,
    slice_column: Annotated[
        str | None, typer.Option("--slice", help="A column of the file: accuracy and mean exit of each group.")
    ] = None,
    criteria: Annotated[str | None, typer.Option(help="Criteria to compare, separated by commas.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the shares and of the exits.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Use at most this many samples of each part.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the page, JSON and figure.")] = None,
) -> None:
    """Find out whether early exit pays for your fine-tuned model.

    On this machine, at what price, with which threshold. The model itself stays as it is: exits are fitted beside it.

    $ bench advise ./my-model --data val.csv
    $ bench advise ./my-model --data val.csv --max-loss 0.005 --out advice
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size must be at least 1, not {batch_size}.")
    if out is not None:
        refuse_file(out)  # now, and not when everything is measured
    from bench.advise.goal import parse_goal

    goal = parse_goal(max_change, max_loss, target_ms, speedup)
    session.progress.say("Loading torch and transformers.")
    from bench.advise.advise import give_advice
    from bench.advise.question import Question
    from bench.report import advise_view

    named = () if criteria is None else tuple(split_names(criteria, "--criteria"))
    question = Question(model, data, goal, train, named, batch_size, slice_column, limit, seed, device)
    found = give_advice(question, session.context())
    advise_view.keep_advice(found)
    if out is not None:
        for path in advise_view.write_advice(found, out):
            session.progress.say(f"Written: {path}")
    if session.json:
        print_json(advise_view.make_plain_advice(found))
    else:
        advise_view.print_advice(found, make_console())
