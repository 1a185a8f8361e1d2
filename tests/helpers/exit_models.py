"""Small exit models, batches and the brute-force replay, for the tests of the engines."""

from __future__ import annotations

import torch
from torch import Tensor

from backbones import ENCODERS
from backbones.base import Batch
from backbones.load import stock_config
from bench.inference.live import LiveResult
from bench.inference.probing import probe_batch
from strategies.base import Criterion, ExitModel, Head, Seen, Start
from strategies.entropy import LinearHead

PAD = 1
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": PAD,
    "initializer_range": 0.4,
}
EXTRA: dict[str, dict[str, object]] = {
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "position_buckets": 4,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    },
    "electra": {"embedding_size": 16},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 3},
}
"""What only one type has, so that tiny models have it too: narrow embeddings, distances, a window that bites."""

POOLED = ("albert", "bert", "roberta")
"""The types whose stock model has a pooler; heads on the others start theirs from random weights."""


def make_model(
    model_type: str, head: type[Head] = LinearHead, outputs: int = 3, attention: str = "sdpa", **overrides: object
) -> ExitModel:
    """An exit model with random weights large enough that its exits differ."""
    cls = ENCODERS.load(model_type)
    config = stock_config(model_type, {**SIZES, **EXTRA.get(model_type, {}), **overrides}, attention)
    torch.manual_seed(7)
    encoder = cls(cls.stock(config, pooler=True))
    made = head(encoder, outputs)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return ExitModel(encoder, made).eval()


def make_batch(lengths: list[int], seed: int = 3) -> Batch:
    """Random samples of the given lengths, padded on the right; no mask where nothing is padded."""
    longest = max(lengths)
    ids = torch.randint(5, 50, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    if all(length == longest for length in lengths):
        return Batch(ids)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return Batch(torch.where(mask.bool(), ids, PAD), mask)


def single(batch: Batch, row: int) -> Batch:
    """One sample of a batch, without its padding."""
    if batch.attention_mask is None:
        return Batch(batch.input_ids[row : row + 1])
    return Batch(batch.input_ids[row : row + 1, : int(batch.attention_mask[row].sum())])


def replay(model: ExitModel, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None) -> LiveResult:
    """All exits computed, then the criterion stepped over them: what live must equal."""
    with torch.inference_mode():
        logits = [z.float() if z.dtype == torch.bfloat16 else z for z in model(batch)]
        observed = None if criterion.probe is None else probe_batch(model, criterion.probe, batch)

        def seen(layer: int, z: Tensor) -> Seen:
            return Seen(layer, z, None if observed is None else observed[:, layer - 1])

        size, outputs = logits[0].shape
        state = criterion.start(Start(size, model.num_layers, outputs, logits[0].dtype, keys=keys))
        layer = torch.full((size,), model.num_layers)
        answer = logits[-1].clone()
        inside = torch.ones(size, dtype=torch.bool)
        for index, z in enumerate(logits[:-1], start=1):
            state, score = criterion.step(state, seen(index, z))
            leaves = criterion.leaves(score, cut) & inside
            layer[leaves], answer[leaves] = index, z[leaves]
            inside &= ~leaves
    return LiveResult(layer, answer)
