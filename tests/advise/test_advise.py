"""The whole way, from a fine-tuned folder and a file to a verdict; and what is refused before any long work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.advise import advise as whole
from bench.advise import candidates, ceiling, rivals, timing
from bench.advise.resampling import make_times
from bench.cell.reload import load_run_model
from bench.cell.request import Context
from bench.cli.process import main
from bench.errors import USAGE
from bench.latency.result import LatencyOptions
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.run import Run
from bench.results.store import Store
from strategies.base import ExitModel
from tests.helpers.models.finetuned_models import save_finetuned
from tests.helpers.small_runs import reviews, write_task

ROWS = reviews(180, 3)
SAID = ("Pays: ", "Does not pay: ")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples and rounds, and whatever the clock says of a tiny model is worth going on with."""
    monkeypatch.setattr(ceiling, "CEILING", LatencyOptions(samples=4, seconds=0.2, streak=2, rounds=2))
    monkeypatch.setattr(whole, "CEILING", ceiling.CEILING)
    measured = whole.measure_ceiling

    def measure(model: ExitModel, *given: Any) -> Any:
        """What is measured, and in its place a millisecond a layer: a busy machine would choose other cuts."""
        assert len(measured(model, *given).speedups) == model.num_layers
        return make_times(model.num_layers)

    monkeypatch.setattr(whole, "measure_ceiling", measure)
    for module in (candidates, whole):
        monkeypatch.setattr(module, "WORTH", 0.0)
    monkeypatch.setattr(timing, "SECONDS", 0.2)
    made = rivals.make_executor
    monkeypatch.setattr(
        rivals, "make_executor", lambda model, name="eager": (refuse if name == "compile" else made)(model)
    )


def refuse(*arguments: object) -> Any:
    raise RuntimeError("no compiler\nhere")


def write_file(path: Path, names: tuple[str, ...] = ("neg", "pos"), column: bool = False) -> Path:
    lines = ["text,label,hotel" if column else "text,label"]
    for i, (text, label) in enumerate(ROWS):
        lines.append(f"{text},{names[label]}" + (f",{'AB'[i % 3 == 0]}" if column else ""))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def save(folder: Path, names: tuple[str, ...] = ("neg", "pos"), variant: str = "bert", **fields: object) -> Path:
    save_finetuned(folder, variant, names, texts=[text for text, _ in ROWS], vocab_size=400, **fields)
    return folder


def call(tmp_path: Path, model: Path, data: str, *more: str) -> int:
    words = ["advise", str(model), "--data", data, "--results-dir", str(tmp_path / "results"), "--offline", "--quiet"]
    return main([*words, *more])


def ask(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, data: Path, *more: str) -> dict[str, Any]:
    code = call(tmp_path, model, str(data), "--json", *more)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


def test_a_file_and_a_folder_are_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save(tmp_path / "model"), write_file(tmp_path / "mine.csv", column=True)
    found = ask(capsys, tmp_path, model, data, "--max-loss", "0.9", "--slice", "hotel", "--batch-size", "4")
    assert found["verdict"].startswith(SAID)
    assert [way["name"] for way in found["ways"]][:2] == ["the model itself", "early exit"]
    ways = {way["name"]: way for way in found["ways"]}
    assert ways["torch.compile"]["why"] == "RuntimeError: no compiler here"
    assert {"bf16", "int8"} <= set(ways)
    both = ways["early exit, bf16"]
    assert abs(both["mean_exit"] - ways["early exit"]["mean_exit"]) < 0.5
    assert both["changed"]["estimate"] <= ways["early exit"]["changed"]["estimate"] + 0.2
    torchao = ways["int8 by torchao"]
    assert torchao["speedup"] or torchao["why"] == "torchao is not installed"
    assert set(ways["early exit"]["speedup"]) == {"1", "4"}
    assert sum(group["samples"] for group in found["groups"]) == found["samples"]["reported"]
    assert {group["name"] for group in found["groups"]} == {"A", "B"}
    assert sum(found["samples"].values()) == len(ROWS)
    assert any("if the model was fine-tuned on them, which cannot be seen here" in note for note in found["notes"])
    check_record(tmp_path, found)


def check_record(tmp_path: Path, found: dict[str, Any]) -> None:
    """The run behind an advice is one like any other: it holds the cut, and its model can be had again."""
    run = Run.load(Path(found["record"]))
    best = found["criteria"][0]
    assert run.strategy == best["criterion"]
    given = [point for point in run.result().reached.values() if point.chosen_on == "given"]
    assert [point.threshold for point in given] == [best["threshold"]]
    assert list(given[0].exit_counts) == best["exit_counts"]
    context = Context(Store(tmp_path / "results"), Progress(quiet=True), offline=True)
    assert load_run_model(run, context).model.num_layers == len(found["per_exit"])


def test_the_sentence_is_the_first_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save(tmp_path / "model"), write_file(tmp_path / "mine.csv")
    assert call(tmp_path, model, str(data), "--max-loss", "0.9", "--batch-size", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(SAID)
    assert lines[0].endswith(".")
    sentence, printed = " ".join(lines[0].split()), " ".join(" ".join(lines).split())
    assert printed.endswith(sentence)
    assert main(["show", "last", "--results-dir", str(tmp_path / "results")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(sentence)
    assert "(chosen)" in shown
    assert "ms a text" in shown
    assert "Batch 1: single-stream-v2, " in shown
    assert "checkpoint reused" not in shown
    [note] = tmp_path.glob("results/*/*/*/advice.json")
    note.write_text(note.read_text().replace("pay", "play"))
    assert main(["show", "last", "--results-dir", str(tmp_path / "results")]) == 0
    printed_anew = capsys.readouterr()
    assert "advice.json is damaged (its checksum differs)" in printed_anew.err
    assert sentence not in " ".join(printed_anew.out.split())
    assert any(line.startswith("Command: ") for line in lines)


def test_what_is_written_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save(tmp_path / "model"), write_file(tmp_path / "<b>mine.csv")
    out = tmp_path / "out"
    found = ask(capsys, tmp_path, model, data, "--max-loss", "0.9", "--batch-size", "1", "--out", str(out))
    assert json.loads((out / "advise.json").read_text()) == found
    page = (out / "advise.html").read_text()
    assert found["verdict"].replace("<", "&lt;") in page
    assert "<svg" in page
    assert "<b>" not in page
    assert {path.suffix for path in out.iterdir()} == {".html", ".json", ".csv", ".svg", ".pdf", ".png"}


def test_texts_without_labels_teach_the_models_own_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model, data = save(tmp_path / "model"), write_file(tmp_path / "mine.csv")
    (tmp_path / "texts.txt").write_text("\n".join(text for text, _ in reviews(60, 9)))
    found = ask(capsys, tmp_path, model, data, "--train", str(tmp_path / "texts.txt"), "--max-loss", "0.9")
    assert found["samples"]["fitted"] == 60
    assert not [word for word in find_words(found["question"]) if word.startswith("/")]
    given = Run.load(Path(found["record"])).record.task.given
    assert given is not None
    assert not [part for part in given.split("+") if part.startswith("/")]
    assert Run.load(Path(found["record"])).spec.recipe_args["targets"] == "model"
    check_record(tmp_path, found)


def find_words(values: dict[str, Any]) -> list[str]:
    return [value for value in values.values() if isinstance(value, str)]


def test_where_nothing_can_pay_no_exit_is_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save(tmp_path / "model"), write_file(tmp_path / "mine.csv")
    found = ask(capsys, tmp_path, model, data, "--speedup", "1e15")
    assert found["verdict"].startswith("Does not pay: even if every text left at exit 1, ")
    assert (found["pays"], found["criteria"], found["record"]) == (False, [], None)
    assert not (tmp_path / "results").exists()


def test_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save(tmp_path / "model", ("score",), problem_type="regression")
    data = tmp_path / "mine.csv"
    rows = [f"{text},{label + (i % 7) / 8},{'AB'[i % 2]}" for i, (text, label) in enumerate(ROWS)]
    data.write_text("\n".join(["text,label,hotel", *rows]) + "\n")
    more = ["--max-loss", "0.9", "--batch-size", "1", "--slice", "hotel", "--out", str(tmp_path / "o")]
    found = ask(capsys, tmp_path, model, data, *more)
    assert found["metric"] == "pearson"
    assert found["verdict"].startswith(SAID)
    page = (tmp_path / "o" / "advise.html").read_text()
    assert page.count(">moved by<") == 3  # ways, criteria and groups: there are no classes whose answers change
    assert "answers move by" in page
    assert not any(said in page for said in (">changed<", "of answers change", "answers that change", "Wilson"))


@pytest.mark.parametrize(
    ("names", "fields", "more", "said"),
    [
        (("a", "b"), {}, [], "its classes are a, b, the task's neg, pos. Give data with the model's labels."),
        (("neg", "pos", "other"), {}, [], "list all of its classes in a labels.txt beside the data"),
        (
            ("neg", "pos"),
            {"problem_type": "multi_label_classification"},
            [],
            "one label. Give a model that is fine-tuned for one label a",
        ),
        (("neg", "pos"), {}, [], "needs 299 samples to choose on at least, and there are "),
        (("neg", "pos"), {}, ["--slice", "hotel"], "no column 'hotel'"),
        (("neg", "pos"), {}, ["--max-loss", "0.1", "--speedup", "2"], "give one of them"),
        (("neg", "pos"), {}, ["--max-loss", "0.1", "--out", "README.md"], "README.md is a file"),
        (("neg", "pos"), {}, ["--max-loss", "0.1", "--criteria", "full"], "never leaves early"),
    ],
)
def test_what_is_refused_is_one_line_before_any_weights_are_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    fields: dict[str, object],
    more: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(whole, "load_own_model", refuse)
    model, data = save(tmp_path / "model", names, **fields), write_file(tmp_path / "mine.csv")
    more = more if not more or more[0] != "--slice" else [*more, "--max-loss", "0.1"]
    capsys.readouterr()  # what transformers says when it saves a model
    assert call(tmp_path, model, str(data), *more) == USAGE
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_file_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, tmp_path / "model", str(tmp_path / "mine.csv")) == USAGE
    assert "There is no file " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "gpt2"}, "Unknown model type 'gpt2' in "),
        ({"is_decoder": True}, "is a decoder (is_decoder); early exit is measured on encoders: give one."),
        (
            {"model_type": "own", "auto_map": {"AutoModelForSequenceClassification": "modeling_own.Own"}},
            "Code that comes with a model (auto_map) is never run: give a stock encoder of one of these types.",
        ),
    ],
)
def test_decoders_and_code_of_somebody_elses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, object], said: str
) -> None:
    model, data = save(tmp_path / "model"), write_file(tmp_path / "mine.csv")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **fields}))
    (model / "modeling_own.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    capsys.readouterr()
    assert call(tmp_path, model, str(data)) == USAGE
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_classifier_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModel

    model = save(tmp_path / "model")
    AutoModel.from_pretrained(model).save_pretrained(model)
    assert call(tmp_path, model, str(write_file(tmp_path / "mine.csv"))) == USAGE
    assert "has no classifier of its own: give a model that is fine-tuned" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"), [(["--slice", "x"], "needs a file"), (["--train", "texts.txt"], "goes with")]
)
def test_a_task_has_no_columns_and_texts_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    model, task = save(tmp_path / "model"), write_task(tmp_path / "task")
    assert call(tmp_path, model, str(task), "--max-loss", "0.1", *more) == USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [0, 7])
def test_a_rival_that_answers_some_samples_is_as_good_as_what_differs_there(wrong: int) -> None:
    """Of 100 samples the model gets 80 right, and 50 of the 50 that the rival answers, which are the easy ones."""
    labels = np.arange(100) % 2
    said = np.where(np.arange(100) < 80, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[said][:, None, :]
    exits = AllExits(tuple(map(str, range(100))), labels, logits, np.full(100, 8))
    some = exits.take(np.arange(50))
    answers = np.where(np.arange(50) < wrong, 1 - labels[:50], labels[:50])
    own = whole.make_way(whole.OWN, [], exits, said, "accuracy", 1.0)
    found = whole.carry_over(whole.make_way("bf16", [], some, answers, "accuracy", 1.0), own, some, "accuracy")
    assert found.quality is not None
    assert found.quality.estimate == pytest.approx(0.8 - wrong / 50)
    assert found.quality.low < found.quality.estimate <= found.quality.high <= 1
