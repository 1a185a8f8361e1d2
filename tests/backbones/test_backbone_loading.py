"""Pretrained folders, mirrors and the hub cache: what is loaded and what identifies it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from backbones import ENCODERS
from backbones.catalog import BACKBONES
from backbones.errors import UserError
from backbones.load import BackboneRequest, load_backbone
from backbones.resolve import resolve_backbone
from tests.helpers.models.model_folders import COMMIT, HUB_ID, TEXTS, ask, save_model, tokens_of

# ------------------------------------------------------------------ pretrained folders


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_a_folder_gives_its_weights_tokenizer_and_pooler(tmp_path: Path, model_type: str) -> None:
    model = save_model(tmp_path, model_type).eval()
    loaded = load_backbone(ask(tmp_path))
    batch = tokens_of(loaded, TEXTS[0])
    expected = model(batch.input_ids, token_type_ids=batch.token_type_ids)
    assert torch.equal(loaded.encoder(batch)[-1], expected.last_hidden_state)
    pooler = loaded.encoder.pretrained_pooler()
    assert (pooler is not None) == ("pooler_output" in expected)
    if pooler is not None:
        assert torch.equal(torch.tanh(pooler(expected.last_hidden_state[:, 0])), expected.pooler_output)
    assert loaded.warnings == ()
    assert not loaded.encoder.training
    assert not loaded.encoder.model.training
    # RoBERTa's 34 rows hold 32 tokens
    assert loaded.tokenizer.model_max_length == 32


def test_a_checkpoint_without_pooler_is_said_to_have_none(tmp_path: Path) -> None:
    save_model(tmp_path, pooler=False)
    loaded = load_backbone(ask(tmp_path))
    assert loaded.encoder.pretrained_pooler() is None
    assert [w for w in loaded.warnings if "no pooler weights" in w]


def test_sharded_weights_are_read(tmp_path: Path) -> None:
    model = save_model(tmp_path)
    whole = load_backbone(ask(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    loaded = load_backbone(ask(tmp_path))
    ours, theirs = loaded.encoder.state_dict(), whole.encoder.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    shards[0].unlink()
    with pytest.raises(UserError, match="names shards that are not there: model-00001"):
        load_backbone(ask(tmp_path))


@torch.no_grad()
def test_truncation_keeps_the_first_layers(folder: Path) -> None:
    whole, cut = load_backbone(ask(folder)), load_backbone(ask(folder, overrides={"num_hidden_layers": 2}))
    batch = tokens_of(whole, TEXTS[1])
    assert cut.encoder.num_layers == 2
    for ours, theirs in zip(cut.encoder(batch), whole.encoder(batch)[:2], strict=True):
        assert torch.equal(ours, theirs)
    assert cut.digest != whole.digest
    assert cut.revision == whole.revision


def test_dropout_may_be_overridden_on_pretrained_weights(folder: Path) -> None:
    loaded = load_backbone(ask(folder, overrides={"hidden_dropout_prob": 0.37}))
    assert loaded.encoder.head_dropout == 0.37


def test_half_precision_checkpoints_load_as_float32(folder: Path) -> None:
    weights = folder / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(weights).items()}, weights, metadata={"format": "pt"})
    encoder = load_backbone(ask(folder)).encoder
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("init", ["pretrained", "scratch"])
def test_the_asked_attention_is_used(folder: Path, init: str, attention: str) -> None:
    loaded = load_backbone(ask(folder, init=init, attention=attention))
    assert loaded.encoder.model.config._attn_implementation == attention


def test_loading_leaves_no_trace(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state, level = torch.random.get_rng_state(), transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    load_backbone(ask(folder, overrides={"num_hidden_layers": 1}))
    load_backbone(ask(folder, init="scratch"), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert transformers_logging.get_verbosity() == level
    assert transformers_logging.is_progress_bar_enabled() == bar
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ identity


def test_describe_agrees_with_loading(folder: Path) -> None:
    request = ask(folder, overrides={"num_hidden_layers": 2})
    found, loaded = resolve_backbone(request), load_backbone(request)
    assert (found.digest, found.revision, found.source) == (loaded.digest, loaded.revision, loaded.source)
    assert (found.model_type, found.init) == ("bert", "pretrained")
    config = found.config
    assert isinstance(config, dict)
    assert config["num_hidden_layers"] == 2
    # nothing that is recorded may tell where on the machine the folder is
    assert str(folder.parent) not in loaded.source + loaded.revision


def test_identity_is_the_content_not_the_place(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    before = resolve_backbone(ask(folder)).digest
    assert resolve_backbone(ask(copied)).digest == before
    weights = load_file(copied / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert resolve_backbone(ask(copied)).digest != before


def test_identity_follows_the_tokenizer_and_ignores_who_saved_the_config(folder: Path) -> None:
    before = resolve_backbone(ask(folder)).digest
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_version": "5.0.0", "_name_or_path": "x"}))
    assert resolve_backbone(ask(folder)).digest == before
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(tokenizer.replace('"cat"', '"cow"'))
    assert resolve_backbone(ask(folder)).digest != before


def test_code_that_comes_with_a_model_is_named_and_not_run(folder: Path) -> None:
    assert resolve_backbone(ask(folder)).warnings == ()
    config = json.loads((folder / "config.json").read_text())
    code = {"auto_map": {"AutoModel": "modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps({**config, **code}))
    (folder / "modeling_own.py").write_text("raise SystemExit('run')\n")
    [warning] = load_backbone(ask(folder, revision=None)).warnings
    assert "brings code of its own (auto_map in config.json), which is never run" in warning


def test_a_revision_of_a_folder_is_a_warning(folder: Path) -> None:
    found = resolve_backbone(ask(folder, revision="v2"))
    assert found.digest == resolve_backbone(ask(folder)).digest
    assert "Revision 'v2' was not checked" in str(found.warnings)


# ------------------------------------------------------------------ mirror and cache


def test_a_mirror_is_looked_at_first(tmp_path: Path) -> None:
    mirror = tmp_path / "hub"
    save_model(mirror / "models" / HUB_ID)
    save_model(mirror / "models" / "google-bert" / "bert-base-uncased", num_hidden_layers=2)
    loaded = load_backbone(BackboneRequest(HUB_ID, hub_root=mirror))
    assert loaded.source == f"mirror:{HUB_ID}"
    named = load_backbone(BackboneRequest("bert-base", hub_root=mirror, offline=True))
    assert (named.source, named.encoder.num_layers) == ("mirror:google-bert/bert-base-uncased", 2)
    assert named.warnings == ()


@pytest.mark.parametrize("revision", [None, COMMIT])
def test_offline_uses_the_cache_and_records_the_commit(hub_cache: Path, revision: str | None) -> None:
    save_model(hub_cache)
    request = BackboneRequest(HUB_ID, offline=True, revision=revision)
    loaded = load_backbone(request)
    assert (loaded.revision, loaded.source) == (COMMIT, f"hub:{HUB_ID}")
    assert resolve_backbone(request).digest == loaded.digest


def test_a_pinned_commit_is_known_before_its_weights_are_there(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(hub_cache)
    weights = (hub_cache / "model.safetensors").read_bytes()
    (hub_cache / "model.safetensors").unlink()
    asked = []

    def download(hub_id: str, local_files_only: bool = False, **options: object) -> str:
        asked.append(local_files_only)
        if not local_files_only:
            (hub_cache / "model.safetensors").write_bytes(weights)
        return str(hub_cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    request = BackboneRequest(HUB_ID, revision=COMMIT)
    before = resolve_backbone(request)
    assert asked == [True]
    loaded = load_backbone(request)
    assert asked == [True, True, False]
    assert loaded.digest == before.digest
    load_backbone(request)
    assert asked == [True, True, False, True]


# ------------------------------------------------------------------ the mirror beside the checkout

MIRRORED = ("albert-base", "bert-base", "roberta-base")


@pytest.mark.shared
@pytest.mark.parametrize("name", MIRRORED)
@torch.no_grad()
def test_real_configurations_and_tokenizers(shared: Path, name: str) -> None:
    named = BACKBONES[name]
    request = BackboneRequest(name, "scratch", {"num_hidden_layers": 1}, hub_root=shared / "hub", offline=True)
    loaded = load_backbone(request)
    assert loaded.encoder.model_type == named.model_type
    assert loaded.encoder.hidden_size == named.hidden
    assert loaded.tokenizer.model_max_length == 512
    pair = loaded.tokenizer("hello world", "foo bar")
    words = loaded.tokenizer.decode(pair["input_ids"], skip_special_tokens=True)
    assert "hello world" in words
    # ALBERT and BERT were pretrained with segments, RoBERTa has none
    assert (1 in pair.get("token_type_ids", [])) == (named.model_type != "roberta")
    state = loaded.encoder(tokens_of(loaded, "hello world"))[-1]
    assert bool(state.isfinite().all())


@pytest.mark.shared
@pytest.mark.parametrize("name", MIRRORED)
def test_a_mirror_without_weights_says_where_to_put_them(shared: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"has no weights: put model.safetensors there.*--init scratch"):
        resolve_backbone(BackboneRequest(name, hub_root=shared / "hub", offline=True))


@pytest.mark.shared
@pytest.mark.parametrize("name", MIRRORED)
def test_the_catalog_agrees_with_the_real_configurations(shared: Path, name: str) -> None:
    named = BACKBONES[name]
    found = resolve_backbone(BackboneRequest(name, init="scratch", hub_root=shared / "hub"))
    config = found.config
    assert isinstance(config, dict)
    assert (config["num_hidden_layers"], config["hidden_size"]) == (named.layers, named.hidden)
