"""Command lines drawn at random from the app itself: every verb, every option, sensible and hostile values."""

from __future__ import annotations

from types import UnionType
from typing import Any, Union, get_args, get_origin

import typer
from hypothesis import strategies as st

from bench.cli.app import COMMANDS, FORMER, app

HOSTILE = [
    "",
    " ",
    "nope",
    "-1",
    "0",
    "1e999",
    "nan",
    "\x1b[31mred",
    "a,b",
    "os:abort",
    "../..",
    "/",
    "=",
    "{",
    "é" * 300,
]
NUMBERS = ["0", "1", "2", "-1", "0.5", "1e-9", "1e300", "nan", "inf", "9" * 5000, "x", ""]

VALUES: dict[str, list[str]] = {
    "strategy": ["elbert-mono", "entropy", "entropy,patience", "random", "temperature", "fixed-exit", "elbert_mono"],
    "task": ["TASK", "demo", "sst2", "TASK,TASK", "CSV"],
    "backbone": ["bert-demo", "albert-demo", "bert-base", "TASK"],
    "recipe": ["joint", "deebert", "elbert"],
    "head": ["linear", "shared"],
    "seed": ["0", "0,1", "x", "4294967296", "-1"],
    "set": ["window=1", "window=1.5", "patience=1.5", "train.lr=1", "lr=1", "of=entropy", "head.pooling=mean", "a.b=1",
            "backbone.hidden_size=7", "window=[[[[1]]]]",
            "window=" + "9" * 5000, "window=" + "[" * 3000, "latency.executor=graph"],
    "thresholds": ["auto", "0.5", "0.5,0.1", "nan", ""],
    "select": ["2x", "max_loss=0.01", "risk=0.02@0.95", "risk=2", "gap=0.1", "budget=0.5", "[bold]2x"],
    "at": ["2x", "default", "no-loss,2x", "[red]x"],
    "config": ["CSV", "YAML", "nope.yaml"],
    "engine": ["local", "nope"],
    "sync": ["nope://x", "file://SYNC"],
    "results_dir": ["RESULTS", "nope", "CSV"],
    "hub_root": ["nope", "TASK"],
    "out": ["OUT", "CSV"],
    "markdown": ["OUT/t.md", "CSV/t.md"],
    "formats": ["md", "csv", "html,md", "nope"],
    "run": ["last", "RUN", "nope", "os:abort", "RESULTS"],
    "folder": ["OUT", "CSV", "nope"],
    "texts": ["CSV", "texts.txt", "nope"],
    "point": ["default", "0.5", "no-loss", "nan", "nope"],
    "what": ["last", "strategy", "task", "paper", "nope"],
    "shell": ["bash", "zsh", "fish", "nope"],
    "name": ["elbert-mono", "linear", "demo", "ELBERT", "nope"],
    "kind": ["strategies", "heads", "recipes", "backbones", "tasks", "papers", "runs", "nope"],
    "logits": ["NPZ", "CSV", "nope.npz"],
    "paper": ["elbert", "YAML", "nope"],
    "base": ["RESULTS", "HEAD", "--help", "nope"],
    "new": ["RESULTS", "HEAD", "nope"],
    "model": ["bert-demo", "TASK", "CSV", "nope"],
    "data": ["CSV", "TASK", "demo", "CSV+CSV"],
    "max_change": ["0.01@0.95", "0.5", "2@2"],
    "criteria": ["entropy", "full", "entropy,nope"],
}  # fmt: skip
"""Values that mean something for a parameter; capitals stand for paths that the test makes."""

FORCED: dict[str, list[str]] = {
    "run": ["--limit", "16", "--set", "train.steps=1", "--set", "backbone.num_hidden_layers=2",
            "--set", "latency.seconds=0.1", "--set", "latency.samples=2", "--offline", "--quiet"],
    "advise": ["--offline", "--limit", "16"],
    "reproduce": ["--plan", "--offline"],
    "explain": ["--offline"],
    "diagnose": ["--offline"],
    "export": ["--offline"],
    "serve": ["--offline", "--seconds", "0.1", "--queries", "4"],
    "selfcheck": ["--only", "nope"],
    "bench-engine": ["--only", "nope"],
    "simulate": ["--scale", "0.01"],
    "gate": ["--rules-only", "--baseline", "nope"],
}  # fmt: skip
"""What keeps a verb small: said last, so that it wins over what was drawn."""

LEFT_OUT = {("gate", "accept"), ("completion", "install")}
"""Parameters that make a verb measure everything, or write into the home folder."""


def parameters(verb: str) -> list[Any]:
    """The parameters of ``verb``, from the app."""
    group: Any = typer.main.get_command(app)
    return list(group.get_command(None, verb).params)


def verbs() -> list[str]:
    """Every verb, the former names too."""
    return sorted([*COMMANDS, *FORMER])


@st.composite
def command_lines(draw: st.DrawFn, verb: str) -> list[str]:
    """``verb``, some of its parameters, a value for each."""
    words = [verb]
    for parameter in parameters(verb):
        is_argument = parameter.param_type_name == "argument"
        if (
            parameter.name == "help"
            or (verb, parameter.name) in LEFT_OUT
            or not draw(st.integers(0, 9 if is_argument else 3)) < (9 if is_argument else 1)
        ):
            continue
        if not is_argument:
            words.append(draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts])))
            if parameter.is_flag:
                continue
        words.append(draw(value_of(parameter)))
    allowed = {option for parameter in parameters(verb) for option in parameter.opts}
    forced = FORCED.get(verb, [])
    pairs = [(word, i) for i, word in enumerate(forced) if word.startswith("--")]
    for option, start in pairs:
        end = next((i for _, i in pairs if i > start), len(forced))
        words += forced[start:end] if option in allowed else []
    return words


def value_of(parameter: Any) -> st.SearchStrategy[str]:
    """A value for a parameter, by its name or its type: usually one that means something."""
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (inner for inner in get_args(kind) if inner is not type(None))
    known = VALUES.get(str(parameter.name)) or [str(value) for value in get_args(kind)]
    if not known and kind in (int, float):
        known = NUMBERS
    hostile = st.sampled_from(HOSTILE) | st.text(max_size=12)
    return st.one_of(st.sampled_from(known), hostile) if known else hostile
