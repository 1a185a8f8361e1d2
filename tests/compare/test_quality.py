"""Paired tests of quality: two-sided, from base to candidate, at the points where records say that samples leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.compare.compare import compare_results
from bench.compare.quality import REPLICATES, run_paired_test
from bench.compare.sources import read_results
from bench.compare.verdict import Row
from bench.measure import metrics as m
from bench.measure.exits import AllExits
from bench.measure.stats import draw_counts
from tests.helpers.compare_records import Made, logits


def answers(samples: int, right: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of two classes, and answers of which about the share ``right`` is right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, samples)
    return labels, np.where(random.random(samples) < right, labels, 1 - labels)


def test_the_difference_of_accuracy_is_the_candidates_less_the_bases() -> None:
    labels, base = answers(500, 0.7, 0)
    candidate = np.where(np.arange(500) % 3 == 0, labels, base)  # some answers mended, none spoilt
    interval, p = run_paired_test("accuracy", base, candidate, labels)
    assert interval.estimate == pytest.approx((candidate == labels).mean() - (base == labels).mean())
    assert 0 < interval.low < interval.estimate < interval.high
    mended = int((base != candidate).sum())
    assert p == pytest.approx(stats.binomtest(mended, mended).pvalue)  # 2 * 0.5 ** mended: two-sided
    back, _ = run_paired_test("accuracy", candidate, base, labels)
    assert (back.low, back.high) == (-interval.high, -interval.low)


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_p_is_twice_the_smaller_tail(metric: str) -> None:
    """With the bootstrap's own draws: 2 (number of replicates on the other side of 0 + 1) / (replicates + 1)."""
    labels, base = answers(300, 0.75, 1)
    _, candidate = answers(300, 0.75, 1)
    candidate = np.where(np.arange(300) % 9 == 0, 1 - base, candidate)
    table = [m.statistics(metric, a[:, None], labels)[:, 0] for a in (base, candidate)]
    weights = np.concatenate(list(draw_counts(300, REPLICATES, 0)))
    draws = m.from_statistics(metric, weights @ table[1]) - m.from_statistics(metric, weights @ table[0])
    expected = 2 * (min((draws <= 0).sum(), (draws >= 0).sum()) + 1) / (REPLICATES + 1)
    interval, p = run_paired_test(metric, base, candidate, labels)
    assert p == pytest.approx(expected)
    assert 0.001 < p < 1
    value = [m.compute_metrics([metric], a, labels)[metric] for a in (base, candidate)]
    assert interval.estimate == pytest.approx(value[1] - value[0])


def rows(tmp_path: Path, base: Made, candidate: Made) -> dict[tuple[str, str], Row]:
    base.write(tmp_path / "base")
    candidate.write(tmp_path / "candidate")
    found = compare_results(read_results(tmp_path / "base"), read_results(tmp_path / "candidate"))
    return {(row.metric, row.point): row for row in found.rows}


@pytest.mark.parametrize(("skills", "verdict"), [((0.6, 1.4), "better"), ((1.4, 0.6), "worse")])
def test_the_curves_area_is_the_candidates_less_the_bases(
    tmp_path: Path, skills: tuple[float, float], verdict: str
) -> None:
    base, candidate = (Made(exits=logits(skill=skill)) for skill in skills)
    [row] = [row for (metric, _), row in rows(tmp_path, base, candidate).items() if metric == "accuracy, curve area"]
    assert row.verdict == verdict
    assert row.difference is not None
    assert row.base is not None
    assert row.candidate is not None
    assert row.low is not None
    assert row.high is not None
    assert row.difference == pytest.approx(row.candidate - row.base)
    assert row.low <= row.difference <= row.high
    assert (row.difference > 0) == (verdict == "better")
    assert row.low > 0 or row.high < 0


def only_the_last_exit_is_any_good(seed: int, samples: int) -> AllExits:
    """Make exits of which no-loss is the cut at which nobody leaves early, which a record keeps as null."""
    found = logits(seed=seed, samples=samples, skill=0.0)
    z = found.logits.copy()
    z[:, :-1] = (1 + np.abs(z[:, :-1, :1])) * np.eye(2)[1 - found.labels][:, None]  # wrong, more or less surely
    z[:, -1] = 9 * np.eye(2)[found.labels]
    return AllExits(found.ids, found.labels, z.astype(np.float32), found.lengths)


def test_a_cut_of_null_lets_nobody_leave(tmp_path: Path) -> None:
    """The candidate's early exits say something else everywhere; at no-loss everybody waits for the last, as before."""
    base, select = only_the_last_exit_is_any_good(0, 400), only_the_last_exit_is_any_good(77, 200)
    other = base.logits.copy()
    other[:, :-1] *= -1
    made = Made(exits=base, select=select)
    [point] = [p for p in made.record()["evaluation"]["evaluation"]["points"] if p["rule"] == "no-loss"]
    assert point["cut"] is None
    candidate = Made(exits=AllExits(base.ids, base.labels, other, base.lengths), select=select)
    row = rows(tmp_path, made, candidate)["accuracy", "no-loss"]
    assert (row.verdict, row.base, row.candidate) == ("same", 1.0, 1.0)
    assert "the same answers" in row.reason
