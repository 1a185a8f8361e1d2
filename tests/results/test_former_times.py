"""Times by a former protocol are read and marked wherever they are shown, and mixed with no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.advise.export.card import describe_timing
from bench.cli.process import main
from bench.compare import history
from bench.results.run import Run
from tests.helpers.report_store import make_cell

WHY = "by single-stream-v1, which stopped when an interval was narrow"


@pytest.mark.parametrize("latency", ["former", "valid"])
def test_every_output_that_shows_them_marks_them(
    latency: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = Run.load(make_cell(tmp_path, latency=latency))
    former = latency == "former"
    assert run.timing_flags == (("v1",) if former else ())
    for words in (["show", str(run.folder)], ["report", "--out", str(tmp_path / "page")]):
        assert main([*words, "--results-dir", str(tmp_path)]) == 0
    assert (WHY in capsys.readouterr().out) == former
    assert main(["pick", "--task", "demo", "--speedup", "2", "--results-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for words in ("Times v1: by a former protocol", "x v1", "x in time by a former protocol)"):
        assert (words in said) == former
    for name in ("report.html", "report.md", "tables.tex"):
        text = " ".join((tmp_path / "page" / name).read_text(encoding="utf-8").split())
        assert (WHY in text) == former, name
        assert (" v1" in text) == former, name
    assert (WHY in "".join(describe_timing(run))) == former


def test_history_has_them_under_another_name(tmp_path: Path) -> None:
    names = {}
    for latency in ("former", "valid"):
        values = history.collect_values(Run.load(make_cell(tmp_path / latency, latency=latency)))
        names[latency] = {name for name in values if name.startswith("latency")}
    assert "latency speed-up at 2x" in names["former"]
    assert "latency speed-up at 2x, single-stream-v2" in names["valid"]
    assert not names["former"] & names["valid"]


def test_seeds_timed_by_two_protocols_are_not_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, latency in enumerate(("valid", "former")):
        make_cell(tmp_path, seed=seed, latency=latency)
    assert main(["pick", "--task", "demo", "--speedup", "2", "--json", "--results-dir", str(tmp_path)]) == 0
    [ranking] = json.loads(capsys.readouterr().out)
    [row] = ranking["ranked"]
    assert row["seeds"] == [0, 1]
    assert (row["latency_speedup"], row["latency_protocol"]) == (None, None)
