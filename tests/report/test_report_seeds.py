"""Several seeds in a report: what samples leave open and what seeds do stand apart; sizes are used of available."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.report.provenance import describe_lowest_seeds, describe_source
from bench.report.series import make_panels
from bench.report.write import write_report
from bench.results.exits import write_exits
from bench.results.groups import average_seeds
from bench.results.part import Estimate
from bench.results.places import locate_exits
from bench.results.store import Store
from tests.helpers.report_store import edit_cell, make_cell, record_exits

RIGHT = {0: 90, 1: 70, 2: 80}


def _set_quality(value: float, record: dict[str, Any]) -> None:
    result = record["evaluation"]["evaluation"]
    interval = {"value": value, "low": value - 0.05, "high": value + 0.05}
    result["full"]["metrics"]["accuracy"] = interval
    result["per_exit"]["accuracy"] = [0.0, value]
    [point] = [p for p in result["points"] if p["rule"] == "2x"]
    point["metrics"]["accuracy"], point["cut"] = interval, 0.5
    record["task"]["rows"] |= {
        "evaluation": {"used": 100, "available": 872},
        "train": {"used": 16000, "available": 67349},
    }


def _improve(record: dict[str, Any]) -> None:
    result = record["evaluation"]["evaluation"]
    for point in (result["full"], result["points"][3]):
        point["metrics"]["accuracy"]["value"] += 0.01
    result["per_exit"]["accuracy"][-1] += 0.01


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    """Three seeds of entropy on the same 100 samples: nobody leaves early, 90, 70 and 80 of them are right."""
    root = tmp_path / "r"
    for seed, right in RIGHT.items():
        folder = make_cell(root, "entropy", seed=seed, samples=100, layers=2)
        edit_cell(folder, partial(_set_quality, right / 100))
        sure = np.where(np.arange(100) < right, 9.0, -9.0)
        logits = np.stack([np.zeros((100, 2)), np.stack([np.zeros(100), sure], axis=1)], axis=1).astype(np.float32)
        exits = AllExits(tuple(map(str, range(100))), np.ones(100, dtype=np.int64), logits, np.full(100, 5))
        write_exits(exits, folder / "exits-evaluation.parquet")
        record_exits(folder)
    return root


def test_the_interval_is_over_samples_and_the_spread_over_seeds(seeded: Path) -> None:
    [panel] = make_panels(Store(seeded).runs()[0])
    [series] = panel.series
    for found in (series.full, series.points["2x"].quality):
        assert found.value == pytest.approx(0.8)
        assert found.std == pytest.approx(0.1)
        assert (found.lowest, found.highest, found.seeds) == (0.7, 0.9, 3)
        # 70 samples are right and 10 wrong with every seed: the mean's own error is that of the 100 samples
        assert 0.70 < found.low < 0.77
        assert 0.83 < found.high < 0.90
        assert found.both is not None
        low, high = found.both
        assert low < found.low  # what three so different seeds leave open is far more than 100 samples do
        assert high > found.high


def test_page_tables_and_csv_say_seeds_and_sizes(seeded: Path, tmp_path: Path) -> None:
    write_report(seeded, tmp_path / "out", ["html", "md", "latex", "csv"], Progress(quiet=True))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "± 0.100, both [" in page
    assert "3 seeds" in page
    assert "n = 100/872, trained on 16000/67349" in page
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "0.800 [" in text
    assert "± 0.100, both [" in text
    assert "n = 100/872, trained on 16000/67349; seeds 0, 1, 2; machine 0123456789ab" in text
    assert "standard deviation between seeds" in text
    rows = list(csv.DictReader((tmp_path / "out" / "points.csv").open(encoding="utf-8")))
    row = next(r for r in rows if r["point"] == "2x")
    assert float(row["std_over_seeds"]) == pytest.approx(0.1)
    assert (row["samples"], row["samples_available"], row["trained_on_available"]) == ("100", "872", "67349")
    assert float(row["both_low"]) < float(row["low"])


@pytest.mark.parametrize("loss", ["file", "rule"])
def test_without_logits_or_with_another_rule_the_seeds_own_intervals_are_averaged(seeded: Path, loss: str) -> None:
    folder = Store(seeded).folders()[0]
    if loss == "file":
        locate_exits(folder, "evaluation").unlink()
    else:
        edit_cell(folder, _improve)
    [panel] = make_panels(Store(seeded).runs()[0])
    found = panel.series[0].full
    assert found.both is None
    assert found.low == pytest.approx(0.75)
    assert found.std == pytest.approx(0.1, abs=0.01)


def test_one_seed_has_no_spread() -> None:
    value = Estimate(value=0.8, low=0.7, high=0.9)
    assert average_seeds([value]).to_plain() == pytest.approx(value.to_plain())


def test_the_curve_of_several_seeds_keeps_the_worst_and_the_best(seeded: Path) -> None:
    [panel] = make_panels(Store(seeded).runs()[0])
    line = panel.series[0].curve
    assert line.lowest is not None
    assert line.highest is not None
    assert (line.lowest <= line.quality).all()
    assert (line.quality <= line.highest).all()
    assert (line.low < line.quality).all()
    assert line.highest.max() > line.lowest.min()


def test_captions_say_what_they_must(seeded: Path) -> None:
    [panel] = make_panels(Store(seeded).runs()[0])
    words = describe_source(panel.series)
    for said in ("n = 100/872", "seeds 0, 1, 2", "machine 0123456789ab", "chosen on 50/450 samples held out of train"):
        assert said in words
    assert "No threshold is involved." in describe_lowest_seeds(panel.series)
    assert "seed 0;" in describe_lowest_seeds(panel.series)
