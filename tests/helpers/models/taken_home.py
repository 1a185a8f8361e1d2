"""Runs of small models that are taken home, and what they answer in a Python in which there is no ExitBench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backbones.demo_tokenizer import make_word_tokenizer
from bench.cell.reload import RunModel
from bench.cell.request import Context, Request
from bench.cell.run import run_request
from bench.inference.live import run_live
from bench.progress import Progress
from bench.results.run import Run
from bench.results.store import Store
from bench.tasks.encode import collate_batch, encode_split
from strategies.base import predict
from tests.helpers.models.finetuned_models import save_finetuned
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import GOOD, reviews

LITTLE = {"train.steps": 3, "train.batch_size": 16}
ROWS = {"train": 96, "validation": 120}
CLASSES = {"texts": ("neg", "pos"), "pairs": ("less", "more", "same")}
ASK = """
import json, sys
assert not any(name.split(".")[0] in ("bench", "strategies", "backbones") for name in sys.modules)
texts, answers = json.load(open(sys.argv[1])), {}
for folder, kind in json.load(open(sys.argv[2])).items():
    sys.path.insert(0, folder)
    from early_exit import EarlyExitClassifier
    model = EarlyExitClassifier.from_pretrained(folder)
    answers[folder] = [model(texts[kind]), [model([text]) for text in texts[kind][:20]]]
    sys.path.pop(0)
    del sys.modules["early_exit"]
try:
    import bench
except ImportError:
    print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Case:
    """A model of a type that decides by the criterion of ``strategy`` on ``kind``: texts or pairs.

    ``own``: its last exit is a fine-tuned model's own classifier, and linear exits are fitted below it; otherwise
    exits are the strategy's own, trained for a few steps.
    """

    strategy: str
    variant: str
    kind: str = "texts"
    own: bool = True

    def __str__(self) -> str:
        return f"{'own ' * self.own}{self.variant}, {self.strategy}, {self.kind}"


def write_home(home: Path) -> None:
    """Write a task of texts and one of pairs with three classes, and what is reported of both."""
    said: dict[str, list[Any]] = {}
    for kind, names in CLASSES.items():
        (home / kind).mkdir()
        for split, rows in ROWS.items():
            found = [text for text, _ in reviews(2 * rows, rows)]
            pairs = [
                (found[i], found[rows + 5 * i // 2 % rows]) for i in range(rows)
            ]  # praise and blame in all four ways
            lines = [describe_row(a, b, number, names) for number, (a, b) in enumerate(pairs)]
            (home / kind / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            said[kind] = [
                [line["sentence1"], line["sentence2"]] if "sentence1" in line else line["text"] for line in lines
            ]
    (home / "texts.json").write_text(json.dumps(said))


def describe_row(a: str, b: str, number: int, names: Sequence[str]) -> dict[str, str]:
    """One row: a text and whether it praises, or two of them and which praises more; not always, so exits disagree."""
    good = [any(word in text.split() for word in GOOD) ^ (number % 5 == 3) for text in (a, b)]
    if len(names) == 2:
        return {"text": a, "label": names[good[0]]}
    return {"sentence1": a, "sentence2": b, "label": names[2 if good[0] == good[1] else int(good[0])]}


def make_context(home: Path) -> Context:
    return Context(Store(home / "results"), Progress(quiet=True), offline=True)


def record_case(home: Path, case: Case) -> Run:
    """A run of a small model, made anew where it is not there; the current folder is ``home``'s or beside it."""
    model, words = home / f"model {case.variant} {case.kind} {case.own}", list_words(home)
    settings: dict[str, Any] = {"window": 2} if case.strategy.startswith("elbert") else {}
    if case.own:
        if not model.exists():
            names = CLASSES[case.kind][::-1]  # in another order than the task's
            save_finetuned(model, case.variant, names, texts=words, vocab_size=200)
        request = Request(case.strategy, str(home / case.kind), str(model), "exits-only", "linear", settings=settings,
                          latency=False)  # fmt: skip
    else:
        if not model.exists():
            save_model(model, case.variant, initializer_range=0.4, vocab_size=200)
            make_word_tokenizer(words, case.variant, 200, 32).save_pretrained(model)  # knows the words of these texts
        # patience needs exits that have learned something: they answer all the same thing otherwise
        fitted = {"train.steps": 40, "train.lr": 3e-3} if case.strategy == "patience" else {}
        settings |= {**LITTLE, **fitted, "head.pooling": "mean" if case.strategy in ("patience", "margin") else "cls"}
        request = Request(case.strategy, str(home / case.kind), str(model), settings=settings, latency=False)
    return Run.load(run_request(request, make_context(home)).folder)


def list_words(home: Path) -> list[str]:
    """The texts that are fitted on."""
    lines = [json.loads(line) for line in (home / "pairs" / "train.jsonl").read_text().splitlines()]
    return [f"{line['sentence1']} {line['sentence2']}" for line in lines]


def choose_threshold(run: Run) -> str:
    """A threshold at which samples leave at different exits."""
    if run.strategy == "patience":
        return "1"
    curve = run.trade_off()
    return repr(float(np.median(curve.scores[:, 0][np.isfinite(curve.scores[:, 0])])) + 1e-6)


def decide_live(run: Run, made: RunModel, cut: float) -> tuple[list[str], list[int]]:
    """Labels and exits of all samples of a run, one at a time, as ExitBench decides."""
    encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
    found = [run_live(made.model, made.criterion, cut, collate_batch(encoded, [row])) for row in range(len(encoded))]
    labels = [made.data.label_names[int(predict(one.logits)[0])] for one in found]
    return labels, [int(one.layer[0]) for one in found]


def ask_elsewhere(home: Path, folders: dict[str, str], python: str = "") -> dict[str, list[Any]]:
    """What the exported ``folders`` answer to their kinds of texts, all at once and one at a time.

    ``python`` is one of an environment without ExitBench; without it ours, which is told not to find it.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python]
    if not python:
        # an editable install is found through a file of site-packages, which -S leaves unread
        command = [sys.executable, "-S"]
        kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    (home / "asked.json").write_text(json.dumps(folders))
    done = subprocess.run(
        [*command, "-c", ASK, str(home / "texts.json"), str(home / "asked.json")],
        cwd=home / "texts", env=kept, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found
