"""Copies of recorded runs: as many as are asked for, each one of its own, with numbers that are those of its run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.results.groups import make_series_key
from bench.results.store import Store
from bench.selfcheck.tables import describe_reading, multiply_runs
from tests.helpers.report_store import make_cell


def test_copies_are_whole_runs_of_series_of_their_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_cell(tmp_path / "source", "entropy", seed=seed)
    target = Store(tmp_path / "copies")
    assert multiply_runs(Store(tmp_path / "source"), target, 7) == 7
    runs, left_out = target.runs()
    assert (len(runs), left_out) == (7, [])
    for run in runs:
        run.check_logits(every=True)
    assert len({run.head.quality_key for run in runs}) == 7
    assert Counter(Counter(make_series_key(run) for run in runs).values()) == {2: 3, 1: 1}
    assert len({run.result().full.metrics[run.metric] for run in runs}) == 2  # those of the two seeds


def test_nothing_to_copy_is_said(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(UsageError, match="no finished run"):
        multiply_runs(Store(tmp_path / "source"), Store(tmp_path / "copies"), 3)


def test_figures_have_a_line_each() -> None:
    found = {"seconds": 1.5, "cpu_seconds": 1.25, "peak_mib": 200.0}
    lines = describe_reading({"cells": 300, "table first": found, "table again": found}).splitlines()
    assert lines[0] == "300 cells"
    assert [line.split()[:4] for line in lines[1:]] == [
        ["bench", "table", "first", "1.5"],
        ["bench", "table", "again", "1.5"],
    ]
