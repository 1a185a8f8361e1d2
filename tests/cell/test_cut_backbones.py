"""A strategy that takes layers away is measured against the backbone that it took them from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_runs import TINY, run_json, write_task


def test_a_truncated_backbone_is_compared_with_the_whole_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One layer of three: nearly three times as fast, not once; only embeddings and heads keep it from three."""
    words = ["--strategy", "truncated", "--set", "layers=1", "--backbone", "bert-demo", *TINY]
    task = write_task(tmp_path / "reviews", train=32, validation=8)
    [found] = run_json(capsys, "--task", str(task), *words, "--results-dir", str(tmp_path / "results"))
    record = found.get("record", found)
    assert (record["backbone"]["layers"], record["backbone"]["depth"]) == (1, 3)
    assert 2 < record["evaluation"]["validation"]["full"]["cost_speedup"]["value"] <= 3
