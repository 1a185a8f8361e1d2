"""The loop that the trainer is timed against makes the same steps: it ends with the same weights."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.progress import Progress
from bench.selfcheck import training
from bench.selfcheck.engine import build_sized_model
from bench.selfcheck.frozen import draw_sentences
from bench.training.args import TrainArgs
from bench.training.trainer import TrainingPlan, train_model
from strategies.base import ExitModel
from strategies.controls import FinetuneRecipe
from strategies.entropy import LinearHead

LOOPS = [
    training.run_plain_loop,
    pytest.param(
        training.run_trainer,
        marks=pytest.mark.skipif(importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"),
    ),
]


def build_without_dropout() -> ExitModel:
    model = build_sized_model("tiny", head=LinearHead)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    for layer in model.encoder.model.encoder.layer:  # type: ignore[union-attr]
        layer.attention.self.dropout.p = 0.0  # type: ignore[union-attr]
    return model


@pytest.mark.parametrize("loop", LOOPS)
def test_both_loops_make_the_same_steps(loop: object, tmp_path: Path) -> None:
    begun, (encoded, labels) = build_without_dropout(), draw_sentences(100)
    args = TrainArgs(epochs=1, precision="fp32", batch_size=16, lr=1e-3, warmup=0.0)
    ours, other = copy.deepcopy(begun), training.StockClassifier(copy.deepcopy(begun))
    plan = TrainingPlan(encoded, labels, args, "fp32", 0, training.HOST_DEVICE, tmp_path / "progress")
    train_model(ours, FinetuneRecipe(ours.num_layers), plan, Progress(quiet=True))
    loop(other, encoded, labels, args, tmp_path)  # type: ignore[operator]
    before, trained = begun.encoder.model.state_dict(), other.inner.state_dict()
    for name, weights in ours.encoder.model.state_dict().items():
        torch.testing.assert_close(weights, trained[name], atol=2e-5, rtol=1e-4)
    assert any(not torch.equal(weights, before[name]) for name, weights in trained.items())


def test_either_is_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PASSES", 2)
    said: list[str] = []
    found = training.time_trainer(say=said.append, size="tiny", samples=32, threads=1)
    assert [line.partition(":")[0] for line in said].count(training.OUR_TRAINER) == 3
    assert {name: len(taken) for name, taken in found["seconds"].items()} == {
        training.OUR_TRAINER: 2,
        found["other"]: 2,
    }
    text = training.describe_trainer(found)
    assert text.startswith("tiny, an epoch of 32 samples, 1 thread")
    assert ("accelerate" in text) == (found["other"] == training.PLAIN_LOOP)
