"""Two measurements of latency: of the same samples however they were dealt, over a plain model that both have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.compare.compare import compare_results
from bench.compare.sources import read_results
from bench.compare.verdict import Row
from bench.measure.rounds import follow_ratio
from tests.helpers.compare_records import Made

QUERIES = 16
TIMES = {"plain": 1e6, "stock": 1.02e6, "2x": 5e5}


def make_raw(parts: Sequence[Sequence[int]], seed: int = 0, faster: float = 1.0) -> dict[str, Any]:
    """Raw times of so many queries dealt to ``parts``: query i takes i + 10 times as long, a round 1 % more or less."""
    random = np.random.default_rng(seed)
    rounds = []
    for r in range(24 * len(parts)):
        part = r % len(parts)
        means = {label: time / (faster if label == "2x" else 1) for label, time in TIMES.items()}
        taken = {
            label: [int(time * (i + 10) * random.normal(1, 0.01)) for i in parts[part]] for label, time in means.items()
        }
        rounds.append({"times": taken, "part": part})
    queries = [i for part in parts for i in part]
    every = {label: np.concatenate([one["times"][label] for one in rounds]) for label in TIMES}
    return {
        "protocol": "single-stream-v2", "device": "cpu", "dtype": "fp32", "threads": 1, "samples": queries,
        "rows": [[i] for i in queries], "sizes": [1] * len(queries), "parts": [len(part) for part in parts],
        "options": {"executor": "eager"}, "baseline": "plain", "order": list(TIMES), "rounds": rounds, "reasons": [],
        "layers": {label: [6.0] * len(queries) for label in TIMES}, "stop": "planned number of rounds",
        "validity": "VALID", "notes": [],
        "summary": {
            label: {"mean": float(found.mean()) / 1e9, "percentiles": {}, "mean_layer": 6.0, "timer": None,
                    "sampling": None}
            for label, found in every.items()
        },
    }  # fmt: skip


def compare(folder: Path, base: dict[str, Any], candidate: dict[str, Any]) -> list[Row]:
    """The rows on latency."""
    sides = []
    for name, raw in (("base", base), ("candidate", candidate)):
        Made(times=TIMES).write(folder / name)
        [file] = (folder / name).glob("*/*/*/latency-1.json")
        file.write_text(json.dumps(raw))
        sides.append(read_results(folder / name))
    return [row for row in compare_results(*sides).rows if row.metric.startswith("latency")]


WHOLE = [list(range(QUERIES))]
DEALT = [[0, 3, 4, 7, 8, 11, 12, 15], [1, 2, 5, 6, 9, 10, 13, 14]]


@pytest.mark.parametrize("faster", [1.0, 0.8])
@pytest.mark.parametrize("base", [WHOLE, DEALT], ids=["whole", "dealt"])
def test_how_samples_are_dealt_to_rounds_makes_no_other_samples(tmp_path: Path, base: Any, faster: float) -> None:
    rows = compare(tmp_path, make_raw(base), make_raw(DEALT[::-1] if base is WHOLE else WHOLE, 1, faster))
    [row] = [row for row in rows if row.point == "2x"]
    assert row.verdict == ("same" if faster == 1 else "worse")
    assert row.base == pytest.approx(2, rel=0.01)
    assert row.candidate == pytest.approx(2 * faster, rel=0.01)
    assert "both measured" not in row.reason


def test_fewer_samples_are_compared_over_those_that_both_measured(tmp_path: Path) -> None:
    fewer = [DEALT[0][:5], DEALT[1][:6]]
    whole = make_raw(WHOLE)
    [row] = [row for row in compare(tmp_path, whole, make_raw(fewer, 1)) if row.point == "2x"]
    assert row.verdict == "same"
    assert "over the 11 samples that both measured" in row.reason
    common = sorted(fewer[0] + fewer[1])
    sums = {k: [sum(one["times"][k][i] for i in common) for one in whole["rounds"]] for k in ("plain", "2x")}
    assert row.base == pytest.approx(np.exp(follow_ratio(sums["plain"], sums["2x"]).log_ratio))


def test_other_samples_are_not_compared(tmp_path: Path) -> None:
    [row] = compare(tmp_path, make_raw(WHOLE), make_raw([list(range(12, 28))]))
    assert row.verdict == "not comparable"
    assert row.reason == "other samples: 4 of 16 and 16 are the same"


def test_which_plain_model_is_the_faster_by_chance_makes_no_difference(tmp_path: Path) -> None:
    rows = compare(tmp_path, make_raw(WHOLE), make_raw(WHOLE, 1) | {"baseline": "stock"})
    assert {row.point for row in rows} == {"", "2x"}
    for row in rows:
        assert row.verdict == "same"
        assert row.reason.endswith("; over plain in both, of which the fastest were plain and stock")


def test_without_a_plain_model_in_both_nothing_is_compared(tmp_path: Path) -> None:
    def rename(raw: dict[str, Any], name: str) -> dict[str, Any]:
        return json.loads(json.dumps(raw).replace('"stock"', f'"{name}"').replace('"plain"', f'"{name} too"'))

    one, other = (rename(make_raw(WHOLE), name) | {"baseline": name} for name in ("int8", "bf16"))
    [row] = compare(tmp_path, one, other)
    assert row.reason == "other baseline: int8 -> bf16, neither in both"


def test_what_is_invalid_for_no_reason_is_invalid(tmp_path: Path) -> None:
    [row] = compare(tmp_path, make_raw(WHOLE), make_raw(WHOLE) | {"validity": "INVALID"})
    assert row.reason == "the candidate's measurement is INVALID: no reason given"


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "sizes": (lambda raw: raw.update(sizes=[]), "sizes are not those of 16 queries"),
    "order": (lambda raw: raw["order"].append("2x"), "order names a configuration twice"),
    "moved": (lambda raw: raw.update(moved=-1.0), "moved is a time below nothing"),
    "time": (lambda raw: raw["rounds"][3]["times"]["2x"].__setitem__(0, 10**400), r"rounds[3].times.2x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_together_is_damaged(tmp_path: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    raw = make_raw(WHOLE)
    change(raw)
    [row] = compare(tmp_path, make_raw(WHOLE), raw)
    assert row.verdict == "worse"
    assert "is damaged" in row.reason
    assert said in row.reason
