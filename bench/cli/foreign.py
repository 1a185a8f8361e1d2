"""Options as users of other tools spell them: read as ours where a command has what is meant, and said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OTHERS: Mapping[str, tuple[str, ...]] = {
    "tasks": ("task",),
    "task-name": ("task",),
    "dataset": ("task",),
    "strategies": ("strategy",),
    "method": ("strategy",),
    "model": ("backbone",),
    "models": ("backbone",),
    "model-name": ("backbone",),
    "model-name-or-path": ("backbone",),
    "backbones": ("backbone",),
    "seeds": ("seed",),
    "random-seed": ("seed",),
    "max-samples": ("limit",),
    "num-samples": ("limit",),
    "output": ("out", "html", "svg", "markdown", "results-dir"),
    "output-dir": ("out", "results-dir"),
    "output-path": ("out", "results-dir"),
    "output-folder": ("out", "results-dir"),
    "results": ("results-dir",),
    "point": ("points", "at"),
    "points": ("point", "at"),
    "speed-up": ("speedup",),
    "silent": ("quiet",),
}
"""What others call an option, and ours that mean it: the first that a command has is taken."""

SETTINGS: Mapping[str, str] = {
    "lr": "train.lr",
    "learning-rate": "train.lr",
    "epoch": "train.epochs",
    "epochs": "train.epochs",
    "num-epochs": "train.epochs",
    "num-train-epochs": "train.epochs",
    "batch-size": "train.batch_size",
    "train-batch-size": "train.batch_size",
    "per-device-train-batch-size": "train.batch_size",
    "gradient-accumulation-steps": "train.accumulate",
    "steps": "train.steps",
    "max-steps": "train.steps",
    "warmup-ratio": "train.warmup",
    "warmup-steps": "train.warmup_steps",
    "weight-decay": "train.weight_decay",
    "max-length": "max_length",
    "max-seq-length": "max_length",
    "window": "window",
    "patience": "patience",
}
"""What others have an option for and we a setting."""


def read_foreign_options(words: Sequence[str], parameters: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Return a command line with others' options as ours, and a sentence for each that has another name here.

    An option that a command has itself is never touched, nor what follows an option as its value.
    """
    own = {option: p for p in parameters for option in (*p.opts, *p.secondary_opts) if option.startswith("-")}
    sets_training = "--set" in own and "--seed" in own and "--head" in own
    read: list[str] = []
    notes: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            return [*read, word, *left], notes
        name, equals, value = word.partition("=")
        key = name[2:].replace("_", "-")
        ours = next((f"--{other}" for other in (key, *OTHERS.get(key, ())) if f"--{other}" in own), None)
        if not name.startswith("--") or name in own:
            read += [word, *_take_value(own.get(name), equals, left)]
        elif ours is not None:
            read += [ours + equals + value, *_take_value(own[ours], equals, left)]
            notes += [] if key.startswith(ours[2:-1]) else [f"{name} is read as {ours}."]  # a plural needs no word
        elif key in SETTINGS and sets_training:
            given = value if equals else next(left, None)
            read += ["--set"] if given is None else ["--set", f"{SETTINGS[key]}={given}"]
            notes.append(f"{name} is read as --set {SETTINGS[key]}={'VALUE' if given is None else given}.")
        else:
            read.append(word)
    return read, notes


def _take_value(option: Any, equals: str, left: Iterator[str]) -> list[str]:
    """What follows an option as its value."""
    if option is None or equals or getattr(option, "is_flag", False):
        return []
    value = next(left, None)
    return [] if value is None else [value]
