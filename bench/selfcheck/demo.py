"""What the demo promises, over seeds, threads and instruction sets: a process each, as a person would start it.

Rounding differs between numbers of threads and between instruction sets, and training amplifies it; what a person reads
must not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from bench.errors import UsageError
from bench.inference.replay import make_criterion
from bench.measure.curve import exit_layers
from bench.measure.scores import score_recorded
from bench.results.run import Run
from bench.results.store import Store

ASKED = ("elbert-mono", "demo")
INSTRUCTIONS: Mapping[str, Mapping[str, str]] = {
    "sse": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "native": {},
}
"""Environment variables that keep torch and its libraries to an instruction set."""
THREADS = (1, 2)
WINDOW_AT = ("default", "no-loss", "2x")


@dataclass(frozen=True)
class DemoFacts:
    """What a person reads at the end of one run; ``by_window`` are the shares that the window let go, by point."""

    seed: int
    threads: int
    instructions: str
    accuracy: float
    no_loss: float
    speedup: float
    by_window: Mapping[str, float]
    seconds: float


def run_demo(seed: int, threads: int, instructions: str, say: Callable[[str], None]) -> DemoFacts:
    """Run the demo once in a process of its own, without timing. Raises UsageError where it fails."""
    say(f"Demo with seed {seed}, {threads} thread{'s' * (threads > 1)}, {instructions} instructions.")
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **INSTRUCTIONS[instructions]}
    with tempfile.TemporaryDirectory(prefix="bench-demo-") as folder:
        words = ["run", "--strategy", ASKED[0], "--task", ASKED[1], "--seed", str(seed), "--no-latency"]
        command = [sys.executable, "-m", "bench", *words, "--results-dir", folder]
        begun = time.perf_counter()
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True)
        seconds = time.perf_counter() - begun
        if done.returncode != 0:
            raise UsageError(f"The demo ended with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        (run,) = Store(Path(folder)).runs()[0]
        return read_facts(run, threads, instructions, seconds)


def read_facts(run: Run, threads: int, instructions: str, seconds: float) -> DemoFacts:
    """Return what the record of a run of the demo says."""
    result, no_loss = run.result(), run.point("no-loss")
    if no_loss is None:
        raise UsageError("The demo has no point without loss.")
    return DemoFacts(
        seed=run.seed,
        threads=threads,
        instructions=instructions,
        accuracy=result.per_exit["accuracy"][-1],
        no_loss=no_loss.metrics["accuracy"].value,
        speedup=no_loss.cost_speedup.value,
        by_window={rule: find_window_share(run, rule) for rule in WINDOW_AT if run.point(rule) is not None},
        seconds=seconds,
    )


def find_window_share(run: Run, rule: str) -> float:
    """Return the share of samples that leave at an exit where the window, and not the exit's own entropy, lets them."""
    exits, cut = run.exits(), run.cut_of(rule)
    alone, _ = make_criterion(run.spec.strategy, {**run.spec.criterion_args, "window": 0})
    without = exit_layers(score_recorded(alone, exits), cut, strict=alone.strict)
    return float(np.mean(run.layers_at(rule) < without))


def check_demo(seeds: Sequence[int], instructions: Sequence[str], say: Callable[[str], None]) -> list[DemoFacts]:
    """Run the demo with every seed, number of threads and instruction set."""
    return [run_demo(seed, threads, name, say) for seed, threads, name in product(seeds, THREADS, instructions)]


def describe_demo(found: Sequence[DemoFacts]) -> str:
    """Return a table in Markdown and a line that says how far apart the runs are."""
    lines = [
        "| seed | threads | instructions | all layers | no-loss | FLOPs speed-up | window: 0.1 | no-loss | 2x | s |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in found:
        shares = " | ".join(f"{one.by_window[rule]:.3f}" if rule in one.by_window else "-" for rule in WINDOW_AT)
        lines.append(
            f"| {one.seed} | {one.threads} | {one.instructions} | {one.accuracy:.3f} | {one.no_loss:.3f} | "
            f"{one.speedup:.2f}x | {shares} | {one.seconds:.0f} |"
        )
    accuracies, speedups = [one.accuracy for one in found], [one.speedup for one in found]
    lines.append(
        f"\nAll layers: {min(accuracies):.3f} to {max(accuracies):.3f}, {max(accuracies) - min(accuracies):.3f} apart. "
        f"No-loss: {min(speedups):.2f}x to {max(speedups):.2f}x. Seconds without timing of latency."
    )
    return "\n".join(lines)
