"""Everything that waits for an NVIDIA card, in one command of less than ten minutes.

Each part is a file of its own in the folder given, and one that is there is not measured again, so that a run that was
cut off goes on where it stopped. A rehearsal does all of it on a CPU with tiny models, CUDA graphs played as tapes and
counters that are made up, so that the hardware is all that is left unknown.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from backbones import ENCODERS
from backbones.base import Batch
from bench.environment import read_versions
from bench.errors import UsageError
from bench.files import read_object, write_json
from bench.inference.executors import Executor
from bench.inference.placement import EXECUTORS
from bench.latency.depth import measure_depth_table
from bench.latency.energy import compare_energy
from bench.latency.machine import load_nvml
from bench.latency.queries import make_exit_query, make_plain_query, measure_interleaved, number_samples
from bench.latency.result import LatencyOptions
from bench.latency.scenarios import ServingOptions, find_capacities
from bench.selfcheck.engine import (
    TIMED_CRITERIA,
    TIMED_SIZES,
    Setup,
    build_sized_model,
    describe_engine,
    format_ratio,
    measure_engine,
)
from bench.selfcheck.tiny import make_random_batch, make_tiny_batch, make_tiny_model
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits, NeverLeave
from strategies.elbert import MonotoneWindow, SharedHead
from strategies.entropy import NormalisedEntropy

DECIDED: Mapping[str, tuple[Criterion, float]] = {
    "entropy": (NormalisedEntropy(), 0.5),
    "elbert-mono": (MonotoneWindow(window=2), 0.4),
    "never leave": (NormalisedEntropy(), -1.0),
    "plain": (NeverLeave(), 0.0),
}
"""Criteria and cuts at which executors are compared: exits at many depths, and at the last."""

LENGTHS = ([7], [17], [33], [33, 5, 16, 2, 40, 16])
"""Tokens of the samples of each batch that executors are compared on."""


@dataclass(frozen=True)
class GpuPlan:
    """What is measured, where: torch's device, seconds of each measurement, and whether it is a rehearsal."""

    device: str
    seconds: float
    rehearsal: bool
    say: Callable[[str], None]

    @property
    def sizes(self) -> Sequence[str]:
        """The models that are timed, by name."""
        return ("tiny",) if self.rehearsal else TIMED_SIZES

    def setup(self, dtype: torch.dtype = torch.float32, executor: str = "graph") -> Setup:
        """Return how models run in this format under this executor."""
        return Setup(self.device, dtype, executor, self.rehearsal)

    def has_conditional(self) -> bool:
        """Return whether torch records conditional nodes, or a rehearsal plays them."""
        return self.rehearsal or hasattr(torch.cuda.CUDAGraph, "begin_capture_to_if_node")


def check_gpu(
    folder: Path, device: str, *, seconds: float = 4.0, rehearsal: bool = False, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure every part that ``folder`` does not hold yet, and return all of them by name; plain data.

    Raises UsageError where the folder holds parts from another card or version of torch, or a rehearsal's.
    """
    plan = GpuPlan(device, 0.2 if rehearsal else seconds, rehearsal, say)
    library = None if rehearsal else load_nvml()
    card = {
        "rehearsal": rehearsal,
        "card": "none" if rehearsal else torch.cuda.get_device_properties(device).name,
        "driver": None if library is None else str(library.nvmlSystemGetDriverVersion()),
        "cuda": torch.version.cuda,
        "conditional_nodes": plan.has_conditional(),
        "versions": {name: read_versions()[name] for name in ("python", "torch", "transformers")},
    }
    found: dict[str, Any] = {"card": card}
    known = folder / "card.json"
    if known.exists() and read_object(known) != card:
        raise UsageError(f"{folder} holds what another card or another torch measured: take another folder.")
    write_json(known, card)
    for name, measure_part in GPU_PARTS.items():
        path = folder / f"{name}.json"
        if path.exists():
            say(f"{name}: kept from before.")
            found[name] = read_object(path)
            continue
        say(f"{name} ...")
        begun = time.monotonic()
        gc.collect()
        gc.freeze()  # what parts before left is not looked through before every round of this one
        found[name] = {**measure_part(plan), "seconds": round(time.monotonic() - begun, 1)}
        write_json(path, found[name])
    gc.unfreeze()
    return found


# --------------------------------------------------------------------------- equal decisions


def compare_executors(plan: GpuPlan) -> dict[str, Any]:
    """Count, for every backbone, format and executor, the samples that leave elsewhere than under ``eager``.

    ``compile`` is compared on one backbone: compiling takes its time. ``logit`` is the largest difference between the
    logits of samples that leave at the same exit.
    """
    executors = [e for e in EXECUTORS if e != "eager" and (e != "conditional" or plan.has_conditional())]
    formats = [torch.float32, torch.bfloat16, *([] if plan.device == "cpu" else [torch.float16])]
    rows = []
    for model_type, dtype in product(sorted(ENCODERS), formats):
        positions = 44 if model_type == "roberta" else 40  # RoBERTa's positions start after the padding's
        model = make_tiny_model(model_type, SharedHead, max_position_embeddings=positions).to(plan.device, dtype)
        for executor in executors:
            if executor != "compile" or model_type == "bert":
                found = compare_executor(model, plan.setup(dtype, executor))
                name = str(dtype).removeprefix("torch.")
                rows.append({"backbone": model_type, "dtype": name, "executor": executor, **found})
    return {"rows": rows}


def compare_executor(model: ExitModel, setup: Setup) -> dict[str, Any]:
    """Run the same samples under ``eager`` and under the setup's executor, and count where they differ."""
    eager, other = replace(setup, executor="eager").make_executor(model), setup.make_executor(model)
    samples = exits = 0
    logit = 0.0
    for (criterion, cut), (number, lengths) in product(DECIDED.values(), enumerate(LENGTHS)):
        batch = make_tiny_batch(lengths, seed=number)
        keys = torch.arange(len(batch))
        one, two = eager(criterion, cut, batch, keys), other(criterion, cut, batch, keys)
        same = one.layer == two.layer
        samples, exits = samples + len(batch), exits + int((~same).sum())
        differences = (one.logits.float().cpu() - two.logits.float().cpu()).abs()[same]
        logit = max(logit, float(differences.max()) if same.any() else 0.0)
    return {"samples": samples, "other_exit": exits, "logit": logit}


# --------------------------------------------------------------------------- time


def measure_speed(plan: GpuPlan, dtype: torch.dtype, executor: str) -> dict[str, Any]:
    """Measure batch 1 and batch 32 against the plain models, the graphed one among them."""
    if executor == "conditional" and not plan.has_conditional():
        return {"ratios": [], "note": f"torch {torch.__version__} records no conditional nodes"}
    return measure_engine(
        plan.setup(dtype, executor),
        sizes=plan.sizes if executor != "eager" else plan.sizes[:1],
        batch_sizes=[size for size in plan.sizes if executor != "conditional" and size != "albert-base"],
        predictions=False,
        seconds=plan.seconds,
        say=plan.say,
    )


def measure_depth(plan: GpuPlan) -> dict[str, Any]:
    """Measure what leaving at every exit costs, and predict an operating point's latency from it."""
    setup = plan.setup()
    model = build_sized_model(plan.sizes[-1], setup)
    batches = [make_random_batch([tokens], tokens) for tokens in (16, 32, 48, 64)]
    options = LatencyOptions(samples=len(batches), seconds=plan.seconds, executor="graph", streak=4)
    forced = ForcedExits(NormalisedEntropy())
    points = {"exit L/2": forced.cut(model.num_layers // 2)}
    return measure_depth_table(model, forced, points, batches, options, make=setup.make_executor).to_json()


def make_half_way(plan: GpuPlan) -> tuple[ExitModel, Executor, ForcedExits, float, list[Batch]]:
    """Return a model, the graph executor on it, entropy checks with the cut that leaves half way, and eight samples."""
    criterion, head = TIMED_CRITERIA["entropy"]
    model, forced = build_sized_model(plan.sizes[0], plan.setup(), head), ForcedExits(criterion)
    batches = [make_random_batch([64], seed) for seed in range(8)]
    return model, plan.setup().make_executor(model), forced, forced.cut(model.num_layers // 2), batches


def measure_serving(plan: GpuPlan) -> dict[str, Any]:
    """Find the highest rate of random arrivals within one latency target, plain and leaving half way."""
    model, executor, forced, cut, batches = make_half_way(plan)
    plain = plan.setup().make_baselines(model)
    options = LatencyOptions(samples=len(batches), seconds=plan.seconds, executor="graph", streak=4)
    points = {"exit L/2": (forced, cut)}
    single = measure_interleaved(model, points, batches, options, baselines=plain, executor=executor)
    asked = {
        single.baseline: make_plain_query(model, plain[single.baseline], batches),
        "exit L/2": make_exit_query(executor, forced, cut, batches, number_samples(batches)),
    }
    load = ServingOptions(percentile=50, queries=64, steps=1, searches=1) if plan.rehearsal else ServingOptions()
    held, reasons = find_capacities(asked, single, load, len(batches), plan.say)
    return {
        "single_ms": {label: single.summary(label).mean * 1e3 for label in asked},
        "serving": held,
        "reasons": [*single.reasons, *reasons],
    }


def measure_power(plan: GpuPlan) -> dict[str, Any]:
    """Compare the card's energy counter with the power that it tells, summed over the same time."""
    _, executor, forced, half_way, batches = make_half_way(plan)
    made_up = (lambda: round(time.monotonic() * 1e5), lambda: 100.0) if plan.rehearsal else None
    points: dict[str, tuple[Criterion, float]] = {"plain": (NeverLeave(), 0.0), "exit L/2": (forced, half_way)}
    found = {}
    for label, (criterion, cut) in points.items():
        query = make_exit_query(executor, criterion, cut, batches, number_samples(batches))
        seconds = 0.3 if plan.rehearsal else 5.0
        found[label] = compare_energy(query, range(8), plan.device, seconds=seconds, meters=made_up)
    return {"energy": found}


GPU_PARTS: Mapping[str, Callable[[GpuPlan], dict[str, Any]]] = {
    "decisions": compare_executors,
    "ratios-graph-fp32": lambda plan: measure_speed(plan, torch.float32, "graph"),
    "ratios-graph-bf16": lambda plan: measure_speed(plan, torch.bfloat16, "graph"),
    "ratios-eager-fp32": lambda plan: measure_speed(plan, torch.float32, "eager"),
    "ratios-eager-bf16": lambda plan: measure_speed(plan, torch.bfloat16, "eager"),
    "ratios-conditional-fp32": lambda plan: measure_speed(plan, torch.float32, "conditional"),
    "depth": measure_depth,
    "serving": measure_serving,
    "energy": measure_power,
}
"""What is measured, by the name of its file, in this order: what the rest stands on comes first."""


# --------------------------------------------------------------------------- what was found


def describe_gpu(found: Mapping[str, Any]) -> str:
    """Return the parts as lines for people."""
    card, rows = found["card"], found["decisions"]["rows"]
    lines = [
        f"{card['card']}, driver {card['driver']}, torch {card['versions']['torch']}, CUDA {card['cuda']}, conditional "
        f"nodes: {'yes' if card['conditional_nodes'] else 'no'}",
        f"Decisions: {sum(row['other_exit'] for row in rows)} of {sum(row['samples'] for row in rows)} samples leave "
        "elsewhere than under eager in the same format.",
    ]
    for row in rows:
        if row["other_exit"]:
            where = f"{row['backbone']}, {row['dtype']}, {row['executor']}"
            lines.append(f"  {where}: {row['other_exit']} of {row['samples']}")
    for name, part in found.items():
        if name.startswith("ratios-"):
            lines.append(describe_engine(part) if part["ratios"] else f"{name}: {part['note']}")
    for label, point in found["depth"]["points"].items():
        lines.append(f"Depth table, {label}: measured / predicted {format_ratio(point['ratio'])}")
    for label, held in found["serving"]["serving"].items():
        rate = "none" if held["rate"] is None else f"{held['rate']:.0f} queries a second"
        if held.get("rate_low") is not None:  # parts from before there were several searches
            rate += f" [{held['rate_low']:.0f}, {held['rate_high']:.0f}]"
        lines.append(f"Serving, {label}: {rate} with p{held['percentile']} within {held['target'] * 1e3:.2f} ms")
    for label, energy in found["energy"]["energy"].items():
        lines.append(
            f"Energy, {label}: {energy['note']}"
            if energy["counter"] is None
            else f"Energy, {label}: counter {energy['counter']:.1f} J, integrated power {energy['integrated']:.1f} J, "
            f"{energy['difference']:+.1%}{'' if energy['valid'] else '; INVALID'}"
        )
    return "\n".join(lines)
