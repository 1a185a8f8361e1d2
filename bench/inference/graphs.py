"""Early exit without waiting for the device at every exit: recorded segments and one layer of speculation.

Every layer is a segment, and so is every check (head and criterion's step), recorded for a fixed number of rows and
tokens (a bucket) and replayed from static memory. Checks run in a stream of their own beside the next layer, and end
with their scores and logits on the way to the host; when the host learns that the sample has left, one layer too many
was launched, instead of one idle wait per exit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.base import Batch
from bench.inference.live import LiveResult, make_start, refuse_oracles, run_live
from bench.inference.probing import observe_exit, start_probe, widen_half
from bench.inference.segments import (
    CudaGraphSegment,
    EagerSegment,
    ForwardPart,
    RecordSegment,
    Segment,
    StaticInputs,
    find_stream,
)
from strategies.base import Criterion, ExitModel, check_finite


class Chain:
    """All segments of a model for one criterion and one bucket: R rows of T tokens.

    Layer 0 embeds, and check 0 starts the criterion; then check k is head k and the criterion's step. A layer's output
    is the hidden states [R, T, H]; a check puts a packet [R, 1 + C] of score and logits into ``host[k]``, and its
    outputs are the state: the criterion's and, behind it, its probe's memory and the head's.
    """

    def __init__(self, model: ExitModel, criterion: Criterion, rows: int, tokens: int, record: RecordSegment) -> None:
        self.model, self.criterion, segments = model, criterion, criterion.uses_early_exits
        self.rows, self.tokens = rows, tokens
        self.inputs = StaticInputs(model, rows, tokens)
        parameter, last = next(model.parameters()), model.num_layers
        dtype = torch.float32 if parameter.dtype in (torch.float16, torch.bfloat16) else parameter.dtype
        gpu = parameter.device.type == "cuda"
        self.host = [
            torch.empty(rows, 1 + model.head.num_outputs, dtype=dtype, pin_memory=gpu)
            for _ in range(1 + last if segments else 1)
        ]
        self.names: list[str] = []
        self.memory: list[str] = []
        self.said: list[str] = []
        self.layers: list[Segment] = []
        self.checks: list[Segment] = []
        with torch.inference_mode():
            if segments:
                self.layers.append(record(lambda: (self.inputs.embed(model),)))
                started = self._start()  # where all of it is empty there is nothing to record
                nothing = not any(made.numel() for made in started)
                self.checks.append(EagerSegment(lambda: started) if nothing else record(self._start, beside=True))
                for index in range(1, last + 1):
                    self.layers.append(record(self._layer(index)))
                    self.checks.append(record(self._check(index), beside=True))
            else:
                self.layers.append(record(self._whole))
        self.beside = find_stream(parameter.device, beside=True) if gpu else None
        self.past = [torch.cuda.Event() for _ in self.layers] if gpu else []
        self.ready = [torch.cuda.Event() for _ in self.layers] if gpu else []

    # what is recorded

    def _mask(self, hidden: Tensor) -> Tensor:
        return self.model.encoder.layer_mask(self.inputs.attention, hidden.dtype)

    def _start(self) -> tuple[Tensor, ...]:
        start = make_start(self.model, self.layers[0].outputs[0], self.inputs.keys)
        state, memory = self.criterion.start(start), start_probe(self.model, self.criterion.probe, start)
        hidden = self.layers[0].outputs[0]
        said = self.model.head.start(self.rows, hidden.dtype, hidden.device)
        self.names, self.memory, self.said = list(state), list(memory), list(said)
        return *state.values(), *memory.values(), *said.values()

    def _layer(self, index: int) -> ForwardPart:
        before = self.layers[index - 1]
        return lambda: (self.model.encoder.layer(index, before.outputs[0], self._mask(before.outputs[0])),)

    def _check(self, index: int) -> ForwardPart:
        hidden, before = self.layers[index].outputs[0], self.checks[index - 1]
        probe, attention, groups = self.criterion.probe, self.inputs.attention, (self.names, self.memory, self.said)

        def check() -> tuple[Tensor, ...]:
            kept = iter(before.outputs)
            state, memory, said = ({name: next(kept) for name in names} for names in groups)
            said, answer = self.model.head.step(said, hidden, attention, index)
            logits = widen_half(answer)
            if index < self.model.num_layers:
                memory, seen = observe_exit(self.model, probe, memory, hidden, attention, index, logits)
                state, score = self.criterion.step(state, seen)
            else:
                score = torch.zeros_like(logits[:, 0])  # the last exit always answers
            self._send(index, score, logits)
            after = (state, memory, said)
            return tuple(one[name] for one, names in zip(after, groups, strict=True) for name in names)

        return check

    def _whole(self) -> tuple[Tensor, ...]:
        hidden = self.inputs.embed(self.model)
        mask, head, last = self._mask(hidden), self.model.head, self.model.num_layers
        said = head.start(self.rows, hidden.dtype, hidden.device)
        for layer in range(1, last):
            hidden = self.model.encoder.layer(layer, hidden, mask)
            said = head.skip(said, hidden, self.inputs.attention, layer)
        hidden = self.model.encoder.layer(last, hidden, mask)
        logits = widen_half(head.step(said, hidden, self.inputs.attention, last)[1])
        self._send(0, torch.zeros_like(logits[:, 0]), logits)
        return ()

    def _send(self, index: int, score: Tensor, logits: Tensor) -> None:
        packet = torch.cat([score.to(logits.dtype).unsqueeze(1), logits], dim=1)
        self.host[index].copy_(packet, non_blocking=True)

    # how it is run

    def launch(self, index: int) -> None:
        """Queue layer ``index``, and its check beside what comes next."""
        self.layers[index].replay()
        if self.beside is None:
            if self.checks:
                self.checks[index].replay()
            return
        if not self.checks:
            self.ready[index].record()
            return
        self.past[index].record()
        with torch.cuda.stream(self.beside):
            self.beside.wait_event(self.past[index])
            self.checks[index].replay()
            self.ready[index].record()

    def read(self, index: int) -> Tensor:
        """Return the packet [R, 1 + C] of a launched segment, on the host; waits for this segment only."""
        if self.ready:
            self.ready[index].synchronize()
        return self.host[index]

    def take(self, other: Chain, layer: int, rows: Tensor) -> None:
        """Go on after ``layer`` with n <= R rows of another chain, whose samples need at most T tokens."""
        n, tokens = len(rows), min(self.tokens, other.tokens)
        kept = rows.to(self.inputs.device.device)
        mine, theirs = self.layers[layer].outputs[0], other.layers[layer].outputs[0]
        mine[:n, :tokens] = theirs[kept, :tokens]
        for state, past in zip(self.checks[layer].outputs, other.checks[layer].outputs, strict=True):
            state[:n] = past[kept]
        self.inputs.take(other.inputs, rows)


class GraphExecutor:
    """Early exit through recorded segments: ``executor(criterion, cut, batch, keys)`` gives a :class:`LiveResult`.

    ``bucket`` is the width of a length bucket in tokens; rows go up in powers of two. ``speculate`` is how many
    layers a single sample runs ahead of what the host knows (batches wait: the wait is short beside their layers).
    Chains are recorded on first use and kept. Batches should be on the host: they go to the device in one copy. The
    outcome's logits are on the host. Decisions are those of :func:`bench.inference.live.run_live`; errors too.
    """

    name = "graph"

    def __init__(
        self,
        model: ExitModel,
        record: RecordSegment = CudaGraphSegment,
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
            self._chains[key] = Chain(self.model, criterion, rows, tokens, self.record)
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
        chain.launch(0)
        if not criterion.uses_early_exits:
            last, logits = self.model.num_layers, chain.read(0)[:size, 1:].clone()
            check_finite(logits, last, keys)
            return LiveResult(torch.full((size,), last), logits)
        return self._run_one(chain, cut, keys) if size == 1 else self._run_many(chain, cut, size, keys)

    def _run_one(self, chain: Chain, cut: float, keys: Tensor | None) -> LiveResult:
        """One sample, ``speculate`` layers ahead of what the host knows."""
        last, launched = self.model.num_layers, 0
        for layer in range(1, last + 1):
            while launched < min(layer + self.speculate, last):
                launched += 1
                chain.launch(launched)
            packet = chain.read(layer)[:1]
            if layer == last or chain.criterion.leaves(packet[:, 0], cut).item():
                break
        logits = packet[:, 1:].clone()
        check_finite(logits, layer, keys)
        return LiveResult(torch.tensor([layer]), logits)

    def _run_many(self, chain: Chain, cut: float, size: int, keys: Tensor | None) -> LiveResult:
        """Any number of samples, which move to smaller buckets as they leave."""
        criterion, last = chain.criterion, self.model.num_layers
        exits = torch.full((size,), last)
        answers = torch.empty(size, self.model.head.num_outputs, dtype=chain.host[0].dtype)
        inside = torch.arange(size)  # the samples in the chain's first rows
        alive = torch.ones(size, dtype=torch.bool)  # of the rows that `inside` names
        for layer in range(1, last + 1):
            chain.launch(layer)
            packet = chain.read(layer)[: len(inside)]
            leaving = alive if layer == last else criterion.leaves(packet[:, 0], cut) & alive
            if not leaving.any():
                continue
            gone = inside[leaving]
            check_finite(packet[leaving, 1:], layer, gone if keys is None else keys.cpu()[gone])
            exits[gone], answers[gone] = layer, packet[leaving, 1:]
            alive = alive & ~leaving
            if not alive.any():
                break
            chain, inside, alive = self._compact(criterion, chain, layer, inside, alive)
        return LiveResult(exits, answers)

    def _compact(
        self, criterion: Criterion, chain: Chain, layer: int, inside: Tensor, alive: Tensor
    ) -> tuple[Chain, Tensor, Tensor]:
        """Move the samples still inside to a smaller chain where there is one; else leave them where they are."""
        rows = alive.nonzero().squeeze(1)
        smaller = self.sizes(len(rows), chain.inputs.width(rows))
        if smaller == (chain.rows, chain.tokens):
            return chain, inside, alive
        to = self.chain(criterion, *smaller)
        to.take(chain, layer, rows)
        return to, inside[rows], torch.ones(len(rows), dtype=torch.bool)
