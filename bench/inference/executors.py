"""The executors of early exit, by name; all give the same exits.

``eager`` runs layer by layer and reads one flag per exit; ``graph`` replays CUDA graphs and speculates one segment
ahead; ``compile`` is eager control flow around layers compiled by torch; ``conditional`` is one CUDA graph whose layers
are skipped by the device itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from backbones.base import Batch
from backbones.names import make_unknown_error
from bench.inference.conditional import ConditionalExecutor, CudaProgram, RecordProgram
from bench.inference.graphs import GraphExecutor
from bench.inference.live import LiveResult, run_live
from bench.inference.placement import EXECUTORS, ON_GPU, check_placement
from bench.inference.segments import CudaGraphSegment, RecordSegment
from strategies.base import Criterion, ExitModel
from strategies.controls import NeverLeave


class EagerExecutor:
    """:func:`run_live` with its model: the ``eager`` executor, and ``compile`` on compiled layers."""

    def __init__(self, model: ExitModel, name: str = "eager") -> None:
        self.model, self.name = model, name
        self.device = next(model.parameters()).device

    def __call__(self, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None) -> LiveResult:
        return run_live(self.model, criterion, cut, batch.to(self.device), keys=keys)


Executor = EagerExecutor | GraphExecutor | ConditionalExecutor
"""Early-exit inference: criterion, cut on its score, batch and sample keys to where samples left and how.

Batch and keys may be on the host: the way to the model's device is the executor's, whose ``name`` is one of
:data:`bench.inference.placement.EXECUTORS`.
"""


def make_executor(
    model: ExitModel,
    name: str = "eager",
    *,
    record: RecordSegment | None = None,
    program: RecordProgram | None = None,
    backend: str = "inductor",
) -> Executor:
    """Make the executor of that name on ``model``, whose weights it shares.

    ``record`` and ``program`` replace CUDA graphs as what records the segments of ``graph`` and ``conditional`` and the
    latter's programs; ``backend`` is torch.compile's. Raises UsageError for an unknown executor, and for those two on a
    model that is not on an NVIDIA GPU.
    """
    if name == "eager":
        return EagerExecutor(model)
    if name == "compile":  # for any batch size and length; weights are shared
        encoder = model.encoder.with_layers(lambda layer: torch.compile(layer, dynamic=True, backend=backend))
        return EagerExecutor(ExitModel(encoder, model.head).train(model.training), name)
    if name in ON_GPU:
        if record is None:
            check_placement(str(next(model.parameters()).device), executor=name)
        segments = GraphExecutor(model, record or CudaGraphSegment)
        return segments if name == "graph" else ConditionalExecutor(model, segments, program or CudaProgram)
    raise make_unknown_error("executor", name, EXECUTORS)


def make_plain_call(executor: Executor) -> Callable[[Batch], Tensor]:
    """Return the plain model under an executor: a batch to the last exit's logits [B, C]."""
    never = NeverLeave()
    return lambda batch: executor(never, 0.0, batch).logits
