"""`bench run`: expand the cells, run them one after another and show each as it ends, or hand them to a sweep."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import errors
from bench.cli.display import print_json, print_record
from bench.progress import Progress
from bench.settings import parse_settings

if TYPE_CHECKING:
    from bench.cell.request import Context, Request


def run_cells(
    *,
    config: Path | None,
    dry_run: bool,
    engine: str,
    workers: int | None,
    threads: int | None,
    sync: str | None,
    strategies: str | None,
    tasks: str | None,
    seeds: str,
    settings: list[str],
    thresholds: str,
    results_dir: Path,
    hub_root: Path | None,
    offline: bool,
    overwrite: Any,
    json: bool,
    quiet: bool,
    **request: Any,
) -> int:
    """Run every strategy × task × seed, or the cells of ``config``. Exit code 5 where some of several cells failed."""
    progress = Progress(quiet=quiet)
    asked_for = {**request, "strategy": strategies, "task": tasks, "seed": seeds, "settings": settings}
    if config is not None:
        only_config(config, {**asked_for, "thresholds": thresholds})
    else:
        options = cells_asked(strategies, tasks, seeds, settings, thresholds)

    progress.say("Loading torch and transformers.")
    from bench.cell.command import command_line
    from bench.cell.request import Context, Request
    from bench.cell.resolve import hub_root as find_hub
    from bench.results.store import Store

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    context = Context(
        Store(results_dir), progress, find_hub(hub_root, os.environ), offline, overwrite, command_line(),
    )  # fmt: skip
    if config is not None:
        from bench.sweep.config import read_sweep

        requests = read_sweep(config)
    else:
        requests = [Request(**option, **request) for option in options]
    if config is None and (dry_run, engine, workers, threads, sync) == (False, "local", None, None, None):
        return one_after_another(requests, context, json)
    from bench.cli.verbs.sweep import run_sweep

    return run_sweep(
        requests, context, engine=engine, workers=workers, threads=threads, sync=sync, dry_run=dry_run, json=json
    )


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
            print(f"Error in {failed[-1]}", file=sys.stderr)
            continue
        shown.append(found)
        if not json:
            print_record(found["record"], found["folder"])
    if json:
        print_json(shown)
    if failed:
        raise errors.CellsFailed(f"{len(failed)} of {len(requests)} cells failed: " + "; ".join(failed))
    return errors.OK


def cells_asked(
    strategies: str | None, tasks: str | None, seeds: str, settings: list[str], thresholds: str
) -> list[dict[str, Any]]:
    """Strategy × task × seed, each with the settings. Fails on an unknown strategy before torch is loaded."""
    if strategies is None or tasks is None:
        raise errors.UsageError("--strategy and --task are needed, or --config with a sweep file.")
    names = split_names(strategies, "--strategy")
    shared = {"settings": parse_settings(settings), "thresholds": parse_thresholds(thresholds)}
    cells = list(product(names, split_names(tasks, "--task"), whole_numbers(seeds)))
    known_strategies(names)
    return [{"strategy": strategy, "task": task, "seed": seed, **shared} for strategy, task, seed in cells]


def only_config(config: Path, given: Mapping[str, Any]) -> None:
    """Raise UsageError for an option that says what to run beside a sweep file, which says that."""
    defaults = {"seed": "0", "thresholds": "auto", "device": "auto", "dtype": "fp32", "latency": True}
    for name, value in given.items():
        if value not in (defaults.get(name), None, (), []):
            option = "--set" if name == "settings" else f"--{name}"
            raise errors.UsageError(f"{option} and --config do not go together: write '{name}' into {config}.")


def known_strategies(names: list[str]) -> None:
    """Fail on an unknown name before torch is loaded."""
    from bench.catalog import STRATEGIES
    from bench.registry import unknown

    for name in names:
        if name not in STRATEGIES and ":" not in name:
            raise unknown("strategy", name, STRATEGIES)


def split_names(text: str, option: str) -> list[str]:
    """``a,b`` as a list without repetitions."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise errors.UsageError(f"{option} is empty.")
    return list(dict.fromkeys(names))


def whole_numbers(text: str) -> list[int]:
    """``0,1,2`` as a list."""
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise errors.UsageError(f"--seed takes whole numbers separated by commas, not '{text}'.") from None


def parse_thresholds(text: str) -> tuple[float, ...] | None:
    """None for ``auto``, else the numbers."""
    if text == "auto":
        return None
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise errors.UsageError(f"--thresholds takes auto or finite numbers separated by commas, not '{text}'.")
    return found
