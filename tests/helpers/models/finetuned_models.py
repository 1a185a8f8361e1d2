"""Little fine-tuned models of every type, as transformers saves them, with what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from backbones import CLASSIFIERS, ENCODERS
from backbones.base import Batch
from backbones.demo_tokenizer import make_word_tokenizer
from backbones.load import make_stock_config
from strategies.base import ExitModel, Head
from strategies.own_classifier import OwnLastExit
from tests.helpers.models.encoders import SIZES
from tests.helpers.models.exit_models import EXTRA
from tests.helpers.models.model_folders import TEXTS

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in CLASSIFIERS},
    # v2 and v3 differ in their attention; v3's is the helpers' own
    "deberta-v2, v2": ("deberta-v2", {"share_att_key": False, "norm_rel_ebd": "none", "conv_kernel_size": 3}),
    "modernbert, mean": ("modernbert", {"classifier_pooling": "mean"}),
    "albert, groups": ("albert", {"num_hidden_groups": 3}),
}
"""Model types, and what within one changes the classifier or what it reads: the type, and configuration fields."""


def make_stock(variant: str, outputs: int, **fields: object) -> Any:
    """A stock classification model with random weights, large enough for its answers to differ."""
    model_type, extra = VARIANTS[variant]
    named = {"num_labels": outputs} if "id2label" not in fields else {}
    shape = {**SIZES, "pad_token_id": 1, "initializer_range": 0.4, **EXTRA.get(model_type, {}), **extra}
    config = make_stock_config(model_type, {**shape, **named, **fields})
    torch.manual_seed(11)
    model = CLASSIFIERS.load(model_type).model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases and norms, too, are not what they began as
    return model


def save_finetuned(
    folder: Path, variant: str, names: Sequence[str], *, texts: Sequence[str] = TEXTS, **fields: object
) -> Any:
    """Save a fine-tuned model with these classes, and a word tokenizer of ``texts``; return it as it is loaded.

    The same weights elsewhere in memory may give other last bits: kernels are chosen by how they are aligned.
    """
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = make_stock(variant, len(names), **labels, **fields)
    model.save_pretrained(folder)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    most = min(32, int(model.config.max_position_embeddings) - 2)
    make_word_tokenizer(list(texts), VARIANTS[variant][0], int(model.config.vocab_size), most).save_pretrained(folder)
    return loaded


def make_own_model(
    variant: str, head: type[Head], outputs: int, order: Sequence[int] = (), **fields: object
) -> tuple[ExitModel, Any]:
    """An exit model whose last exit is a stock model's own classifier, in memory; and the stock model."""
    stock = make_stock(variant, outputs, **fields)
    model_type = VARIANTS[variant][0]
    own, encoder = CLASSIFIERS.load(model_type)(stock), ENCODERS.load(model_type)(stock.base_model)
    early = head(encoder, outputs)
    for parameter in early.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return ExitModel(encoder, OwnLastExit(encoder, early, own, order)).eval(), stock


def stock_logits(model: Any, batch: Batch) -> Tensor:
    """What the stock model answers, [B, C]."""
    given = {"attention_mask": batch.attention_mask}
    if batch.token_type_ids is not None and "token_type_ids" in signature(model.forward).parameters:
        given["token_type_ids"] = batch.token_type_ids
    logits: Tensor = model(batch.input_ids, **given).logits
    return logits
