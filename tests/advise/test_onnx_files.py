"""`bench export --onnx`: the exits of a model in onnxruntime answer as in torch, all at once and one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from backbones import CLASSIFIERS
from backbones.base import Batch
from bench.advise.export.early_exit import EarlyExitClassifier
from bench.advise.export.onnx_files import (
    WEIGHTS_FILE,
    WHOLE_FILE,
    GraphPart,
    make_feed,
    open_session,
    run_chain,
    write_onnx,
)
from bench.advise.export.write import export_run
from bench.cli.process import main
from bench.errors import UsageError
from bench.results.run import Run
from bench.tasks.encode import EncodedSplit
from strategies.base import ExitModel, Head
from strategies.deebert import HighwayHead
from strategies.elbert import SharedHead
from strategies.entropy import LinearHead
from strategies.patience import SharedPoolerHead
from tests.helpers.models.encoders import make, make_batch
from tests.helpers.models.finetuned_models import VARIANTS, make_own_model
from tests.helpers.models.taken_home import Case, choose_threshold, make_context, record_case, write_home

SEGMENTED = {"albert", "bert", "electra", "roberta"}
"""The types whose models here know two token types; DeBERTa can, but its v3 does not."""
SHAPES = [(1, 1), (1, 2), (1, 9), (2, 5), (3, 30), (5, 12)]
"""Texts and tokens; one of them is what the graphs are made with."""
FEW: dict[str, object] = {"num_hidden_layers": 2}
"""A file a layer takes its seconds: the first and the last one are there, and both of ModernBERT's kinds."""
HEADS = [("bert", HighwayHead), ("roberta", SharedHead), ("modernbert", SharedPoolerHead)]
CASES = [Case("patience", "bert"), Case("elbert-mono", "modernbert", "pairs"), Case("margin", "deberta-v2", own=False)]


def make_texts(typed: bool = True, rows: int = 12, longest: int = 30) -> EncodedSplit:
    """Ids of texts of many lengths; with token types where ``typed``, as some tokenizers give them."""
    random = np.random.default_rng(5)
    lengths = np.linspace(2, longest, rows).astype(np.int64)
    ids = [random.integers(5, 50, length).tolist() for length in lengths]
    types = [[int(at > length // 2) for at in range(length)] for length in lengths]
    return EncodedSplit(ids, types if typed else None, lengths, 0, 1)


def check_files(model: ExitModel, folder: Path, found: dict[str, Any]) -> None:
    """The graph and the chain give torch's logits, for other sizes and lengths, padded and not."""
    whole, *chain = (open_session(folder / name) for name in (found["model"], *found["segments"]))
    typed = "token_type_ids" in found["inputs"]
    answers = []
    for size, tokens in SHAPES:
        for padded in (False, True):
            batch = make_batch(padded, typed, size, tokens)
            with torch.inference_mode():
                wanted = torch.stack(model(batch), dim=1).numpy()
            given = make_feed(batch, found["inputs"])
            assert np.abs(whole.run(None, given)[0] - wanted).max() <= 1e-4
            assert np.abs(run_chain(chain, given) - wanted).max() <= 1e-4
            answers.append(wanted.std())
    assert min(answers) > 0.01  # logits that are all alike would be equal for no reason


def test_every_type_is_here() -> None:
    assert {model_type for model_type, _ in VARIANTS.values()} == set(CLASSIFIERS)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_of_every_type_are_those_of_torch(variant: str, tmp_path: Path) -> None:
    model, _ = make_own_model(variant, LinearHead, 3, (2, 0, 1), **({} if "groups" in variant else FEW))
    found = write_onnx(model, tmp_path, make_texts(), segments=True, tell=lambda _: None)
    typed = VARIANTS[variant][0] in SEGMENTED
    assert found["inputs"] == ["input_ids", "attention_mask", *["token_type_ids"] * typed]
    check_files(model, tmp_path, found)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "head"), HEADS, ids=str)
def test_heads_of_all_kinds_without_token_types(model_type: str, head: type[Head], tmp_path: Path) -> None:
    encoder = make(model_type, initializer_range=0.4, **FEW)
    model = ExitModel(encoder, head(encoder, 1, pooling="mean")).eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    found = write_onnx(model, tmp_path, make_texts(typed=False), segments=False, tell=lambda _: None)
    assert found["inputs"] == ["input_ids", "attention_mask"]
    check_files(model, tmp_path, found)


@pytest.mark.slow
def test_files_that_answer_otherwise_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make_own_model("bert", LinearHead, 3, **FEW)
    step = GraphPart.step

    def forget_padding(self: GraphPart, given: Tensor, attention: Tensor, types: Tensor | None) -> Any:
        return step(self, given, torch.ones_like(attention), types)

    monkeypatch.setattr(GraphPart, "step", forget_padding)
    with pytest.raises(UsageError, match=r"model\.onnx differs from torch by .* nothing was written"):
        write_onnx(model, tmp_path, make_texts(), segments=False, tell=lambda _: None)


@pytest.mark.slow
def test_shared_weights_are_written_once(tmp_path: Path) -> None:
    model, _ = make_own_model("albert", LinearHead, 3, **FEW)
    write_onnx(model, tmp_path, make_texts(), segments=True, tell=lambda _: None)
    large = sum(one.numel() for one in model.parameters() if one.numel() * 4 >= 4096)
    size = (tmp_path / WEIGHTS_FILE).stat().st_size
    assert large * 2 < size < large * 4 * 1.3  # one copy: not what no exit reads, but some space between tensors


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two tasks and the texts that are reported; the current folder while it is used."""
    folder, before = tmp_path_factory.mktemp("onnx"), Path.cwd()
    write_home(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def made() -> dict[Case, tuple[Case, Run, Path]]:
    """What was exported already."""
    return {}


@pytest.fixture(params=CASES, ids=str)
def taken(
    home: Path, made: dict[Case, tuple[Case, Run, Path]], request: pytest.FixtureRequest
) -> tuple[Case, Run, Path]:
    """A run, exported with its ONNX files."""
    case = request.param
    if case not in made:
        run, out = record_case(home, case), home / f"out {case}"
        export_run(run, make_context(home), out, choose_threshold(run), onnx=True)
        made[case] = case, run, out
    return made[case]


@pytest.mark.slow
@pytest.mark.xdist_group("exported files")
def test_the_folder_says_what_it_has(taken: tuple[Case, Run, Path]) -> None:
    _, run, out = taken
    config = json.loads((out / "exit_config.json").read_text())
    said = config["onnx"]
    assert len(said["segments"]) == run.layers
    assert 0 < said["largest_difference"] <= 1e-4
    assert {*said["segments"], WHOLE_FILE, WEIGHTS_FILE} <= set(config["files"])
    card = (out / "README.md").read_text()
    for name in (WHOLE_FILE, *said["segments"]):
        assert f"| {name} |" in card
        file = onnx.load(out / name, load_external_data=False)
        onnx.checker.check_model(out / name)
        places = [tensor.external_data for tensor in file.graph.initializer if tensor.external_data]
        assert {entry.value for place in places for entry in place if entry.key == "location"} <= {WEIGHTS_FILE}
        assert places or name != WHOLE_FILE
        assert b"stack_trace" not in (out / name).read_bytes()
        assert b".py" not in (out / name).read_bytes()


@pytest.mark.slow
@pytest.mark.xdist_group("exported files")
def test_the_example_in_the_card_leaves_where_the_folder_does(home: Path, taken: tuple[Case, Run, Path]) -> None:
    case, _, out = taken
    texts = json.loads((home / "texts.json").read_text())[case.kind][:12]
    example = (out / "README.md").read_text().partition("## ONNX")[2].split("```")[1].removeprefix("python\n")
    assert len(example.splitlines()) <= 15
    asked = "\n".join(
        example.replace('"a text"', ", ".join(map(json.dumps, [text] if case.kind == "texts" else text)))
        for text in texts
    )
    done = subprocess.run([sys.executable, "-c", asked], cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = EarlyExitClassifier.from_pretrained(out)
    layers = set()
    for line, text in zip(done.stdout.splitlines(), texts, strict=True):
        logits, layer, _ = there.run(there.encode(text))
        at, _, said = line.partition(" ")
        assert int(at) == layer
        assert json.loads(said) == pytest.approx(logits[0].tolist(), abs=1e-4)
        layers.add(layer)
    assert len(layers) > 1


@pytest.mark.slow
def test_the_command(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = record_case(home, CASES[0])
    capsys.readouterr()
    asked = ["export", run.folder.name, "told", "--point", "1", "--onnx", "--results-dir", "results", "--offline"]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        assert main([*asked, "--quiet"]) == 2
    assert capsys.readouterr().err.strip() == 'Error: --onnx needs onnxruntime: pip install "exitbench[onnx]".'
    with monkeypatch.context() as broken:
        broken.setattr("bench.advise.export.onnx_files.MOST_DIFFERENT", 0)
        assert main([*asked, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "export this bert model without --onnx" in line
    assert not [path for path in home.iterdir() if "told" in path.name]
    assert main(asked) == 0
    said = capsys.readouterr()
    assert f"model.onnx and {run.layers} segments: logits differ from torch's by" in " ".join(said.out.split())
    assert "Writing ONNX file 1 of 4: model.onnx." in said.err
    assert "Warning" not in said.err


def test_texts_without_padding_are_fed_with_a_mask() -> None:
    given = make_feed(Batch(torch.tensor([[5, 6, 7]])), ["input_ids", "attention_mask", "token_type_ids"])
    assert {name: array.tolist() for name, array in given.items()} == {
        "input_ids": [[5, 6, 7]],
        "attention_mask": [[1, 1, 1]],
        "token_type_ids": [[0, 0, 0]],
    }
