"""The gate's own parts: golden cuts shrug off float noise, the probe is the same everywhere, errors are one line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from bench.__main__ import main
from bench.compare.gate.golden import (
    SHAPES,
    Golden,
    at_the_tie,
    find_golden_cuts,
    fit_and_score,
    make_probe,
    write_layers,
)
from bench.errors import USAGE
from bench.inference.replay import make_criterion
from bench.measure.curve import exit_layers
from tests.helpers.compare_records import logits


@pytest.mark.parametrize("strategy", ["entropy", "elbert-mono", "patience", "fastbert"])
def test_float_noise_flips_no_exit_at_a_golden_cut(strategy: str) -> None:
    criterion, _ = make_criterion(strategy, {})
    exits = logits()
    scores = fit_and_score(criterion, exits)
    cuts = find_golden_cuts(scores, criterion.strict)
    assert len(cuts) >= 3
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(scale=1e-6, size=scores.shape).astype(scores.dtype)
        for cut in cuts:
            assert write_layers(exit_layers(scores + noise, cut.cut, strict=criterion.strict)) == cut.layers


@pytest.mark.parametrize(("strategy", "leaves"), [("entropy", False), ("patience", True), ("full", None)])
def test_the_tie_tells_strict_from_inclusive(strategy: str, leaves: bool | None) -> None:
    criterion, _ = make_criterion(strategy, {})
    assert at_the_tie(criterion, fit_and_score(criterion, make_probe(2))) is leaves


def test_exits_are_kept_as_digits() -> None:
    layers = np.array([1, 6, 3])
    assert write_layers(layers) == "163"
    assert Golden(0.5, 0.1, "163").exits.tolist() == [1, 6, 3]
    with pytest.raises(ValueError, match="at most 9"):
        write_layers(np.array([10]))


def test_the_probe_never_changes() -> None:
    digest = hashlib.sha256(b"".join(make_probe(n).logits.tobytes() for n in SHAPES.values())).hexdigest()
    assert digest[:16] == "be27a19aab3d08c2"


def test_without_a_baseline_the_gate_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "--baseline", str(tmp_path / "none")]) == USAGE
    assert "--accept" in capsys.readouterr().err
    assert main(["gate", "--accept", "--rules-only"]) == USAGE
