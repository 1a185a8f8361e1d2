"""Backbones that cannot be had: every error is one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones.base import Batch
from backbones.demo_tokenizer import make_word_tokenizer
from backbones.errors import UserError
from backbones.load import BackboneRequest, load_backbone
from backbones.resolve import resolve_backbone
from bench.tasks.base import Split
from bench.tasks.encode import collate_batch, encode_split
from tests.helpers.models.model_folders import HUB_ID, TEXTS, ask, save_model, tokens_of


def without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def garbage_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no header at all" * 99)


def drop_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "layer.1." not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def lengthen_embeddings(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    weights[name] = torch.cat([weights[name], torch.zeros(2, 16)])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spread_ids(folder: Path) -> None:
    """Few entries, one of them with a large number."""
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["the"] = 107
    (folder / "tokenizer.json").write_text(json.dumps(content))


def config_with(**fields: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, **fields}))

    return change


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


BROKEN_FOLDERS = {
    "no weights": (without("model.safetensors"), "has no weights: put model.safetensors there, .*--init scratch"),
    "pickle": (pickled, r"pickled weights only \(pytorch_model.bin\), which are never loaded: convert"),
    "cut off": (cut_weights, "are corrupt: "),
    "garbage": (garbage_weights, "are corrupt: "),
    "incomplete": (drop_a_layer, "lack 16 of the encoder's, such as encoder.layer.1"),
    "wrong shapes": (config_with(hidden_size=32), r"\w+\.\S+ is [\dx ]+ in the weights of .* by its config\.json"),
    "no config": (without("config.json"), "has no config.json: it is not a model folder"),
    "config no json": (write("config.json", "{"), "config.json cannot be read: "),
    "config no object": (write("config.json", "[1]"), "does not hold a JSON object"),
    "unknown type": (
        config_with(model_type="xlnet"),
        "Unknown model type 'xlnet' in .*: known are albert, bert, deberta-v2, .*, roberta",
    ),
    "decoder": (config_with(is_decoder=True), "is a decoder"),
    "relative positions": (config_with(position_embedding_type="relative_key"), "relative_key position embeddings"),
    "bad config value": (config_with(num_attention_heads=3), "hidden_size 16 is not a multiple of .*heads 3"),
    "bad config type": (config_with(layer_norm_eps="tiny"), "layer_norm_eps must be above 0"),
    "no tokenizer": (without("tokenizer.json"), "has no tokenizer: one of tokenizer.json, vocab.txt, spiece.model"),
    "quantised": (
        config_with(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
        r"asks for quantised weights \(quantization_config: bitsandbytes\), which are not loaded: give a checkpoint",
    ),
    "longer embeddings": (
        lengthen_embeddings,
        r"^embeddings\.word_embeddings\.weight is 42 x 16 in the weights of .* and 40 x 16 by its config\.json\.$",
    ),
    "padding outside": (config_with(pad_token_id=40), "pad_token_id 40 is outside the vocabulary of folder:tiny"),
    "ids with gaps": (spread_ids, r"vocab_size 40 has no row for the tokenizer's 'the', number 107"),
    "broken tokenizer": (write("tokenizer.json", "{}"), "The tokenizer in .* cannot be read: "),
}


@pytest.mark.parametrize("case", sorted(BROKEN_FOLDERS))
def test_broken_folders(folder: Path, case: str) -> None:
    damage, message = BROKEN_FOLDERS[case]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(ask(folder))
    assert "\n" not in str(caught.value)


def test_quantised_weights_do_not_matter_from_scratch(folder: Path) -> None:
    config_with(quantization_config={"quant_method": "gptq"})(folder)
    assert load_backbone(ask(folder, init="scratch")).encoder.num_layers == 3


def test_no_padding_number_is_no_matter_but_for_roberta(folder: Path, tmp_path: Path) -> None:
    config_with(pad_token_id=None)(folder)
    loaded = load_backbone(ask(folder))
    padded = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    states = loaded.encoder(Batch(padded["input_ids"], padded["attention_mask"]))[-1]
    alone = loaded.encoder(tokens_of(loaded, TEXTS[2]))[-1]
    torch.testing.assert_close(states[2, : alone.shape[1]], alone[0])
    save_model(tmp_path / "roberta", "roberta")
    config_with(pad_token_id=None)(tmp_path / "roberta")
    with pytest.raises(UserError, match="RoBERTa counts positions from pad_token_id, which is None here: set it"):
        load_backbone(ask(tmp_path / "roberta"))


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_model_of_one_segment_with_a_tokenizer_of_two(tmp_path: Path, model_type: str) -> None:
    folder = tmp_path / "model"
    save_model(folder, model_type, type_vocab_size=1)
    # a BERT-style tokenizer, which numbers the second text 1
    make_word_tokenizer(TEXTS, "bert", 40, 32).save_pretrained(folder)
    loaded = load_backbone(ask(folder))
    labels = np.zeros(1, dtype=np.int64)
    encoded = encode_split(Split("s", ("0",), (TEXTS[0],), (TEXTS[1],), labels, 1), loaded.tokenizer, 32)
    assert encoded.token_type_ids is None
    assert loaded.encoder(collate_batch(encoded, [0]))[-1].isfinite().all()


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"vocab_size 5 has no row for the tokenizer's '\w+', number \d+"):
        load_backbone(ask(folder, init="scratch", overrides={"vocab_size": 5}))


BAD_REQUESTS: dict[str, tuple[BackboneRequest, str]] = {
    "typo": (BackboneRequest("albert_base"), "^Unknown backbone 'albert_base'. Did you mean 'albert-base'\\?$"),
    "no org": (BackboneRequest("bert-base-uncased"), "Unknown backbone 'bert-base-uncased'. Did you mean 'bert-base'"),
    "nothing like it": (BackboneRequest("zzzz"), "Unknown backbone 'zzzz'. Known: albert-12-demo, "),
    "no folder": (BackboneRequest("./not/there"), "There is no folder ./not/there"),
    "init": (BackboneRequest("bert-demo", init="warm"), "Unknown init 'warm'"),  # type: ignore[arg-type]
    "attention": (BackboneRequest("bert-demo", attention="sdp"), "Unknown attention 'sdp'. Did you mean 'sdpa'"),
    "override typo": (
        BackboneRequest("bert-demo", overrides={"hidden_sizes": 1}),
        "Unknown bert configuration field 'hidden_sizes'. Did you mean 'hidden_size'",
    ),
    "another type's field": (BackboneRequest("bert-demo", overrides={"embedding_size": 8}), "Unknown bert config"),
    "heads": (BackboneRequest("bert-demo", overrides={"num_attention_heads": 3}), "64 is not a multiple of .* 3"),
    "zero": (BackboneRequest("bert-demo", overrides={"num_hidden_layers": 0}), "at least 1, not 0"),
    "text": (BackboneRequest("bert-demo", overrides={"hidden_size": "64"}), "at least 1, not '64'"),
    "true": (BackboneRequest("bert-demo", overrides={"hidden_size": True}), "at least 1, not True"),
    "dropout": (BackboneRequest("bert-demo", overrides={"hidden_dropout_prob": 1.0}), "at least 0 and below 1"),
    "nan": (BackboneRequest("bert-demo", overrides={"initializer_range": float("nan")}), "above 0 and at most 1"),
    "activation": (BackboneRequest("bert-demo", overrides={"hidden_act": "gellu"}), "Unknown hidden_act 'gellu'. Did"),
    "groups": (BackboneRequest("albert-demo", overrides={"num_hidden_groups": 7}), "7 is more than num_hidden_layers"),
    "positions": (BackboneRequest("roberta-demo", overrides={"max_position_embeddings": 3}), "leaves no room"),
    "vocabulary": (BackboneRequest("bert-demo", overrides={"vocab_size": 4}), "leaves no room for words"),
}


@pytest.mark.parametrize("case", sorted(BAD_REQUESTS))
def test_bad_requests(case: str) -> None:
    request, message = BAD_REQUESTS[case]
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(request, TEXTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("corpus", [(), ("", "  ")])
def test_a_demo_backbone_needs_texts(corpus: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="vocabulary from the training texts, and there are none"):
        load_backbone(BackboneRequest("bert-demo"), corpus)


def test_pretrained_weights_refuse_other_shapes(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'hidden_size' cannot be overridden: the pretrained weights fix it"):
        resolve_backbone(ask(folder, overrides={"hidden_size": 8}))
    with pytest.raises(UserError, match="num_hidden_layers 4 is more than the 3 layers"):
        resolve_backbone(ask(folder, overrides={"num_hidden_layers": 4}))
    save_model(tmp_path / "groups", "albert", num_hidden_groups=2)
    with pytest.raises(UserError, match="cannot be cut: layers take turns"):
        resolve_backbone(ask(tmp_path / "groups", overrides={"num_hidden_layers": 2}))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(UserError, match="model is not a folder"):
        resolve_backbone(ask(tmp_path / "model"))


@pytest.mark.usefixtures("hub_cache")
def test_offline_and_not_there() -> None:
    with pytest.raises(UserError, match="not completely in the local cache and offline mode forbids") as caught:
        load_backbone(BackboneRequest(HUB_ID, offline=True))
    assert "\n" not in str(caught.value)


def hub_error(name: str) -> Exception:
    """An error as the hub client raises it, without the HTTP response that its constructor wants."""
    cls = getattr(huggingface_hub.errors, name)
    error: Exception = cls.__new__(cls)
    return error


HUB_FAILURES = {
    "GatedRepoError": "is gated on the hub: accept its terms",
    "RepositoryNotFoundError": "There is no model 'some-org/tiny-bert' on the hub",
    "RevisionNotFoundError": "has no revision 'main'",
    "LocalEntryNotFoundError": "Cannot reach the hub for some-org/tiny-bert",
    "HfHubHTTPError": "Cannot reach the hub for some-org/tiny-bert",
    "OfflineModeIsEnabled": "Cannot reach the hub for some-org/tiny-bert",
}


@pytest.mark.parametrize("failure", sorted(HUB_FAILURES))
def test_hub_failures_are_one_line(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> str:
        raise hub_error(failure)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match=HUB_FAILURES[failure]) as caught:
        load_backbone(BackboneRequest(HUB_ID))
    assert "\n" not in str(caught.value)
