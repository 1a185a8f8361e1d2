"""Segments: pieces of the forward pass recorded once, for a fixed number of rows and tokens, and replayed.

On NVIDIA GPUs a segment is a CUDA graph. ``EagerSegment`` gives the same semantics (static memory, replay in any
number) on any device, so that buckets, speculation and hand-over between buckets are tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor

from backbones.base import Batch
from strategies.base import ExitModel

ForwardPart = Callable[[], tuple[Tensor, ...]]
"""A part of the forward pass: it reads static tensors and returns new ones."""


class EagerSegment:
    """A part that is run anew: :meth:`replay` copies its results into the memory of the first run, ``outputs``."""

    def __init__(self, work: ForwardPart, beside: bool = False) -> None:
        self.work = work
        self.outputs = tuple(made.clone() for made in work())

    def replay(self) -> None:
        """Run the part again and copy what it makes into ``outputs``."""
        for kept, made in zip(self.outputs, self.work(), strict=True):
            kept.copy_(made)


def warm_up_capture(work: Callable[[], object], side: torch.cuda.Stream | None = None) -> None:
    """Run a few times on a side stream, as torch's documentation asks: lazy initialisation cannot be recorded."""
    side = side or torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)


@cache
def find_stream(device: torch.device, beside: bool) -> torch.cuda.Stream:
    """Return the one stream in which all layers, or all checks, are recorded; checks run in theirs as well.

    One each, since libraries keep memory for a stream, as cuBLAS its workspace: what runs at the same time must not
    share it, on pain of wrong numbers and of faults. Checks share scratch memory: they must run one after another.
    """
    return torch.cuda.Stream(device)


class CudaGraphSegment:
    """A CUDA graph of the work. Graphs that live at the same time share a memory pool: the layers one, the checks one.

    A pool goes with its last graph, and torch refuses to record into one that has gone: then a new one is begun.
    Outputs are held, so that none lies in the scratch memory of a graph recorded later. They may lie in that of one
    recorded earlier; that is replayed before, never between a segment and the next, which is all that reads them.
    Layers and checks run at the same time, so their scratch memory must not be the same.
    """

    _pools: ClassVar[dict[bool, Any]] = {}
    _alive: ClassVar[dict[bool, WeakSet[CudaGraphSegment]]] = {False: WeakSet(), True: WeakSet()}

    def __init__(self, work: ForwardPart, beside: bool = False) -> None:
        stream = find_stream(torch.device("cuda", torch.cuda.current_device()), beside)
        warm_up_capture(work, stream)
        runs = [work(), work()]
        # what is in the same place twice is not the work's own (a state that did not change): it is copied
        own = [len({made.untyped_storage().data_ptr() for made in pair}) == 2 for pair in zip(*runs, strict=True)]
        if not self._alive[beside]:
            self._pools[beside] = torch.cuda.graph_pool_handle()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=self._pools[beside], stream=stream):
            self.outputs = tuple(made if new else made.clone() for made, new in zip(work(), own, strict=True))
        self._alive[beside].add(self)
        self.graph.replay()  # recording computes nothing, and the next segment's first runs read these outputs

    def replay(self) -> None:
        """Queue the graph, which writes into ``outputs``."""
        self.graph.replay()


Segment = EagerSegment | CudaGraphSegment
"""A recorded part: ``replay`` brings ``outputs``, always the same tensors, up to date."""

RecordSegment = Callable[..., Segment]
"""Record a :data:`ForwardPart`; ``beside=True``: it will be replayed while segments of the other kind are."""


class StaticInputs:
    """Static memory for up to ``rows`` samples of up to ``tokens`` tokens: ids, segments, attention mask and keys.

    All are parts of one tensor on the device, which is filled from one on the host in a single copy.
    """

    def __init__(self, model: ExitModel, rows: int, tokens: int) -> None:
        device = next(model.parameters()).device
        self.pad = int(model.encoder.model.config.pad_token_id or 0)
        self.host = torch.zeros(rows * (3 * tokens + 1), dtype=torch.long, pin_memory=device.type == "cuda")
        self.device = torch.zeros_like(self.host, device=device)
        table = 3 * rows * tokens
        self.ids, self.types, self.attention = self.device[:table].view(3, rows, tokens)
        self.keys = self.device[table:]
        self.host_keys, self.table = self.host[table:], self.host[:table].view(3, rows, tokens)
        self.clear()
        self.send()

    def clear(self) -> None:
        """Forget all samples. An empty row still attends to something: NaN must not even appear in unused rows."""
        self.table.zero_()
        self.table[0] = self.pad
        self.table[2, :, 0] = 1

    def send(self) -> None:
        """Bring what the host has to the device."""
        self.device.copy_(self.host, non_blocking=True)

    def load(self, batch: Batch, keys: Tensor | None) -> None:
        """Put a batch of n <= R samples of at most T tokens into the first rows."""
        n, tokens = batch.input_ids.shape
        self.clear()
        ids, types, attention = self.table[:, :n, :tokens]
        ids.copy_(batch.input_ids)
        if batch.token_type_ids is not None:
            types.copy_(batch.token_type_ids)
        if batch.attention_mask is None:
            attention.fill_(1)
        else:
            attention.copy_(batch.attention_mask)
        if keys is not None:
            self.host_keys[:n].copy_(keys)
        self.send()

    def take(self, other: StaticInputs, rows: Tensor) -> None:
        """Take over the attention masks of ``rows`` of another's samples; their ids are past, and stay behind."""
        self.clear()
        tokens = min(self.table.shape[2], other.table.shape[2])
        self.table[2, : len(rows), :tokens] = other.table[2, rows, :tokens]
        self.send()

    def width(self, rows: Tensor) -> int:
        """Return the columns of the attention mask up to the last that any of ``rows`` uses."""
        return int(self.table[2, rows].any(dim=0).nonzero()[-1]) + 1

    def embed(self, model: ExitModel) -> Tensor:
        """Return the states [R, T, H] before layer 1, 0 at padding: no mask hides it from a convolution (DeBERTa's).

        The mask is not given to the encoder, which may look at its values: a recording cannot wait for them.
        """
        hidden, _ = model.encoder.embed(Batch(self.ids, None, self.types))
        return hidden * self.attention.to(hidden.dtype).unsqueeze(-1)
