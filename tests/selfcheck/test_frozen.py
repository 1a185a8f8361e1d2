"""The cost of fitting exits on kept states: every part is timed, and the ratios are to the epoch."""

from __future__ import annotations

import pytest

from bench.selfcheck import frozen
from bench.selfcheck.frozen import FITTED_HEADS, describe_exit_fits, draw_sentences, time_exit_fits
from strategies.base import ExitModel
from strategies.elbert import SharedHead
from tests.helpers.models.exit_models import make_model


def test_every_part_is_timed_and_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(size: str) -> ExitModel:
        return make_model("bert", SharedHead, outputs=2, vocab_size=30_000, max_position_embeddings=70)

    monkeypatch.setattr(frozen, "build_sized_model", tiny)
    said: list[str] = []
    found = time_exit_fits(say=said.append, size="tiny", samples=40)
    epoch = found["seconds"]["epoch of joint training"]
    assert set(found["seconds"]) == {
        "pass that keeps the states",
        "epoch of joint training",
        *(f"fit of head {name}" for name in FITTED_HEADS),
    }
    assert len(said) == len(found["seconds"])
    assert all(found["ratios"][what] == pytest.approx(epoch / taken) for what, taken in found["seconds"].items())
    assert len(describe_exit_fits(found).splitlines()) == 1 + len(found["seconds"])


def test_the_classes_are_told_by_the_tokens() -> None:
    encoded, labels = draw_sentences(50)
    assert [row[1] - 5 for row in encoded.input_ids] == labels.tolist()
    assert [len(row) for row in encoded.input_ids] == encoded.lengths.tolist()
    assert set(labels.tolist()) == {0, 1}
