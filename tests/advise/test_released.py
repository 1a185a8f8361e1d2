"""Released checkpoints: their names are found, their exits answer as ours do, and what cannot be read is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbones.load import BackboneRequest, load_backbone
from bench.cli.process import main
from bench.inference.exits import record_exits
from bench.progress import Progress
from bench.results.store import Store
from bench.tasks.base import LoadOptions
from bench.tasks.encode import encode_split
from bench.tasks.folder import FolderTask
from strategies import HEADS
from strategies.base import ExitModel, Head
from tests.helpers.models.model_folders import save_model
from tests.helpers.small_runs import write_task

FORMS = [(model_type, head) for model_type in ("bert", "albert", "roberta") for head in ("highway", "shared-pooler")]


def rename(head: Head, form: str, model_type: str) -> dict[str, Tensor]:
    """The weights of a head under the names that the released code gives them."""
    last = head.num_layers - 1
    own = f"{model_type}.pooler" if model_type == "albert" else f"{model_type}.pooler.dense"
    found = {}
    for name, tensor in head.state_dict().items():
        part, *number, kind = name.split(".")
        if form == "shared-pooler":
            found[f"{own}.{kind}" if part == "pooler" else name] = tensor
        elif int(number[0]) < last:
            inner = "pooler.dense" if part == "poolers" else "classifier"
            found[f"{model_type}.encoder.highway.{number[0]}.{inner}.{kind}"] = tensor
        elif model_type == "roberta":
            found[f"classifier.{'dense' if part == 'poolers' else 'out_proj'}.{kind}"] = tensor
        else:
            found[f"{own}.{kind}" if part == "poolers" else f"classifier.{kind}"] = tensor
    return {name: tensor.clone().contiguous() for name, tensor in found.items()}


def release(folder: Path, form: str, model_type: str, outputs: int = 2) -> ExitModel:
    """Write a model with exits as it would be released, and return it as ours."""
    save_model(folder, model_type)
    loaded = load_backbone(BackboneRequest(str(folder)))
    torch.manual_seed(1)
    head = HEADS.load(form)(loaded.encoder, outputs).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter))
    weights = {f"{model_type}.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    if form == "highway":  # of the last layer: never trained, and not what answers there
        weights[f"{model_type}.encoder.highway.{head.num_layers - 1}.classifier.weight"] = torch.full((2, 16), 9.0)
    save_file({**weights, **rename(head, form, model_type)}, folder / "model.safetensors", metadata={"format": "pt"})
    return ExitModel(loaded.encoder, head)


def import_checkpoint(folder: Path, *more: str) -> int:
    words = ["--checkpoint", "--name", "released", "--strategy", "deebert", "--offline", "--quiet"]
    results = ["--results-dir", str(folder.parent / "results")]
    return main(["import", str(folder), *words, *results, *more])


@pytest.mark.parametrize(("model_type", "form"), FORMS)
def test_a_released_checkpoint_answers_as_it_did(model_type: str, form: str, tmp_path: Path) -> None:
    task = write_task(tmp_path / "reviews", train=200, validation=40)
    model = release(tmp_path / "model", form, model_type)
    assert import_checkpoint(tmp_path / "model", "--task", str(task)) == 0
    [run] = Store(tmp_path / "results").runs()[0]
    data = FolderTask(task).load(LoadOptions())
    tokenizer = load_backbone(BackboneRequest(str(tmp_path / "model"))).tokenizer
    split = data.evaluation["validation"]
    encoded = encode_split(split, tokenizer, min(FolderTask.max_length, tokenizer.model_max_length))
    wanted = record_exits(model, split, encoded, Progress(quiet=True))
    np.testing.assert_array_equal(run.exits().logits, wanted.logits)
    np.testing.assert_array_equal(run.exits().lengths, wanted.lengths)
    assert run.exits("select").ids == data.select.ids
    assert run.result().full.cost_unit == "flops"
    assert run.record.external is not None
    assert (run.record.external.head, run.backbone) == (form, "model")


REFUSED = {
    "pickle": "save_file",
    "no exits": "has no exits",
    "other classes": "another number of classes",
    "an exit lacks": "lacks bert.encoder.highway.1.pooler.dense.bias",
    "no task": "--task",
    "held-out logits": "leave",
    "no folder": "is none",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_cannot_be_read_is_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, more = tmp_path / "model", ["--task", str(write_task(tmp_path / "reviews"))]
    release(folder, "highway", "bert", 3 if case == "other classes" else 2)
    weights = load_file(folder / "model.safetensors")
    if case == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif case == "no exits":
        kept = {n: t for n, t in weights.items() if "highway" not in n}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    elif case == "an exit lacks":
        del weights["bert.encoder.highway.1.pooler.dense.bias"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    elif case == "no task":
        more = []
    elif case == "held-out logits":
        more += ["--select", "held.npz"]
    elif case == "no folder":
        folder = tmp_path / "model" / "config.json"
    capsys.readouterr()
    assert import_checkpoint(folder, *more) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert REFUSED[case] in lines[0]


def name_classes(folder: Path, *names: str) -> None:
    """Give a checkpoint's classes names."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: number for number, name in enumerate(names)}
    path.write_text(json.dumps(config))


def test_classes_are_matched_by_the_names_of_the_checkpoint(tmp_path: Path) -> None:
    task, folder = write_task(tmp_path / "reviews", train=200, validation=40), tmp_path / "model"
    release(folder, "highway", "bert")
    found = {}
    for names in (("neg", "pos"), ("Pos", "neg"), ("LABEL_0", "LABEL_1")):
        name_classes(folder, *names)
        assert import_checkpoint(folder, "--task", str(task)) == 0
        [run] = Store(tmp_path / "results").runs()[0]
        assert run.record.task.labels == ("neg", "pos")
        found[names] = (run.record, run.exits().logits)
        shutil.rmtree(tmp_path / "results")
    same, turned, numbered = found.values()
    np.testing.assert_array_equal(same[1], turned[1][:, :, ::-1])
    np.testing.assert_array_equal(same[1], numbered[1])
    assert not any("matched by number" in warning for warning in (*same[0].warnings, *turned[0].warnings))
    assert any("matched by number: neg = LABEL_0, pos = LABEL_1" in warning for warning in numbered[0].warnings)


def test_classes_of_another_task_are_refused_with_both_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, folder = write_task(tmp_path / "reviews", train=200, validation=40), tmp_path / "model"
    release(folder, "highway", "bert")
    name_classes(folder, "entailment", "not_entailment")
    capsys.readouterr()
    assert import_checkpoint(folder, "--task", str(task)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "its classes are entailment, not_entailment, the task's neg, pos. Give the task" in line
