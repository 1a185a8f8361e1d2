"""``single-stream-v1``: one query after another, each one sample, as an interactive service sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from backbones.base import Batch
from bench.errors import UsageError
from bench.inference.live import Outcome, run_live
from bench.measure.latency.result import LatencyOptions, LatencyResult
from bench.measure.latency.run import Clock, Configurations, DeviceTimer, Query, run_protocol
from bench.measure.machine import MachineState, read_machine
from strategies.base import Criterion, ExitModel, Seen, Start, State

PlainCall = Callable[[Batch], Tensor]
"""A model without early exits: a batch to logits [B, C]."""

PROTOCOL = "single-stream-v1"
PLAIN, STOCK = "plain", "stock"


class Forced(Criterion):
    """Leave at a given exit, whatever the logits: the depths of the warm-up and of the depth table."""

    regression = True

    def __init__(self, layer: int) -> None:
        self.layer = layer

    def start(self, start: Start) -> State:
        return {}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, torch.full_like(seen.logits[:, 0], 0.0 if seen.layer >= self.layer else 1.0)


class CudaTimer:
    """Device events around each query; elapsed times are read after the streak, when they have all completed."""

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
    """The untouched transformers forward pass, then the last exit's head: the other plain baseline."""
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
    """All layers stepped, the last head only."""

    def call(batch: Batch) -> Tensor:
        with torch.inference_mode():
            return model.plain(batch)

    return call


Engine = Callable[[Criterion, float, Batch, Tensor | None], Outcome]
"""An early-exit executor: criterion, cut, batch and keys to an outcome, as :func:`run_live` with its model."""


def live_engine(model: ExitModel) -> Engine:
    """The eager executor."""
    return lambda criterion, cut, batch, keys: run_live(model, criterion, cut, batch, keys=keys)


def measure(
    model: ExitModel,
    points: Mapping[str, tuple[Criterion, float]],
    samples: Sequence[Batch],
    options: LatencyOptions | None = None,
    *,
    keys: Sequence[int] | None = None,
    baselines: Mapping[str, PlainCall] | None = None,
    engine: Engine | None = None,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[str], None] | None = None,
) -> LatencyResult:
    """Latency of the plain model and of operating points, on the same samples, interleaved.

    ``points`` maps labels to (criterion, cut); ``samples`` are batches on the host, of one sample each for
    single-stream-v1; ``keys`` their stable numbers where a criterion draws at random; ``baselines`` what stands for the
    plain model (default: the stepped plain pass and the stock transformers forward; speed-ups are against whichever is
    faster). The input's way to the device and the answer's way back are inside the timed section for all alike.

    Raises UsageError for samples or labels that do not fit the protocol.
    """
    options = options or LatencyOptions()
    plain = dict(baselines) if baselines is not None else {PLAIN: model_plain(model), STOCK: stock_plain(model)}
    check_request(points, plain, samples, options)
    device = next(model.parameters()).device
    run = engine or live_engine(model)
    batches = list(samples)
    numbers = [None if keys is None else torch.tensor([key]) for key in (keys or range(len(batches)))]

    queries: dict[str, Query] = {label: _plain_query(call, batches, device, model) for label, call in plain.items()}
    for label, (criterion, cut) in points.items():
        queries[label] = _live_query(run, criterion, cut, batches, numbers, device)

    def force(i: int, depth: int) -> int:
        return _live_query(run, Forced(depth), 0.5, batches, numbers, device)(i)

    gpu = (device.index or 0) if device.type == "cuda" else None

    def probe() -> MachineState:
        return read_machine(gpu)

    timer: DeviceTimer | None = CudaTimer() if device.type == "cuda" else None
    configurations = Configurations(
        queries, list(plain), [int(b.input_ids.shape[1]) for b in batches], range(1, model.num_layers + 1), force
    )
    with fixed_threads(options.threads), evaluating(model):
        return run_protocol(
            configurations,
            options,
            device=str(device),
            dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            clock=clock,
            probe=probe,
            timer=timer,
            progress=progress,
        )


def check_request(
    points: Mapping[str, object], plain: Mapping[str, object], samples: Sequence[Batch], options: LatencyOptions
) -> None:
    """Raise UsageError where the request does not fit the protocol."""
    if not samples:
        raise UsageError("Latency needs at least one sample, and there is none.")
    if options.protocol == PROTOCOL and any(len(batch) != 1 for batch in samples):
        raise UsageError(f"{PROTOCOL} takes batches of one sample.")
    twice = sorted(set(points) & set(plain))
    if twice:
        raise UsageError(f"The name '{twice[0]}' is taken by a baseline; choose another for the operating point.")


def _plain_query(call: PlainCall, batches: Sequence[Batch], device: torch.device, model: ExitModel) -> Query:
    depth = model.num_layers

    def query(i: int) -> int:
        call(batches[i].to(device)).tolist()  # the decision is on the host when this returns
        return depth

    return query


def _live_query(
    run: Engine,
    criterion: Criterion,
    cut: float,
    batches: Sequence[Batch],
    keys: Sequence[Tensor | None],
    device: torch.device,
) -> Query:
    def query(i: int) -> int:
        found = run(criterion, cut, batches[i].to(device), keys[i])
        found.logits.tolist()
        return int(found.layer.max())

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
