"""What a whole sweep costs: all strategies at all thresholds, against one plain pass over the same data.

The published code runs the model again for every threshold. Here the model runs once with every exit on, and all
criteria and thresholds are replayed from its logits. All three are timed in one run, in turns. The exact curve and the
bootstraps are timed by themselves, at the size of MNLI's validation set.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.base import Batch
from bench.inference.live import run_live
from bench.inference.replay import list_criteria
from bench.latency.queries import make_stepped_call
from bench.latency.rounds import pause_garbage_collection
from bench.measure.curve import exact_curve, exit_layers
from bench.measure.rounds import paired_ratio
from bench.measure.scores import score_exits
from bench.measure.stats import bootstrap_ratio
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
    criteria = list_criteria(STRATEGIES.builtin, model.head.num_outputs)
    plain = make_stepped_call(model)
    modes: dict[str, Callable[[], object]] = {
        "plain": lambda: [plain(batch).argmax(dim=-1).tolist() for batch in batches],
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
    return {
        "size": size,
        "samples": samples,
        "strategies": len(criteria),
        "thresholds_re_run": len(THRESHOLDS),
        "seconds": seconds,
        "sweep_over_plain": asdict(paired_ratio(seconds["sweep"], seconds["plain"])),
        "re_run_over_plain": seconds["re-run"][0] / float(np.mean(seconds["plain"])),
    }


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
    """Run the model once a threshold, the published way, on this harness's own engine; return the mean exit layers."""
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


# --------------------------------------------------------------------------- curves and bootstraps

CURVE_SAMPLES, CURVE_EXITS, CURVE_CLASSES = 9815, 12, 3
PROBES = 50  # brute force is timed on this many thresholds and scaled to all: its cost is the same at each


def time_curves(repeats: int = 7, replicates: int = 1000, seed: int = 0) -> dict[str, float]:
    """Time the exact curve against replaying every threshold, and a bootstrap, on random logits.

    Times in seconds, the median of ``repeats`` (the bootstrap runs once). ``every_threshold_s`` is scaled from
    50 thresholds; ``grid_s`` is a grid of 100. Confidence grows with depth, as in a trained model.
    """
    scores, correct, flops = _make_scores(np.random.default_rng(seed))
    curve = exact_curve(scores, [correct, flops])
    rows = np.linspace(0, len(curve) - 1, PROBES).astype(np.int64)

    def replay(row: int) -> tuple[float, float]:
        at = np.arange(CURVE_SAMPLES), exit_layers(scores, float(curve.cuts[row])) - 1
        return correct[at].mean(), flops[at].mean()

    exact = _time_median(lambda: exact_curve(scores, [correct, flops]), repeats)
    one = _time_median(lambda: [replay(int(row)) for row in rows], 3) / PROBES
    return {
        "samples": CURVE_SAMPLES,
        "exits": CURVE_EXITS,
        "curve_points": len(curve),
        "exact_curve_s": exact,
        "every_threshold_s": one * len(curve),
        "grid_s": one * 100,
        "exact_vs_every_threshold": one * len(curve) / exact,
        "exact_vs_grid": one * 100 / exact,
        "replicates": replicates,
        "bootstrap_s": _time_median(lambda: bootstrap_ratio(flops[:, -1], flops[:, 3], replicates), 1),
    }


def describe_curves(result: dict[str, float]) -> str:
    """Return the times as a few lines for people."""
    exact, grid, every = result["exact_curve_s"] * 1e3, result["grid_s"] * 1e3, result["every_threshold_s"]
    size = f"{result['samples']:,.0f} samples x {result['exits']:.0f} exits"
    lines = [
        f"{size}, {result['curve_points']:,.0f} curve points",
        f"exact curve                {exact:8.1f} ms",
        f"grid of 100 thresholds     {grid:8.1f} ms  {result['exact_vs_grid']:,.0f} x the exact curve",
        f"every threshold, replayed  {every:8.1f} s   {result['exact_vs_every_threshold']:,.0f} x the exact curve "
        f"(scaled from {PROBES} thresholds)",
        f"{result['replicates']:,.0f} bootstrap replicates of a ratio     {result['bootstrap_s']:.2f} s",
    ]
    return "\n".join(lines)


def _make_scores(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Make normalised entropies [N, L], correctness [N, L] and FLOPs [N, L] from random logits."""
    labels = rng.integers(CURVE_CLASSES, size=CURVE_SAMPLES)
    depth = np.linspace(0.2, 4.0, CURVE_EXITS)[:, None]
    logits = (
        rng.normal(size=(CURVE_SAMPLES, CURVE_EXITS, CURVE_CLASSES)) + depth * np.eye(CURVE_CLASSES)[labels][:, None]
    )
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    scores = -(np.exp(log_p) * log_p).sum(axis=-1) / np.log(CURVE_CLASSES)
    per_layer = rng.integers(16, 128, size=CURVE_SAMPLES) * 14_000_000
    return scores, logits.argmax(axis=-1) == labels[:, None], per_layer[:, None] * np.arange(1, CURVE_EXITS + 1)


def _time_median(work: Callable[[], object], repeats: int) -> float:
    return float(np.median(timeit.repeat(work, number=1, repeat=repeats)))
