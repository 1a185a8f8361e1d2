"""Little model folders, and how tests ask for them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from backbones import ENCODERS
from backbones.base import Batch
from backbones.demo_tokenizer import make_word_tokenizer
from backbones.load import BackboneRequest, Loaded, make_stock_config
from tests.helpers.models.exit_models import EXTRA

TEXTS = ["The cat sat on the mat.", "the dog, the cat; a bird", "Nobody saw the bird"]
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 34,
}
HUB_ID, COMMIT = "some-org/tiny-bert", "0123456789abcdef0123456789abcdef01234567"


def save_model(folder: Path, model_type: str = "bert", pooler: bool = True, **overrides: object) -> PreTrainedModel:
    """A complete little model folder: configuration, safetensors weights and a word tokenizer."""
    padding = {"pad_token_id": 1 if model_type == "roberta" else 0}
    config = make_stock_config(model_type, {**SMALL, **padding, **EXTRA.get(model_type, {}), **overrides})
    torch.manual_seed(5)
    model = ENCODERS.load(model_type).stock(config, pooler)
    model.save_pretrained(folder)
    make_word_tokenizer(TEXTS, model_type, 40, 32).save_pretrained(folder)
    return model


def ask(folder: Path | str, **fields: object) -> BackboneRequest:
    return BackboneRequest(str(folder), **fields)  # type: ignore[arg-type]


def tokens_of(loaded: Loaded, text: str) -> Batch:
    found = loaded.tokenizer(text, return_tensors="pt")
    return Batch(found["input_ids"], None, found.get("token_type_ids"))
