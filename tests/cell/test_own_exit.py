"""`bench run` on a fine-tuned folder: its classifier is the last exit where it fits the task, or it is said why not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.cell.identify import Cell
from bench.cell.reload import load_run_model
from bench.cell.request import Context, Request
from bench.cell.run import prepare_cell, run_request
from bench.cell.stages import build_model, load_cell_backbone, make_reader
from bench.cli.process import main
from bench.errors import UsageError
from bench.inference.exits import record_exits
from bench.progress import Progress
from bench.results.store import Store
from bench.tasks.encode import collate_batch
from strategies.own_classifier import OwnLastExit
from tests.helpers.models.finetuned_models import VARIANTS, save_finetuned, stock_logits
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import STEPS, reviews, run_json, settings, write_task

WORDS = [text for text, _ in reviews(96, 0)]
LITTLE = {"train.steps": 3, "train.batch_size": 16}


def save(folder: Path, names: Sequence[str], variant: str = "bert", **fields: object) -> Any:
    return save_finetuned(folder, variant, names, texts=WORDS, vocab_size=200, **fields)


def make_request(tmp_path: Path, strategy: str = "entropy", **fields: Any) -> Request:
    task = tmp_path / "task"
    if not task.exists():
        write_task(task)
    settings = {**LITTLE, **fields.pop("settings", {})}
    return Request(strategy, str(task), str(tmp_path / "model"), settings=settings, latency=False, **fields)


def context(tmp_path: Path) -> Context:
    return Context(Store(tmp_path / "results"), Progress(quiet=True), offline=True)


def prepare(tmp_path: Path, strategy: str = "entropy", **fields: Any) -> Cell:
    return prepare_cell(make_request(tmp_path, strategy, **fields), context(tmp_path))


# ------------------------------------------------------------------ the answers are the stock model's


@pytest.mark.parametrize("names", [("neg", "pos"), ("pos", "neg")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_exit_is_as_right_as_the_stock_model(tmp_path: Path, variant: str, names: tuple[str, str]) -> None:
    """Whatever the model's order of classes: the task has neg = 0 and pos = 1, and so have the recorded logits."""
    stock = save(tmp_path / "model", names, variant)
    cell = prepare(tmp_path)
    loaded = load_cell_backbone(cell, print)
    model, _ = build_model(cell, loaded)
    split = cell.data.evaluation["validation"]
    encoded = make_reader(cell, loaded, print).encode(split)
    exits = record_exits(model.eval(), split, encoded, Progress(quiet=True))
    right = []
    for row, label in enumerate(split.labels):
        with torch.no_grad():
            logits = stock_logits(stock, collate_batch(encoded, [row]))[0]
        right.append(names[int(logits.argmax())] == ("neg", "pos")[label])
        by_name = dict(zip(names, logits.tolist(), strict=True))
        assert exits.logits[row, -1].tolist() == pytest.approx([by_name["neg"], by_name["pos"]], abs=1e-5)
    assert float(np.mean(exits.logits[:, -1].argmax(axis=-1) == split.labels)) == np.mean(right)
    assert 0 < np.mean(right) < 1


# ------------------------------------------------------------------ chosen by itself, asked for, left out


def test_it_is_chosen_by_itself_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "model", ["POS", "NEG"])
    asked = make_request(tmp_path)
    found = run_request(asked, Context(Store(tmp_path / "results"), Progress(), offline=True))
    assert "Exit 3 is the classifier that" in capsys.readouterr().err
    record = found.record
    assert record.spec.init == record.backbone.init == record.identity.backbone.init == "finetuned"
    assert record.spec.max_length == 32  # the model's own, not the task's
    assert record.backbone.classifier is not None
    assert record.backbone.classifier.to_plain() == {"labels": ["POS", "NEG"], "order": [1, 0], "matched": "case"}
    assert not [w for w in record.warnings if "classifier" in w or "matched" in w]
    assert record.live_check is not None
    assert record.live_check.ok
    # asked for by name it is the same cell, and the record brings its model back
    again = run_request(make_request(tmp_path, init="finetuned"), context(tmp_path))
    assert again.reused
    model = load_run_model(again, context(tmp_path)).model
    assert isinstance(model.head, OwnLastExit)
    assert model.head.order.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("strategy", "fields"),
    [
        ("elbert-mono", {}),
        ("fastbert", {}),
        ("deebert", {}),
        ("patience", {}),
        ("entropy", {"recipe": "deebert", "head": "shared"}),
        ("full", {}),
    ],
)
def test_every_kind_of_head_and_recipe_runs_with_it(tmp_path: Path, strategy: str, fields: dict[str, Any]) -> None:
    save(tmp_path / "model", ["neg", "pos"])
    found = run_request(make_request(tmp_path, strategy, **fields), context(tmp_path))
    assert found.record.spec.init == "finetuned"
    assert found.record.live_check is None or found.record.live_check.ok


def test_regression_of_one_number(tmp_path: Path) -> None:
    write_task(tmp_path / "task", regression=True)
    save(tmp_path / "model", ["LABEL_0"], problem_type="regression")
    found = run_request(make_request(tmp_path, "patience", settings={"criterion.tolerance": 0.1}), context(tmp_path))
    assert found.record.backbone.classifier is not None
    assert found.record.backbone.classifier.matched == "regression"


def test_numbers_are_matched_with_a_line_that_says_so(tmp_path: Path) -> None:
    save(tmp_path / "model", ["LABEL_0", "LABEL_1"])
    cell = prepare(tmp_path)
    assert cell.spec.init == "finetuned"
    (note,) = cell.notes
    assert "matched by number: neg = LABEL_0, pos = LABEL_1" in note


LEFT_OUT: dict[str, tuple[Sequence[str], dict[str, object], dict[str, Any], str]] = {
    "other classes": (("ham", "spam"), {}, {}, "its classes are ham, spam, the task's neg, pos"),
    "more classes": (("neg", "pos", "so"), {}, {}, "its classes are neg, pos, so, the task's neg, pos"),
    "multi-label": (("neg", "pos"), {"problem_type": "multi_label_classification"}, {}, "it is multi-label"),
    "regression": (("LABEL_0",), {}, {}, "it is a regression of one number, and the task's classes are neg, pos"),
    "cut": (("neg", "pos"), {}, {"settings": {"backbone.num_hidden_layers": 2}}, "num_hidden_layers cuts off what"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path, case: str) -> None:
    names, config, fields, reason = LEFT_OUT[case]
    save(tmp_path / "model", names, **config)
    cell = prepare(tmp_path, **fields)
    assert (cell.spec.init, cell.spec.max_length, cell.own) == ("pretrained", 128, None)
    (note,) = cell.notes
    assert note.startswith("the classifier of model is left out: ")
    assert reason in note
    warnings: list[str] = []
    assert load_cell_backbone(cell, warnings.append).classifier is None
    assert note in warnings


@pytest.mark.parametrize("case", LEFT_OUT)
def test_asked_for_it_is_refused_in_one_line(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names, config, fields, reason = LEFT_OUT[case]
    save(tmp_path / "model", names, **config)
    write_task(tmp_path / "task")
    monkeypatch.chdir(tmp_path)
    more = settings(*(f"{key}={value}" for key, value in fields.get("settings", {}).items()))
    words = ["run", "--strategy", "entropy", "--task", "./task", "--backbone", "./model", "--init", "finetuned", *more]
    capsys.readouterr()  # transformers says what it saves
    assert main([*words, "--offline", "--quiet", "--no-latency"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--init pretrained" in line
    assert reason in line or (case == "cut" and "reads layer 3" in line)


def test_left_out_knowingly_it_is_the_cell_that_it_was(tmp_path: Path) -> None:
    save(tmp_path / "model", ["neg", "pos"])
    cell = prepare(tmp_path, init="pretrained")
    assert (cell.spec.init, cell.spec.max_length, cell.own, cell.notes) == ("pretrained", 128, None, ())
    assert load_cell_backbone(cell, print).classifier is None
    other = prepare(tmp_path)
    assert cell.keys.training != other.keys.training


def test_a_longest_input_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    save(tmp_path / "model", ["neg", "pos"])
    assert prepare(tmp_path, settings={"max_length": 16}).spec.max_length == 16


def test_a_shallower_strategy_has_no_use_for_it(tmp_path: Path) -> None:
    save(tmp_path / "model", ["neg", "pos"])
    cell = prepare(tmp_path, "truncated", settings={"layers": 2})
    assert cell.spec.init == "pretrained"
    assert "cuts off what it reads" in cell.notes[0]


def test_demo_backbones_and_plain_encoders_have_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'bert-demo' is made from scratch and has no classifier"):
        prepare_cell(Request("entropy", "demo", "bert-demo", init="finetuned", limit=40), context(tmp_path))
    save(tmp_path / "model", ["neg", "pos"])
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["BertModel"]}))
    assert prepare(tmp_path).spec.init == "pretrained"
    assert prepare(tmp_path).notes == ()
    assert prepare(tmp_path, init="finetuned").spec.init == "finetuned"


def test_asked_for_where_there_is_none_it_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    with pytest.raises(UsageError, match=r"^model has no classifier of its own: take --init pretrained\.$"):
        prepare(tmp_path, init="finetuned")


def test_the_command_line_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "model", ["0", "1"])
    write_task(tmp_path / "task")
    monkeypatch.chdir(tmp_path)
    given = ["--strategy", "entropy", "--task", "./task", "--backbone", "./model", "--offline", "--no-latency"]
    (found,) = run_json(capsys, *given, *settings(*STEPS), "--results-dir", str(tmp_path / "r"))
    assert found["record"]["spec"]["init"] == "finetuned"
    assert any("matched by number: neg = 0, pos = 1" in w for w in found["record"]["warnings"])
    assert main(["show", "last", "--results-dir", str(tmp_path / "r")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Exit 3 is the classifier that the backbone came with (--init finetuned), its classes matched by number" in said
    )
    # a sweep settles it too, and finds the cell again
    assert main(["run", *given, "--dry-run", *settings(*STEPS), "--results-dir", str(tmp_path / "r"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["status"] == "recorded"
