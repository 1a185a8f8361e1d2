"""The executors of early exit, by name; all give the same exits.

``eager`` runs layer by layer and reads one flag per exit; ``graph`` replays CUDA graphs and speculates one segment
ahead; ``compile`` is eager control flow around layers compiled by torch; ``conditional`` is one CUDA graph whose layers
are skipped by the device itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.conditional import ConditionalEngine, CudaProgram, Record
from bench.inference.graphs import CudaGraphSegment, Segment, SegmentEngine, Work
from bench.inference.live import Outcome, run_live
from bench.inference.placement import EXECUTORS, ON_GPU, check_placement
from strategies.base import Criterion, ExitModel, predict
from strategies.controls import NeverLeave


class Engine(Protocol):
    """Early-exit inference: criterion, cut on its score, batch and sample keys to an outcome."""

    def __call__(self, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None) -> Outcome: ...


class LiveEngine:
    """:func:`run_live` with its model: the ``eager`` executor, and ``compile`` on compiled layers."""

    def __init__(self, model: ExitModel) -> None:
        self.model = model

    def __call__(self, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None) -> Outcome:
        return run_live(self.model, criterion, cut, batch, keys=keys)


def make_engine(
    model: ExitModel,
    executor: str = "eager",
    *,
    record: Callable[[Work], Segment] | None = None,
    program: Record | None = None,
    backend: str = "inductor",
    bucket: int = 16,
) -> Engine:
    """The engine named ``executor`` on ``model``, whose weights it shares.

    ``record`` and ``program`` replace CUDA graphs as what records the segments of ``graph`` and ``conditional`` and the
    latter's programs; ``backend`` is torch.compile's. Raises UsageError for an unknown executor, and for those two on a
    model that is not on an NVIDIA GPU.
    """
    if executor == "eager":
        return LiveEngine(model)
    if executor == "compile":
        compiled = compile_layers(model, backend)
        return LiveEngine(compiled)
    if executor in ON_GPU:
        if record is None:
            check_placement(str(next(model.parameters()).device), executor=executor)
        segments = SegmentEngine(model, record or CudaGraphSegment, bucket=bucket)
        return segments if executor == "graph" else ConditionalEngine(model, segments, program or CudaProgram)
    raise UsageError(f"Unknown executor '{executor}'. Known: {', '.join(EXECUTORS)}.")


def compile_layers(model: ExitModel, backend: str = "inductor") -> ExitModel:
    """The same model, weights shared, with its layers compiled for any batch size and length."""

    def change(layer: torch.nn.Module) -> Any:
        return torch.compile(layer, dynamic=True, backend=backend)

    compiled = ExitModel(model.encoder.with_layers(change), model.head)
    return compiled.train(model.training)


def plain_call(engine: Engine) -> Callable[[Batch], Tensor]:
    """The plain model under an executor: a batch to the last exit's logits [B, C]."""
    never = NeverLeave()
    return lambda batch: engine(never, 0.0, batch).logits


@dataclass(frozen=True)
class Changes:
    """Of how many samples the prediction, and the exit, differ between two engines."""

    samples: int
    predictions: int
    exits: int


def in_dtype(model: ExitModel, dtype: torch.dtype) -> ExitModel:
    """A copy of the model in another floating-point format."""
    return copy.deepcopy(model).to(dtype)


def changes(reference: Engine, other: Engine, criterion: Criterion, cut: float, batches: Iterable[Batch]) -> Changes:
    """Run both engines at one operating point and count where they differ: what bf16, fp16 or a compiler changes.

    Batches must be on the engines' device. Values of regression tasks count as different unless they are equal.
    """
    samples = predictions = exits = 0
    for batch in batches:
        keys = torch.arange(samples, samples + len(batch), device=batch.input_ids.device)
        first, second = reference(criterion, cut, batch, keys), other(criterion, cut, batch, keys)
        samples += len(batch)
        predictions += int((predict(first.logits).cpu() != predict(second.logits).cpu()).sum())
        exits += int((first.layer != second.layer).sum())
    return Changes(samples, predictions, exits)
