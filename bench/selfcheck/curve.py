"""How fast the exact curve and the bootstraps are, at the size of MNLI's validation set."""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.measure.curve import exact_curve, exit_layers
from bench.measure.stats import bootstrap_ratio

SAMPLES, EXITS, CLASSES = 9815, 12, 3
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
        at = np.arange(SAMPLES), exit_layers(scores, float(curve.cuts[row])) - 1
        return correct[at].mean(), flops[at].mean()

    exact = _time_median(lambda: exact_curve(scores, [correct, flops]), repeats)
    one = _time_median(lambda: [replay(int(row)) for row in rows], 3) / PROBES
    return {
        "samples": SAMPLES,
        "exits": EXITS,
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
    labels = rng.integers(CLASSES, size=SAMPLES)
    depth = np.linspace(0.2, 4.0, EXITS)[:, None]
    logits = rng.normal(size=(SAMPLES, EXITS, CLASSES)) + depth * np.eye(CLASSES)[labels][:, None]
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    scores = -(np.exp(log_p) * log_p).sum(axis=-1) / np.log(CLASSES)
    per_layer = rng.integers(16, 128, size=SAMPLES) * 14_000_000
    return scores, logits.argmax(axis=-1) == labels[:, None], per_layer[:, None] * np.arange(1, EXITS + 1)


def _time_median(work: Callable[[], object], repeats: int) -> float:
    return float(np.median(timeit.repeat(work, number=1, repeat=repeats)))
