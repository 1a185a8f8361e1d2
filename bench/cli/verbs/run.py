"""`bench run`: expand the cells, run them one after another and show each as it ends, or hand them to a sweep."""

from __future__ import annotations

import math
import sys
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench import errors
from bench.cli.display import print_json, print_record
from bench.cli.options import Settings, split_names, split_seeds
from bench.cli.session import Session, with_session
from bench.settings import parse_settings
from bench.text import show_hidden

if TYPE_CHECKING:
    from bench.cell.request import Context, Request


@with_session()
def run(
    session: Session,
    ctx: typer.Context,
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
    overwrite: Annotated[
        Literal["missing", "always", "never"], typer.Option(help="When a result is already there.")
    ] = "missing",
) -> int:
    """Train (or reuse), measure and record strategies on tasks; ends with the table of operating points."""
    if config is not None:
        refuse_beside_config(ctx, config)
        cells = []
    else:
        cells = split_cells(strategy, task, seed)
    every: dict[str, Any] = {
        "backbone": backbone, "recipe": recipe, "head": head, "init": init, "preset": preset, "limit": limit,
        "device": device, "dtype": dtype, "latency": latency, "select": tuple(select or ()),
        "settings": parse_settings(settings or []), "thresholds": parse_thresholds(thresholds),
    }  # fmt: skip

    session.progress.say("Loading torch and transformers.")
    from bench.cell.request import Request
    from bench.sweep.config import read_sweep

    context = session.context(overwrite)
    if config is not None:
        requests = read_sweep(config)
    else:
        requests = [Request(strategy=name, task=on, seed=number, **every) for name, on, number in cells]
    if config is None and (dry_run, engine, workers, threads, sync) == (False, "local", None, None, None):
        return one_after_another(requests, context, session.json)
    from bench.cli.verbs.sweep import run_sweep

    return run_sweep(
        requests, context, engine=engine, workers=workers, threads=threads, sync=sync, dry_run=dry_run,
        json=session.json,
    )  # fmt: skip


def split_cells(strategies: str | None, tasks: str | None, seeds: str) -> list[tuple[str, str, int]]:
    """Return every strategy × task × seed. Raises UsageError, before torch is loaded, for an unknown strategy."""
    from bench.catalog import STRATEGIES
    from bench.registry import unknown

    if strategies is None or tasks is None:
        raise errors.UsageError("--strategy and --task are needed, or --config with a sweep file.")
    names = split_names(strategies, "--strategy")
    cells = list(product(names, split_names(tasks, "--task"), split_seeds(seeds)))
    for name in names:
        if name not in STRATEGIES and ":" not in name:
            raise unknown("strategy", name, STRATEGIES)
    return cells


def refuse_beside_config(ctx: typer.Context, config: Path) -> None:
    """Raise UsageError for an option that says what to run beside a sweep file, which says that."""
    from bench.cell.request import Request

    for name in (field.name for field in fields(Request)):
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--set" if name == "settings" else f"--{name}"
            raise errors.UsageError(f"{option} and --config do not go together: write '{name}' into {config}.")


def parse_thresholds(text: str) -> tuple[float, ...] | None:
    """Return the numbers in ``0.1,0.5``, or None for ``auto``. Raises UsageError for anything else."""
    if text == "auto":
        return None
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise errors.UsageError(f"--thresholds takes auto or finite numbers separated by commas, not '{text}'.")
    return found


def one_after_another(requests: list[Request], context: Context, json: bool) -> int:
    """Run a few cells in this process (timed ones in new ones) and show each as it ends."""
    from bench.cell.resolve import resolve_request
    from bench.cell.run import run
    from bench.cli.verbs.fresh import run_fresh

    for asked in requests:
        resolve_request(asked)  # a mistake in the last cell is told before the first one runs
    shown, failed = [], []
    for asked in requests:
        try:
            if len(requests) > 1 and asked.latency:
                found = run_fresh(asked, context)
            else:
                cell, record = run(asked, context)
                found = {"folder": str(cell.folder), "record": record}
        except Exception as error:
            if len(requests) == 1:
                raise
            failed.append(f"{asked.strategy}, {asked.task}, seed {asked.seed}: {error}")
            print(show_hidden(f"Error in {failed[-1]}"), file=sys.stderr)
            continue
        shown.append(found)
        if not json:
            print_record(found["record"], found["folder"])
    if json:
        print_json(shown)
    if failed:
        raise errors.CellsFailed(f"{len(failed)} of {len(requests)} cells failed: " + "; ".join(failed))
    return errors.OK
