"""Tiny encoders of every model type, batches for them, and what the stock model makes of those."""

from __future__ import annotations

import torch

from backbones import ENCODERS
from backbones.base import Batch, LayeredEncoder
from backbones.load import make_stock_config
from tests.helpers.models.exit_models import EXTRA

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "pad_token_id": 1,
}


def make(model_type: str, attention: str = "sdpa", **overrides: object) -> LayeredEncoder:
    cls = ENCODERS.load(model_type)
    config = make_stock_config(model_type, {**SIZES, **EXTRA.get(model_type, {}), **overrides}, attention)
    torch.manual_seed(7)
    return cls(cls.stock(config, pooler=True)).eval()


def make_batch(padded: bool, segments: bool = True, size: int = 3, tokens: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 50, (size, tokens), generator=generator)
    types = None
    if segments:
        types = (torch.arange(tokens) > tokens // 2).long().expand(size, tokens).contiguous()
    if not padded:
        return Batch(ids, None, types)
    lengths = torch.tensor([tokens - 4 * i for i in range(size)]).clamp(min=2)
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    return Batch(torch.where(mask.bool(), ids, 1), mask, types)


def stock(encoder: LayeredEncoder, batch: Batch) -> list[torch.Tensor]:
    out = encoder.model(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        token_type_ids=batch.token_type_ids,
        output_hidden_states=True,
    )
    return list(out.hidden_states)
