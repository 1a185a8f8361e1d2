"""The clock's intervals in simulated worlds and against itself: what is counted, and that a broken one is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.cli.process import main
from bench.cli.verbs.harness.simulate import print_coverage
from bench.measure import rounds
from bench.measure.stats import Interval
from bench.selfcheck import coverage, same


def count(
    kind: coverage.Scatter, model: str = "small", runs: int = 400, configurations: int = 1
) -> tuple[float, float]:
    """How often the intervals of mean and median cover."""
    found = [
        one
        for seed in range(runs)
        for one in coverage.simulate_run(
            np.random.default_rng([seed, 1]), kind, 0.01, 1, coverage.MODELS["small"], robust=seed % 4 == 0
        )
    ]
    medians = [median for _, median in found if median is not None]
    return float(np.mean([mean for mean, _ in found])), float(np.mean(medians))


@pytest.mark.parametrize("kind", [*coverage.SCATTERS, *coverage.WANDERS])
def test_the_clocks_intervals_cover_the_truth(kind: coverage.Scatter) -> None:
    mean, median = count(kind)
    assert abs(mean - 0.95) <= 0.01 + 3 * 0.011  # of 400 runs
    assert median > 0.87


def test_an_interval_that_takes_neighbours_for_independent_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def student(values: rounds.Float, parts: int = 1) -> tuple[float, int]:
        return float(values.std(ddof=1) / np.sqrt(len(values))), len(values) - parts

    monkeypatch.setattr(rounds, "compute_error", student)
    share = count("autocorrelated")[0]
    assert not coverage.Coverage("autocorrelated", 0.01, 1, "small", "mean", share, 400).ok


def test_noise_is_as_it_is_called() -> None:
    drawn = coverage.draw_noise(np.random.default_rng(0), "autocorrelated", 0.02, 3, 20_000)
    assert drawn.std() == pytest.approx(0.02, rel=0.05)
    assert np.mean([np.corrcoef(row[:-1], row[1:])[0, 1] for row in drawn]) == pytest.approx(0.5, abs=0.03)
    outlying = coverage.draw_noise(np.random.default_rng(0), "outlying", 0.003, 3, 20_000)
    assert (outlying > 0.1).mean() == pytest.approx(0.02, abs=0.003)


def test_machines_are_as_slow_as_they_are_called() -> None:
    random, moments = np.random.default_rng(0), np.tile((np.arange(1000) + 0.5) / 1000, (2, 1))
    slowing = coverage.draw_speed(random, "slowing", moments)
    assert slowing[:, 500:].mean() - slowing[:, :500].mean() == pytest.approx(np.log(1.2))
    assert set(coverage.draw_speed(random, "stepping", moments).ravel()) == {0.0, np.log(1.15)}
    ends = [coverage.draw_speed(random, "wandering", moments)[0, -1] for _ in range(500)]
    assert np.std(ends) == pytest.approx(np.log(1.15), rel=0.1)
    assert not coverage.draw_speed(random, "independent", moments).any()


def test_the_committed_coverage_is_of_every_world() -> None:
    """What a world's number seeds stays as it was: later worlds come last."""
    committed = json.loads((Path(coverage.__file__).parents[2] / "results/clock/coverage.json").read_text())
    known = [(one["name"], one["noise"], one["configurations"], one["model"]) for one in committed]
    made = []
    for kind, noise, count_, model in coverage.list_worlds():
        for statistic in ("mean", "median") if model != "large" else ("mean",):
            plain = coverage.Coverage(kind, noise, count_, model, statistic, 0.95, 1).to_plain()
            made.append((plain["name"], noise, count_, model))
    assert known == made


def test_the_table_marks_what_is_outside(capsys: pytest.CaptureFixture[str]) -> None:
    print_coverage(
        [coverage.Coverage("independent", 0.01, 1, "small", "mean", 0.951, 2000),
         coverage.Coverage("outlying", 0.01, 4, "small", "mean", 0.963, 2000)]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "95.1 " in said
    assert "96.3*" in said
    assert "Wanted: 94 to 96 %; * is outside (1 of 2)" in " ".join(said.split())


def test_the_plain_model_against_itself_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = same.LatencyOptions(samples=4, seconds=0.05, rounds=10, streak=4, threads=1)
    monkeypatch.setattr(same, "BRIEF", short)
    monkeypatch.setattr(same, "RUNS", 3)
    assert main(["selfcheck", "same", "--out", str(tmp_path / "same.json")]) == 0
    found = json.loads((tmp_path / "same.json").read_text())
    assert len(found["intervals"]) == 3
    assert found["excluded"] == sum(not one["low"] <= 1 <= one["high"] for one in found["intervals"])
    assert " ".join(capsys.readouterr().out.split()) == found["said"]


def test_intervals_that_exclude_one_are_counted() -> None:
    assert same.count_excluding((Interval(1, 0.9, 1.1), Interval(1.2, 1.1, 1.3), Interval(0.9, 0.8, 0.99))) == 2
