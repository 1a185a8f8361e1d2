"""`bench export`: a run's model taken home decides as ExitBench does, on every sample, without ExitBench."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from backbones.demo_tokenizer import make_word_tokenizer
from bench.advise.export import write
from bench.advise.export.early_exit import EarlyExitClassifier
from bench.advise.export.write import export_run
from bench.cell.reload import RunModel, load_run_model
from bench.cell.request import Context, Request
from bench.cell.run import run as run_cell
from bench.cli.process import main
from bench.errors import UsageError
from bench.inference.live import run_live
from bench.progress import Progress
from bench.results.run import Run
from bench.results.store import Store
from bench.tasks.encode import collate_batch, encode_split
from strategies.base import predict
from tests.helpers.models.finetuned_models import VARIANTS, save_finetuned
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import reviews, write_task

LITTLE = {"train.steps": 3, "train.batch_size": 16}
WORDS = [text for text, _ in reviews(96, 0)]
ASK = """
import json, sys
assert not any(name.split(".")[0] in ("bench", "strategies", "backbones") for name in sys.modules)
home, folders = sys.argv[1], json.loads(sys.argv[2])
texts = json.load(open(f"{home}/texts.json"))
answers = {}
for folder in folders:
    sys.path.insert(0, folder)
    from early_exit import EarlyExitClassifier
    answers[folder] = EarlyExitClassifier.from_pretrained(folder)(texts)
    sys.path.pop(0)
    del sys.modules["early_exit"]
try:
    import bench
except ImportError:
    print(json.dumps(answers))
"""
OWN = {f"own {variant}": ("entropy", variant) for variant in VARIANTS}
HEADS = {
    "bert, patience": ("patience", "bert"),
    "roberta, elbert-label": ("elbert-label", "roberta"),
    "albert, elbert-mono": ("elbert-mono", "albert"),
    "distilbert, deebert": ("deebert", "distilbert"),
    "modernbert, margin": ("margin", "modernbert"),
    "deberta-v2, max-probability": ("max-probability", "deberta-v2"),
    "electra, romebert": ("romebert", "electra"),
}
EVERY = [*OWN, *HEADS]


def context(home: Path) -> Context:
    return Context(Store(home / "results"), Progress(quiet=True), offline=True)


def record(home: Path, case: str) -> Run:
    """A run of three steps on a small model; its own classifier is the last exit in some."""
    strategy, kind = {**OWN, **HEADS}[case]
    model = home / f"model {case}"
    if case in OWN:
        save_finetuned(model, kind, ["pos", "neg"], texts=WORDS, vocab_size=200)
        settings: dict[str, Any] = dict(LITTLE)
    else:
        save_model(model, kind, initializer_range=0.4, vocab_size=200)
        make_word_tokenizer(WORDS, kind, 200, 32).save_pretrained(model)  # knows the words of these texts
        # patience needs exits that have learned something: they answer all the same thing otherwise
        fitted = {"train.steps": 40, "train.lr": 3e-3} if strategy == "patience" else {}
        settings = {**LITTLE, **fitted, "head.pooling": "mean" if strategy in ("patience", "margin") else "cls"}
    request = Request(strategy, str(home / "task"), str(model), settings=settings, latency=False)
    return Run.load(run_cell(request, context(home)).folder)


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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a task and the texts of its 120 reported samples; the current folder while it is used."""
    folder, before = tmp_path_factory.mktemp("export"), Path.cwd()
    write_task(folder / "task", validation=120)
    (folder / "texts.json").write_text(json.dumps([text for text, _ in reviews(120, 1)]))
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def exported(home: Path) -> dict[str, tuple[Run, Path, dict[str, Any]]]:
    """For each case a run, where its model went, and the configuration there."""
    found = {}
    for number, case in enumerate(EVERY):
        run = record(home, case)
        out = home / f"out{number}"
        found[case] = (run, out, export_run(run, context(home), out, choose_threshold(run)))
    return found


@pytest.fixture(scope="module")
def answers(home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]]) -> dict[str, list[Any]]:
    """What the exported models answer in a process in which there is no ExitBench."""
    folders = json.dumps([str(out) for _, out, _ in exported.values()])
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # an editable install is found through a file of site-packages, which -S leaves unread
    paths = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", ASK, str(home), folders],
        cwd=home / "task", env={**kept, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return {case: found[str(out)] for case, (_, out, _) in exported.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_every_sample_is_decided_as_here(
    case: str, home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]], answers: dict[str, list[Any]]
) -> None:
    run, _, config = exported[case]
    labels, scores, layers = answers[case]
    made = load_run_model(run, context(home), attention="sdpa")
    expected = decide_live(run, made, config["criterion"]["cut"])
    assert (labels, layers) == expected
    assert len(set(layers)) > 1
    assert all(0.5 <= score <= 1 for score in scores)
    traffic = json.loads((exported[case][1] / "recorded.json").read_text())
    assert (
        np.abs(np.bincount(layers, minlength=len(traffic["exit_counts"]) + 1)[1:] - traffic["exit_counts"]).sum() <= 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY)
def test_the_folder_is_what_it_says(case: str, exported: dict[str, tuple[Run, Path, dict[str, Any]]]) -> None:
    run, out, config = exported[case]
    assert json.loads((out / "exit_config.json").read_text()) == config
    there = {path.name for path in out.iterdir()}
    assert there == {*config["files"], "exit_config.json"}
    assert {"README.md", "config.json", "model.safetensors", "exits.safetensors", "early_exit.py"} <= there
    assert not [name for name in there if name.endswith((".bin", ".pt", ".pkl"))]
    for name, digest in config["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert config["own_last_exit"] == (case in OWN)
    assert config["labels"] == ["neg", "pos"]
    card = (out / "README.md").read_text()
    assert f"leave after {run.trade_off().layers_at(config['criterion']['cut']).mean():.2f} of 3 layers" in card


@pytest.mark.slow
@pytest.mark.parametrize("case", OWN)
def test_a_fine_tuned_model_is_the_stock_model_again(
    case: str, home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]]
) -> None:
    run, out, _ = exported[case]
    again = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert again.config.id2label == {0: "pos", 1: "neg"}
    made = load_run_model(run, context(home), attention="sdpa")
    encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
    batch = collate_batch(encoded, [0])
    logits = again(batch.input_ids).logits[:, [1, 0]]
    assert np.allclose(logits.detach(), made.model.plain(batch).detach(), atol=1e-5)


def refuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["export", *words, "--results-dir", "results", "--offline", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_line(
    home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, _ = exported["bert, patience"]
    name = run.folder.name
    assert "is not empty" in refuse([name, str(out)], capsys)
    assert "is a file" in refuse([name, "texts.json"], capsys)
    assert "has no operating point 'nope'. Give --point one of" in refuse([name, "new", "--point", "nope"], capsys)
    assert "no whole number" in refuse([name, "new", "--point", "1.5"], capsys)
    assert "nobody leaves early" in refuse([name, "new", "--point", "0"], capsys)
    assert "nobody leaves early" in refuse([name, "new", "--point", "inf"], capsys)
    assert not Path("new").exists()


ATTACK = "\x1b[31m\u202e| <script>alert(1)</script> ```[a](javascript:b)"


@pytest.mark.slow
def test_pairs_a_regression_and_names_that_are_attacks(home: Path) -> None:
    texts = [text for text, _ in reviews(96, 7)]
    pairs = list(zip(texts[:48], texts[48:], strict=True))
    for name, attacked in (("pairs", True), ("numbers", False)):
        folder = home / name
        folder.mkdir()
        for split in ("train", "validation"):
            rows = [
                {"sentence1": a, "sentence2": b, "label": (ATTACK if i % 2 else "b") if attacked else i % 4 / 4 + 0.1}
                for i, (a, b) in enumerate(pairs)
            ]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        strategy = "max-probability" if attacked else "patience"
        settings = {**LITTLE, "backbone.num_hidden_layers": 3}
        request = Request(strategy, str(folder), "bert-demo", settings=settings, latency=False)
        run = Run.load(run_cell(request, context(home)).folder)
        config = export_run(run, context(home), home / f"out {name}", choose_threshold(run) if attacked else "1")
        labels, scores, layers = EarlyExitClassifier.from_pretrained(home / f"out {name}")(pairs)
        made = load_run_model(run, context(home), attention="sdpa")
        encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
        cut = config["criterion"]["cut"]
        live = [run_live(made.model, made.criterion, cut, collate_batch(encoded, [row])) for row in range(len(encoded))]
        assert layers == [int(one.layer[0]) for one in live]
        answers = [predict(one.logits)[0].item() for one in live]
        assert labels == (
            [made.data.label_names[int(a)] for a in answers] if attacked else pytest.approx(answers, abs=1e-6)
        )
        assert (config["labels"] is None) == (not attacked)
        assert attacked or scores == [1.0] * 48
        card = (home / f"out {name}" / "README.md").read_text()
        assert not {"\x1b", "\u202e"} & set(card)
        assert "<script>" not in card


@pytest.mark.slow
def test_students_and_wrappers_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for strategy, head, more, reason in (
        ("entropy", "student", {}, "The head 'student' cannot be exported"),
        ("temperature", "linear", {"of": "entropy"}, "The criterion of 'temperature' cannot be exported"),
    ):
        settings = {**LITTLE, **more}
        request = Request(strategy, str(home / "task"), "bert-demo", head=head, settings=settings, latency=False)
        folder = run_cell(request, context(home)).folder
        assert reason in refuse([str(folder), "new", "--point", "0.5"], capsys)
    assert not Path("new").exists()


@pytest.mark.slow
def test_a_folder_is_whole_or_absent(
    home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, _ = exported["bert, patience"]

    def fail(*_: object) -> str:
        raise UsageError("halfway")

    monkeypatch.setattr(write, "write_card", fail)
    with pytest.raises(UsageError, match="halfway"):
        export_run(run, context(home), home / "half", "1")
    assert not [path.name for path in home.iterdir() if "half" in path.name]


@pytest.mark.slow
def test_the_command_says_what_was_made(
    home: Path, exported: dict[str, tuple[Run, Path, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = exported["bert, patience"]
    where = ["--results-dir", "results", "--offline", "--quiet"]
    Path("empty").mkdir()
    assert main(["export", run.folder.name, "empty", "--point", "default", *where]) in (0, 2)
    assert main(["export", run.folder.name, "told", "--point", "1", *where]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "patience at patience 1" in said
    assert "Written: told" in said
    assert main(["export", run.folder.name, "json", "--point", "1", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["criterion"]["kind"] == "patience"
