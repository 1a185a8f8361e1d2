"""What else makes somebody's model faster, on the same samples: less precision, compiling, fewer layers, padding."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from backbones.base import Batch
from bench.advise.verdict import BOTH
from bench.inference.executors import make_executor, make_plain_call
from bench.latency.baselines import Rival, quantise_model, try_rival
from bench.latency.depth import ShallowModel
from bench.latency.queries import PlainCall, make_stepped_call, make_stock_call, number_samples
from bench.tasks.encode import EncodedSplit, batch_by_length, collate_batch
from strategies.base import Criterion, ExitModel, predict

PADDED = "padded to the longest, {length} tokens"
REPORTED_AT_ONCE = 32


class EarlyCall:
    """Early exit on a model, as a call like those of the others; where the texts left is kept in ``left``."""

    def __init__(self, model: ExitModel, criterion: Criterion, cut: float) -> None:
        self.executor, self.criterion, self.cut = make_executor(model), criterion, cut
        self.left: list[int] = []

    def __call__(self, batch: Batch) -> torch.Tensor:
        found = self.executor(self.criterion, self.cut, batch, number_samples([batch])[0])
        self.left += found.layer.tolist()
        return found.logits


def make_rivals(
    model: ExitModel, criterion: Criterion, cut: float, probe: Batch, longest: int, depth: int
) -> list[Rival]:
    """Return the rivals of early exit on ``model`` at ``cut``, and both together; each is tried on ``probe`` first.

    ``depth`` is how many layers do alone; ``longest`` the tokens to which a fixed shape pads all texts.
    """
    last, half = model.num_layers, cache(lambda: copy.deepcopy(model).to(torch.bfloat16))
    first = f"first {depth} layers" if depth > 1 else "first layer"
    makers: list[tuple[str, int, bool, Callable[[], PlainCall]]] = [
        ("bf16", last, False, lambda: make_stock_call(half())),
        (BOTH, last, False, lambda: EarlyCall(half(), criterion, cut)),
        ("int8", last, False, lambda: make_stock_call(quantise_model(model))),
        ("int8 by torchao", last, False, lambda: make_stock_call(quantise_by_torchao(model))),
        ("torch.compile", last, True, lambda: make_plain_call(make_executor(model, "compile"))),
        (first, depth, False, lambda: make_stepped_call(ShallowModel(model, depth))),
        (PADDED.format(length=longest), last, True, lambda: make_padded_call(model, longest)),
    ]
    return [try_rival(name, make, probe, layers, keeps) for name, layers, keeps, make in makers]


def quantise_by_torchao(model: ExitModel) -> ExitModel:
    """Return a copy whose linear layers are quantised by torchao as its inputs come: int8 weights and activations."""
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    made = copy.deepcopy(model)
    quantize_(made.encoder.model, Int8DynamicActivationInt8WeightConfig())
    return made.eval()


def make_padded_call(model: ExitModel, length: int) -> PlainCall:
    """Return the stock model on batches that are padded to ``length`` tokens, as `padding="max_length"` does."""
    stock, pad = make_stock_call(model), int(getattr(model.encoder.model.config, "pad_token_id", 0) or 0)

    def call(batch: Batch) -> torch.Tensor:
        more = length - int(batch.input_ids.shape[1])
        if more <= 0:
            return stock(batch)
        mask = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
        types = None if batch.token_type_ids is None else F.pad(batch.token_type_ids, (0, more))
        return stock(Batch(F.pad(batch.input_ids, (0, more), value=pad), F.pad(mask, (0, more)), types))

    return call


def answer_samples(call: PlainCall, encoded: EncodedSplit, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return what a rival answers to the samples ``rows``, in their order."""
    found: list[torch.Tensor] = []
    batches = batch_by_length(encoded.lengths[rows], REPORTED_AT_ONCE)
    for batch in batches:
        found.append(predict(call(collate_batch(encoded, rows[batch])).float()).cpu())
    answers = torch.cat(found).numpy()
    ordered: NDArray[Any] = np.empty_like(answers)
    ordered[np.concatenate(batches)] = answers
    return ordered
