"""What a whole sweep costs: all strategies at all thresholds, against one plain pass over the same data.

The published code runs the model again for every threshold. Here the model runs once with every exit on, and all
criteria and thresholds are replayed from its logits. All three are timed in one run, in turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.base import Batch
from bench.inference.live import run_live
from bench.latency.run import pause_garbage_collection
from bench.measure.curve import exact_curve
from bench.measure.scores import score_exits
from bench.measure.stats import paired_ratio
from bench.selfcheck.engine import build_sized_model, format_ratio
from bench.selfcheck.tiny import make_random_batch
from strategies import STRATEGIES
from strategies.base import Criterion, ExitModel
from strategies.entropy import NormalisedEntropy

THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 11))
"""What the ELBERT paper sweeps."""


def time_sweep(size: str = "bert 6x384", samples: int = 512, rounds: int = 4, seed: int = 0) -> dict[str, Any]:
    """Time one plain pass, one pass with all strategies at all thresholds, and one re-run per threshold.

    Batches of 32 random sentences of 8 to 64 tokens, sorted by length. Ratios are to the plain pass of the same round.
    """
    model = build_sized_model(size)
    random = np.random.default_rng(seed)
    lengths = np.sort(random.integers(8, 65, size=samples))
    batches = [
        make_random_batch(part.tolist(), seed + i) for i, part in enumerate(np.array_split(lengths, samples // 32))
    ]
    labels = random.integers(0, model.head.num_outputs, size=samples)
    criteria = make_criteria(model.head.num_outputs)
    modes: dict[str, Callable[[], object]] = {
        "plain": lambda: run_plain_pass(model, batches),
        "sweep": lambda: run_sweep(model, criteria, batches, labels),
        "re-run": lambda: rerun_thresholds(model, NormalisedEntropy(), batches),
    }
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for mode in ("plain", "sweep"):
        modes[mode]()  # warm-up
    for turn in range(rounds):
        # the re-run mode is many times a pass: once in the run is enough to show it
        order = ["plain", "sweep"] + (["re-run"] if turn == 0 else [])
        for mode in order if turn % 2 == 0 else order[::-1]:
            with pause_garbage_collection():
                begun = time.perf_counter()
                modes[mode]()
                seconds[mode].append(time.perf_counter() - begun)
    plain = float(np.mean(seconds["plain"]))
    return {
        "size": size,
        "samples": samples,
        "strategies": len(criteria),
        "thresholds_re_run": len(THRESHOLDS),
        "seconds": seconds,
        "sweep_over_plain": asdict(paired_ratio(seconds["sweep"], seconds["plain"])),
        "re_run_over_plain": seconds["re-run"][0] / plain,
    }


def make_criteria(num_outputs: int) -> dict[str, Criterion]:
    """Make one criterion of every strategy that can be replayed from logits alone, with its defaults."""
    found = {}
    for name in STRATEGIES.builtin:
        kind = STRATEGIES.load(name).criterion
        if kind.causal and kind.uses_early_exits:
            criterion = kind()
            if criterion.probe is None and not criterion.fits and criterion.refuse(num_outputs) is None:
                found[name] = criterion
    return found


@torch.inference_mode()
def run_plain_pass(model: ExitModel, batches: Sequence[Batch]) -> list[int]:
    """Return the answers of the model without early exits."""
    return [answer for batch in batches for answer in model.plain(batch).argmax(dim=-1).tolist()]


@torch.inference_mode()
def run_sweep(
    model: ExitModel, criteria: Mapping[str, Criterion], batches: Sequence[Batch], labels: NDArray[np.int64]
) -> dict[str, int]:
    """Run one pass with every exit on, then the exact curve of every criterion: the number of its rows."""
    logits = torch.cat([torch.stack(model(batch), dim=1) for batch in batches])
    correct = logits.argmax(dim=-1).numpy() == labels[:, None]
    return {
        name: len(exact_curve(score_exits(criterion, logits), [correct], strict=criterion.strict))
        for name, criterion in criteria.items()
    }


def rerun_thresholds(model: ExitModel, criterion: Criterion, batches: Sequence[Batch]) -> list[float]:
    """Do it the published way, with this harness's own engine: run the model for every threshold; mean exit layers."""
    found = []
    for threshold in THRESHOLDS:
        cut = criterion.cut(threshold)
        layers = torch.cat([run_live(model, criterion, cut, batch).layer for batch in batches])
        found.append(float(layers.float().mean()))
    return found


def describe_sweep(result: Mapping[str, Any]) -> str:
    """Return the figures as lines for people."""
    return "\n".join(
        [
            f"{result['size']}, {result['samples']} samples; seconds of the first round: "
            + ", ".join(f"{mode} {times[0]:.2f}" for mode, times in result["seconds"].items()),
            f"all {result['strategies']} strategies at all thresholds: {format_ratio(result['sweep_over_plain'])} "
            "times one plain pass",
            f"one strategy re-run at {result['thresholds_re_run']} thresholds: {result['re_run_over_plain']:.2f} times",
        ]
    )
