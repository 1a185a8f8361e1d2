"""Backbones from random weights: the demo ones, other shapes, their tokenizer; and the catalog."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from backbones import ENCODERS
from backbones.base import Batch
from backbones.catalog import BACKBONES
from backbones.config import list_overridable
from backbones.demo_tokenizer import make_word_tokenizer
from backbones.load import BackboneRequest, load_backbone
from backbones.resolve import resolve_backbone
from tests.helpers.models.model_folders import TEXTS, ask

DEMOS = sorted(name for name, named in BACKBONES.items() if named.hub_id is None)

# ------------------------------------------------------------------ scratch and demo


@pytest.mark.parametrize("name", DEMOS)
def test_demo_backbones_are_made_from_texts_and_seed(name: str) -> None:
    first = load_backbone(BackboneRequest(name), TEXTS, seed=1)
    torch.rand(3)
    again, other = (load_backbone(BackboneRequest(name), TEXTS, seed=seed) for seed in (1, 2))
    weights, same = first.encoder.state_dict(), again.encoder.state_dict()
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    key = next(key for key in weights if "layer" in key and weights[key].ndim == 2)
    assert not torch.equal(weights[key], other.encoder.state_dict()[key])
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    assert first.encoder.pretrained_pooler() is None
    assert first.tokenizer.pad_token_id == first.encoder.model.config.pad_token_id


@pytest.mark.parametrize("name", DEMOS)
@torch.no_grad()
def test_demo_backbones_take_texts_up_to_their_full_length(name: str) -> None:
    loaded = load_backbone(BackboneRequest(name), TEXTS)
    named = BACKBONES[name]
    longest = loaded.tokenizer.model_max_length
    assert longest == 128
    found = loaded.tokenizer("cat " * 500, truncation=True, return_tensors="pt")
    assert found["input_ids"].shape == (1, longest)
    states = loaded.encoder(Batch(found["input_ids"]))
    assert [tuple(state.shape) for state in states] == [(1, longest, named.hidden)] * named.layers


@pytest.mark.parametrize("overrides", [{"num_hidden_layers": 2, "hidden_size": 32}, {"vocab_size": 8}])
def test_scratch_takes_any_shape(overrides: dict[str, object]) -> None:
    loaded = load_backbone(BackboneRequest("bert-demo", overrides=overrides), TEXTS)
    config = loaded.encoder.model.config
    assert {key: getattr(config, key) for key in overrides} == overrides
    assert len(loaded.tokenizer) <= config.vocab_size
    assert loaded.digest != resolve_backbone(BackboneRequest("bert-demo")).digest


def test_scratch_from_a_folder_needs_no_weights(folder: Path) -> None:
    pretrained = resolve_backbone(ask(folder)).digest
    (folder / "model.safetensors").unlink()
    loaded = load_backbone(ask(folder, init="scratch"))
    assert loaded.digest != pretrained
    assert (loaded.encoder.num_layers, loaded.encoder.pretrained_pooler()) == (3, None)


BERT = "[CLS] the cat [SEP] a [UNK] [SEP]"
PAIRS = {
    "bert": (BERT, [0, 0, 0, 0, 1, 1, 1]),
    "electra": (BERT, [0, 0, 0, 0, 1, 1, 1]),
    "deberta-v2": (BERT, None),
    "distilbert": (BERT, None),
    "modernbert": (BERT, None),
    "albert": ("[CLS] the cat [SEP] a <unk> [SEP]", [0, 0, 0, 0, 1, 1, 1]),
    "roberta": ("<s> the cat </s> </s> a <unk> </s>", None),
}


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_word_tokenizer(model_type: str) -> None:
    tokenizer = make_word_tokenizer(TEXTS, model_type, 100, 50)
    text, segments = PAIRS.get(model_type, PAIRS["bert"])
    found = tokenizer("The CAT", "a zebra")
    assert " ".join(tokenizer.convert_ids_to_tokens(found["input_ids"])) == text
    assert found.get("token_type_ids") == segments
    # most frequent first, ties in alphabetical order, behind four special tokens
    vocab = tokenizer.get_vocab()
    words = sorted((word for word in vocab if vocab[word] >= 4), key=vocab.__getitem__)
    assert words[:8] == ["the", "bird", "cat", ",", ".", ";", "a", "dog"]
    assert make_word_tokenizer(TEXTS[::-1], model_type, 100, 50).get_vocab() == vocab
    assert len(make_word_tokenizer(TEXTS, model_type, 6, 50)) == 6
    padded = tokenizer(["a", "the cat sat"], padding=True)
    assert padded["input_ids"][0][3:] == [1 if model_type == "roberta" else 0] * 2
    assert padded["attention_mask"] == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


# ------------------------------------------------------------------ the catalog


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_catalog_is_sound(name: str) -> None:
    named = BACKBONES[name]
    assert named.name == name
    assert named.model_type in ENCODERS
    assert named.summary
    if named.hub_id is None:
        assert (named.config["num_hidden_layers"], named.config["hidden_size"]) == (named.layers, named.hidden)
        assert set(named.config) <= {*list_overridable(named.model_type), "pad_token_id"}
    else:
        assert named.revision == "main" or len(named.revision) == 40


def test_the_catalog_is_read_without_torch() -> None:
    code = "import sys, backbones.catalog; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
