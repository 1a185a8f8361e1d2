"""Folder tasks and command lines that run through everything in a second or two."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.cli.process import main

GOOD, BAD = "good great lovely fine".split(), "bad awful poor dull".split()

# Three narrow layers and three steps: a run through every stage, not a model that has learned.
SHAPE = ["backbone.num_hidden_layers=3", "backbone.hidden_size=16", "backbone.intermediate_size=24"]
STEPS = ["train.steps=3", "train.batch_size=16"]


def settings(*pairs: str) -> list[str]:
    """``--set`` before each of ``pairs``."""
    return [word for pair in pairs for word in ("--set", pair)]


TINY = [*settings(*SHAPE, *STEPS), "--no-latency", "--offline", "--quiet"]


def ask_cell(strategy: str, task: Path, results: Path) -> list[str]:
    """The options of one cell on the demo backbone, kept in ``results``."""
    where = ["--task", str(task), "--backbone", "bert-demo", "--results-dir", str(results)]
    return ["--strategy", strategy, *where]


def reviews(rows: int, seed: int) -> list[tuple[str, int]]:
    """Made-up reviews and whether they praise; no two are the same."""
    random_ = random.Random(seed)
    found: dict[str, int] = {}
    while len(found) < rows:
        label = len(found) % 2
        word, thing = random_.choice(GOOD if label else BAD), random_.choice("room bed soup view".split())
        found[f"the {thing} was {word} in week {random_.randrange(10**6)}"] = label
    return list(found.items())


def write_task(folder: Path, train: int = 96, validation: int = 24, regression: bool = False) -> Path:
    """A task of reviews as csv files; with ``regression`` the labels are numbers between 0 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, rows) in enumerate((("train", train), ("validation", validation))):
        labelled = [
            (text, f"{label * 0.75 + 0.0625 * (i % 4)}" if regression else ("pos" if label else "neg"))
            for i, (text, label) in enumerate(reviews(rows, seed))
        ]
        lines = ["text,label", *(f"{text},{label}" for text, label in labelled)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """The records that ``bench run ... --json`` prints, after checking that it ended well and printed nothing else."""
    code = main(["run", *arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found: list[dict[str, Any]] = json.loads(printed.out)
    return found


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what may differ between two runs of a cell, and without warnings."""
    training = {k: v for k, v in record["training"].items() if k not in ("seconds", "resumed", "reused")}
    kept = {k: v for k, v in record.items() if k not in ("created", "command", "warnings", "checksum")}
    return {**kept, "training": training}
