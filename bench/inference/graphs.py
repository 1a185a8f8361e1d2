"""Early exit without waiting for the device at every exit: recorded segments and one segment of speculation.

A segment is one layer, its head and the criterion's step, recorded for a fixed number of rows and tokens (a
bucket) and replayed from static memory. After each segment its scores and logits travel to the host asynchronously,
while the next segment already runs; when the host learns that the sample has left, one segment too many was
launched, instead of one idle wait per exit.

On NVIDIA GPUs a segment is a CUDA graph. ``EagerSegment`` gives the same semantics (static memory, replay in any
number) on any device, so that buckets, speculation and hand-over between buckets are tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from backbones.base import Batch
from bench.inference.live import LiveResult, make_start, refuse_oracles, run_live
from bench.inference.probing import observe_exit, start_probe, widen_half
from strategies.base import Criterion, ExitModel, State, check_finite

ForwardPart = Callable[[], tuple[Tensor, ...]]
"""A part of the forward pass: it reads static tensors and returns new ones."""


class Segment(Protocol):
    """A recorded part: :meth:`replay` brings ``outputs``, always the same tensors, up to date."""

    outputs: tuple[Tensor, ...]

    def replay(self) -> None: ...


class EagerSegment:
    """A part that is run anew; its results are copied into the memory of the first run."""

    def __init__(self, work: ForwardPart) -> None:
        self.work = work
        self.outputs = tuple(made.clone() for made in work())

    def replay(self) -> None:
        for kept, made in zip(self.outputs, self.work(), strict=True):
            kept.copy_(made)


def warm_up_capture(work: Callable[[], object]) -> None:
    """Run ``work`` a few times on a side stream, as torch asks: lazy initialisation cannot be recorded."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)


class CudaGraphSegment:
    """A CUDA graph of the work. All graphs that live at the same time share one memory pool.

    The pool goes with its last graph, and torch refuses to record into one that has gone: then a new one is begun.
    Outputs are held, so that none lies in the scratch memory of a graph recorded later. They may lie in that of one
    recorded earlier; that is replayed before, never between a segment and the next, which is all that reads them.
    """

    _pool: Any = None
    _alive: WeakSet[CudaGraphSegment] = WeakSet()

    def __init__(self, work: ForwardPart) -> None:
        warm_up_capture(work)
        if not CudaGraphSegment._alive:
            CudaGraphSegment._pool = torch.cuda.graph_pool_handle()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=CudaGraphSegment._pool):
            # a clone where the work hands its input through (a state that did not change): outputs are our own
            self.outputs = tuple(made.clone() for made in work())
        CudaGraphSegment._alive.add(self)
        self.graph.replay()  # recording computes nothing, and the next segment's first runs read these outputs

    def replay(self) -> None:
        self.graph.replay()


class StaticInputs:
    """Static memory for up to ``rows`` samples of up to ``tokens`` tokens: ids, segments, attention mask and keys."""

    def __init__(self, model: ExitModel, rows: int, tokens: int) -> None:
        device = next(model.parameters()).device
        self.pad = int(model.encoder.model.config.pad_token_id or 0)
        self.ids = torch.full((rows, tokens), self.pad, device=device)
        self.types = torch.zeros_like(self.ids)
        self.attention = torch.zeros_like(self.ids)
        self.attention[:, 0] = 1  # an empty row still attends to something: NaN must not even appear in unused rows
        self.keys = torch.zeros(rows, dtype=torch.long, device=device)

    def load(self, batch: Batch, keys: Tensor | None) -> None:
        """Put a batch of n <= R samples of at most T tokens into the first rows."""
        n, tokens = batch.input_ids.shape
        self.ids.fill_(self.pad)
        self.ids[:n, :tokens].copy_(batch.input_ids)
        self.types.zero_()
        if batch.token_type_ids is not None:
            self.types[:n, :tokens].copy_(batch.token_type_ids)
        self.attention.zero_()
        if batch.attention_mask is None:
            self.attention[:n, :tokens] = 1
        else:
            self.attention[:n, :tokens].copy_(batch.attention_mask)
        self.attention[n:, 0] = 1
        if keys is not None:
            self.keys[:n].copy_(keys)

    def embed(self, model: ExitModel) -> Tensor:
        """Return the states [R, T, H] before layer 1, 0 at padding: no mask hides it from a convolution (DeBERTa's).

        The mask is not given to the encoder, which may look at its values: a recording cannot wait for them.
        """
        hidden, _ = model.encoder.embed(Batch(self.ids, None, self.types))
        return hidden * self.attention.to(hidden.dtype).unsqueeze(-1)


class Chain:
    """All segments of a model for one criterion and one bucket: R rows of T tokens.

    Segment 0 embeds and starts the criterion; segment k >= 1 is layer k, head k and the criterion's step. The
    outputs of segment k are hidden states [R, T, H], a packet [R, 1 + C] of score and logits, and the state: the
    criterion's and, behind it, its probe's memory.
    """

    def __init__(
        self,
        model: ExitModel,
        criterion: Criterion,
        rows: int,
        tokens: int,
        segments: bool,
        record: Callable[[ForwardPart], Segment],
    ) -> None:
        self.model, self.criterion = model, criterion
        self.rows, self.tokens = rows, tokens
        self.inputs = StaticInputs(model, rows, tokens)
        device = self.inputs.ids.device
        self.names: list[str] = []
        self.memory: list[str] = []
        with torch.inference_mode():
            if segments:
                first = record(self._start)
                self.segments = [first]
                for layer in range(1, model.num_layers + 1):
                    self.segments.append(record(self._make_part(layer)))
            else:
                self.segments = [record(self._whole)]
            packets = [segment.outputs[1] for segment in self.segments]
            self.on_device = device.type == "cuda"
            self.host = [torch.empty(p.shape, dtype=p.dtype, pin_memory=self.on_device) for p in packets]
            self.ready = [torch.cuda.Event() if self.on_device else None for _ in packets]

    # what is recorded

    def _mask(self, hidden: Tensor) -> Tensor:
        return self.model.encoder.layer_mask(self.inputs.attention, hidden.dtype)

    def _start(self) -> tuple[Tensor, ...]:
        hidden = self.inputs.embed(self.model)
        start = make_start(self.model, hidden, self.inputs.keys)
        state, memory = self.criterion.start(start), start_probe(self.model, self.criterion.probe, start)
        self.names, self.memory = list(state), list(memory)
        nothing = torch.zeros(self.rows, 1 + self.model.head.num_outputs, dtype=start.dtype, device=hidden.device)
        return hidden, nothing, *state.values(), *memory.values()

    def _make_part(self, layer: int) -> ForwardPart:
        before = self.segments[layer - 1]
        names, probe = self.names, self.criterion.probe
        own = 2 + len(names)

        def work() -> tuple[Tensor, ...]:
            hidden = self.model.encoder.layer(layer, before.outputs[0], self._mask(before.outputs[0]))
            logits = widen_half(self.model.head(hidden, self.inputs.attention, layer))
            state: State = dict(zip(names, before.outputs[2:own], strict=True))
            memory: State = dict(zip(self.memory, before.outputs[own:], strict=True))
            if layer < self.model.num_layers:
                memory, seen = observe_exit(self.model, probe, memory, hidden, self.inputs.attention, layer, logits)
                state, score = self.criterion.step(state, seen)
            else:
                score = torch.zeros_like(logits[:, 0])  # the last exit always answers
            packet = torch.cat([score.to(logits.dtype).unsqueeze(1), logits], dim=1)
            return hidden, packet, *(state[name] for name in names), *(memory[name] for name in self.memory)

        return work

    def _whole(self) -> tuple[Tensor, ...]:
        hidden = self.inputs.embed(self.model)
        mask = self._mask(hidden)
        for layer in range(1, self.model.num_layers + 1):
            hidden = self.model.encoder.layer(layer, hidden, mask)
        logits = widen_half(self.model.head(hidden, self.inputs.attention, self.model.num_layers))
        return hidden, torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)

    # how it is run

    def launch(self, index: int) -> None:
        """Queue segment ``index`` and the journey of its packet to the host."""
        segment = self.segments[index]
        segment.replay()
        self.host[index].copy_(segment.outputs[1], non_blocking=True)
        event = self.ready[index]
        if event is not None:
            event.record()

    def read(self, index: int) -> Tensor:
        """Return the packet [R, 1 + C] of a launched segment, on the host; waits for this segment only."""
        event = self.ready[index]
        if event is not None:
            event.synchronize()
        return self.host[index]

    def take(self, other: Chain, layer: int, rows: Tensor) -> None:
        """Go on after ``layer`` with n <= R rows of another chain, whose samples need at most T tokens."""
        n, tokens = len(rows), min(self.tokens, other.tokens)
        kept = rows.to(self.inputs.ids.device)
        hidden, _, *state = self.segments[layer].outputs
        source, _, *states = other.segments[layer].outputs
        hidden[:n, :tokens] = source[kept, :tokens]
        for mine, theirs in zip(state, states, strict=True):
            mine[:n] = theirs[kept]
        self.inputs.attention.zero_()
        self.inputs.attention[:n, :tokens] = other.inputs.attention[kept, :tokens]
        self.inputs.attention[n:, 0] = 1


class GraphExecutor:
    """Early exit through recorded segments: ``executor(criterion, cut, batch, keys)`` gives a :class:`LiveResult`.

    ``bucket`` is the width of a length bucket in tokens; rows go up in powers of two. ``speculate`` is how many
    segments a single sample runs ahead of what the host knows (batches wait: the wait is short beside their layers).
    Chains are recorded on first use and kept. The outcome's logits are on the host. Decisions are those of
    :func:`bench.inference.live.run_live`; errors too.
    """

    name = "graph"

    def __init__(
        self,
        model: ExitModel,
        record: Callable[[ForwardPart], Segment] = CudaGraphSegment,
        *,
        bucket: int = 16,
        speculate: int = 1,
    ) -> None:
        self.model, self.record = model, record
        self.bucket, self.speculate = bucket, speculate
        self.longest = int(model.encoder.model.config.max_position_embeddings)
        self._chains: dict[tuple[int, int, int], Chain] = {}

    def chain(self, criterion: Criterion, rows: int, tokens: int) -> Chain:
        """Return the recorded chain for at least so many rows and tokens; the first of its bucket is recorded now."""
        rows, tokens = self.sizes(rows, tokens)
        key = (id(criterion), rows, tokens)  # the chain keeps the criterion alive, so the id stays its own
        if key not in self._chains:
            self._chains[key] = Chain(self.model, criterion, rows, tokens, criterion.uses_early_exits, self.record)
        return self._chains[key]

    def sizes(self, rows: int, tokens: int) -> tuple[int, int]:
        """Return the bucket of so many rows and tokens: the next power of two, the next multiple of ``bucket``."""
        width = -(-tokens // self.bucket) * self.bucket
        return 1 << (rows - 1).bit_length(), max(tokens, min(width, self.longest))

    @torch.inference_mode()
    def __call__(self, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None) -> LiveResult:
        size = len(batch)
        if size == 0:
            return run_live(self.model, criterion, cut, batch, keys=keys)
        refuse_oracles(criterion)
        chain = self.chain(criterion, size, int(batch.input_ids.shape[1]))
        chain.inputs.load(batch, keys)
        last = self.model.num_layers
        exits = torch.full((size,), last)
        inside = torch.arange(size)  # the samples in the chain's first rows
        chain.launch(0)
        if not criterion.uses_early_exits:
            logits = chain.read(0)[:size, 1:].clone()
            check_finite(logits, last, None if keys is None else keys.tolist())
            return LiveResult(exits, logits)
        answers: Tensor | None = None
        alive = torch.ones(size, dtype=torch.bool)  # of the rows that `inside` names
        launched = 0
        for layer in range(1, last + 1):
            ahead = layer + (self.speculate if size == 1 else 0)
            while launched < min(ahead, last):
                launched += 1
                chain.launch(launched)
            packet = chain.read(layer)[: len(inside)]
            if answers is None:
                answers = torch.empty(size, packet.shape[1] - 1, dtype=packet.dtype)
            leaving = alive if layer == last else criterion.leaves(packet[:, 0], cut) & alive
            if not leaving.any():
                continue
            gone = inside[leaving]
            check_finite(packet[leaving, 1:], layer, gone.tolist() if keys is None else keys.cpu()[gone].tolist())
            exits[gone], answers[gone] = layer, packet[leaving, 1:]
            alive = alive & ~leaving
            if not alive.any():
                break
            chain, inside, alive = self._compact(criterion, chain, layer, inside, alive)
        assert answers is not None  # there is at least one layer
        return LiveResult(exits, answers)

    def _compact(
        self, criterion: Criterion, chain: Chain, layer: int, inside: Tensor, alive: Tensor
    ) -> tuple[Chain, Tensor, Tensor]:
        """Move the samples still inside to a smaller chain where there is one; else leave them where they are."""
        rows = alive.nonzero().squeeze(1)
        used = chain.inputs.attention[rows.to(chain.inputs.attention.device)].any(dim=0).nonzero()
        smaller = self.sizes(len(rows), int(used[-1]) + 1)
        if smaller == (chain.rows, chain.tokens):
            return chain, inside, alive
        to = self.chain(criterion, *smaller)
        to.take(chain, layer, rows)
        return to, inside[rows], torch.ones(len(rows), dtype=torch.bool)
