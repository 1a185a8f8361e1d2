"""`bench run`: one cell here, or many on an engine; or what they would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.cli.display import print_json
from bench.cli.session import Session, SettingOptions, split_seeds, with_session
from bench.environment import check_threads
from bench.errors import UsageError
from bench.inference.placement import Dtype
from bench.settings import parse_duration, parse_settings

if TYPE_CHECKING:
    from bench.cell.request import Context, Request
    from bench.sweep import Engine


@with_session("results_dir", "hub_root", "offline", "json", "quiet", short={"results_dir": "-o"})
def run(
    session: Session,
    ctx: typer.Context,
    strategy: Annotated[
        str | None, typer.Option(help="Names separated by commas, or paper or all: see `bench list strategies`.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Names separated by commas, or a folder with your own files.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A sweep in YAML instead: what else would stand here is in it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, and what it would take.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, ray, or ray:ADDRESS.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Cells at once; default by GPUs, else by cores.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each cell, and of all that is timed.")] = None,
    sync: Annotated[str | None, typer.Option(help="Copy finished cells to this URL (s3://...), and from it.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="A name, a hub id or a local folder; default the task's own.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Train with another recipe than the strategy's own.")] = None,
    head: Annotated[str | None, typer.Option(help="Use another head than the strategy's own.")] = None,
    init: Annotated[
        Literal["pretrained", "scratch", "finetuned"] | None,
        typer.Option(help="The backbone's: pretrained, scratch, or finetuned, whose own classifier is the last exit."),
    ] = None,
    seed: Annotated[str, typer.Option(metavar="SEED,...", help="Seeds, separated by commas; 0-4 is a range.")] = "0",
    settings: SettingOptions = None,
    preset: Annotated[str | None, typer.Option(help="paper: the published hyper-parameters.")] = None,
    thresholds: Annotated[str, typer.Option(help="auto, or numbers separated by commas.")] = "auto",
    select: Annotated[
        list[str] | None,
        typer.Option(help="One more point: max_loss=0.01, speedup=2, budget=0.5, risk=0.02@0.95, gap=0.01@0.95."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most so many samples of each split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="Of inference: fp32, bf16, fp16 or fp64.")] = "fp32",
    latency: Annotated[bool, typer.Option(help="Measure wall-clock time.")] = True,
    wait_quiet: Annotated[
        str, typer.Option(help="Wait so long at most, 5m, for other processes to stop before anything is timed.")
    ] = "0",
    overwrite: Annotated[
        Literal["missing", "always", "never"],
        typer.Option(help="Measure again what is recorded: where something is missing, always or never."),
    ] = "missing",
) -> None:
    """Train (or reuse), measure and record strategies on tasks.

    Every strategy on every task with every seed is a cell. What is recorded already is not measured again. Ends with
    the points, or with all cells side by side.

    $ bench run --strategy elbert-mono --task demo
    $ bench run --strategy elbert-mono,deebert,full --task sst2,mrpc --backbone bert-base --seed 0-4
    $ bench run --strategy paper --task sst2 --set train.epochs=1 --dry-run
    """
    if config is not None:
        refuse_beside_config(ctx, config)
        cells = None
    else:
        cells = read_cells(session, strategy, task, seed)
    every: dict[str, Any] = {
        "backbone": backbone, "recipe": recipe, "head": head, "init": init, "preset": preset, "limit": limit,
        "device": device, "dtype": dtype, "latency": latency, "select": tuple(select or ()),
        "settings": parse_settings(settings or []), "thresholds": parse_thresholds(thresholds),
    }  # fmt: skip

    patience = parse_duration(wait_quiet, "--wait-quiet")
    session.progress.say("Loading torch and transformers.")
    from bench.api.run import list_requests
    from bench.sweep.config import read_sweep

    if config is not None:
        requests = read_sweep(config)
    else:
        assert cells is not None
        requests = list_requests(*cells, **every)
    if threads is not None:  # a cell that is timed has them from its settings, which its key holds
        if engine == "local":
            check_threads(threads, "--threads")
        alike = {"latency.threads": threads}
        requests = [replace(one, settings={**alike, **one.settings}) if one.latency else one for one in requests]
    asked = [name for name in every["settings"] if name.startswith("latency.")] + ["--wait-quiet"] * bool(patience)
    if asked and not any(one.latency for one in requests):
        session.progress.say(f"Nothing is timed, so there is no effect of {', '.join(asked)}.")
    context = replace(session.context(overwrite), wait_quiet=patience)
    if dry_run:
        from bench.cli.run_tables import print_plan
        from bench.sweep import fetch_and_plan
        from bench.sweep.estimate import estimate_plan

        plan = fetch_and_plan(requests, context, sync)
        if engine == "local":
            plan.refuse_threads()
        print_plan(plan, estimate_plan(plan, context), session.json)
    elif len(requests) == 1 and (config, engine, workers, threads, sync) == (None, "local", None, None, None):
        run_here(requests[0], context, session)
    else:
        from bench.sweep import make_engine

        chosen = make_engine(engine, workers, threads)
        run_requests(requests, context, chosen, sync, session, each=config is None)


def run_here(request: Request, context: Context, session: Session) -> None:
    """Run one cell in this process, whose errors are then the command's own, and print it."""
    from bench.cell.run import run_request
    from bench.cli.run_tables import make_plain_run, print_next_steps, print_run

    run = run_request(request, context)
    if session.json:
        print_json([make_plain_run(run)])
    else:
        print_run(run)
        print_next_steps([run], session.results_dir)


def run_requests(
    requests: Sequence[Request], context: Context, engine: Engine, sync: str | None, session: Session, *, each: bool
) -> None:
    """Run many cells; print ``each`` as it ends, or a line a cell at the end, then all side by side at matched cost.

    Raises CellsFailed where some failed.
    """
    from bench.cli.run_tables import describe_outcome, print_outcome, print_outcomes, print_side_by_side
    from bench.sweep import collect_failures, run_cells

    outcomes = run_cells(requests, context, engine, sync, print_outcome if each and not session.json else None)
    if session.json:
        print_json([describe_outcome(outcome) for outcome in outcomes])
    else:
        if not each:
            print_outcomes(outcomes)
        print_side_by_side(outcomes, session.results_dir)
    failed = collect_failures(outcomes)
    if failed is not None:
        raise failed


def read_cells(
    session: Session, strategies: str | None, tasks: str | None, seeds: str
) -> tuple[list[str], list[str], list[int]]:
    """Return strategies, tasks and seeds. Raises UsageError, before torch is loaded, for an unknown strategy."""
    from bench.api.run import refuse_unknown

    if strategies is None or tasks is None:
        raise UsageError("--strategy and --task are needed, or --config with a sweep file.")
    cells = session.read_strategies(strategies), session.read_tasks(tasks), split_seeds(seeds)
    refuse_unknown(cells[0])
    return cells


def refuse_beside_config(ctx: typer.Context, config: Path) -> None:
    """Raise UsageError for an option that says what to run beside a sweep file, which says that."""
    from bench.cell.request import Request

    for name in (field.name for field in fields(Request)):
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--set" if name == "settings" else f"--no-{name}" if ctx.params[name] is False else f"--{name}"
            where = f"write '{name}' into {config}, under defaults or matrix"
            raise UsageError(f"{option} and --config do not go together: {where}.")


def parse_thresholds(text: str) -> tuple[float, ...] | None:
    """Return the numbers in ``0.1,0.5``, or None for ``auto``. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise UsageError(f"--thresholds takes auto or finite numbers separated by commas, not '{text}'.")
    return found
