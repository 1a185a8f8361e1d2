"""`bench import`: logits that were made elsewhere become records beside our own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backbones.catalog import find_backbone_name
from bench.cli.display import print_json
from bench.cli.session import Session, SettingOptions, split_names, with_session
from bench.cli.verbs.run import parse_thresholds
from bench.settings import parse_settings
from bench.tasks import find_task_name
from strategies import HEADS


@with_session("results_dir", "hub_root", "offline", "json", "quiet", short={"results_dir": "-o"})
def import_logits(
    session: Session,
    logits: Annotated[Path, typer.Argument(help=".npz with logits (samples, exits, classes) and labels; or .parquet.")],
    name: Annotated[str, typer.Option(help="What the model is called in tables.")],
    select: Annotated[
        Path | None,
        typer.Option(
            metavar="LOGITS",
            help="Held-out logits of the same model, to choose thresholds on; default a part of LOGITS.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="The task that the samples are of: a name, or a folder.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="What data of no task are called; default the model's name.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The model's backbone; with --head for FLOPs.")] = None,
    head: Annotated[str | None, typer.Option(help="The model's exit heads, as `bench list heads` has them.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Strategies whose criteria decide, separated by commas; default five usual ones.")
    ] = None,
    settings: SettingOptions = None,
    thresholds: Annotated[str, typer.Option(help="auto, or thresholds separated by commas.")] = "auto",
    point: Annotated[
        list[str] | None, typer.Option(help="One more point, as --select of bench run: speedup=2, risk=0.02@0.95.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metrics, separated by commas; default the task's.")] = None,
    limit: Annotated[int | None, typer.Option(help="The samples are those of bench run --limit.")] = None,
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="LOGITS is the folder of a released DeeBERT, PABEE or BERxiT model.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn: held-out samples, where none are given.")] = 0,
) -> None:
    """Record logits that were made elsewhere beside our own.

    Tables, reports and comparisons take them like any run.

    A .npz has logits, float (samples, exits, classes), one class for regression, and labels, counted from 0. It may
    have ids, a name a sample, those of the task where one is named; tokens, each sample's length, for FLOPs; and
    observed, what a criterion's probe read. A .parquet is the exits file of a run. With --checkpoint a released
    model (config.json, tokenizer, model.safetensors) is run once over the samples of the --task.

    $ bench import logits.npz --name my-model --task sst2
    """
    session.progress.say("Loading torch.")
    from bench.advise.external import import_logits
    from bench.advise.external_record import ImportRequest
    from bench.cli.run_tables import make_plain_run, print_run

    asked = ImportRequest(
        logits=logits,
        name=name,
        held_out=select,
        task=task and find_task_name(task),
        data=data,
        backbone=backbone and find_backbone_name(backbone),
        head=head and HEADS.find_name(head),
        strategies=tuple(session.read_strategies(strategy)) if strategy else (),
        settings=parse_settings(settings or []),
        thresholds=parse_thresholds(thresholds),
        points=tuple(point or ()),
        metrics=tuple(split_names(metric, "--metric")) if metric else (),
        limit=limit,
        checkpoint=checkpoint,
        seed=seed,
    )
    runs = import_logits(asked, session.context())
    if session.json:
        print_json([make_plain_run(run) for run in runs])
        return
    for run in runs:
        print_run(run)
