"""CUDA graphs, played on a CPU: what is recorded is the list of tensor operations, never the Python around them.

A replay runs the same operations on the same memory. Whatever a real capture refuses raises while recording: reading a
value on the host, shapes that depend on values, copies of host numbers to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.inference.conditional import EagerProgram, ProgramPart, RecordProgram
from bench.inference.segments import EagerSegment, ForwardPart, RecordSegment
from strategies.base import ExitModel

HOST = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique", "lift_fresh")
"""Operations that wait for the device, or feed it from pageable memory."""


def list_tensors(tree: object) -> list[Tensor]:
    """Return the tensors in nested arguments or results."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Tape(TorchDispatchMode):
    """The tensor operations of some work, and what it ``made``. ``host`` names those of :data:`HOST` let pass."""

    def __init__(self, work: Callable[[], Any], host: Sequence[str] = ()) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.refused = set(HOST) - set(host)
        with self:
            self.made = work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in self.refused or (name == "index" and any(t.dtype == torch.bool for t in list_tensors(args[1]))):
            raise AssertionError(f"{name} cannot be captured")
        made = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in list_tensors((args, kwargs))}
        # views and in-place results are where they were
        kept = [(i, t) for i, t in enumerate(list_tensors(made)) if t.untyped_storage().data_ptr() not in given]
        self.steps.append((func, args, kwargs or {}, kept))
        return made

    def play(self) -> None:
        for func, args, kwargs, kept in self.steps:
            again = func(*args, **kwargs)
            if kept:
                found = [again] if isinstance(again, Tensor) else list_tensors(again)
                for i, old in kept:
                    old.copy_(found[i])


class TapeSegment(EagerSegment):
    """In place of ``CudaGraphSegment``."""

    def __init__(self, work: ForwardPart, beside: bool = False, host: Sequence[str] = ()) -> None:
        work()  # a warm-up, as a capture has: tables are made and kept
        self.tape = Tape(lambda: tuple(made.clone() for made in work()), host)
        self.outputs = self.tape.made

    def replay(self) -> None:
        self.tape.play()


class TapeProgram(EagerProgram):
    """In place of ``CudaProgram``."""

    def __init__(
        self, begin: ProgramPart, bodies: Sequence[ProgramPart], inside: Tensor, host: Sequence[str] = ()
    ) -> None:
        for step in (begin, *bodies):
            step()
        first, *others = (Tape(step, host).play for step in (begin, *bodies))
        super().__init__(first, others, inside)


def record_tapes(model: ExitModel) -> tuple[RecordSegment, RecordProgram]:
    """Return what records a model's segments and programs as tapes.

    DeBERTa's own scales are numbers on the host, which kernels take as arguments: they may pass.
    """
    host = ("lift_fresh",) if model.encoder.model_type == "deberta-v2" else ()
    return partial(TapeSegment, host=host), partial(TapeProgram, host=host)
