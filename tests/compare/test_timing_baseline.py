"""Speed-ups in time over another model than the plain one say by name what they are over, wherever they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.process import main
from bench.compare.sentences import write_factor
from bench.latency.names import BASELINES, write_over
from bench.report.charts import build_realisation
from bench.report.plots.comparison import QUANTITIES, name_baseline
from bench.report.series import make_panels
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.report_store import make_cell

KINDS = ["valid", "int8"]


@pytest.mark.parametrize("latency", KINDS)
def test_every_output_names_the_baseline(
    latency: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    run = Run.load(make_cell(tmp_path, latency=latency))
    for words in (["show", str(run.folder)], ["pick"], ["table"]):
        assert main([*words, "--results-dir", str(tmp_path)]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert ("over int8" in out) == (latency == "int8"), words
        if words[0] == "show":
            assert f"that the clock keeps{' over int8' if latency == 'int8' else ''}:" in out
    assert main(["report", "--results-dir", str(tmp_path), "--out", str(tmp_path / "page")]) == 0
    for name in ("report.html", "report.md", "tables.tex"):
        assert ("over int8" in (tmp_path / "page" / name).read_text(encoding="utf-8")) == (latency == "int8"), name


def test_times_of_fewer_seeds_than_stand_there_say_so(tmp_path: Path) -> None:
    make_cell(tmp_path, latency="valid")
    make_cell(tmp_path, seed=1)
    make_cell(tmp_path, seed=2)
    [panel] = make_panels(Store(tmp_path).runs()[0])
    marks = [point.timed.mark for series in panel.series for point in series.points.values() if point.timed]
    assert marks
    assert all(mark.endswith(", 1 seed") for mark in marks)


@pytest.mark.parametrize("latency", KINDS)
def test_axes_of_times_name_the_baseline(latency: str, tmp_path: Path) -> None:
    make_cell(tmp_path, latency=latency)
    [panel] = make_panels(Store(tmp_path).runs()[0])
    chart = build_realisation([panel])
    assert chart is not None
    over = " over int8" if latency == "int8" else ""
    assert chart.y.label == f"measured speed-up{over}"
    assert name_baseline(QUANTITIES["latency"], panel).short.endswith(over or "speed-up")


@pytest.mark.parametrize("name", BASELINES)
def test_only_the_model_as_it_is_needs_no_name(name: str) -> None:
    assert write_over(name) == f" over {name}"
    assert write_over("plain") == write_over("stock") == write_over("") == ""


@pytest.mark.parametrize(("faster", "said"), [(2.0, "2.00x less"), (1.0, "1.00x less"), (0.8, "1.25x more")])
def test_a_speed_up_below_one_is_more_time(faster: float, said: str) -> None:
    assert write_factor(faster) == said
