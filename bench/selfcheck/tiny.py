"""Tiny exit models of every backbone, with random weights: what executors are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from backbones import ENCODERS
from backbones.base import Batch
from backbones.load import make_stock_config
from strategies.base import ExitModel, Head
from strategies.entropy import LinearHead

PAD = 1
TINY = {
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


def make_tiny_model(
    model_type: str, head: type[Head] = LinearHead, outputs: int = 3, attention: str = "sdpa", **overrides: object
) -> ExitModel:
    """Make an exit model with random weights large enough that its exits differ."""
    cls = ENCODERS.load(model_type)
    config = make_stock_config(model_type, {**TINY, **EXTRA.get(model_type, {}), **overrides}, attention)
    torch.manual_seed(7)
    encoder = cls(cls.stock(config, pooler=True))
    made = head(encoder, outputs)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return ExitModel(encoder, made).eval()


def make_random_batch(lengths: Sequence[int], seed: int, *, vocabulary: int = 30_000, pad: int = 0) -> Batch:
    """Draw random tokens of the given lengths, padded on the right; no mask where nothing is padded."""
    ids = torch.randint(5, vocabulary, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(seed))
    mask, types = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], torch.zeros_like(ids)
    return Batch(ids, None, types) if mask.all() else Batch(torch.where(mask, ids, pad), mask.long(), types)


def make_tiny_batch(lengths: Sequence[int], seed: int = 3) -> Batch:
    """Draw random samples of the given lengths for a tiny model, without token types."""
    return replace(make_random_batch(lengths, seed, vocabulary=50, pad=PAD), token_type_ids=None)
