"""The gate's own parts: golden cuts shrug off float noise, the probe is the same everywhere, errors are one line."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.compare.gate.check import Move, compare_logits, find_move
from bench.compare.gate.golden import (
    SHAPES,
    choose_golden_cuts,
    decide_tie,
    fit_and_score,
    make_probe,
    read_layers,
    write_layers,
)
from bench.compare.verdict import Row
from bench.errors import USAGE
from bench.inference.replay import make_criterion
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from tests.helpers.compare_records import logits
from tests.helpers.faults.damages import drop_checksum


@pytest.mark.parametrize("strategy", ["entropy", "elbert-mono", "patience", "fastbert"])
def test_float_noise_flips_no_exit_at_a_golden_cut(strategy: str) -> None:
    criterion, _ = make_criterion(strategy, {})
    exits = logits()
    scores = fit_and_score(criterion, exits)
    cuts = choose_golden_cuts(scores, criterion.strict)
    assert len(cuts) >= 3
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(scale=1e-6, size=scores.shape).astype(scores.dtype)
        for cut in cuts:
            assert write_layers(exit_layers(scores + noise, cut["cut"], strict=criterion.strict)) == cut["layers"]


@pytest.mark.parametrize(("strategy", "leaves"), [("entropy", False), ("patience", True), ("full", None)])
def test_the_tie_tells_strict_from_inclusive(strategy: str, leaves: bool | None) -> None:
    criterion, _ = make_criterion(strategy, {})
    assert decide_tie(criterion, fit_and_score(criterion, make_probe(2))) is leaves


def test_a_tie_is_looked_for_at_a_score_below_all_earlier_ones() -> None:
    """Sample 0 has nothing finite; sample 1 reaches 0.5 at exit 1, and its 0.7 at exit 2 is no new record."""
    criterion, _ = make_criterion("entropy", {})
    scores = np.array([[np.inf, np.inf, 0.0], [0.5, 0.7, 0.0]], dtype=np.float32)
    assert decide_tie(criterion, scores) is False
    patience, _ = make_criterion("patience", {})
    assert decide_tie(patience, scores) is True
    assert decide_tie(criterion, np.full((2, 3), np.inf, dtype=np.float32)) is None
    later = np.array([[np.inf, 0.7, 0.0]], dtype=np.float32)
    assert decide_tie(criterion, later) is False
    assert decide_tie(patience, later) is True


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
    found = choose_golden_cuts(scores, strict=True)
    gaps = {tuple(read_layers(cut["layers"]).tolist()): cut["gap"] for cut in found}
    assert set(gaps) == expected
    for layers, gap in gaps.items():
        assert gap == pytest.approx(min(ways[layers][1], 1e9))


def test_without_early_leavers_there_is_no_golden_cut() -> None:
    assert choose_golden_cuts(np.full((3, 4), np.inf), strict=True) == []


def test_exits_are_kept_as_digits() -> None:
    layers = np.array([1, 6, 3])
    assert write_layers(layers) == "163"
    assert read_layers("163").tolist() == [1, 6, 3]
    with pytest.raises(ValueError, match="at most 9"):
        write_layers(np.array([10]))


def test_the_probe_never_changes() -> None:
    digest = hashlib.sha256(b"".join(make_probe(n).logits.tobytes() for n in SHAPES.values())).hexdigest()
    assert digest[:16] == "be27a19aab3d08c2"


def test_without_a_baseline_the_gate_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "--baseline", str(tmp_path / "none")]) == USAGE
    assert "--accept" in capsys.readouterr().err
    assert main(["gate", "--accept", "--rules-only"]) == USAGE


BASELINE = Path(__file__).parents[2] / "results" / "baseline"


def cell_with(change: dict[str, Any]) -> str:
    kept = json.loads((BASELINE / "bert-demo" / "entropy.json").read_text())
    return json.dumps({**kept, **change})


WRONG: dict[str, tuple[str, str, str]] = {
    "a newer version": ("platform.json", '{"version": 2, "more": 1}', "newer ExitBench"),
    "no version": ("platform.json", '{"torch": "1"}', "has version None"),
    "another platform": ("platform.json", '{"version": 1, "torch": 1}', "torch is a number, text is needed"),
    "a list": ("platform.json", "[]", "is damaged"),
    "half a file": ("bert-demo/entropy.json", '{"strategy": "ent', "entropy.json of the baseline is damaged"),
    "no text": ("bert-demo/entropy.json", "\x00\x01", "is damaged"),
    "a field that lacks": ("bert-demo/entropy.json", '{"strategy": "entropy"}', "is missing"),
    "a number that is none": ("bert-demo/entropy.json", cell_with({"plain_flops": "many"}), "plain_flops is text"),
    "fewer samples": ("bert-demo/entropy.json", cell_with({"samples": 3}), "not those of 3 samples"),
    "fewer exits": ("bert-demo/entropy.json", cell_with({"per_exit": {"accuracy": [1]}}), "exits are not those of"),
    "a path": ("bert-demo/entropy.json", cell_with({"logits": "../../x.parquet"}), "names files elsewhere"),
    "another folder": ("bert-demo/entropy.json", cell_with({"backbone": ".."}), "names files elsewhere"),
    "logits that lack": ("bert-demo/entropy.json", cell_with({"logits": "none.parquet"}), "lacks"),
    "no logits": ("bert-demo/linear-joint-6.parquet", "PAR1", "is damaged"),
    "a probe of nothing": (
        "probe.json",
        '{"entropy": {"a circle": {"tie": true, "cuts": []}}}',
        "the probe's 64 samples",
    ),
    "a probe of text": ("probe.json", '{"entropy": "two"}', "is damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_baseline_that_is_damaged_or_newer_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, text, said = WRONG[name]
    folder = shutil.copytree(BASELINE, tmp_path / "baseline")
    (folder / place).write_text(text)
    assert main(["gate", "--rules-only", "--strategy", "entropy", "--baseline", str(folder)]) == USAGE
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert len(lines) == 1


def test_a_baseline_whose_logits_have_no_checksum_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(BASELINE, tmp_path / "baseline")
    drop_checksum(folder / "bert-demo" / "linear-joint-6.parquet", random.Random(0))
    assert main(["gate", "--rules-only", "--strategy", "entropy", "--baseline", str(folder)]) == USAGE
    [said] = capsys.readouterr().err.strip().splitlines()
    assert "linear-joint-6.parquet has no checksum sha256, so that nothing tells" in said
    assert "`bench gate --accept`" in said


def test_a_baseline_without_its_probe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(BASELINE, tmp_path / "baseline")
    (folder / "probe.json").unlink()
    assert main(["gate", "--rules-only", "--baseline", str(folder)]) == USAGE
    assert "The baseline lacks" in capsys.readouterr().err


def test_what_moved_is_named() -> None:
    here = {"torch": "2", "transformers": "5", "cpu": "a", "instructions": "AVX512"}
    assert find_move(here, here) == Move("", "")
    assert find_move(here, {**here, "instructions": "AVX2"}) == Move("", "instructions AVX512 -> AVX2")
    assert find_move({**here, "torch": "1", "cpu": "b"}, here) == Move("torch 1 -> 2", "cpu b -> a")
    old = {name: value for name, value in here.items() if name != "instructions"}  # not kept at first
    assert find_move(old, here) == Move("", "instructions unknown -> AVX512")


def logits_moved(by: float) -> tuple[AllExits, AllExits]:
    stored = logits(samples=160)
    z = stored.logits.copy()
    z[3, 1] += by
    return stored, replace(stored, logits=z)


@pytest.mark.parametrize(
    ("by", "moved", "unstable", "verdict"),
    [
        (1e-6, Move("", ""), False, "same"),
        (1e-6, Move("torch 1 -> 2", "cpu a -> b"), False, "same"),
        (1e-3, Move("", ""), False, "worse"),
        (1e-3, Move("", "cpu a -> b"), False, "worse"),
        (1e-3, Move("", "cpu a -> b"), True, "inconclusive"),
        (1e-3, Move("", ""), True, "worse"),
        (1e-3, Move("torch 1 -> 2", ""), False, "not comparable"),
        (1e-3, Move("torch 1 -> 2", "cpu a -> b"), True, "not comparable"),
    ],
)
def test_who_moved_the_logits(by: float, moved: Move, unstable: bool, verdict: str) -> None:
    row = compare_logits(Row("c", "logits", "same", ""), *logits_moved(by), moved, unstable)
    assert row.verdict == verdict
    assert row.difference == pytest.approx(by, rel=0.1)


def test_logits_that_moved_say_whether_the_processor_is_another() -> None:
    start, moved = Row("c", "logits", "same", ""), logits_moved(1e-3)
    same, other = (compare_logits(start, *moved, Move("", which), unstable=False) for which in ("", "cpu a -> b"))
    assert ": the processor is the same;" in same.reason
    assert ": more than another processor explains (cpu a -> b);" in other.reason


def test_the_last_exit_of_an_unstable_model_is_held_to_the_tolerance() -> None:
    stored, now = logits_moved(1e-3)
    now.logits[3, -1] += 1e-3
    row = compare_logits(Row("c", "logits", "same", ""), stored, now, Move("", "cpu a -> b"), unstable=True)
    assert row.verdict == "worse"
