"""Heads cost what they say and train what they say; FastBERT's published figures are reproduced exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.selfcheck.properties.contract import find_broken
from bench.selfcheck.properties.parts import HEAD_PROPERTIES, JudgedHead
from bench.selfcheck.tiny import TINY
from strategies import HEADS
from strategies.base import apply_linear, apply_wide_linear, pool
from strategies.fastbert import StudentHead, count_published_head_macs
from tests.helpers.models.exit_models import POOLED, make_model

TOKENS, OUTPUTS, LAYERS = 9, 3, TINY["num_hidden_layers"]


@pytest.mark.parametrize("name", list(HEADS))
def test_heads_have_the_properties_that_somebody_elses_are_asked(name: str) -> None:
    """They cost what torch counts, train what they say, and padding changes nothing."""
    judged = JudgedHead(HEADS.load(name))
    assert {p.name: found for p in HEAD_PROPERTIES if (found := find_broken(p, judged))} == {}


@pytest.mark.parametrize(
    ("name", "poolers", "classifiers"),
    [("highway", LAYERS, LAYERS), ("shared-pooler", 1, LAYERS), ("shared", 1, 1), ("linear", 0, LAYERS)],
)
def test_what_exits_share(name: str, poolers: int, classifiers: int) -> None:
    """DeeBERT shares nothing, PABEE the pooler, ELBERT the classifier too; linear heads have no pooler."""
    head = make_model("bert", HEADS.load(name), OUTPUTS).head
    shapes = [tuple(p.shape) for p in head.parameters()]
    assert shapes.count((head.hidden_size, head.hidden_size)) == poolers
    assert shapes.count((OUTPUTS, head.hidden_size)) == classifiers


@pytest.mark.parametrize("model_type", POOLED)
@pytest.mark.parametrize("name", ["highway", "shared", "shared-pooler"])
def test_poolers_start_from_the_pretrained_one(name: str, model_type: str) -> None:
    encoder = make_model(model_type).encoder
    pretrained = encoder.pretrained_pooler()
    assert pretrained is not None
    head = HEADS.load(name)(encoder, OUTPUTS)
    poolers = [p for n, p in head.named_parameters() if "pooler" in n and n.endswith("weight")]
    assert len(poolers) == (encoder.num_layers if name == "highway" else 1)
    for weight in poolers:
        assert torch.equal(weight, pretrained.weight)
        assert weight.data_ptr() != pretrained.weight.data_ptr()


def test_the_student_is_the_published_one_step_by_step() -> None:
    """The same numbers from torch's own attention: no residual, no layer norm, first token, two tanh."""
    head = StudentHead(make_model("bert").encoder, OUTPUTS).eval()
    student = head.exits[2]
    hidden = torch.randn(2, TOKENS, head.hidden_size)
    mask = (torch.arange(TOKENS) < torch.tensor([[TOKENS], [5]])).long()
    parts = dict(student.named_parameters())
    attention = torch.nn.MultiheadAttention(128, 2, batch_first=True).eval()
    names = ("query", "key", "value")
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([parts[f"{n}.weight"] for n in names]))
        attention.in_proj_bias.copy_(torch.cat([parts[f"{n}.bias"] for n in names]))
        attention.out_proj.weight.copy_(parts["output.weight"])
        attention.out_proj.bias.copy_(parts["output.bias"])
        x = torch.tanh(hidden @ parts["narrow.weight"].T + parts["narrow.bias"])
        x, _ = attention(x, x, x, key_padding_mask=mask == 0)
        x = torch.tanh(x[:, 0] @ parts["dense.weight"].T + parts["dense.bias"])
        expected = x @ parts["classifier.weight"].T + parts["classifier.bias"]
        assert torch.allclose(head(hidden, mask, 3), expected, atol=1e-6)


def test_mean_pooling_ignores_padding() -> None:
    hidden, mask = torch.randn(1, 4, 3), torch.tensor([[1, 1, 0, 0]])
    assert torch.allclose(pool(hidden, mask, "mean"), hidden[:, :2].mean(dim=1))


# ---- FastBERT's own convention (thop on the released code): BERT-base at 128 tokens, two classes, linear layers only

LAYER = 128 * (4 * 768 * 768 + 2 * 768 * 3072)


def test_published_layer_and_classifier() -> None:
    assert LAYER == 905_969_664
    assert count_published_head_macs() == 20_988_160


def test_published_model_without_early_exit_evaluates_one_classifier() -> None:
    alone = 12 * LAYER + count_published_head_macs()
    assert alone == 10_892_624_128
    # the README's and the paper's 21785M: an older thop's multiply and add, and without the last linear layer
    assert 2 * (alone - 128 * 2) == 21_785_247_744


def test_published_full_depth_evaluates_twelve_and_costs_two_per_cent_more() -> None:
    alone, early = (12 * LAYER + visited * count_published_head_macs() for visited in (1, 12))
    assert early == 11_123_493_888
    assert early / alone == pytest.approx(1.021, abs=5e-4)


def test_paper_table_1_in_multiplies_and_adds() -> None:
    narrow, attention, dense = 128 * 768 * 128, 4 * 128 * 128 * 128, 128 * 128 * 128
    assert f"{2 * attention / 1e6:.1f}M" == "16.8M"
    assert f"{2 * dense / 1e6:.1f}M" == "4.2M"  # on all 128 tokens; the released code applies it to one
    assert f"{2 * (narrow + attention + dense) / 1e6:.1f}M" == "46.1M"
    assert count_published_head_macs() == narrow + attention + dense // 128 + 128 * 2


def test_our_convention_adds_the_attention_products() -> None:
    head = make_model("bert", StudentHead, 2).head
    assert head.macs(128, 1) == count_published_head_macs(hidden=head.hidden_size) + 2 * 128 * 128 * 128


class Wide(nn.Module):
    """A wide linear layer alone."""

    def __init__(self, outputs: int = 8, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(6, outputs, bias)

    def forward(self, features: Tensor) -> Tensor:
        return apply_wide_linear(self.linear, features)


@pytest.mark.parametrize("samples", [0, 1, 2])
@pytest.mark.parametrize("outputs", [7, 8])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_wide_layer_is_a_linear_one(samples: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
    module, features = Wide(outputs, bias).to(dtype), torch.randn(samples, 6, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(module(features), apply_linear(module.linear, features))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_an_exported_wide_layer_takes_any_number_of_samples() -> None:
    module, one, more = Wide().eval(), torch.randn(1, 6), torch.randn(5, 6)
    with torch.no_grad():
        shapes = ({0: torch.export.Dim("batch")},)
        exported = torch.export.export(module, (more,), dynamic_shapes=shapes).module()
        for made in (exported, torch.jit.trace(module, one)):
            for features in (one, more):
                torch.testing.assert_close(made(features), apply_linear(module.linear, features))
