"""`bench export`: a run's model taken home decides as ExitBench does, on every sample, without ExitBench."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from transformers import AutoModelForSequenceClassification

from bench.advise.export import timing, write
from bench.advise.export.early_exit import EarlyExitClassifier
from bench.advise.export.packing import STRATEGIES_PACKED
from bench.advise.export.write import export_run, list_labels
from bench.cell.reload import load_run_model
from bench.cell.request import Request
from bench.cell.run import run_request
from bench.cli.process import main
from bench.errors import UsageError
from bench.inference.live import run_live
from bench.results.run import Run
from bench.tasks.encode import collate_batch, encode_split
from strategies.base import predict
from tests.helpers.models.finetuned_models import VARIANTS, stock_logits
from tests.helpers.models.taken_home import (
    CLASSES,
    LITTLE,
    ROWS,
    Case,
    ask_elsewhere,
    choose_threshold,
    decide_live,
    make_context,
    record_case,
    write_home,
)
from tests.helpers.small_runs import reviews

EVERY_RULE = sorted(STRATEGIES_PACKED)
OWN = [Case(EVERY_RULE[i % len(EVERY_RULE)], variant, ("texts", "pairs")[i % 2]) for i, variant in enumerate(VARIANTS)]
"""Every type, every criterion, texts and pairs: each at least once."""
HEADS = [
    Case("patience", "bert", own=False),
    Case("elbert-label", "roberta", own=False),
    Case("elbert-mono", "albert", "pairs", own=False),
    Case("deebert", "distilbert", own=False),
    Case("margin", "modernbert", "pairs", own=False),
    Case("max-probability", "deberta-v2", own=False),
    Case("romebert", "electra", own=False),
]
FRESH = os.environ.get("EXITBENCH_FRESH", "")
"""The Python of an environment with torch and transformers only: every type with every criterion is asked there."""
if FRESH:
    OWN = [Case(rule, variant, kind) for variant in VARIANTS for kind in CLASSES for rule in EVERY_RULE]
EVERY = [*OWN, *HEADS]
PATIENT = next(case for case in EVERY if case.strategy == "patience" and case.kind == "texts")
pytestmark = pytest.mark.xdist_group("exported models")
Exported = dict[Case, tuple[Run, Path, dict[str, Any]]]
"""For each case a run, where its model went, and the configuration there."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two tasks and the texts that are reported; the current folder while it is used."""
    folder, before = tmp_path_factory.mktemp("export"), Path.cwd()
    write_home(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def exported(home: Path) -> Exported:
    """All cases, recorded and exported."""
    found = {}
    for number, case in enumerate(EVERY):
        run = record_case(home, case)
        out = home / f"out{number}"
        found[case] = (run, out, export_run(run, make_context(home), out, choose_threshold(run)))
    return found


@pytest.fixture(scope="module")
def answers(home: Path, exported: Exported) -> dict[Case, list[Any]]:
    """What the exported models answer in a process in which there is no ExitBench."""
    found = ask_elsewhere(home, {str(out): case.kind for case, (_, out, _) in exported.items()}, FRESH)
    return {case: found[str(out)] for case, (_, out, _) in exported.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_every_sample_is_decided_as_here(
    case: Case, home: Path, exported: Exported, answers: dict[Case, list[Any]]
) -> None:
    run, out, config = exported[case]
    (labels, scores, layers), singles = answers[case]
    made = load_run_model(run, make_context(home), attention="sdpa")
    assert (labels, layers) == decide_live(run, made, config["criterion"]["cut"])
    assert [[labels[i]] for i in range(20)] == [one[0] for one in singles]
    assert [[layers[i]] for i in range(20)] == [one[2] for one in singles]
    assert len(labels) == ROWS["validation"]
    assert len(set(layers)) > 1
    assert all(1 / len(config["labels"]) <= score <= 1 for score in scores)
    recorded = json.loads((out / "recorded.json").read_text())["exit_counts"]
    assert np.abs(np.bincount(layers, minlength=len(recorded) + 1)[1:] - recorded).sum() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=str)
def test_the_folder_is_what_it_says(case: Case, exported: Exported) -> None:
    run, out, config = exported[case]
    assert json.loads((out / "exit_config.json").read_text()) == config
    there = {path.name for path in out.iterdir()}
    assert there == {*config["files"], "exit_config.json"}
    assert {"README.md", "config.json", "model.safetensors", "exits.safetensors", "early_exit.py"} <= there
    assert not [name for name in there if name.endswith((".bin", ".pt", ".pkl"))]
    for name, digest in config["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert config["own_last_exit"] == case.own
    assert config["labels"] == list(CLASSES[case.kind])
    card = (out / "README.md").read_text()
    assert f"leave after {run.trade_off().layers_at(config['criterion']['cut']).mean():.2f} of 3 layers" in card


@pytest.mark.slow
@pytest.mark.parametrize("case", OWN, ids=str)
def test_a_fine_tuned_model_is_the_stock_model_again(case: Case, home: Path, exported: Exported) -> None:
    run, out, _ = exported[case]
    again = AutoModelForSequenceClassification.from_pretrained(out).eval()
    names = CLASSES[case.kind]
    assert again.config.id2label == dict(enumerate(reversed(names)))
    made = load_run_model(run, make_context(home), attention="sdpa")
    encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
    batch = collate_batch(encoded, [0])
    logits = stock_logits(again, batch)[:, list(range(len(names)))[::-1]]
    assert np.allclose(logits.detach(), made.model.plain(batch).detach(), atol=1e-5)


def refuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["export", *words, "--results-dir", "results", "--offline", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.slow
def test_what_cannot_be_exported_is_one_line(
    home: Path, exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, _ = exported[PATIENT]
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
    for name, attacked in (("attacked", True), ("numbers", False)):
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
        run = Run.load(run_request(request, make_context(home)).folder)
        config = export_run(run, make_context(home), home / f"out {name}", choose_threshold(run) if attacked else "1")
        labels, scores, layers = EarlyExitClassifier.from_pretrained(home / f"out {name}")(pairs)
        made = load_run_model(run, make_context(home), attention="sdpa")
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
        request = Request(strategy, str(home / "texts"), "bert-demo", head=head, settings=settings, latency=False)
        folder = run_request(request, make_context(home)).folder
        assert reason in refuse([str(folder), "new", "--point", "0.5"], capsys)
    assert not Path("new").exists()


@pytest.mark.slow
def test_a_folder_is_whole_or_absent(home: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, _ = exported[PATIENT]

    def fail(*_: object) -> str:
        raise UsageError("halfway")

    monkeypatch.setattr(write, "write_card", fail)
    with pytest.raises(UsageError, match="halfway"):
        export_run(run, make_context(home), home / "half", "1")
    assert not [path.name for path in home.iterdir() if "half" in path.name]


@pytest.mark.slow
def test_the_command_says_what_was_made(
    home: Path,
    exported: Exported,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _, _ = exported[PATIENT]
    where = ["--results-dir", "results", "--offline", "--quiet"]
    Path("empty").mkdir()
    assert main(["export", run.folder.name, "empty", "--point", "default", *where]) in (0, 2)
    assert main(["export", run.folder.name, "told", "--point", "1", *where]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "patience at patience 1" in said
    assert "Written: told" in said
    assert main(["export", run.folder.name, "json", "--point", "1", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["criterion"]["kind"] == "patience"
    there = run.folder.resolve()  # as bench advise says it at its end: the run's own folder is enough
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(there), "away", "--point", "1", "--offline", "--quiet"]) == 0


@pytest.mark.slow
def test_the_folder_is_timed_beside_early_exit_here(
    home: Path, exported: Exported, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = exported[PATIENT]
    short = replace(timing.SIDE_BY_SIDE, samples=12, seconds=0.2, streak=2, rounds=2)
    monkeypatch.setattr(timing, "SIDE_BY_SIDE", short)
    where = ["--results-dir", "results", "--offline", "--quiet", "--json", "--time"]
    assert main(["export", run.folder.name, "timed", "--point", "1", *where]) == 0
    found = json.loads(capsys.readouterr().out)["times"]
    assert (found["samples"], found["threads"]) == (12, 1)
    for one in ("here", "home", "ratio"):
        assert 0 < found[one]["low"] <= found[one]["estimate"] <= found[one]["high"]
    # both are against the same rounds of the same baseline
    assert found["ratio"]["estimate"] == pytest.approx(found["home"]["estimate"] / found["here"]["estimate"])


@pytest.mark.slow
def test_what_is_timed_leaves_where_it_leaves(home: Path, exported: Exported, answers: dict[Case, list[Any]]) -> None:
    for case in (PATIENT, next(one for one in OWN if one.kind == "pairs")):
        run, out, _ = exported[case]
        made = load_run_model(run, make_context(home), attention="sdpa")
        encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
        batches = [collate_batch(encoded, [row]) for row in range(20)]
        query = timing.make_home_query(EarlyExitClassifier.from_pretrained(out), batches)
        assert [query(i) for i in range(20)] == answers[case][0][2][:20]


@pytest.mark.parametrize(
    ("task", "own", "order", "matched", "said"),
    [
        (("0", "1"), ("negative", "positive"), (0, 1), "position", ["negative", "positive"]),
        (("neg", "pos"), ("LABEL_0", "LABEL_1"), (0, 1), "position", ["neg", "pos"]),
        (("neg", "pos"), ("POS", "NEG"), (1, 0), "case", ["NEG", "POS"]),
    ],
)
def test_a_model_goes_on_saying_its_own_names(
    task: tuple[str, ...], own: tuple[str, ...], order: tuple[int, ...], matched: str, said: list[str]
) -> None:
    classifier = SimpleNamespace(labels=own, order=order, matched=matched)
    facts = {"task": SimpleNamespace(kind="classification", labels=task)}
    record = SimpleNamespace(**facts, backbone=SimpleNamespace(classifier=classifier))
    assert list_labels(cast(Run, SimpleNamespace(record=record))) == said
