"""What single model types have: DeBERTa's distances and convolution, ModernBERT's windows, ELECTRA's projection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones import ENCODERS
from backbones.base import Batch, LayeredEncoder
from backbones.catalog import BACKBONES
from backbones.config import has_segments, use_common_names, use_own_names
from backbones.errors import UserError
from backbones.load import BackboneRequest, load_backbone, outline_backbone
from backbones.resolve import resolve_backbone
from bench.tasks.encode import EncodedSplit, collate_batch
from tests.helpers.models.encoders import SIZES, make, make_batch, stock
from tests.helpers.models.exit_models import EXTRA
from tests.helpers.models.model_folders import TEXTS, ask, save_model, tokens_of

DEBERTA: dict[str, dict[str, object]] = {
    "v3": {},
    "own projections": {"share_att_key": False, "norm_rel_ebd": "none"},
    "c2p": {"share_att_key": False, "pos_att_type": ["c2p"]},
    "p2c, as text": {"share_att_key": False, "pos_att_type": "p2c"},
    "shared, c2p": {"pos_att_type": ["c2p"]},
    "no buckets": {"position_buckets": -1},
    "far distances": {"position_buckets": -1, "max_relative_positions": 3},
    "absolute": {"relative_attention": False, "position_biased_input": True, "pos_att_type": []},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu", "embedding_size": 16},
    "grouped convolution": {"conv_kernel_size": 5, "conv_groups": 4, "type_vocab_size": 2},
}


def assert_stock(encoder: LayeredEncoder, batch: Batch) -> None:
    states = encoder(batch)
    for ours, theirs in zip(states, stock(encoder, batch)[1:], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("name", DEBERTA)
@torch.no_grad()
def test_every_deberta_is_the_stock_one_at_its_cost(name: str, padded: bool) -> None:
    # the counter's hooks fail on views of parameters that want gradients
    encoder = make("deberta-v2", "eager", **DEBERTA[name]).requires_grad_(False)
    assert_stock(encoder, make_batch(padded))
    for tokens in (1, 2, 17):
        with FlopCounterMode(display=False) as counter:
            encoder(make_batch(False, size=1, tokens=tokens))
        assert counter.get_total_flops() == 2 * (encoder.embed_macs(tokens) + 3 * encoder.layer_macs(tokens))


@torch.no_grad()
def test_a_batch_shares_debertas_projected_positions() -> None:
    encoder = make("deberta-v2")
    counts = []
    for size in (1, 3):
        with FlopCounterMode(display=False) as counter:
            encoder(make_batch(False, size=size))
        counts.append(counter.get_total_flops())
    rows, hidden, layers = 2 * 4, 32, 3
    assert 3 * counts[0] - counts[1] == 2 * 2 * layers * (2 * rows * hidden * hidden)


@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("window", [2, 8, 64])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_every_modernbert_is_the_stock_one(attention: str, window: int, every: int, padded: bool) -> None:
    shape = {"local_attention": window, "global_attn_every_n_layers": every, "num_hidden_layers": 5}
    assert_stock(make("modernbert", attention, **shape), make_batch(padded))


@torch.no_grad()
def test_modernberts_window_hides_what_is_far() -> None:
    encoder = make("modernbert", local_attention=4, global_attn_every_n_layers=9)
    ids = make_batch(False, size=1).input_ids
    changed = ids.clone()
    changed[0, 11] += 1
    hidden = [encoder.embed(Batch(i))[0] for i in (ids, changed)]
    # global attention first: all positions notice; local attention alone: those two away do
    everywhere, near = ([encoder.layer(index, h, None)[0] for h in hidden] for index in (1, 2))
    differ = (everywhere[0] != everywhere[1]).any(dim=-1)
    assert differ.all()
    assert (near[0] != near[1]).any(dim=-1).tolist() == [False] * 9 + [True] * 3


@pytest.mark.parametrize("model_type", ["deberta-v2", "modernbert"])
@torch.no_grad()
def test_tables_fit_every_length_and_format(model_type: str) -> None:
    encoder = make(model_type)
    for dtype in (torch.float32, torch.bfloat16):
        encoder.to(dtype)
        for tokens in [*range(1, 34), 5, 40]:
            assert_stock(encoder, make_batch(False, size=1, tokens=tokens))


@pytest.mark.parametrize("model_type", ["deberta-v2", "modernbert"])
def test_training_goes_on_after_inference(model_type: str) -> None:
    encoder, batch = make(model_type), make_batch(True)
    with torch.inference_mode():
        expected = encoder(batch)[-1].clone()
    found = encoder(batch)[-1]
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_what_is_left_of_a_batch_is_the_stock_models_smaller_batch(model_type: str, attention: str) -> None:
    encoder = make(model_type, attention)
    batch = make_batch(padded=True)  # of 12, 8 and 4 tokens
    assert batch.attention_mask is not None
    assert batch.token_type_ids is not None
    hidden, mask = encoder.embed(batch)
    rows = torch.tensor([1, 2])
    small = Batch(batch.input_ids[rows, :8], batch.attention_mask[rows, :8], batch.token_type_ids[rows, :8])
    hidden, mask = hidden[rows, :8], encoder.shrink(mask, rows, 8)
    for index, theirs in enumerate(stock(encoder, small)[1:], start=1):
        hidden = encoder.layer(index, hidden, mask)
        assert torch.equal(hidden, theirs)


# ------------------------------------------------------------------ pairs


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_segments_count_where_a_model_has_them(model_type: str) -> None:
    encoder, batch = make(model_type), make_batch(padded=False)
    plain = encoder(Batch(batch.input_ids))[-1]
    differs = not torch.equal(encoder(batch)[-1], plain)
    assert differs == has_segments({**SIZES, **EXTRA.get(model_type, {})}, model_type)


@pytest.mark.parametrize("name", sorted(name for name, named in BACKBONES.items() if named.hub_id is None))
@torch.no_grad()
def test_pairs_go_through_every_demo_backbone(name: str) -> None:
    loaded = load_backbone(BackboneRequest(name), TEXTS)
    found = loaded.tokenizer(TEXTS[:2], TEXTS[1:3], return_token_type_ids=True)
    lengths = torch.tensor([len(row) for row in found["input_ids"]]).numpy()
    types = found["token_type_ids"]
    pad = int(loaded.tokenizer.pad_token_id)
    encoded = EncodedSplit(found["input_ids"], types if any(map(any, types)) else None, lengths, 0, pad)
    batch = collate_batch(encoded, [0, 1])
    named = BACKBONES[name]
    assert (batch.token_type_ids is not None) == has_segments(named.config, named.model_type)
    assert_stock(loaded.encoder, batch)


# ------------------------------------------------------------------ configurations


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_names_go_there_and_back(model_type: str) -> None:
    usual: dict[str, object] = {"hidden_size": 8, "num_hidden_layers": 2, "hidden_act": "relu", "other": None}
    assert use_common_names(use_own_names(usual, model_type), model_type) == usual


def test_a_types_own_name_goes_before_a_stray_usual_one() -> None:
    assert use_common_names({"layer_norm_eps": 1.0, "norm_eps": 0.1}, "modernbert") == {"layer_norm_eps": 0.1}


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_any_folder_is_cut_to_its_first_layers(tmp_path: Path, model_type: str) -> None:
    save_model(tmp_path, model_type, num_hidden_layers=4)
    whole, cut = load_backbone(ask(tmp_path)), load_backbone(ask(tmp_path, overrides={"num_hidden_layers": 3}))
    batch = tokens_of(whole, TEXTS[1])
    assert (whole.encoder.num_layers, cut.encoder.num_layers) == (4, 3)
    ours, theirs = cut.encoder(batch), whole.encoder(batch)
    # ModernBERT's last state has passed the final norm, whichever layer is the last
    assert all(torch.equal(a, b) for a, b in zip(ours[:2], theirs[:2], strict=True))
    assert torch.equal(ours[2], theirs[2]) == (model_type != "modernbert")
    assert outline_backbone(ask(tmp_path, overrides={"num_hidden_layers": 3})).layer_macs(9) == cut.encoder.layer_macs(
        9
    )


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_shape_and_dropout_have_one_name_for_all(tmp_path: Path, model_type: str) -> None:
    save_model(tmp_path, model_type)
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 22, "hidden_dropout_prob": 0.3}
    request = ask(tmp_path, init="scratch", overrides=shape)
    encoder = load_backbone(request).encoder
    assert (encoder.num_layers, encoder.hidden_size) == (2, 32)
    assert 0.3 in {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}
    config = resolve_backbone(request).config
    assert isinstance(config, dict)
    assert {key: config[key] for key in shape} == shape
    inner = {p.shape[0] for p in encoder.parameters()} & {22, 44}
    assert inner == ({44} if model_type == "modernbert" else {22})  # the gate doubles the first projection


def test_modernbert_layers_as_saved(tmp_path: Path) -> None:
    save_model(tmp_path, "modernbert", num_hidden_layers=4)
    assert len(json.loads((tmp_path / "config.json").read_text())["layer_types"]) == 4
    with pytest.raises(UserError, match="num_hidden_layers 6 is more than the 4 layer_types"):
        load_backbone(ask(tmp_path, init="scratch", overrides={"num_hidden_layers": 6}))
    every = {"num_hidden_layers": 4, "global_attn_every_n_layers": 1}
    encoder = load_backbone(ask(tmp_path, init="scratch", overrides=every)).encoder
    assert set(encoder.model.config.layer_types) == {"full_attention"}


REFUSED: dict[str, tuple[str, dict[str, object], str]] = {
    "no segments": ("distilbert-demo", {"type_vocab_size": 2}, "Unknown distilbert configuration field"),
    "own name": ("distilbert-demo", {"n_layers": 2}, "Unknown distilbert configuration field 'n_layers'"),
    "window": ("modernbert-demo", {"local_attention": 0}, "local_attention must be a whole number of at least 1"),
    "rotation": ("modernbert-demo", {"hidden_size": 66}, "66 over num_attention_heads 2 is odd: rotary positions"),
    "segments": ("deberta-v2-demo", {"type_vocab_size": -1}, "type_vocab_size must be .* at least 0, not -1"),
    "embedding": ("electra-demo", {"embedding_size": 0}, "embedding_size must be a whole number of at least 1"),
    "kind of attention": ("deberta-v2-demo", {"pos_att_type": 3}, "The configuration of .* is not valid"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_shapes_are_refused(case: str) -> None:
    name, overrides, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(BackboneRequest(name, overrides=overrides), TEXTS)
    assert "\n" not in str(caught.value)
