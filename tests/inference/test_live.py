"""Live inference really stops, and decides exactly as replay does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbones import ENCODERS
from backbones.base import Batch
from bench.inference.live import LiveResult, run_live
from bench.selfcheck.properties.live import LIVE_LENGTHS, find_live_difference
from strategies.base import ExitModel, StrategyError
from strategies.controls import EarliestConsistent, ForcedExits
from tests.helpers.criteria import CAUSAL, KINDS, criterion_of, judge
from tests.helpers.models.exit_models import make_batch, make_model, replay

PROBED = [name for name in CAUSAL if criterion_of(name).probe is not None]
HEADS = [*{KINDS[name].head: name for name in reversed(CAUSAL) if name not in PROBED}.values(), *PROBED]
"""A strategy for each head, and each whose criterion reads hidden states: the others see logits alone."""
PLACES = [
    *(("bert", name, "sdpa") for name in CAUSAL),
    *((model_type, name, "sdpa") for model_type in sorted(set(ENCODERS) - {"bert"}) for name in HEADS),
    *((model_type, name, "eager") for model_type in sorted(ENCODERS) for name in ("entropy", "learned-exit", "gpfee")),
]
"""Backbone, strategy and attention."""


@pytest.mark.parametrize(("model_type", "name", "attention"), PLACES)
def test_live_equals_replay(model_type: str, name: str, attention: str) -> None:
    judged = judge(name)
    said, depths, cuts = find_live_difference(judged.kind, judged.arguments, LIVE_LENGTHS, model_type, attention)
    assert said is None
    assert make_model("bert").num_layers in depths
    assert len(depths) >= (min(3, cuts) if judged.criterion.uses_early_exits else 1)


def test_what_reads_hidden_states_is_on_every_backbone() -> None:
    assert {"palbert", "saturation"} <= set(PROBED)
    for model_type in ENCODERS:
        assert set(PROBED) <= {name for place, name, _ in PLACES if place == model_type}


class Recorder:
    """Which shapes pass through the layers."""

    def __init__(self, model: ExitModel) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.masked: list[bool] = []
        self.inner = model.encoder.layer
        model.encoder.layer = self  # type: ignore[method-assign]

    def __call__(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        self.shapes.append((hidden.shape[0], hidden.shape[1]))
        self.masked.append(mask is not None)
        return self.inner(index, hidden, mask)


def exits(model: ExitModel, lengths: list[int], wanted: list[int]) -> tuple[LiveResult, Recorder]:
    recorder = Recorder(model)
    return run_live(model, ForcedExits(exits=range(10)), 0.5, make_batch(lengths), keys=torch.tensor(wanted)), recorder


def test_finished_samples_leave_and_padding_is_trimmed() -> None:
    found, seen = exits(make_model("bert"), [12, 5, 9, 5], [1, 5, 3, 5])
    assert found.layer.tolist() == [1, 5, 3, 5]
    assert seen.shapes == [(4, 12), (3, 9), (3, 9), (2, 5), (2, 5)]
    assert seen.masked == [True, True, True, False, False]  # the last two are of one length


@pytest.mark.parametrize(
    ("wanted", "layers_run"),
    [([1, 1, 1], 1), ([5, 5, 5], 5), ([9, 9, 9], 5), ([2, 1, 2], 2), ([4], 4), ([1], 1)],
    ids=["all at 1", "all at the last", "never", "all early", "one", "one at 1"],
)
def test_layers_not_needed_are_not_run(wanted: list[int], layers_run: int) -> None:
    model = make_model("albert")
    found, seen = exits(model, [6, 9, 4][: len(wanted)], wanted)
    assert found.layer.tolist() == [min(w, model.num_layers) for w in wanted]
    assert len(seen.shapes) == layers_run


def test_an_empty_batch_has_an_empty_outcome() -> None:
    batch = Batch(torch.empty(0, 4, dtype=torch.long))
    found = run_live(
        make_model("bert"), ForcedExits(exits=range(10)), 0.5, batch, keys=torch.empty(0, dtype=torch.long)
    )
    assert found.layer.shape == (0,)
    assert found.logits.shape == (0, 3)


def test_left_padding_is_not_trimmed_away() -> None:
    model = make_model("bert").double()
    ids = make_batch([8, 8, 8]).input_ids
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, :4] = 0
    keys = torch.tensor([1, 4, 4])
    found = run_live(model, ForcedExits(exits=range(10)), 0.5, Batch(ids, mask), keys=keys)
    alone = run_live(model, ForcedExits(exits=range(10)), 0.5, Batch(ids[1:2], mask[1:2]), keys=keys[1:2])
    torch.testing.assert_close(found.logits[1:2], alone.logits)


def test_an_oracle_cannot_run_live() -> None:
    with pytest.raises(StrategyError, match="cannot run live"):
        run_live(make_model("bert"), EarliestConsistent(), 0.5, make_batch([4]))


@pytest.mark.parametrize("size", [1, 3])
def test_answers_that_are_not_finite_name_sample_and_exit(size: int) -> None:
    model = make_model("bert")
    nn.init.constant_(model.encoder.layer.__self__._layers[1].output.dense.bias, math.nan)  # type: ignore[attr-defined]
    keys = torch.tensor([2, 5, 1])[:size]
    with pytest.raises(StrategyError, match="Logits of sample 2 at exit 2 are not finite"):
        run_live(model, ForcedExits(exits=range(10)), 0.5, make_batch([4, 4, 4][:size]), keys=keys)


@pytest.mark.parametrize("size", [1, 2])
def test_half_precision_is_judged_in_float32(size: int) -> None:
    model = make_model("bert").to(torch.bfloat16)
    criterion = criterion_of("entropy")
    batch = make_batch([7, 5][:size])
    found = run_live(model, criterion, 0.9, batch)
    assert found.logits.dtype == torch.float32
    expected: Any = replay(model, criterion, 0.9, batch, None)
    if size == 1:
        assert found.layer.tolist() == expected.layer.tolist()
