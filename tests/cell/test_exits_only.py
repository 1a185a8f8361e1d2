"""The recipe exits-only in whole runs: the backbone stays what it was, and its states are kept once for all heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bench.cell import stages
from bench.cell.reload import load_run_model
from bench.cell.request import Context, Request
from bench.cell.run import prepare_cell
from bench.cell.stages import build_model, load_cell_backbone, make_reader
from bench.cli.process import main
from bench.errors import USAGE
from bench.inference.exits import record_exits
from bench.progress import Progress
from bench.results.run import Run
from bench.results.store import Store
from bench.training.checkpoint import load_tensors
from strategies import HEADS
from strategies.head import MemoryHead
from tests.helpers.models.finetuned_models import save_finetuned
from tests.helpers.models.trainings import snapshot
from tests.helpers.small_runs import TINY, reviews, run_json, settings, timeless, write_task

NEW_SEED = ["--seed", "1"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task") / "reviews")


def words(task: Path, results: Path, *more: str) -> list[str]:
    cell = ["--strategy", "entropy", "--recipe", "exits-only", "--task", str(task), "--backbone", "bert-demo"]
    return [*cell, *TINY, "--results-dir", str(results), *more]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], Run]:
    (found,) = run_json(capsys, *arguments)
    return found["record"], Run.load(Path(found["folder"]))


def states_of(results: Path) -> list[Path]:
    return sorted((results / ".cache" / "states").rglob("*.safetensors"))


def weights_of(results: Path, record: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_tensors(results / ".cache" / "checkpoints" / record["training"]["key"] / "model.safetensors")[0]


@pytest.mark.parametrize("head", sorted(HEADS))
def test_the_backbone_is_bit_identical_and_every_exit_is_fitted(
    head: str, task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results, built = tmp_path / "results", []

    def watch(*arguments: Any) -> Any:
        made = build_model(*arguments)
        built.append(snapshot(made[0]))
        return made

    monkeypatch.setattr(stages, "build_model", watch)
    record, _ = run(capsys, *words(task, results, "--head", head, *settings("recipe.epochs=2")))
    after, (before,) = weights_of(results, record), built
    assert after.keys() == before.keys()
    assert all(after[n].numpy().tobytes() == before[n].numpy().tobytes() for n in after if n.startswith("encoder."))
    classifiers = [n for n in after if n.startswith("head.") and n.endswith("weight") and after[n].shape[0] == 2]
    assert classifiers
    assert not any(torch.equal(after[n], before[n]) for n in classifiers)
    assert record["live_check"]["other_exit"] == 0
    alone = head != "student" and not issubclass(HEADS.load(head), MemoryHead)  # others need a pass through the layers
    assert len(states_of(results)) == alone


def test_states_are_shared_by_heads_and_not_by_other_data(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    run(capsys, *words(task, results))
    (first,) = states_of(results)
    written = first.stat().st_mtime_ns
    for more in (["--head", "shared"], settings("head.pooling=cls"), settings("recipe.l2=0.1")):
        run(capsys, *words(task, results, *more))
    assert [path.stat().st_mtime_ns for path in states_of(results)] == [written]
    run(capsys, *words(task, results, *settings("recipe.samples=40")))
    run(capsys, *words(task, results, *NEW_SEED))
    assert len(states_of(results)) == 3


def test_the_pooling_is_chosen_recorded_and_found_again(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    record, found = run(capsys, *words(task, results))
    learned = record["training"]["recipe"]
    losses = {pooling: sum(learned[f"held_out_{pooling}"]) for pooling in ("cls", "mean")}
    chosen = min(losses, key=lambda pooling: losses[pooling])
    assert record["spec"]["head_args"]["pooling"] == "auto"
    assert record["backbone"]["pooling"] == chosen
    assert len(learned["l2"]) == record["backbone"]["layers"]
    again = load_run_model(found, Context(Store(results), Progress(quiet=True), offline=True))
    assert again.model.head.pooling == chosen
    other = "cls" if chosen == "mean" else "mean"
    literal, found = run(capsys, *words(task, results, *settings(f"head.pooling={other}")))
    assert literal["spec"]["head_args"]["pooling"] == literal["backbone"]["pooling"] == other
    assert f"held_out_{chosen}" not in literal["training"]["recipe"]
    same, _ = run(capsys, *words(task, results, *settings("head.pooling=auto"), "--overwrite", "never"))
    assert same["quality_key"] == record["quality_key"]


def test_a_second_run_has_the_same_weights(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for head in ("linear", "shared"):
        arguments = ["--head", head, *settings("recipe.epochs=2")]
        (first, _), (second, _) = (run(capsys, *words(task, tmp_path / name, *arguments)) for name in ("a", "b"))
        one, other = weights_of(tmp_path / "a", first), weights_of(tmp_path / "b", second)
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert timeless(first) == timeless(second)


def test_damaged_states_are_made_again(task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    run(capsys, *words(task, results))
    (path,) = states_of(results)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    record, _ = run(capsys, *words(task, results, "--head", "shared", *settings("recipe.epochs=1")))
    assert any("states.safetensors was damaged" in line for line in record["warnings"])
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["recipe.targets=model"], "recipe.targets=model has the exits learn from a fine-tuned last exit"),
        (["recipe.targets=nobody"], "must be one of labels, model, not 'nobody'"),
        (["recipe.samples=0"], "recipe.samples must be positive, not 0"),
        (["recipe.l2=-1"], "recipe.l2 must not be negative, not -1"),
        (["head.pooling=max"], "must be one of cls, mean, not 'max'"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    more: list[str], said: str, task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words(task, tmp_path / "results", *settings(*more))]) == USAGE
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error


def test_a_pooling_is_left_to_choose_by_this_recipe_only(
    task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*words(task, tmp_path / "results", "--recipe", "joint"), *settings("head.pooling=auto")]
    assert main(["run", *arguments]) == USAGE
    assert "not 'auto'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "more", "said"),
    [
        ("linear", ["train.lr=0.1", "train.epochs=9"], "train.lr and train.batch_size without effect"),
        ("linear", ["recipe.samples=40"], "exits are fitted on 40 of "),
        ("student", ["recipe.epochs=2", "recipe.l2=0.1"], "recipe.l2 and recipe.epochs without effect"),
    ],
)
def test_what_is_left_out_is_said_in_each_record(
    head: str, more: list[str], said: str, task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    for strategy in ("entropy", "margin"):  # the second finds the weights of the first
        record, _ = run(capsys, *words(task, results, "--strategy", strategy, "--head", head, *settings(*more)))
        assert any(said in line for line in record["warnings"]), record["warnings"]
    usual, _ = run(capsys, *words(task, results, "--head", "linear"))
    assert not any(
        "exits are fitted on" in line or "recipe." in line for line in usual["warnings"] if "train." not in line
    )


def test_regression_is_fitted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_task(tmp_path / "numbers", regression=True)
    arguments = words(folder, tmp_path / "results", "--strategy", "patience", "--head", "linear")
    record, _ = run(capsys, *arguments)
    assert record["task"]["kind"] == "regression"
    assert len(record["training"]["recipe"]["l2"]) == record["backbone"]["layers"]


# ------------------------------------------------------------------ a model with a classifier of its own


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned model whose classes are the task's, in the other order."""
    folder = tmp_path_factory.mktemp("finetuned") / "model"
    save_finetuned(folder, "bert", ("pos", "neg"), texts=[text for text, _ in reviews(96, 0)], vocab_size=200)
    return folder


def on_model(task: Path, model: Path, results: Path, *more: str) -> list[str]:
    cell = ["--strategy", "entropy", "--recipe", "exits-only", "--task", str(task), "--backbone", str(model)]
    quick = settings("recipe.epochs=2", "train.steps=3", "train.batch_size=16")
    return [*cell, *quick, "--no-latency", "--offline", "--quiet", "--results-dir", str(results), *more]


@pytest.mark.parametrize("targets", ["labels", "model"])
@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_models_own_classifier_is_left_alone(
    head: str, targets: str, task: Path, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--head", head, *settings(f"recipe.targets={targets}")]
    record, found = run(capsys, *on_model(task, finetuned, tmp_path / "results", *more))
    assert record["spec"]["init"] == "finetuned"
    after, stock = weights_of(tmp_path / "results", record), load_file(finetuned / "model.safetensors")
    kept = {
        "head.classifier.classifier.weight": "classifier.weight",
        "head.classifier.classifier.bias": "classifier.bias",
    }
    kept |= {
        f"encoder.model.{n.removeprefix('bert.')}": n for n in stock if n.startswith("bert.") and "pooler" not in n
    }
    assert len(kept) > 20
    assert all(after[ours].numpy().tobytes() == stock[theirs].numpy().tobytes() for ours, theirs in kept.items())
    again = load_run_model(found, Context(Store(tmp_path / "results"), Progress(quiet=True), offline=True))
    assert again.model.head.keeps_last
    assert again.model.head.pooling == record["backbone"]["pooling"]


def test_without_labels_exits_learn_what_the_model_says(task: Path, finetuned: Path, tmp_path: Path) -> None:
    """Turning all labels of the training split around changes nothing, and exits come to agree with the last one."""
    request = Request(
        "entropy",
        str(task),
        str(finetuned),
        recipe="exits-only",
        settings={"recipe.targets": "model", "recipe.l2": 0.001},
        latency=False,
    )
    cell = prepare_cell(request, Context(Store(tmp_path / "results"), Progress(quiet=True), offline=True))
    turned = replace(cell.data, train=replace(cell.data.train, labels=1 - cell.data.train.labels))
    states = []
    for data in (cell.data, turned):
        again = replace(cell, data=data)
        loaded = load_cell_backbone(again, print)
        model, recipe = build_model(again, loaded)
        reader = make_reader(again, loaded, print)
        stages.fit_model(again, model, recipe, reader, tmp_path / "unfinished", print)
        states.append(model.eval().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    exits = record_exits(model, data.train, reader.encode(data.train), Progress(quiet=True))
    odds = exits.logits[:, :, 1] - exits.logits[:, :, 0]
    assert odds[:, -1].std() > 0.1
    assert all(np.corrcoef(early, odds[:, -1])[0, 1] > 0.3 for early in odds[:, :-1].T)
