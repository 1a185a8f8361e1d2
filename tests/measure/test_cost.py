"""The analytic FLOPs equal what torch counts when the model really runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones import ENCODERS
from backbones.base import Batch, LayeredEncoder
from backbones.load import make_stock_config
from bench.measure.cost import CostModel
from strategies.base import Criterion, ExitModel, Head, Seen, State
from strategies.controls import Full
from strategies.elbert import SharedHead
from strategies.entropy import LinearHead, NormalisedEntropy
from strategies.past_future import PastFutureHead
from strategies.zero_time import CascadeHead
from tests.helpers.models.exit_models import EXTRA

HEADS = {"linear": LinearHead, "shared": SharedHead, "cascade": CascadeHead, "past-future": PastFutureHead}


def encoder_of(model_type: str, layers: int = 3, inner: int = 48) -> LayeredEncoder:
    cls = ENCODERS.load(model_type)
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": layers, "num_attention_heads": 3}
    rest = {"intermediate_size": inner, "max_position_embeddings": 40, "pad_token_id": 1}
    # eager: the counter sees nothing of fused attention on a CPU
    config = make_stock_config(model_type, {**sizes, **rest, **EXTRA.get(model_type, {})}, "eager")
    return cls(cls.stock(config)).eval()


@torch.no_grad()
def counted(encoder: LayeredEncoder, head: Head, tokens: int, exit_: int, early: bool = True) -> int:
    """FLOPs that torch counts for one sample leaving at ``exit_``, having visited all exits before."""
    batch = Batch(torch.full((1, tokens), 7))
    with FlopCounterMode(display=False) as counter:
        hidden, mask = encoder.embed(batch)
        memory = head.start(1, hidden.dtype, hidden.device)
        for layer in range(1, exit_ + 1):
            hidden = encoder.layer(layer, hidden, mask)
            if early or layer == exit_:
                memory, _ = head.step(memory, hidden, None, layer)
            else:
                memory = head.skip(memory, hidden, None, layer)
    return int(counter.get_total_flops())


@pytest.mark.parametrize("head_name", HEADS)
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("model_type", ENCODERS.builtin)
def test_flops_equal_torchs_count(model_type: str, layers: int, head_name: str) -> None:
    encoder = encoder_of(model_type, layers)
    head = HEADS[head_name](encoder, 3).eval()
    lengths = np.array([9, 2, 30, 9])
    cost = CostModel(encoder, head, NormalisedEntropy())
    table, plain = cost.flops_table(lengths), cost.plain(lengths)
    assert table.shape == (4, layers)
    assert table.dtype == plain.dtype == np.int64
    for i, tokens in enumerate(lengths.tolist()):
        assert table[i].tolist() == [counted(encoder, head, tokens, e) for e in range(1, layers + 1)]
        assert plain[i] == counted(encoder, head, tokens, layers, early=False)


def test_plain_is_what_the_plain_model_computes() -> None:
    encoder = encoder_of("albert")
    model = ExitModel(encoder, SharedHead(encoder, 2)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.plain(Batch(torch.full((1, 11), 7)))
    assert CostModel(encoder, model.head).plain(np.array([11])).tolist() == [counter.get_total_flops()]


def test_two_flops_a_multiply_accumulate_by_hand() -> None:
    encoder = encoder_of("bert", layers=2, inner=48)
    head = LinearHead(encoder, 3)
    layer = 5 * (4 * 24 * 24 + 2 * 24 * 48) + 2 * 5 * 5 * 24
    table = CostModel(encoder, head).flops_table(np.array([5]))
    assert table.tolist() == [[2 * (layer + 72), 2 * (2 * layer + 2 * 72)]]


class WithHead(Criterion):
    """A criterion that has a head of its own: 1,000 MACs a class, one more at each deeper exit."""

    def step(self, state: State, seen: Seen) -> tuple[State, torch.Tensor]:
        raise NotImplementedError

    def macs(self, num_outputs: int, layer: int) -> int:
        return 1000 * num_outputs + layer


def test_a_criterions_own_head_is_paid_for_at_every_exit_but_the_last() -> None:
    encoder = encoder_of("roberta", layers=3)
    head, lengths = LinearHead(encoder, 2), np.array([4, 8])
    extra = CostModel(encoder, head, WithHead()).flops_table(lengths) - CostModel(encoder, head).flops_table(lengths)
    assert extra.tolist() == [[2 * 2001, 2 * (2001 + 2002), 2 * (2001 + 2002)]] * 2


def test_a_criterion_that_never_leaves_costs_what_the_plain_model_does() -> None:
    encoder = encoder_of("albert")
    cost = CostModel(encoder, SharedHead(encoder, 2), Full.criterion())
    lengths = np.array([3, 12])
    assert (cost.flops_table(lengths)[:, -1] == cost.plain(lengths)).all()


def test_early_heads_are_not_free() -> None:
    encoder = encoder_of("bert")
    cost = CostModel(encoder, SharedHead(encoder, 2), NormalisedEntropy())
    lengths = np.array([3, 12])
    assert (cost.flops_table(lengths)[:, -1] > cost.plain(lengths)).all()


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_lengths_must_be_positive(lengths: list[int]) -> None:
    encoder = encoder_of("bert", layers=1)
    with pytest.raises(ValueError, match="at least one"):
        CostModel(encoder, LinearHead(encoder, 2)).flops_table(np.array(lengths, dtype=np.int64))
