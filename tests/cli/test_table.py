"""`bench table` on a small store."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.measure.exits import AllExits
from bench.results.exits import write_exits
from tests.helpers.report_store import edit_cell, make_cell, record_exits


def put(root: Path, strategy: str, seed: int, value: float, status: str = "success", limit: int | None = None) -> Path:
    folder = make_cell(
        root, strategy, seed=seed, samples=100, layers=2, status=status, exits=False, spec={"limit": limit}
    )
    if status == "success":
        edit_cell(folder, partial(_set, value))
    return folder


def _set(value: float, record: dict[str, Any]) -> None:
    result = record["evaluation"]["evaluation"]
    interval = {"value": value, "low": value - 0.02, "high": value + 0.02}
    result["per_exit"]["accuracy"] = [0.0, value]
    [point] = [p for p in result["points"] if p["rule"] == "2x"]
    for one in (result["full"], point):
        one["metrics"]["accuracy"] = interval
    point["cut"] = 0.5
    rows = {"train": {"used": 50, "available": 67349}, "evaluation": {"used": 100, "available": 872}}
    record["task"]["rows"] |= rows


def test_seeds_are_averaged_and_settings_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "entropy", 0, 0.80)
    put(tmp_path, "entropy", 1, 0.90)
    put(tmp_path, "entropy", 0, 0.50, limit=100)
    put(tmp_path, "patience", 0, 0.70, status="error")
    assert main(["table", "--results-dir", str(tmp_path), "--at", "2x,4x", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["strategy"] for row in rows] == ["entropy", "entropy"]
    [averaged] = [row for row in rows if row["seeds"] == [0, 1]]
    assert averaged["2x"] == {
        "value": pytest.approx(0.85),
        "low": pytest.approx(0.83),  # no logits: the mean of the seeds' own intervals over samples
        "high": pytest.approx(0.87),
        "seeds": 2,
        "std": pytest.approx(0.1 / 2**0.5),
        "lowest": 0.8,
        "highest": 0.9,
        "cost_speedup": pytest.approx(2.05),
    }
    assert (averaged["reported on"], averaged["trained on"]) == ("100/872", "50/67349")
    [single] = [row for row in rows if row["seeds"] == [0]]
    assert (single["2x"]["low"], single["4x"]) == (pytest.approx(0.48), None)


@pytest.mark.parametrize(
    ("at", "columns"), [("speedup=2, max_loss=0.005", {"2x", "-0.5"}), ("default,0.1", {"default", "0.1"})]
)
def test_points_are_found_by_their_recorded_names(
    at: str, columns: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "entropy", 0, 0.80)
    assert main(["table", "--results-dir", str(tmp_path), "--at", at, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert columns <= set(row)


@pytest.mark.parametrize("at", ["2xx", "2x,defualt", ""])
def test_what_is_no_operating_point_is_refused(at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--results-dir", str(tmp_path), "--at", at]) == 2
    assert "Unknown operating point" in capsys.readouterr().err


def test_several_seeds_with_their_logits_show_spread_and_a_two_level_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {0: [1.0] * 90 + [-1.0] * 10, 1: [1.0] * 70 + [-1.0] * 30}
    for seed, signs in right.items():
        folder = put(tmp_path, "entropy", seed, sum(s > 0 for s in signs) / 100)
        # exit 1 cannot tell, exit 2 is sure: everything leaves at the last
        logits = np.stack([np.zeros((100, 2)), np.stack([np.zeros(100), 9 * np.array(signs)], axis=1)], axis=1)
        ids = tuple(map(str, range(100)))
        exits = AllExits(ids, np.ones(100, dtype=np.int64), logits.astype(np.float32), np.full(100, 5))
        write_exits(exits, folder / "exits-evaluation.parquet")
        record_exits(folder)
    assert main(["table", "--results-dir", str(tmp_path), "--at", "2x", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    for column in ("all layers", "2x"):
        assert row[column]["value"] == pytest.approx(0.8)
        assert row[column]["std"] == pytest.approx(0.2 / 2**0.5)
        assert 0.70 < row[column]["low"] < 0.77  # over samples, for these two seeds
        assert 0.83 < row[column]["high"] < 0.90
        assert row[column]["both"][0] < 0.65  # two seeds so far apart leave much open, far more than 100 samples do
        assert row[column]["both"][1] > 0.95


def test_markdown_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "a|b<c", 0, 0.8)
    file = tmp_path / "table.md"
    assert main(["table", "--results-dir", str(tmp_path), "--markdown", str(file)]) == 0
    capsys.readouterr()
    text = file.read_text(encoding="utf-8")
    assert "a\\|b&lt;c" in text
    assert "0.800 [0.780, 0.820] (2.05x)" in text
    assert "n = 100/872, trained on 50/67349" in text


def test_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--results-dir", str(tmp_path), "--task", "mnli"]) == 4
    assert "No finished runs" in capsys.readouterr().err


def test_rows_that_would_look_alike_say_by_what_they_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for lr in (1e-3, 2e-3):
        make_cell(tmp_path, "entropy", criterion={"normalise": True}, spec={"train": {"lr": lr}})
    make_cell(tmp_path, "patience")
    for revision in ("sha256-1", "sha256-2"):
        make_cell(tmp_path, "random", version=int(revision[-1]))
    assert main(["table", "--results-dir", str(tmp_path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["arguments"] for row in rows] == [
        *("normalise=True, train.lr=0.001", "normalise=True, train.lr=0.002"),
        "",
        *("version=1", "version=2"),
    ]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Fifteen series of eleven strategies, of which one has a void doubt."""
    for number in range(10):
        make_cell(tmp_path, f"rule-number-{number}", exits=False)
    for window in (2, 3, 4, 6, 8):
        make_cell(tmp_path, "elbert-mono", criterion={"window": window}, exits=False)
    return tmp_path


@pytest.mark.parametrize("columns", [80, 60])
def test_many_runs_have_a_line_a_strategy_between_the_answers(
    columns: int, many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["table", "--results-dir", str(many)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("At 2x or more on demo")
    rows = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert sorted(re.split(r" [(!]", name)[0] for name in rows) == sorted(
        ["elbert-mono", *(f"rule-number-{number}" for number in range(10))]
    )
    last = "\n".join(lines).rpartition("\n\n")[2]
    assert last.startswith("Best at 2x or more:")
    assert "demo (albert-demo, scratch, 6 layers):" in " ".join(last.split())
    assert len(lines) < 45


def test_all_rows_at_all_points_are_there_on_request_and_in_files(
    many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.md"
    assert main(["table", "--results-dir", str(many), "--all", "--markdown", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("At 2x or more on demo")
    for text in (out, file.read_text(encoding="utf-8")):
        assert all(f"window={window}" in text for window in (2, 3, 4, 6, 8))
        assert "no-loss" in text
    assert out.rpartition("\n\n")[2].startswith("Best at 2x or more:")
