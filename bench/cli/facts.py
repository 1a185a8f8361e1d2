"""What is known of a strategy, head, recipe, backbone, task or paper: what it is, its settings, its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import Any

from backbones.catalog import BACKBONES, find_backbone_name
from backbones.names import Registry, find_name, make_unknown_error
from bench.settings import list_settable
from bench.tasks import TASKS, find_task_name
from bench.text import TextConsole
from strategies import HEADS, RECIPES, STRATEGIES

KnownFacts = dict[str, object]


def describe_listed_strategy(name: str) -> KnownFacts:
    """Return a strategy's paper, equations, arguments with their sources, and what differs from the paper."""
    strategy = STRATEGIES.load(STRATEGIES.find_name(name))
    arguments: KnownFacts = {strategy.criterion.threshold_name: strategy.criterion.default_threshold}
    for prefix, part in (("", strategy.criterion), ("recipe.", strategy.recipe), ("head.", strategy.head)):
        arguments |= list_defaults(part, prefix)
    return {
        "name": strategy.name,
        "summary": (strategy.__doc__ or "").partition("\n")[0],
        "citation": strategy.citation,
        "head": strategy.head.__name__,
        "recipe": strategy.recipe.__name__,
        "criterion": strategy.criterion.__name__,
        "version": strategy.version,
        "upper_bound": strategy.upper_bound,
        "equations": list(strategy.equations),
        "arguments": arguments,
        "sources": dict(strategy.sources),
        "differences": list(strategy.differences),
        "presets": {task: dict(settings) for task, settings in strategy.presets.items()},
        "file": find_file(strategy),
    }


def describe_part(kind: str, registry: Registry[Any], name: str) -> KnownFacts:
    """Return what a head or recipe is, its settings, and which strategies have it as their own."""
    listed = registry.find_name(name)
    part = registry.load(listed)
    owners = [owner for owner in STRATEGIES.builtin if getattr(STRATEGIES.load(owner), kind) is part]
    return {
        "name": listed,
        "summary": cleandoc(part.__doc__ or ""),
        "settings": list_defaults(part, f"{kind}."),
        "strategies": ", ".join(owners),
        "version": getattr(part, "version", 1),
        "file": find_file(part),
    }


def describe_named_backbone(name: str) -> KnownFacts:
    """Return a named backbone's size, pooling, and where its files come from."""
    listed = find_backbone_name(name)
    if listed not in BACKBONES:
        raise make_unknown_error("backbone", name, BACKBONES)
    named = BACKBONES[listed]
    files = f"{named.hub_id}, revision {named.revision}" if named.hub_id else "none: built in, always from scratch"
    return {
        "name": named.name,
        "summary": named.summary,
        "type": named.model_type,
        "layers": named.layers,
        "hidden": named.hidden,
        "pooling": named.pooling,
        "hub": files,
        "package": named.package,
        "settings": {f"backbone.{key}": value for key, value in named.config.items()},
        "note": "--set backbone.KEY=VALUE changes a field of its configuration, such as backbone.num_hidden_layers.",
    }


def describe_listed_task(name: str) -> KnownFacts:
    """Return a task's data, metrics and defaults."""
    listed = find_task_name(name)
    kind: Any = TASKS.load(listed)  # what a task of the hub has beside is its own
    facts: KnownFacts = {"name": listed, "summary": cleandoc(kind.__doc__ or "")}
    if hasattr(kind, "dataset"):
        facts |= {
            "data": f"{kind.dataset}{f', {kind.config}' if kind.config else ''}, revision {kind.revision}",
            "kind": kind.kind,
            "labels": ", ".join(kind.label_names),
            "columns": ", ".join(kind.columns),
            "metrics": ", ".join(kind.metrics),
            "rows": {split: f"{count:,}" for split, count in kind.published_rows.items()},
            "reported on": ", ".join(kind.evaluation),
        }
    settings: KnownFacts = {"max_length": kind.max_length, "backbone": kind.default_backbone}
    settings |= {f"train.{key} (from scratch)": value for key, value in kind.training.items()}
    return {**facts, "settings": settings, "file": find_file(kind)}


def describe_paper(name: str) -> KnownFacts:
    """Return what a paper claims and which runs test it."""
    from bench.reproduce.papers import list_papers, load_paper

    paper = load_paper(find_name(name, list_papers(), {"elbert-mono": "elbert", "patience": "pabee"}))
    plans = {"full": paper.full, "small": paper.small}
    return {
        "name": paper.name,
        "title": paper.title,
        "citation": paper.citation,
        "conventions": paper.conventions,
        "plans": {scale: plan.says for scale, plan in plans.items() if plan is not None},
        "claims": {claim.id: f"{claim.says} ({claim.source})" for claim in paper.claims},
    }


FACTS: Mapping[str, Callable[[str], KnownFacts]] = {
    "strategy": describe_listed_strategy,
    "head": lambda name: describe_part("head", HEADS, name),
    "recipe": lambda name: describe_part("recipe", RECIPES, name),
    "backbone": describe_named_backbone,
    "task": describe_listed_task,
    "paper": describe_paper,
}
"""What `bench show KIND NAME` shows, by KIND."""


def collect_facts(kind: str, name: str) -> KnownFacts:
    """Return what is known of the ``kind`` of thing called ``name``. Raises UsageError where there is none."""
    if kind not in FACTS:
        raise make_unknown_error("kind", kind, FACTS)
    return FACTS[kind](name)


def find_kinds(name: str) -> list[str]:
    """Return the kinds of which something is listed under ``name``."""
    listed: dict[str, Registry[Any]] = {"strategy": STRATEGIES, "head": HEADS, "recipe": RECIPES, "task": TASKS}
    found = [kind for kind, registry in listed.items() if registry.find_name(name) in registry]
    return [*found, *(["backbone"] if find_name(name, BACKBONES) in BACKBONES else [])]


def list_defaults(part: type, prefix: str) -> KnownFacts:
    """Return what may be set of a class, as `--set` calls it, with the default."""
    return {f"{prefix}{p.name}": "none" if p.default is p.empty else p.default for p in list_settable(part).values()}


def find_file(kind: type) -> str:
    """Return the source file of a class, as it lies in its package."""
    return f"{kind.__module__.replace('.', '/')}.py"


def print_facts(facts: KnownFacts, out: TextConsole) -> None:
    """Print what is known, a line each; of what is several, a line each below its name."""
    from rich.padding import Padding

    for key, value in facts.items():
        if not value:
            continue
        lines = _write_lines(key, value)
        if len(lines) == 1:
            out.print(f"{key}: {lines[0]}")
            continue
        out.print(f"{key}:")
        for line in lines:
            out.print(Padding(line, (0, 0, 0, 2)))


def _write_lines(key: str, value: object) -> list[str]:
    if key == "presets" and isinstance(value, Mapping):
        settings = {task: ", ".join(f"{k}={v}" for k, v in preset.items()) for task, preset in value.items()}
        return [f"{'all tasks' if task == '*' else task}: {said}" for task, said in settings.items()]
    if isinstance(value, Mapping):
        between = " = " if key in ("arguments", "settings") else ": "
        return [f"{k}{between}{v}" for k, v in value.items()]
    return [str(v) for v in value] if isinstance(value, list) else str(value).splitlines()
