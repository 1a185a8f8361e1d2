"""`bench export`: a recorded run's model as a folder that answers without ExitBench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import RunName, Session, with_session


@with_session()
def export(
    session: Session,
    run: RunName,
    folder: Annotated[Path, typer.Argument(help="The folder to write; not there yet, or empty.")],
    point: Annotated[str, typer.Option(help="Operating point, such as 2x, or a threshold.")] = "no-loss",
    timed: Annotated[
        bool, typer.Option("--time", help="Time the folder beside early exit here, a minute, one thread.")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="ONNX files too: all exits in one graph, and one segment a layer.")
    ] = False,
) -> None:
    """Take a run's model home, with code that needs no ExitBench.

    Weights, exits, threshold, a card, and one file of code.

    $ bench export last ./my-early-exit-model --point 2x
    """
    from bench.advise.export.chosen import choose_exported
    from bench.advise.export.write import export_run, refuse_filled

    refuse_filled(folder)
    if onnx:
        from bench.advise.export.onnx_files import require_onnx

        session.progress.say("Loading onnxruntime and what writes ONNX.")
        require_onnx()
    asked = session.find_run(run).finished()
    session.progress.say("Loading torch, transformers and the model.")
    context = session.context(of=asked)
    config = export_run(asked, context, folder, point, onnx=onnx)
    times = None
    if timed:
        from bench.advise.export.timing import time_exported

        session.progress.say("Timing the folder beside early exit here.")
        times = time_exported(asked, context, folder, choose_exported(asked, point).cut)
    if session.json:
        doubts = [doubt.to_plain() for doubt in asked.find_doubts()]
        measured = {} if times is None else {"times": times.to_plain()}
        print_json({"folder": str(folder), **config, "doubts": doubts, **measured})
        return
    from bench.advise.export.card import describe_point, describe_timing

    out = make_console()
    out.print(describe_point(asked, choose_exported(asked, point)))
    for doubt in asked.find_doubts():
        out.print(f"{doubt.said}.")
    for said in describe_timing(asked):
        out.print(said)
    if times is not None:
        out.print(times.describe())
    if onnx:
        made = config["onnx"]
        out.print(
            f"{made['model']} and {len(made['segments'])} segments: logits differ from torch's by "
            f"{made['largest_difference']:.1e} at most."
        )
    out.print(f"Written: {folder}. README.md there says how it is used.")
