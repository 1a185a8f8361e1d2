"""`bench run`: expand the cells, run them one after another, show each as it ends."""

from __future__ import annotations

import math
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

from bench import errors
from bench.arguments import parse_settings
from bench.display import print_json, print_record
from bench.progress import Progress


def run_cells(
    *,
    strategies: str,
    tasks: str,
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
    """Run every strategy × task × seed. Exit code 5 where some of several cells failed."""
    progress = Progress(quiet=quiet)
    parsed = parse_settings(settings)
    names = split_names(strategies, "--strategy")
    cells = list(product(names, split_names(tasks, "--task"), whole_numbers(seeds)))
    given = parse_thresholds(thresholds)
    known_strategies(names)

    progress.say("Loading torch and transformers.")
    from bench.commands.fresh import run_fresh
    from bench.resolve import Request, resolve
    from bench.resolve import hub_root as find_hub
    from bench.runner import Context, command_line, run
    from bench.store import Store

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    context = Context(
        Store(results_dir), progress, find_hub(hub_root, os.environ), offline, overwrite, command_line(),
    )  # fmt: skip
    requests = [
        Request(strategy=strategy, task=task, seed=seed, settings=parsed, thresholds=given, **request)
        for strategy, task, seed in cells
    ]
    for asked in requests:
        resolve(asked)  # a mistake in the last cell is told before the first one runs
    shown, failed = [], []
    for asked in requests:
        try:
            if len(cells) > 1 and asked.latency:
                found = run_fresh(asked, context)
            else:
                cell, record = run(asked, context)
                found = {"folder": str(cell.folder), "record": record}
        except Exception as error:
            if len(cells) == 1:
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
        raise errors.CellsFailed(f"{len(failed)} of {len(cells)} cells failed: " + "; ".join(failed))
    return errors.OK


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
