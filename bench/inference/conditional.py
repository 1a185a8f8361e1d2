"""Early exit decided on the device: one recorded program whose layers run only while the sample is inside.

Embedding, then for every exit a conditional node: layer, head, the criterion's step, and a flag that the node itself
clears when the sample leaves. All of it is launched at once and the host waits once, for the answer; nothing runs
ahead and nothing is thrown away. The conditional nodes are CUDA's (12.4 and newer), as torch records them; a skipped
layer costs its node's test. ``EagerProgram`` gives the same semantics on any device, so that all but the recording is
tested without a GPU.

One sample at a time: batches lose finished rows on the way, which a fixed program cannot, and go through segments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.graphs import GraphExecutor
from bench.inference.live import LiveResult, make_start, refuse_oracles
from bench.inference.probing import observe_exit, start_probe, widen_half
from bench.inference.segments import StaticInputs, warm_up_capture
from strategies.base import Criterion, ExitModel, check_finite

ProgramPart = Callable[[], None]
"""A part of a program: it works on static memory and returns nothing."""


class EagerProgram:
    """A program that is run part by part; the flag is read before every body."""

    def __init__(self, begin: ProgramPart, bodies: Sequence[ProgramPart], inside: Tensor) -> None:
        self.begin, self.bodies, self.inside = begin, bodies, inside

    def replay(self) -> None:
        """Run the beginning, then the bodies as long as the sample is inside."""
        self.begin()
        for body in self.bodies:
            if not self.inside.item():
                break
            body()


class CudaProgram:
    """One CUDA graph with a conditional node per body.

    Raises UsageError where torch has no such nodes, RuntimeError where the driver has none.
    """

    def __init__(self, begin: ProgramPart, bodies: Sequence[ProgramPart], inside: Tensor) -> None:
        if not hasattr(torch.cuda.CUDAGraph, "begin_capture_to_if_node"):
            raise UsageError(f"torch {torch.__version__} records no conditional graph nodes: take the graph executor.")
        warm_up_capture(lambda: [step() for step in (begin, *bodies)])
        self.graph: Any = torch.cuda.CUDAGraph()  # Any: the nodes are younger than torch's type stubs
        with torch.cuda.graph(self.graph):
            begin()
            for body in bodies:
                self.graph.begin_capture_to_if_node(inside)
                body()
                self.graph.end_capture_to_conditional_node()

    def replay(self) -> None:
        """Queue the graph; the device decides which bodies run."""
        self.graph.replay()


RecordProgram = Callable[[ProgramPart, Sequence[ProgramPart], Tensor], EagerProgram | CudaProgram]
"""Record a beginning and bodies, each run only if the flag, bool [], is set when its turn comes."""


class ConditionalForward:
    """The whole model, a criterion and a cut as one program for a sample of at most ``tokens`` tokens.

    What is read afterwards is ``answer`` [1 + C]: the exit taken and its logits.
    """

    def __init__(self, model: ExitModel, criterion: Criterion, cut: float, tokens: int, record: RecordProgram) -> None:
        self.model, self.criterion, self.cut = model, criterion, cut
        self.inputs = StaticInputs(model, 1, tokens)
        device, dtype = self.inputs.ids.device, next(model.parameters()).dtype
        wide = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
        self.inside = torch.ones((), dtype=torch.bool, device=device)
        self.answer = torch.zeros(1 + model.head.num_outputs, dtype=wide, device=device)
        on_device = device.type == "cuda"
        self.host = torch.empty(self.answer.shape, dtype=wide, pin_memory=on_device)
        self.ready = torch.cuda.Event() if on_device else None
        with torch.inference_mode():
            bodies = [lambda layer=layer: self._exit(layer) for layer in range(1, model.num_layers + 1)]
            self.program = record(self._begin, bodies, self.inside)

    def _begin(self) -> None:
        """Embed, and start the criterion."""
        inputs = self.inputs
        self.inside.fill_(True)
        self.hidden = inputs.embed(self.model)
        self.mask = self.model.encoder.layer_mask(inputs.attention, self.hidden.dtype)
        start = make_start(self.model, self.hidden, inputs.keys)
        self.state, self.memory = self.criterion.start(start), start_probe(self.model, self.criterion.probe, start)
        self.said = self.model.head.start(1, self.hidden.dtype, self.hidden.device)

    def _exit(self, layer: int) -> None:
        """Layer, head and step; the answer so far is this exit's, and the last that is written is the one taken."""
        self.hidden = self.model.encoder.layer(layer, self.hidden, self.mask)
        self.said, answer = self.model.head.step(self.said, self.hidden, self.inputs.attention, layer)
        logits = widen_half(answer)
        self.answer[0].fill_(layer)
        self.answer[1:].copy_(logits[0])
        if layer == self.model.num_layers:
            return
        probe, attention = self.criterion.probe, self.inputs.attention
        self.memory, seen = observe_exit(self.model, probe, self.memory, self.hidden, attention, layer, logits)
        self.state, score = self.criterion.step(self.state, seen)
        self.inside.copy_(self.criterion.leaves(score, self.cut)[0].logical_not())

    def __call__(self, batch: Batch, keys: Tensor | None) -> Tensor:
        """Return the answer [1 + C] for one sample, on the host."""
        self.inputs.load(batch, keys)
        self.program.replay()
        self.host.copy_(self.answer, non_blocking=True)
        if self.ready is not None:
            self.ready.record()
            self.ready.synchronize()
        return self.host.clone()


class ConditionalExecutor:
    """Early exit through conditional programs: ``executor(criterion, cut, batch, keys)`` gives a :class:`LiveResult`.

    A program is recorded for every criterion, cut and length bucket on first use and kept. Batches, and criteria
    without early exits, go through ``segments``. The outcome's logits are on the host; decisions and errors are those
    of :func:`bench.inference.live.run_live`.
    """

    name = "conditional"

    def __init__(self, model: ExitModel, segments: GraphExecutor, record: RecordProgram = CudaProgram) -> None:
        self.model, self.segments, self.record = model, segments, record
        self._programs: dict[tuple[int, float, int], ConditionalForward] = {}

    def program(self, criterion: Criterion, cut: float, tokens: int) -> ConditionalForward:
        """Return the recorded program for at least so many tokens; the first of its bucket is recorded now."""
        _, tokens = self.segments.sizes(1, tokens)
        key = (id(criterion), cut, tokens)  # the program keeps the criterion alive, so the id stays its own
        if key not in self._programs:
            self._programs[key] = ConditionalForward(self.model, criterion, cut, tokens, self.record)
        return self._programs[key]

    @torch.inference_mode()
    def __call__(self, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None) -> LiveResult:
        if len(batch) != 1 or not criterion.uses_early_exits:
            return self.segments(criterion, cut, batch, keys)
        refuse_oracles(criterion)
        answer = self.program(criterion, cut, int(batch.input_ids.shape[1]))(batch, keys)
        layer, logits = int(answer[0]), answer[None, 1:]
        check_finite(logits, layer, keys)
        return LiveResult(torch.tensor([layer]), logits)
