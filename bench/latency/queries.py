"""What the protocols time: the plain model and early exit at operating points, as queries on real samples.

``single-stream-v1``: one query after another, each one sample, as an interactive service sees them.
``offline-batch-v1``: one query after another, each a batch, as bulk processing sees them.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.executors import Engine, make_engine, plain_call
from bench.inference.placement import ON_GPU
from bench.latency import PROTOCOLS, SINGLE_STREAM
from bench.latency.machine import MachineState, read_machine
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.run import Clock, Configurations, DeviceTimer, Query, run_protocol
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits

PlainCall = Callable[[Batch], Tensor]
"""A model without early exits: a batch to logits [B, C]."""


class CudaTimer:
    """Device events around each query; elapsed times are read after the streak, when all have completed."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def start(self) -> None:
        pair = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
        self.pairs.append(pair)
        pair[0].record()

    def stop(self) -> None:
        self.pairs[-1][1].record()

    def read(self) -> list[int]:
        torch.cuda.synchronize()
        found = [round(begun.elapsed_time(ended) * 1e6) for begun, ended in self.pairs]
        self.pairs.clear()
        return found


def stock_plain(model: ExitModel) -> PlainCall:
    """The untouched transformers forward pass, then the last exit's head: one plain baseline."""
    inner, head, last = model.encoder.model, model.head, model.num_layers

    def call(batch: Batch) -> Tensor:
        with torch.inference_mode():
            given = {"attention_mask": batch.attention_mask}
            if batch.token_type_ids is not None:
                given["token_type_ids"] = batch.token_type_ids
            hidden = inner(batch.input_ids, **given).last_hidden_state
            logits: Tensor = head(hidden, batch.attention_mask, last)
            return logits

    return call


def model_plain(model: ExitModel) -> PlainCall:
    """All layers stepped, the last head only: the other plain baseline."""

    def call(batch: Batch) -> Tensor:
        with torch.inference_mode():
            return model.plain(batch)

    return call


def default_baselines(model: ExitModel, engine: Engine, executor: str) -> dict[str, PlainCall]:
    """The plain models that stand against early exit: stepped, stock, and under the executor if it is not eager.

    Executors that record CUDA graphs stand against the compiled model too, where torch can compile for the GPU.
    """
    made = {"plain": model_plain(model), "stock": stock_plain(model)}
    if executor == "compile":
        made["plain-compile"] = plain_call(engine)
    elif executor in ON_GPU:
        made["plain-graph"] = plain_call(engine)  # without early exits a conditional program is a graph
        if importlib.util.find_spec("triton") is not None:
            made["plain-compile"] = plain_call(make_engine(model, "compile"))
    return made


def measure(
    model: ExitModel,
    points: Mapping[str, tuple[Criterion, float]],
    samples: Sequence[Batch],
    options: LatencyOptions | None = None,
    *,
    keys: Sequence[Tensor] | None = None,
    baselines: Mapping[str, PlainCall] | None = None,
    engine: Engine | None = None,
    extra: Mapping[str, Query] | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[str], None] | None = None,
) -> LatencyResult:
    """Latency of the plain model and of operating points, on the same samples, interleaved.

    ``points`` maps labels to (criterion, cut). ``samples`` are batches on the host, of one sample each for
    single-stream-v1 and of any size for offline-batch-v1; ``keys`` their samples' stable numbers, int64 [B] each, where
    a criterion draws at random (default: counted through). ``baselines`` stand for the plain model (default:
    :func:`default_baselines`); speed-ups are against the fastest of them. ``engine`` replaces the executor of the
    options; ``extra`` are further queries to interleave. The input's way to the device and the answer's way back are
    inside the timed section for all alike. ``progress`` is called between rounds only.

    Raises UsageError for samples, labels or options that do not fit the protocol.
    """
    options = options or LatencyOptions()
    with fixed_threads(options.threads), evaluating(model):
        run = engine or make_engine(model, options.executor)
        plain = dict(baselines) if baselines is not None else default_baselines(model, run, options.executor)
        check_request(points, plain, samples, options)
        parameter = next(model.parameters())
        device, batches = parameter.device, list(samples)
        numbers = list(keys) if keys is not None else count_through(batches)
        queries: dict[str, Query] = {label: plain_query(model, call, batches) for label, call in plain.items()}
        for label, (criterion, cut) in points.items():
            queries[label] = exit_query(run, criterion, cut, batches, numbers, device)
        queries.update(extra or {})
        force, depths = ForcedExits(), range(1, model.num_layers + 1)
        forced = [exit_query(run, force, force.cut(k), batches, numbers, device) for k in depths]
        gpu = gpu_of(model)

        def probe() -> MachineState:
            return read_machine(gpu)

        timer: DeviceTimer | None = CudaTimer() if device.type == "cuda" else None
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
            probe=probe,
            timer=timer,
            progress=progress,
        )


def gpu_of(model: ExitModel) -> int | None:
    """Torch's index of the NVIDIA GPU that the model is on, None where it is on none."""
    device = next(model.parameters()).device
    return (device.index or 0) if device.type == "cuda" else None


def check_request(
    points: Mapping[str, object], plain: Mapping[str, object], samples: Sequence[Batch], options: LatencyOptions
) -> None:
    """Raise UsageError where the request does not fit the protocol."""
    if options.protocol not in PROTOCOLS:
        raise UsageError(f"Unknown latency protocol '{options.protocol}'. Known: {', '.join(PROTOCOLS)}.")
    if not samples or not all(len(batch) for batch in samples):
        raise UsageError("Latency needs at least one sample, and there is none.")
    if options.protocol == SINGLE_STREAM and any(len(batch) != 1 for batch in samples):
        raise UsageError(f"{SINGLE_STREAM} takes batches of one sample.")
    twice = sorted(set(points) & set(plain))
    if twice:
        raise UsageError(f"The name '{twice[0]}' is taken by a baseline; choose another for the operating point.")


def count_through(batches: Sequence[Batch]) -> list[Tensor]:
    """Keys 0, 1, 2, ... over the samples of all batches, int64 [B] each."""
    sizes = [len(batch) for batch in batches]
    return list(torch.arange(sum(sizes)).split(sizes))


def plain_query(model: ExitModel, call: PlainCall, batches: Sequence[Batch]) -> Query:
    """Query i through a plain model."""
    depth, device = float(model.num_layers), next(model.parameters()).device

    def query(i: int) -> float:
        call(batches[i].to(device)).tolist()  # the decision is on the host when this returns
        return depth

    return query


def exit_query(
    engine: Engine,
    criterion: Criterion,
    cut: float,
    batches: Sequence[Batch],
    keys: Sequence[Tensor],
    device: torch.device,
) -> Query:
    """Query i through an early-exit engine at an operating point."""

    def query(i: int) -> float:
        found = engine(criterion, cut, batches[i].to(device), keys[i].to(device))
        found.logits.tolist()
        layers = found.layer.tolist()
        return sum(layers) / len(layers)

    return query


@contextmanager
def fixed_threads(threads: int | None) -> Iterator[None]:
    """Run with so many torch threads, then as before."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def evaluating(model: ExitModel) -> Iterator[None]:
    """Run without dropout, then as before."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
