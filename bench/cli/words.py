"""What the command line's words are called in the help: of each option the group it stands in, the kind of value it
takes, and what a shell offers for it. An option of one name means the same in every command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, get_args, get_origin

from bench.cli import completing

WHAT, TRAIN, MEASURE = "What", "How to train", "How to measure"
JUDGE, DRAW, WHERE, OUTPUT = "How to judge", "How to draw", "Where", "Output"
OPTION_GROUPS = (WHAT, TRAIN, MEASURE, JUDGE, DRAW, WHERE, OUTPUT)
"""The groups of options, in the order of the help."""


@dataclass(frozen=True)
class Word:
    """An option's group, the kind of its value (empty: what typer says), and what completes it."""

    group: str
    value: str = ""
    complete: Callable[..., object] | None = None


WORDS: Mapping[str, Word] = {
    "strategy": Word(WHAT, "STRATEGY,...", completing.complete_strategies),
    "task": Word(WHAT, "TASK,...", completing.complete_tasks),
    "backbone": Word(WHAT, "BACKBONE", completing.complete_backbones),
    "config": Word(WHAT, "FILE"),
    "data": Word(WHAT, "DATA", completing.complete_tasks),
    "name": Word(WHAT, "NAME"),
    "on": Word(WHAT, "TASK", completing.complete_tasks),
    "limit": Word(WHAT, "N"),
    "text": Word(WHAT, "TEXT"),
    "second": Word(WHAT, "TEXT"),
    "sample": Word(WHAT, "ID"),
    "cases": Word(WHAT),
    "stored": Word(WHAT),
    "record": Word(WHAT),
    "revisions": Word(WHAT, "N"),
    "checkpoint": Word(WHAT),
    "only": Word(WHAT, "PART"),
    "scale": Word(WHAT, "SCALE"),
    "instructions": Word(WHAT, "SET,...", completing.offer_values("sse", "avx2", "native")),
    "criteria": Word(WHAT, "CRITERION,...", completing.complete_strategies),
    "add": Word(WHAT, "MODULE:NAME", completing.complete_strategies),
    "oracle": Word(WHAT),
    "against": Word(WHAT, "CRITERION", completing.complete_strategies),
    "slice_column": Word(WHAT, "COLUMN"),
    "rules_only": Word(WHAT),
    "unpack": Word(WHAT),
    "run": Word(WHAT, "RUN", completing.complete_runs),
    "model": Word(WHAT, "MODEL"),
    "logits": Word(WHAT, "LOGITS"),
    "kind": Word(WHAT, "KIND", completing.complete_kinds),
    "method": Word(WHAT, "METHOD,...", completing.complete_methods),
    "evidence": Word(WHAT, "V|A|S,...", completing.offer_values("V", "A", "S")),
    "paper": Word(WHAT, "PAPER", completing.complete_papers),
    "texts": Word(WHAT, "TEXTS"),
    "base": Word(WHAT, "BASE"),
    "candidate": Word(WHAT, "CANDIDATE"),
    "seed": Word(WHAT, "SEED"),
    "recipe": Word(TRAIN, "RECIPE", completing.complete_recipes),
    "head": Word(TRAIN, "HEAD", completing.complete_heads),
    "init": Word(TRAIN, "WEIGHTS"),
    "settings": Word(TRAIN, "KEY=VALUE", completing.complete_settings),
    "preset": Word(TRAIN, "PRESET", completing.offer_values("paper")),
    "train": Word(TRAIN, "FILE"),
    "fit_on": Word(TRAIN, "LOGITS"),
    "point": Word(MEASURE, "POINT", completing.complete_points),
    "points": Word(MEASURE, "POINT,...", completing.complete_points),
    "at": Word(MEASURE, "POINT,...", completing.complete_points),
    "threshold": Word(MEASURE, "NUMBER"),
    "thresholds": Word(MEASURE, "NUMBER,...", completing.offer_values("auto")),
    "select": Word(MEASURE, "POINT"),
    "metric": Word(MEASURE, "METRIC,...", completing.complete_metrics),
    "latency": Word(MEASURE),
    "wait_quiet": Word(MEASURE, "TIME"),
    "dtype": Word(MEASURE, "PRECISION"),
    "executor": Word(MEASURE, "EXECUTOR", completing.offer_values("eager", "compile", "graph", "conditional")),
    "batch_size": Word(MEASURE, "N"),
    "seconds": Word(MEASURE, "SECONDS"),
    "energy": Word(MEASURE, "SECONDS"),
    "queries": Word(MEASURE, "N"),
    "searches": Word(MEASURE, "N"),
    "edits": Word(MEASURE, "N"),
    "candidates": Word(MEASURE, "N"),
    "samples": Word(MEASURE, "N"),
    "timed": Word(MEASURE),
    "max_change": Word(JUDGE, "SHARE@CONFIDENCE"),
    "max_loss": Word(JUDGE, "SHARE"),
    "target_ms": Word(JUDGE, "MS"),
    "speedup": Word(JUDGE, "TIMES"),
    "percentile": Word(JUDGE, "50|95|99"),
    "alpha": Word(JUDGE, "SHARE"),
    "check": Word(JUDGE),
    "fail_on": Word(JUDGE, "VERDICT,..."),
    "across": Word(JUDGE, "SETTING,..."),
    "margin": Word(JUDGE, "POINTS"),
    "cost_margin": Word(JUDGE, "PERCENT"),
    "latency_factor": Word(JUDGE, "PERCENT"),
    "accept": Word(JUDGE),
    "runs": Word(WHAT, "RUN", completing.complete_runs),
    "x": Word(DRAW, "AXIS", completing.offer_values("flops", "layers", "latency", "cost")),
    "labels": Word(DRAW, "NAME,..."),
    "highlight": Word(DRAW, "LINE,..."),
    "bands": Word(DRAW),
    "legend": Word(DRAW, "PLACE", completing.offer_values("direct", "below", "none")),
    "width": Word(DRAW, "INCHES", completing.offer_values("single", "double")),
    "height": Word(DRAW, "INCHES"),
    "font": Word(DRAW, "FONT", completing.offer_values("sans", "serif")),
    "dpi": Word(DRAW, "N"),
    "published": Word(DRAW),
    "title": Word(DRAW, "TITLE"),
    "baseline": Word(WHERE, "FOLDER"),
    "results_dir": Word(WHERE, "FOLDER"),
    "hub_root": Word(WHERE, "FOLDER"),
    "offline": Word(WHERE),
    "device": Word(WHERE, "DEVICE", completing.offer_values("auto", "cpu", "cuda")),
    "engine": Word(WHERE, "ENGINE", completing.offer_values("local", "ray")),
    "workers": Word(WHERE, "N"),
    "threads": Word(WHERE, "N"),
    "sync": Word(WHERE, "URL"),
    "work_dir": Word(WHERE, "FOLDER"),
    "overwrite": Word(WHERE, "WHEN"),
    "allow_imports": Word(WHERE),
    "dry_run": Word(OUTPUT),
    "plan": Word(OUTPUT),
    "recorded": Word(WHAT),
    "folder": Word(OUTPUT, "FOLDER"),
    "out": Word(OUTPUT, "FOLDER"),
    "formats": Word(OUTPUT, "FORMAT,...", completing.offer_values("html", "md", "latex", "csv", "figures")),
    "markdown": Word(OUTPUT, "FILE"),
    "latex": Word(OUTPUT, "FILE"),
    "junit": Word(OUTPUT, "FILE"),
    "tracker": Word(OUTPUT, "FILE"),
    "tracker_costs": Word(OUTPUT, "FILE"),
    "html": Word(OUTPUT, "FILE"),
    "png": Word(OUTPUT, "FILE"),
    "svg": Word(OUTPUT, "FILE"),
    "onnx": Word(OUTPUT),
    "install": Word(OUTPUT),
    "to": Word(OUTPUT, "TRACKER", completing.offer_values("wandb", "mlflow", "tensorboard", "trackio")),
    "project": Word(OUTPUT, "NAME"),
    "card": Word(OUTPUT, "FOLDER"),
    "everything": Word(OUTPUT),
    "every": Word(OUTPUT),
    "panel": Word(OUTPUT, "N"),
    "json": Word(OUTPUT),
    "quiet": Word(OUTPUT),
}
"""Every option and argument by the name of its parameter; what it says itself, beside its command, wins."""


def add_words(parameter: Parameter, short: str | None = None) -> Parameter:
    """Return a command's parameter with what :data:`WORDS` says of it, where it does not say so itself.

    ``short`` is a letter for it; where output goes, --out, has -o.
    """
    word = WORDS.get(parameter.name)
    if word is None or get_origin(parameter.annotation) is not Annotated:
        return parameter
    kind, info, *rest = get_args(parameter.annotation)
    info = copy(info)  # several commands share the options of a session
    info.metavar = info.metavar or word.value or None
    info.rich_help_panel = info.rich_help_panel or word.group
    info.autocompletion = info.autocompletion or word.complete
    short = "-o" if parameter.name == "out" and not short else short
    if short and not info.param_decls:
        info.param_decls = (f"--{parameter.name.replace('_', '-')}", short)
    return parameter.replace(annotation=Annotated[(kind, info, *rest)])
