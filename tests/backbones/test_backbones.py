"""Stepping through a backbone gives the stock model's hidden states bit for bit, at the stated cost."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones import ENCODERS
from tests.helpers.models.encoders import make, make_batch, stock
from tests.helpers.models.exit_models import POOLED

DROPOUT = {"albert": 0.1, "distilbert": 0.2, "modernbert": 0.0}
"""What stock classifiers drop by default, of the types whose configuration has a value of its own."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padded", [False, True], ids=["unpadded", "padded"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_stepping_equals_the_stock_model(model_type: str, attention: str, padded: bool, dtype: torch.dtype) -> None:
    # RoBERTa has one segment only when its config says so; here every type that knows segments has two
    encoder = make(model_type, attention, type_vocab_size=2).to(dtype)
    batch = make_batch(padded)
    expected = stock(encoder, batch)
    embedded, _ = encoder.embed(batch)
    states = encoder(batch)
    assert torch.equal(embedded, expected[0])
    assert len(states) == encoder.num_layers == len(expected) - 1
    # in float64, stock ModernBERT hides scores from eager attention's float32 soft-max by -inf: padding gets NaN
    broken = (model_type, attention, padded, dtype) == ("modernbert", "eager", True, torch.float64)
    for ours, theirs in zip(states, expected[1:], strict=True):
        assert ours.dtype == dtype
        assert ours.isfinite().all()
        kept = theirs.isfinite()
        assert kept.any() if broken else kept.all()
        assert torch.equal(ours[kept], theirs[kept])


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_absent_segments_are_what_the_stock_model_assumes(model_type: str) -> None:
    encoder = make(model_type)
    batch = make_batch(padded=True, segments=False)
    for ours, theirs in zip(encoder(batch), stock(encoder, batch)[1:], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("inner", [1, 2])
@torch.no_grad()
def test_albert_groups_and_inner_layers(groups: int, inner: int) -> None:
    encoder = make("albert", num_hidden_layers=5, num_hidden_groups=groups, inner_group_num=inner)
    batch = make_batch(padded=True)
    expected = encoder.model(batch.input_ids, batch.attention_mask, batch.token_type_ids).last_hidden_state
    assert torch.equal(encoder(batch)[-1], expected)


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_training_mode_draws_the_same_dropout(model_type: str) -> None:
    encoder = make(model_type, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2).train()
    batch = make_batch(padded=True, segments=False)
    torch.manual_seed(11)
    ours = encoder(batch)[-1]
    torch.manual_seed(11)
    theirs = stock(encoder, batch)[-1]
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, encoder.eval()(batch)[-1])


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_a_copy_steps_through_its_own_weights(model_type: str) -> None:
    encoder = make(model_type)
    twin = copy.deepcopy(encoder)
    batch = make_batch(padded=False, segments=False)
    before = encoder(batch)[-1]
    for parameter in twin.parameters():
        parameter.mul_(1.5)
    assert torch.equal(encoder(batch)[-1], before)
    assert torch.equal(twin(batch)[-1], stock(twin, batch)[-1])
    assert not torch.equal(twin(batch)[-1], before)


@pytest.mark.parametrize("tokens", [1, 7, 24])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_costs_equal_the_flop_counter(model_type: str, depth: int, tokens: int) -> None:
    # eager: the counter gives fused attention on the CPU no operations at all
    encoder = make(model_type, "eager", num_hidden_layers=depth)
    # one sample: in a batch DeBERTa projects its table of positions once for all
    batch = make_batch(padded=False, segments=False, size=1, tokens=tokens)
    with FlopCounterMode(display=False) as counter:
        encoder(batch)
    assert counter.get_total_flops() == 2 * (encoder.embed_macs(tokens) + depth * encoder.layer_macs(tokens))


@torch.no_grad()
def test_albert_inner_layers_are_paid_for() -> None:
    encoder = make("albert", "eager", inner_group_num=2)
    batch = make_batch(padded=False, size=1, tokens=9)
    with FlopCounterMode(display=False) as counter:
        encoder(batch)
    assert counter.get_total_flops() == 2 * (encoder.embed_macs(9) + 3 * encoder.layer_macs(9))


@pytest.mark.parametrize("model_type", POOLED)
@torch.no_grad()
def test_the_pooler_is_the_stock_pooler(model_type: str) -> None:
    encoder = make(model_type)
    batch = make_batch(padded=False, segments=False)
    pooler = encoder.pretrained_pooler()
    assert pooler is not None
    expected = encoder.model(batch.input_ids).pooler_output
    assert torch.equal(torch.tanh(pooler(encoder(batch)[-1][:, 0])), expected)
    encoder.model.pooler = None
    assert encoder.pretrained_pooler() is None
    assert encoder(batch)[-1].shape == (3, 12, 32)


def test_what_has_a_pooler() -> None:
    assert {name for name in ENCODERS.builtin if name in POOLED} >= {"albert", "bert", "roberta"}
    assert not {"deberta-v2", "distilbert", "electra", "modernbert"} & set(POOLED)


@pytest.mark.parametrize("model_type", sorted(set(ENCODERS) - set(POOLED)))
def test_other_types_have_no_pooler(model_type: str) -> None:
    encoder = make(model_type)
    assert encoder.pretrained_pooler() is None
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_the_table_agrees_with_the_classes(model_type: str) -> None:
    encoder = make(model_type, hidden_dropout_prob=0.25)
    assert encoder.model_type == model_type == encoder.model.config.model_type
    assert isinstance(encoder.model, encoder.model_class)
    assert (encoder.num_layers, encoder.hidden_size) == (3, 32)
    # where the configuration has no classifier dropout of its own, it is the hidden one
    assert encoder.head_dropout == DROPOUT.get(model_type, 0.25)
    # the encoder owns no weights of its own
    assert {id(p) for p in encoder.parameters()} == {id(p) for p in encoder.model.parameters()}
