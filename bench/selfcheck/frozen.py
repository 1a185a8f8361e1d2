"""What fitting exits on kept states costs, against an epoch of joint training on the same samples, in one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.latency.queries import fix_threads
from bench.progress import Progress
from bench.selfcheck.engine import build_sized_model
from bench.tasks.encode import EncodedSplit
from bench.training.args import TrainArgs
from bench.training.exits import ExitFit, fit_exits
from bench.training.states import open_states, record_states
from bench.training.trainer import TrainingPlan, train_model
from strategies import HEADS
from strategies.base import ExitModel
from strategies.entropy import JointRecipe
from strategies.pooler import PooledHead
from strategies.state_fit import StateFit

FITTED_HEADS = ("linear", "shared")


def time_exit_fits(
    *, say: Callable[[str], None], size: str = "bert 6x384", samples: int = 1024, threads: int | None = None
) -> dict[str, Any]:
    """Time one epoch of joint training in float32, the pass that keeps states, and the fit of each head on these.

    Random sentences of 8 to 64 tokens, whose two classes are told by their tokens. A fit is the whole of it: both
    poolings, what is chosen on samples held out, all exits. Ratios are the epoch's time to each.
    """
    model, quiet = build_sized_model(size), Progress(quiet=True)
    encoded, labels = draw_sentences(samples)
    seconds: dict[str, float] = {}

    def measure(what: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        seconds[what] = time.perf_counter() - begun
        say(f"{what}: {seconds[what]:.1f} s")

    with TemporaryDirectory() as folder, fix_threads(threads):
        path = Path(folder) / "states.safetensors"
        measure("pass that keeps the states", lambda: record_states(model, encoded, path, quiet))
        states = open_states(path)
        for name in FITTED_HEADS:
            head = HEADS.load(name)(model.encoder, 2)
            assert isinstance(head, PooledHead)
            fit = ExitFit(head, range(1, model.num_layers + 1), StateFit(), seed=0)
            measure(f"fit of head {name}", lambda fit=fit: fit_exits(fit, states, torch.from_numpy(labels)))  # type: ignore[misc]
        joint = ExitModel(model.encoder, HEADS.load("linear")(model.encoder, 2))
        args = TrainArgs(epochs=1, precision="fp32")
        plan = TrainingPlan(encoded, labels, args, "fp32", 0, torch.device("cpu"), Path(folder) / "progress")
        measure("epoch of joint training", lambda: train_model(joint, JointRecipe(model.num_layers), plan, quiet))
    epoch = seconds["epoch of joint training"]
    ratios = {what: epoch / taken for what, taken in seconds.items()}
    return {"size": size, "samples": samples, "seconds": seconds, "ratios": ratios}


def draw_sentences(samples: int) -> tuple[EncodedSplit, np.ndarray[Any, np.dtype[np.int64]]]:
    """Draw random token ids and classes int64 [N]: one of two words is in each sentence, and says which."""
    random = np.random.default_rng(0)
    lengths = random.integers(8, 65, samples)
    labels = random.integers(0, 2, samples)
    ids = [random.integers(10, 30_000, length).tolist() for length in lengths]
    for row, label in zip(ids, labels, strict=True):
        row[1:4] = [5 + int(label)] * 3
    return EncodedSplit(ids, None, lengths.astype(np.int64), 0, 0), labels.astype(np.int64)


def describe_exit_fits(result: Mapping[str, Any]) -> str:
    """Return the times as lines for people."""
    head = f"{result['size']}, {result['samples']:,} samples; how many times as fast as the epoch"
    seconds, ratios = result["seconds"], result["ratios"]
    return "\n".join([head, *(f"{what:<30}{seconds[what]:>8.1f} s{ratios[what]:>8.1f}x" for what in seconds)])
