"""The queries that the protocols time: real samples through the plain model and through early exit.

``single-stream-v2``: one query after another, each one sample, as an interactive service sees them.
``offline-batch-v2``: one query after another, each a batch, as bulk processing sees them.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.executors import Executor, make_executor, make_plain_call
from bench.inference.placement import ON_GPU
from bench.latency import PROTOCOLS, SINGLE_STREAM
from bench.latency.machine import read_machine
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.rounds import Clock, Configurations, CudaTimer, Query
from bench.latency.run import run_protocol
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits
from strategies.head import answer_last

PlainCall = Callable[[Batch], Tensor]
"""A model without early exits: a batch on the host to logits [B, C]."""


def make_stock_call(model: ExitModel) -> PlainCall:
    """Return the untouched transformers forward pass, then the last exit's head: one plain baseline."""
    inner, head, layers, device = model.encoder.model, model.head, model.num_layers, find_device_of(model)

    def call(batch: Batch) -> Tensor:
        batch = batch.to(device)
        with torch.inference_mode():
            given = {"attention_mask": batch.attention_mask}
            if batch.token_type_ids is not None:
                given["token_type_ids"] = batch.token_type_ids
            found = inner(batch.input_ids, **given, output_hidden_states=head.last_remembers)
            before = found.hidden_states[1:-1] if head.last_remembers else ()
            return answer_last(head, [*before, found.last_hidden_state], batch.attention_mask, layers)

    return call


def make_stepped_call(model: ExitModel) -> PlainCall:
    """Return all layers stepped, then the last exit's head: the other plain baseline."""
    device = find_device_of(model)

    def call(batch: Batch) -> Tensor:
        with torch.inference_mode():
            return model.plain(batch.to(device))

    return call


def make_baselines(model: ExitModel, executor: Executor) -> dict[str, PlainCall]:
    """Return the plain models that stand against early exit: stepped, stock, and under the executor if not eager.

    Executors that record CUDA graphs stand against the compiled model too, where torch can compile for the GPU.
    """
    made = {"plain": make_stepped_call(model), "stock": make_stock_call(model)}
    if executor.name == "compile":
        made["plain-compile"] = make_plain_call(executor)
    elif executor.name in ON_GPU:
        made["plain-graph"] = make_plain_call(executor)  # without early exits a conditional program is a graph
        if importlib.util.find_spec("triton") is not None:
            made["plain-compile"] = make_plain_call(make_executor(model, "compile"))
    return made


def measure_interleaved(
    model: ExitModel,
    points: Mapping[str, tuple[Criterion, float]],
    samples: Sequence[Batch],
    options: LatencyOptions,
    *,
    keys: Sequence[Tensor] | None = None,
    baselines: Mapping[str, PlainCall] | None = None,
    executor: Executor | None = None,
    extra: Mapping[str, Query] | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[str], None] | None = None,
) -> LatencyResult:
    """Measure the plain model and operating points on the same samples, interleaved.

    ``points`` maps labels to (criterion, cut). ``samples`` are batches on the host, of one sample each for
    single-stream-v2 and of any size for offline-batch-v2; ``keys`` their samples' stable numbers, int64 [B] each, where
    a criterion draws at random (default: counted through). ``baselines`` stand for the plain model (default:
    :func:`make_baselines`); speed-ups are against the fastest of them. ``executor`` replaces the executor of the
    options; ``extra`` are further queries to interleave. The input's way to the device and the answer's way back are
    inside the timed section for all alike. ``progress`` is called between rounds only.

    Raises UsageError for samples, labels or options that do not fit the protocol.
    """
    with fix_threads(options.threads), switch_to_evaluation(model):
        run = executor or make_executor(model, options.executor)
        plain = dict(baselines) if baselines is not None else make_baselines(model, run)
        if options.protocol not in PROTOCOLS:
            raise UsageError(f"Unknown latency protocol '{options.protocol}'. Known: {', '.join(PROTOCOLS)}.")
        if not samples or not all(len(batch) for batch in samples):
            raise UsageError("Latency needs at least one sample, and there is none.")
        if options.protocol == SINGLE_STREAM and any(len(batch) != 1 for batch in samples):
            raise UsageError(f"{SINGLE_STREAM} takes batches of one sample.")
        for twice in sorted(set(points) & set(plain)):
            raise UsageError(f"The name '{twice}' is taken by a baseline; choose another for the operating point.")
        parameter = next(model.parameters())
        device, batches = parameter.device, list(samples)
        numbers = list(keys) if keys is not None else number_samples(batches)
        queries: dict[str, Query] = {label: make_plain_query(model, call, batches) for label, call in plain.items()}
        for label, (criterion, cut) in points.items():
            queries[label] = make_exit_query(run, criterion, cut, batches, numbers)
        queries.update(extra or {})
        force, depths = ForcedExits(), range(1, model.num_layers + 1)
        forced = [make_exit_query(run, force, force.cut(k), batches, numbers) for k in depths]
        return run_protocol(
            Configurations(
                queries=queries,
                plain=list(plain),
                tokens=[int(batch.input_ids.shape[1]) for batch in batches],
                sizes=[len(batch) for batch in batches],
                depths=depths,
                force=lambda i, depth: forced[depth - 1](i),
            ),
            options,
            device=str(device),
            dtype=str(parameter.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            clock=clock,
            probe=partial(read_machine, find_gpu(model)),
            timer=CudaTimer() if device.type == "cuda" else None,
            progress=progress,
        )


def find_device_of(model: ExitModel) -> torch.device:
    """Return the device that the model is on."""
    device: torch.device = next(model.parameters()).device
    return device


def find_gpu(model: ExitModel) -> int | None:
    """Return torch's index of the NVIDIA GPU that the model is on, None where it is on none."""
    device = find_device_of(model)
    return (device.index or 0) if device.type == "cuda" else None


def number_samples(batches: Sequence[Batch]) -> list[Tensor]:
    """Return keys 0, 1, 2, ... over the samples of all batches, int64 [B] each."""
    sizes = [len(batch) for batch in batches]
    return list(torch.arange(sum(sizes)).split(sizes))


def make_plain_query(model: ExitModel, call: PlainCall, batches: Sequence[Batch]) -> Query:
    """Return what answers query i by a plain model."""
    depth = float(model.num_layers)

    def query(i: int) -> float:
        call(batches[i]).tolist()  # the decision is on the host when this returns
        return depth

    return query


def make_exit_query(
    executor: Executor,
    criterion: Criterion,
    cut: float,
    batches: Sequence[Batch],
    keys: Sequence[Tensor],
) -> Query:
    """Return what answers query i by an early-exit executor at an operating point."""

    def query(i: int) -> float:
        found = executor(criterion, cut, batches[i], keys[i])
        found.logits.tolist()
        layers = found.layer.tolist()
        return sum(layers) / len(layers)

    return query


@contextmanager
def fix_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def switch_to_evaluation(model: ExitModel) -> Iterator[None]:
    """Keep the model in evaluation mode, without dropout, inside the block."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
