"""Kept states are what the heads would have been given, in a file that is whole or absent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backbones import ENCODERS
from bench.errors import Damaged
from bench.progress import Progress
from bench.tasks.encode import EncodedSplit, collate_batch
from bench.training import states as module
from bench.training.checkpoint import fill_tensors, load_tensors, save_tensors
from bench.training.states import POOLINGS, identify_states, open_states, record_states
from strategies.base import StrategyError, pool
from strategies.entropy import LinearHead
from tests.helpers.models.exit_models import make_model
from tests.helpers.models.trainings import plan

QUIET = Progress(quiet=True)


@pytest.fixture
def encoded(tmp_path: Path) -> EncodedSplit:
    return plan(tmp_path).data


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_states_are_what_a_head_pools(model_type: str, encoded: EncodedSplit, tmp_path: Path) -> None:
    model = make_model(model_type)
    record_states(model, encoded, tmp_path / "states", QUIET)
    kept = open_states(tmp_path / "states")
    assert len(kept) == len(encoded)
    assert kept.last is None
    for row in range(len(encoded)):
        with torch.no_grad():
            hidden = model.encoder(collate_batch(encoded, [row]))
        for layer, state in enumerate(hidden, start=1):
            for pooling in POOLINGS:
                assert torch.allclose(kept.at(pooling, layer)[row], pool(state, None, pooling)[0], atol=1e-5)


def test_the_last_exits_answers_are_kept_where_it_came_with_the_model(encoded: EncodedSplit, tmp_path: Path) -> None:
    model = make_model("bert", LinearHead, 3)
    model.head.keeps_last = True
    record_states(model, encoded, tmp_path / "states", QUIET)
    last = open_states(tmp_path / "states").last
    assert last is not None
    with torch.no_grad():
        assert torch.allclose(last[:1], model.plain(collate_batch(encoded, [0])), atol=1e-5)


def test_dropout_is_off_and_the_model_is_left_in_its_mode(encoded: EncodedSplit, tmp_path: Path) -> None:
    model = make_model("bert", hidden_dropout_prob=0.5).train()
    record_states(model, encoded, tmp_path / "a", QUIET)
    assert model.training
    record_states(model.eval(), encoded, tmp_path / "b", QUIET)
    assert torch.equal(open_states(tmp_path / "a").values, open_states(tmp_path / "b").values)


def test_what_makes_the_states_makes_their_name(encoded: EncodedSplit) -> None:
    first = identify_states(make_model("bert", LinearHead, 3), encoded)
    assert first == identify_states(make_model("bert", LinearHead, 5), encoded)  # no head is in it
    weights = make_model("bert")
    with torch.no_grad():
        next(weights.encoder.parameters()).view(-1)[0] += 1e-3
    own = make_model("bert")
    own.head.keeps_last = True
    others = {
        "weights": identify_states(weights, encoded),
        "configuration": identify_states(make_model("bert", hidden_act="relu"), encoded),
        "tokens": identify_states(make_model("bert"), replace(encoded, input_ids=encoded.input_ids[::-1])),
        "segments": identify_states(make_model("bert"), replace(encoded, token_type_ids=encoded.input_ids)),
        "own classifier": identify_states(own, encoded),
    }
    assert all(found != first for found in others.values())


def test_a_pass_that_is_broken_off_leaves_no_file(
    encoded: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("bert")
    monkeypatch.setattr(module, "BATCH", 4)
    layer, calls = model.encoder.layer, []

    def fail(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) > model.num_layers:  # in the second batch
            raise KeyboardInterrupt
        return layer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model.encoder, "layer", fail)
    with pytest.raises(KeyboardInterrupt):
        record_states(model, encoded, tmp_path / "states", QUIET)
    assert list(tmp_path.iterdir()) == []


def test_states_that_are_not_finite_are_said(encoded: EncodedSplit, tmp_path: Path) -> None:
    model = make_model("bert")
    with torch.no_grad():
        model.encoder.model.encoder.layer[1].output.dense.bias.fill_(float("nan"))
    with pytest.raises(StrategyError, match="states at exit 2 are not finite"):
        record_states(model, encoded, tmp_path / "states", QUIET)


def test_a_file_filled_in_place_is_the_one_that_is_saved(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(2, 2, 2)}
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    with fill_tensors(tmp_path / "filled", shapes, {"step": 1}) as found:
        for name, tensor in found.items():
            assert not tensor.any()
            tensor.copy_(tensors[name])
    save_tensors(tmp_path / "saved", tensors, {"step": 1})
    (filled, facts), (saved, same) = load_tensors(tmp_path / "filled"), load_tensors(tmp_path / "saved")
    assert facts == same == {"step": 1}
    assert filled.keys() == saved.keys()
    assert all(torch.equal(filled[name], saved[name]) for name in saved)
    content = bytearray((tmp_path / "filled").read_bytes())
    content[-1] ^= 1
    (tmp_path / "filled").write_bytes(content)
    with pytest.raises(Damaged, match="its checksum differs"):
        load_tensors(tmp_path / "filled")
