"""The command line: one short function per verb. Imports neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import Backbones, HubRoot, Json, Offline, Quiet, ResultsDir, Settings, Tasks
from bench.cli.tools import tools
from bench.errors import OK, USAGE

app = typer.Typer(
    name="bench",
    help="Early exit in encoder transformers, measured side by side: accuracy, FLOPs and honest latency.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def run(
    strategy: Annotated[str | None, typer.Option(help="Strategies, separated by commas.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas: names, or a folder with your own files.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A sweep in YAML instead of strategies and tasks.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, and what it would take.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, ray, or ray:ADDRESS.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Cells at once; default by GPUs, else by cores.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each untimed cell.")] = None,
    sync: Annotated[str | None, typer.Option(help="Copy finished cells to this URL (s3://...), and from it.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A name, a hub id or a local folder.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Train with another recipe than the strategy's own.")] = None,
    head: Annotated[str | None, typer.Option(help="Use another head than the strategy's own.")] = None,
    init: Annotated[Literal["pretrained", "scratch"] | None, typer.Option(help="Weights of the backbone.")] = None,
    seed: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    settings: Settings = None,
    preset: Annotated[str | None, typer.Option(help="'paper': the published hyper-parameters.")] = None,
    thresholds: Annotated[str, typer.Option(help="auto, or thresholds separated by commas.")] = "auto",
    select: Annotated[
        list[str] | None,
        typer.Option(help="One more point: max_loss=0.01, speedup=2, budget=0.5, risk=0.02@0.95, gap=0.01@0.95."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many samples of each split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[Literal["fp32", "bf16", "fp16", "fp64"], typer.Option(help="Precision of inference.")] = "fp32",
    latency: Annotated[bool, typer.Option(help="Measure wall-clock time.")] = True,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Offline = False,
    overwrite: Annotated[
        Literal["missing", "always", "never"], typer.Option(help="When a result is already there.")
    ] = "missing",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train (or reuse), measure and record strategies on tasks; ends with the table of operating points."""
    from bench.cli.verbs.run import run_cells

    return run_cells(
        config=config,
        dry_run=dry_run,
        engine=engine,
        workers=workers,
        threads=threads,
        sync=sync,
        strategies=strategy,
        tasks=task,
        seeds=seed,
        settings=settings or [],
        thresholds=thresholds,
        select=tuple(select or ()),
        backbone=backbone,
        recipe=recipe,
        head=head,
        init=init,
        preset=preset,
        limit=limit,
        device=device,
        dtype=dtype,
        latency=latency,
        results_dir=results_dir,
        hub_root=hub_root,
        offline=offline,
        overwrite=overwrite,
        json=json,
        quiet=quiet,
    )


@app.command()
def replay(
    logits: Annotated[
        Path, typer.Argument(help=".npz with logits (samples, exits, classes), labels, ids, observed; or .parquet.")
    ],
    strategy: Annotated[str, typer.Option(help="The strategy whose criterion decides.")],
    threshold: Annotated[float | None, typer.Option(help="Show this threshold's decisions too.")] = None,
    settings: Settings = None,
    metric: Annotated[
        str | None, typer.Option(help="Metrics, separated by commas; default accuracy or pearson.")
    ] = None,
    fit_on: Annotated[
        Path | None, typer.Option(help="Held-out logits with labels, for criteria that are fitted.")
    ] = None,
    json: Json = False,
) -> int:
    """Decisions and trade-off curve of a criterion on anybody's recorded logits."""
    from bench.cli.verbs.replay import replay_file

    return replay_file(logits, strategy, threshold, settings or [], metric, json, fit_on)


@app.command()
def show(
    what: Annotated[list[str], typer.Argument(help="RUN (folder, name, key or 'last'), or 'strategy NAME'.")],
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """One recorded run, or everything about a strategy."""
    from bench.cli.verbs.show import show_run, show_strategy

    if what[0] == "strategy" and len(what) == 2:
        return show_strategy(what[1], json)
    if len(what) == 1:
        return show_run(what[0], results_dir, json)
    typer.echo("Error: bench show takes a run, or 'strategy NAME'.", err=True)
    return USAGE


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="strategies, heads, recipes, backbones, tasks, papers or runs.")],
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """What there is, a line each."""
    from bench.cli.verbs.listing import list_kind

    list_kind(kind, results_dir, json)
    return OK


@app.command()
def report(
    results_dir: ResultsDir = Path("results"),
    task: Tasks = None,
    backbone: Backbones = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    formats: Annotated[
        str, typer.Option("--format", help="html, md, latex, csv, figures; separated by commas.")
    ] = "html,md,latex,csv,figures",
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """The recorded results as one HTML page, tables and figures; reads the store only."""
    from bench.cli.verbs.report import report_results

    return report_results(results_dir, task, backbone, out, formats, json, quiet)


@app.command()
def table(
    task: Tasks = None,
    backbone: Backbones = None,
    at: Annotated[
        str, typer.Option(help="Operating points to show, separated by commas.")
    ] = "default,no-loss,1.5x,2x,3x",
    results_dir: ResultsDir = Path("results"),
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
    json: Json = False,
) -> int:
    """Recorded runs side by side at matched cost."""
    from bench.cli.verbs.table import compare_cells

    return compare_cells(results_dir, task, backbone, at, markdown, json)


@app.command()
def criteria(
    task: Tasks = None,
    backbone: Backbones = None,
    against: Annotated[str, typer.Option(help="The criterion that the others are paired with.")] = "entropy",
    results_dir: ResultsDir = Path("results"),
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
    json: Json = False,
) -> int:
    """Every criterion on the same checkpoints, paired on the same samples."""
    from bench.cli.verbs.criteria import criteria_tables

    return criteria_tables(results_dir, task, backbone, against, markdown, json)


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="A paper (`bench list papers`), or a YAML file of claims.")],
    scale: Annotated[Literal["full", "small"], typer.Option(help="The paper's own runs, or scaled down.")] = "full",
    plan: Annotated[bool, typer.Option("--plan", help="Only print the plan.")] = False,
    seed: Annotated[str | None, typer.Option(help="Other seeds than the plan's, separated by commas.")] = None,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Offline = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the claims to this file too.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Published claims, each with ours, an interval and a verdict; what is missing is run first."""
    from bench.cli.verbs.reproduce import reproduce_paper

    return reproduce_paper(
        paper, scale=scale, plan_only=plan, seeds=seed, results_dir=results_dir, hub_root=hub_root, offline=offline,
        markdown=markdown, json=json, quiet=quiet,
    )  # fmt: skip


app.registered_commands += tools.registered_commands


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Early exit in encoder transformers, measured side by side."""
    if version:
        from bench import __version__

        typer.echo(__version__)
        raise typer.Exit(OK)
