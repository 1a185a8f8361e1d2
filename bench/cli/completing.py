"""What a shell offers for a word that is being typed: names with a line each, found without importing torch.

Each function takes the word as far as it is typed; of names separated by commas it completes the last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from backbones.names import Registry
from strategies import HEADS, RECIPES, STRATEGIES, STRATEGY_GROUPS

LISTED_KINDS = ("strategies", "heads", "recipes", "backbones", "tasks", "papers", "claims", "runs")
"""What `bench list` lists."""
SINGULAR = {"strategy": "strategies", "head": "heads", "recipe": "recipes", "backbone": "backbones", "task": "tasks",
            "paper": "papers"}  # fmt: skip
"""What `bench show` shows beside runs, by what `bench list` calls it."""
USUAL_POINTS = ("default", "thresholds", "no-loss", "1.5x", "2x", "3x", "4x")

Offers = list[tuple[str, str]]
Completer = Callable[[str], Offers]


def keep_fitting(offers: Iterable[tuple[str, str]], incomplete: str) -> Offers:
    """Return what completes the last of the names in ``incomplete``, those before it kept."""
    before, comma, _ = incomplete.rpartition(",")
    made = ((before + comma + name, said) for name, said in offers)
    return [(name, said) for name, said in made if name.startswith(incomplete)]


def offer_values(*values: str) -> Completer:
    """Return what completes a word to one of ``values``."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        return keep_fitting(((value, "") for value in values), incomplete)

    return complete


def offer_names(find: Callable[[], Iterable[tuple[str, str]]]) -> Completer:
    """Return what completes a word to one of the names that ``find`` finds, each with what it is."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        return keep_fitting(find(), incomplete)

    return complete


def list_listed(registry: Registry[Any]) -> Offers:
    """Return the names of a table; of what other packages add, which says what it is only when imported, the name."""
    ours = dict(registry.summaries(installed=False))
    return [(name, ours.get(name, "")) for name in registry]


def list_strategies() -> Offers:
    """Return the strategies, and the names that stand for several."""
    return [*list_listed(STRATEGIES), *STRATEGY_GROUPS.items()]


def list_tasks() -> Offers:
    """Return the tasks that have names, and the names that stand for several."""
    from bench.tasks import TASK_GROUPS, TASKS

    return [*list_listed(TASKS), *((name, ", ".join(tasks)) for name, tasks in TASK_GROUPS.items())]


def list_backbones() -> Offers:
    """Return the backbones that have names."""
    from backbones.catalog import BACKBONES

    return [(named.name, named.summary) for named in BACKBONES.values()]


def list_claimed() -> Offers:
    """Return the papers whose claims can be checked."""
    from bench.reproduce.papers import list_papers, load_paper

    return [(name, load_paper(name).title) for name in list_papers()]


def list_metrics() -> Offers:
    """Return the metrics that have names, and recall, which a class is named with."""
    from bench.measure.judges import JUDGES, RECALL
    from bench.measure.metrics import title_metric

    return [*((name, title_metric(name)) for name in JUDGES), (f"{RECALL}:", "of the class whose name follows")]


def list_methods() -> Offers:
    """Return the methods that published numbers are of."""
    from bench.reproduce.published import read_published

    return [(name, "") for name in dict.fromkeys(number.system for number in read_published())]


complete_metrics = offer_names(list_metrics)
complete_methods = offer_names(list_methods)
complete_strategies = offer_names(list_strategies)
complete_tasks = offer_names(list_tasks)
complete_backbones = offer_names(list_backbones)
complete_recipes = offer_names(lambda: list_listed(RECIPES))
complete_heads = offer_names(lambda: list_listed(HEADS))
complete_papers = offer_names(list_claimed)
complete_kinds = offer_values(*LISTED_KINDS)
complete_plots = offer_values(
    *"trade-off elbert-figure-2 elbert-figure-3 criteria windows realisation exits calibration depth".split()
)
complete_points = offer_values(*USUAL_POINTS)


def list_runs(ctx: typer.Context) -> Offers:
    """Return 'last' and the folders of the runs in the results folder of a command that is being typed."""
    from bench.results.places import RECORD

    root = Path(ctx.params.get("results_dir") or "results")
    names = sorted(path.parent.name for path in root.glob(f"*/*/*/{RECORD}"))
    return [("last", "the run recorded last"), *((name, "") for name in names if re.fullmatch(r"[\w.=+-]+", name))]


def complete_runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the name of a recorded run."""
    return keep_fitting(list_runs(ctx), incomplete)


def complete_shown(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete what `bench show` shows: a run, or a kind of thing."""
    kinds = [(kind, f"one of `bench list {many}`") for kind, many in SINGULAR.items()]
    return keep_fitting([*kinds, *list_runs(ctx)], incomplete)


def complete_name(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete the name that follows `bench show KIND`."""
    known: dict[str, Completer] = {
        "strategy": complete_strategies, "head": complete_heads, "recipe": complete_recipes,
        "backbone": complete_backbones, "task": complete_tasks, "paper": complete_papers,
    }  # fmt: skip
    complete = known.get(str(ctx.params.get("what")))
    return complete(incomplete) if complete else []


def complete_settings(incomplete: str) -> list[tuple[str, str]]:
    """Complete the key of a setting, up to the sign before its value."""
    from bench.training.args import TrainArgs

    parts = [(f"{part}.", f"of the {part}") for part in ("backbone", "criterion", "head", "latency", "recipe")]
    train = [(f"train.{name}=", f"default {value}") for name, value in vars(TrainArgs()).items()]
    return [(name, said) for name, said in [*train, *parts] if name.startswith(incomplete)]
