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


def test_a_tie_is_looked_for_at_a_score_below_all_earlier_ones() -> None:
    """Sample 0 has nothing finite; sample 1 reaches 0.5 at exit 1, and its 0.7 at exit 2 is no new record."""
    criterion, _ = make_criterion("entropy", {})
    scores = np.array([[np.inf, np.inf, 0.0], [0.5, 0.7, 0.0]], dtype=np.float32)
    assert at_the_tie(criterion, scores) is False
    patience, _ = make_criterion("patience", {})
    assert at_the_tie(patience, scores) is True
    assert at_the_tie(criterion, np.full((2, 3), np.inf, dtype=np.float32)) is None
    later = np.array([[np.inf, 0.7, 0.0]], dtype=np.float32)
    assert at_the_tie(criterion, later) is False
    assert at_the_tie(patience, later) is True


@pytest.mark.parametrize("seed", range(6))
def test_golden_cuts_are_the_widest_gaps_near_their_depths(seed: int) -> None:
    """Written down again: of the cuts within a tenth of a share of the way, the one with the widest relative gap."""
    scores = np.random.default_rng(seed).random((40, 4))
    scores[: 2 * seed] = np.round(scores[: 2 * seed], 2) + 1e-7 * np.arange(2 * seed)[:, None]  # some narrow gaps
    records = sorted({s for row in scores for i, s in enumerate(row[:-1]) if s < min(row[:i], default=np.inf)})
    ways = {}
    for value, following in zip(records, [*records[1:], np.inf], strict=True):
        layers = exit_layers(scores, np.nextafter(value, 1.0))
        gap = (following - value) / max(1e-6, following if np.isfinite(following) else 1.0)
        ways[tuple(layers.tolist())] = ((4 - layers.mean()) / 3, gap)
    expected = {(1,) * 40}
    for depth in (0.2, 0.4, 0.6, 0.8):
        near = {k: gap for k, (reach, gap) in ways.items() if abs(reach - depth) <= 0.1 and gap >= 1e-4}
        expected |= {max(near, key=lambda k: near[k])} if near else set()
    found = find_golden_cuts(scores, strict=True)
    assert {tuple(cut.exits.tolist()) for cut in found} == expected
    for cut in found:
        assert cut.gap == pytest.approx(min(ways[tuple(cut.exits.tolist())][1], 1e9))


def test_without_early_leavers_there_is_no_golden_cut() -> None:
    assert find_golden_cuts(np.full((3, 4), np.inf), strict=True) == []


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
