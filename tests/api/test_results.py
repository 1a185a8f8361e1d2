"""``bench.load``: runs chosen, side by side, as frames; the same numbers as the commands print."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import bench
from bench.cli.process import main
from tests.helpers.report_store import make_cell


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store") / "results"
    for seed in (0, 1):
        for strategy in ("entropy", "patience", "elbert-mono"):
            make_cell(root, strategy, seed=seed, checkpoint=f"{seed}" * 16)
    make_cell(root, "entropy", "other", metric="f1")
    make_cell(root, "margin", status="error", error="it <i>broke</i>")
    return root


@pytest.fixture(scope="module")
def results(store: Path) -> bench.Results:
    return bench.load(store, quiet=True)


def test_results_are_a_sequence(results: bench.Results) -> None:
    assert len(results) == 8
    assert [run.strategy for run in results[:2]] == [results[0].strategy, results[1].strategy]
    assert results[0] in list(results)
    assert results.find(results[3].folder.name).folder == results[3].folder
    assert repr(results) == "<Results: 8 runs; 2 tasks, 4 strategies>"


def test_filters_add_up_and_refuse_what_nobody_is_called(results: bench.Results) -> None:
    assert len(results.filter(task="demo", strategy=["entropy", "patience"], seed=0)) == 2
    assert len(results.filter(lambda run: run.is_finished())) == 7
    assert len(results.filter(strategy="patience", task="other")) == 0
    with pytest.raises(bench.UserError, match="'entrophy' among these runs"):
        results.filter(strategy="entrophy")


def test_points_have_a_row_a_point_and_say_why_one_was_not_reached(results: bench.Results) -> None:
    points = results.points
    assert set(points["run"]) == {run.folder.name for run in results if run.is_finished()}
    first = points[points["run"] == results[0].folder.name].set_index("point")
    assert first.loc["2x", "cost_speedup"] == results[0].result().reached["2x"].cost_speedup.value
    missing = first.loc["4x"]
    assert math.isnan(missing["quality"])
    assert missing["reason"] == results[0].result().unreached["4x"].reason
    assert len(results.curves) == sum(len(run.result().curve) for run in results if run.is_finished())
    assert list(results[:0].points.columns)[:3] == ["task", "backbone", "strategy"]


def test_the_table_is_the_commands(results: bench.Results, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = results.table(["no-loss", "2x"])
    assert main(["table", "--results-dir", str(store), "--at", "no-loss,2x", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(table["2x"]["value"]) == [row["2x"]["value"] for row in printed]
    assert list(table["all layers"]["low"]) == [row["all layers"]["low"] for row in printed]
    assert list(table.index.get_level_values("strategy")) == [row["strategy"] for row in printed]
    assert math.isnan(results.table(["4x"])["4x"]["value"].iloc[0])


def test_criteria_are_the_commands(results: bench.Results, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = results.filter(task="demo").criteria()
    assert main(["criteria", "--results-dir", str(store), "--task", "demo", "--json"]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert list(found["criterion"]) == [row["criterion"] for row in printed["rows"]]
    assert list(found["curve_difference"]) == [row["curve"]["estimate"] for row in printed["rows"]]
    with pytest.raises(bench.UserError, match="No checkpoint"):
        results.filter(strategy="entropy").criteria()


def test_a_notebook_shows_text_as_text(results: bench.Results) -> None:
    failed = next(run for run in results if not run.is_finished())
    assert "it &lt;i&gt;broke&lt;/i&gt;" in failed._repr_html_()
    assert "2.05x" in results[0]._repr_html_()
    assert results._repr_html_().count("<tr>") == 1 + len(results)
    with pytest.raises(bench.UserError, match="is not finished"):
        _ = failed.points


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(bench.UserError, match="There is no results folder"):
        bench.load(tmp_path / "none")


@pytest.mark.parametrize("kind", ["trade-off", "exits"])
def test_figures_are_matplotlibs(results: bench.Results, kind: str) -> None:
    some = results.filter(task="demo", seed=0, where=lambda run: run.is_finished())
    assert some.plot(kind, title="mine").axes
    alone = some[0].plot(kind, width=5).get_size_inches()
    assert alone[0] == 5


@pytest.mark.parametrize(
    ("kind", "options", "said"), [("trade", {}, "trade-off"), ("trade-off", {"tilte": "x"}, "title")]
)
def test_mistakes_of_figures(results: bench.Results, kind: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(bench.UserError, match=f"Did you mean '{said}'"):
        results.plot(kind, **options)
