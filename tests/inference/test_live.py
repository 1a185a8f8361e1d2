"""The live engine really stops, and decides exactly as replay does."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbones import ENCODERS
from backbones.base import Batch
from bench.inference.live import Outcome, run_live
from bench.inference.probing import observe
from bench.registry import Registry
from strategies import STRATEGIES
from strategies.base import Criterion, ExitModel, Seen, Start, State, Strategy, StrategyError, predict
from tests.helpers.criteria import fitted
from tests.helpers.engines import make_batch, make_model, replay, single

REGISTRY: Registry[type[Strategy]] = Registry("strategy", STRATEGIES)
CAUSAL = [name for name in REGISTRY if REGISTRY.load(name).criterion.causal]
OUTPUTS = {name: 3 if REGISTRY.load(name).criterion.classification else 1 for name in CAUSAL}


def criterion_of(name: str) -> Criterion:
    cls = REGISTRY.load(name).criterion
    try:
        return cls(window=3)  # type: ignore[call-arg]  # short enough to fire within the tiny backbones
    except TypeError:
        return cls()


def cuts_of(criterion: Criterion, model: ExitModel, batch: Batch) -> list[float]:
    """Never, always, and the quartiles of the scores that occur: exits at many depths."""
    with torch.inference_mode():
        logits = model(batch)
    observed = None if criterion.probe is None else observe(model, criterion.probe, batch)
    state = criterion.start(Start(len(batch), model.num_layers, logits[0].shape[-1], logits[0].dtype, keys=KEYS))
    scores = []
    for layer, z in enumerate(logits, start=1):
        read = None if observed is None else observed[:, layer - 1]
        state, score = criterion.step(state, Seen(layer, z, read))
        scores.append(score.double())
    finite = torch.cat(scores)
    finite = finite[finite.isfinite()]
    levels = finite.quantile(torch.tensor([0.1, 0.3, 0.5, 0.8], dtype=torch.float64)).tolist() if len(finite) else []
    # half way between two scores: no decision hangs on the last bit of a logit
    ordered = sorted(set(finite.tolist()))
    between = [(a + b) / 2 for level in levels for a, b in itertools.pairwise(ordered) if a <= level < b]
    return [-math.inf, *between, math.inf]


KEYS = torch.arange(100, 106)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_live_equals_replay(model_type: str, name: str, attention: str) -> None:
    strategy = REGISTRY.load(name)
    model = make_model(model_type, strategy.head, OUTPUTS[name], attention).double()
    batch = make_batch([12, 5, 9, 2, 12, 7])
    criterion = fitted(criterion_of(name), model)
    depths = set()
    cuts = cuts_of(criterion, model, batch)
    for cut in cuts:
        together = run_live(model, criterion, cut, batch, keys=KEYS)
        for row in range(len(batch)):
            sample = single(batch, row)
            alone = run_live(model, criterion, cut, sample, keys=KEYS[row : row + 1])
            expected = replay(model, criterion, cut, sample, KEYS[row : row + 1])
            assert alone.layer.tolist() == expected.layer.tolist()
            assert torch.equal(alone.logits, expected.logits)
            assert together.layer[row] == alone.layer[0]
            assert predict(together.logits)[row] == pytest.approx(predict(alone.logits)[0].item(), rel=1e-9)
            torch.testing.assert_close(together.logits[row : row + 1], alone.logits)
            depths.add(int(alone.layer))
    assert model.num_layers in depths
    assert len(depths) >= (min(3, len(cuts)) if criterion.uses_early_exits else 1)


class Scripted(Criterion):
    """Each sample's exit is prescribed by its key."""

    regression = True

    def start(self, start: Start) -> State:
        assert start.keys is not None
        return {"exit": start.keys}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, (state["exit"] - seen.layer).double()


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


def exits(model: ExitModel, lengths: list[int], wanted: list[int]) -> tuple[Outcome, Recorder]:
    recorder = Recorder(model)
    return run_live(model, Scripted(), 0.5, make_batch(lengths), keys=torch.tensor(wanted)), recorder


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
    found = run_live(make_model("bert"), Scripted(), 0.5, batch, keys=torch.empty(0, dtype=torch.long))
    assert found.layer.shape == (0,)
    assert found.logits.shape == (0, 3)


def test_left_padding_is_not_trimmed_away() -> None:
    model = make_model("bert").double()
    ids = make_batch([8, 8, 8]).input_ids
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, :4] = 0
    keys = torch.tensor([1, 4, 4])
    found = run_live(model, Scripted(), 0.5, Batch(ids, mask), keys=keys)
    alone = run_live(model, Scripted(), 0.5, Batch(ids[1:2], mask[1:2]), keys=keys[1:2])
    torch.testing.assert_close(found.logits[1:2], alone.logits)


class Oracle(Scripted):
    causal = False


def test_an_oracle_cannot_run_live() -> None:
    with pytest.raises(StrategyError, match="cannot run live"):
        run_live(make_model("bert"), Oracle(), 0.5, make_batch([4]))


@pytest.mark.parametrize("size", [1, 3])
def test_answers_that_are_not_finite_name_sample_and_exit(size: int) -> None:
    model = make_model("bert")
    nn.init.constant_(model.encoder.layer.__self__._layers[1].output.dense.bias, math.nan)  # type: ignore[attr-defined]
    keys = torch.tensor([2, 5, 1])[:size]
    with pytest.raises(StrategyError, match="Logits of sample 2 at exit 2 are not finite"):
        run_live(model, Scripted(), 0.5, make_batch([4, 4, 4][:size]), keys=keys)


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
