"""Early exit for real: what is not needed is not computed.

Each sample runs layer by layer until its criterion lets it go. The criterion is the one that replay
uses, stepped on the samples still inside, so that live and replayed decisions are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.base import Batch
from bench.inference.probing import observe_exit, start_probe, widen_half
from strategies.base import Criterion, ExitModel, Seen, Start, State, StrategyError, check_finite, select

PLAIN_LIMIT = 1e30
"""Logits from here on are no plain numbers: single precision cannot take their differences. NaN is none either."""


@dataclass(frozen=True)
class LiveResult:
    """Where B samples left and with what answer.

    ``layer`` int64 [B], 1-based, on the host; ``logits`` [B, C] of the exit taken, on the model's device.
    """

    layer: Tensor
    logits: Tensor


def run_live(
    model: ExitModel, criterion: Criterion, cut: float, batch: Batch, *, keys: Tensor | None = None
) -> LiveResult:
    """Run ``batch`` and stop computing each sample as soon as ``criterion`` lets it leave at ``cut``.

    ``cut`` is on the criterion's score (``criterion.cut(threshold)``); ``keys`` int64 [B] are the samples' stable
    numbers, best on the host: they go to the device only for a criterion that asks for them. Finished samples leave,
    the rest is compacted and its padding trimmed, so that a batch costs what its remaining samples cost. The last exit
    always answers and is not checked. Half-precision logits are widened to float32 before they are judged, as replay
    does.

    Raises StrategyError for oracles, and where the logits of an answer are not finite (naming sample and exit).
    """
    refuse_oracles(criterion)
    run = _run_one if len(batch) == 1 else _run_many
    with torch.inference_mode():
        return run(model, criterion, cut, batch, keys)


def refuse_oracles(criterion: Criterion) -> None:
    """Raise StrategyError for a criterion that looks at labels or at later exits."""
    if not criterion.causal or criterion.needs_labels:
        raise StrategyError(
            "This criterion looks ahead or knows the labels: it can be replayed, but it cannot run live."
        )


def make_start(model: ExitModel, hidden: Tensor, keys: Tensor | None) -> Start:
    """Return what the criterion may know before exit 1 of the samples in ``hidden`` [B, T, H]."""
    dtype = torch.float32 if hidden.dtype in (torch.float16, torch.bfloat16) else hidden.dtype
    return Start(hidden.shape[0], model.num_layers, model.head.num_outputs, dtype, hidden.device, keys)


def _run_one(model: ExitModel, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None) -> LiveResult:
    """One sample: nothing to compact, the host waits for the device once an exit."""
    encoder, last, attention = model.encoder, model.num_layers, batch.attention_mask
    head = model.head
    hidden, mask = encoder.embed(batch)
    said = head.start(1, hidden.dtype, hidden.device)
    if criterion.uses_early_exits:
        judging = Estimator if criterion.estimates(head.num_outputs) else Stepper
        judge = judging(model, criterion, cut, make_start(model, hidden, keys))
        for layer in range(1, last):
            hidden = encoder.layer(layer, hidden, mask)
            said, answer = head.step(said, hidden, attention, layer)
            logits = widen_half(answer)
            if judge.lets_go(layer, logits, hidden, attention):
                return _make_result(logits, layer, keys)
    else:
        for layer in range(1, last):
            hidden = encoder.layer(layer, hidden, mask)
            said = head.skip(said, hidden, attention, layer)
    hidden = encoder.layer(last, hidden, mask)
    return _make_result(widen_half(head.step(said, hidden, attention, last)[1]), last, keys)


class Stepper:
    """Judges one sample, exit by exit, by the criterion's step."""

    def __init__(self, model: ExitModel, criterion: Criterion, cut: float, start: Start) -> None:
        self.model, self.criterion, self.cut = model, criterion, cut
        self.state, self.memory = criterion.start(start), start_probe(model, criterion.probe, start)

    def lets_go(self, layer: int, logits: Tensor, hidden: Tensor, attention: Tensor | None) -> bool:
        """Return whether the sample leaves at exit ``layer``, from logits [1, C] and hidden states [1, T, H]."""
        criterion = self.criterion
        read = observe_exit(self.model, criterion.probe, self.memory, hidden, attention, layer, logits)
        self.memory, seen = read
        self.state, score = criterion.step(self.state, seen)
        return bool(criterion.leaves(score, self.cut).item())


class Estimator:
    """Judges one sample by the criterion's estimate, and by its step where that is too near the cut to be sure.

    A step's small operations are cold in the processor's caches each time, after the weights of a layer, and take
    longer than the few numbers are worth. The exits that no step has seen are made up for when one is needed.
    """

    def __init__(self, model: ExitModel, criterion: Criterion, cut: float, start: Start) -> None:
        self.model, self.criterion, self.cut, self.start = model, criterion, cut, start
        self.exits: list[list[float]] = []
        self.plain = True
        self.unseen: list[tuple[int, Tensor]] = []
        self.state: State | None = None

    def lets_go(self, layer: int, logits: Tensor, hidden: Tensor, attention: Tensor | None) -> bool:
        """Return whether the sample leaves at exit ``layer``, from logits [1, C]."""
        said = logits.tolist()[0]
        self.exits.append(said)
        self.unseen.append((layer, logits))
        for value in said:
            if not -PLAIN_LIMIT < value < PLAIN_LIMIT:
                self.plain = False
        sure = None
        if self.plain:
            sure = self.criterion.decide(self.criterion.estimate(self.exits, self.model.num_layers), self.cut)
        return self.step() if sure is None else sure

    def step(self) -> bool:
        """Return whether the sample leaves at the latest exit, by the criterion's step through all of them."""
        criterion = self.criterion
        state = criterion.start(self.start) if self.state is None else self.state
        for layer, logits in self.unseen:
            state, score = criterion.step(state, Seen(layer, logits))
        self.state, self.unseen = state, []
        return bool(criterion.leaves(score, self.cut).item())


def _make_result(logits: Tensor, layer: int, keys: Tensor | None) -> LiveResult:
    """The outcome of one sample. Its few logits are checked on the host: cheaper than four small kernels."""
    if not all(map(math.isfinite, logits.tolist()[0])):
        check_finite(logits, layer, keys)
    return LiveResult(torch.tensor([layer]), logits)


def _run_many(model: ExitModel, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None) -> LiveResult:
    """Any number of samples, of which the finished leave the batch."""
    encoder, head, last = model.encoder, model.head, model.num_layers
    device, size = batch.input_ids.device, len(batch)
    exits = torch.empty(size, dtype=torch.long)
    if size == 0:
        return LiveResult(exits, torch.empty(0, head.num_outputs, device=device))
    attention = batch.attention_mask
    hidden, mask = encoder.embed(batch)
    start = make_start(model, hidden, keys)
    probe = criterion.probe
    state, memory = criterion.start(start), start_probe(model, probe, start)
    said = head.start(size, hidden.dtype, device)
    answers = torch.empty(size, head.num_outputs, dtype=start.dtype, device=device)
    inside = torch.arange(size)  # which samples of the batch the rows of `hidden` are; on the host
    for layer in range(1, last + 1):
        hidden = encoder.layer(layer, hidden, mask)
        if layer < last and not criterion.uses_early_exits:
            said = head.skip(said, hidden, attention, layer)
            continue
        said, answer = head.step(said, hidden, attention, layer)
        logits = widen_half(answer)
        if layer < last:
            memory, seen = observe_exit(model, probe, memory, hidden, attention, layer, logits)
            state, score = criterion.step(state, seen)
            leaving = criterion.leaves(score, cut).cpu()  # the one wait for the device at this exit
            if not leaving.any():
                continue
        else:
            leaving = torch.ones(len(inside), dtype=torch.bool)
        out = leaving.nonzero().squeeze(1)
        gone, answered = inside[out], logits[out.to(device)]
        check_finite(answered, layer, gone if keys is None else keys[gone])
        exits[gone] = layer
        answers[gone.to(device)] = answered
        if len(out) == len(inside):
            break
        stay = (~leaving).nonzero().squeeze(1)
        inside, rows = inside[stay], stay.to(device)
        state, memory, said = (select(kept, rows) for kept in (state, memory, said))
        hidden = hidden[rows]
        if attention is not None:
            attention = attention[rows]
            tokens = int(attention.any(dim=0).nonzero()[-1]) + 1  # the columns up to the last that a sample uses
            hidden, attention = hidden[:, :tokens], attention[:, :tokens]
            mask = encoder.shrink(mask, rows, tokens)
            if bool(attention.all()):
                attention = mask = None  # nothing padded any more: attention may take its fastest kernel
    return LiveResult(exits, answers)
