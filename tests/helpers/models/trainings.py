"""A few steps of training on eight short samples, and a model's weights as they are now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.tasks.encode import EncodedSplit
from bench.training.args import TrainArgs
from bench.training.trainer import TrainingPlan
from strategies.base import ExitModel
from tests.helpers.models.exit_models import PAD

OUTPUTS = 3


def plan(folder: Path) -> TrainingPlan:
    lengths = np.array([4, 9, 6, 5, 8, 7, 4, 6], dtype=np.int64)
    generator = np.random.default_rng(5)
    ids = [generator.integers(5, 50, n).tolist() for n in lengths]
    args = TrainArgs(steps=3, lr=1e-3, batch_size=4, warmup=0.0, weight_decay=0.1, precision="fp32")
    labels = generator.integers(0, OUTPUTS, len(ids))
    return TrainingPlan(
        EncodedSplit(ids, None, lengths, 0, PAD), labels, args, "fp32", 1, torch.device("cpu"), folder / "p"
    )


def snapshot(model: ExitModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
