"""``bench.run``: what it returns, that it is what the command records, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.api.run import list_requests
from bench.cli.process import main
from tests.helpers.small_runs import TINY, ask_cell, write_task

SETTINGS: dict[str, Any] = {
    "backbone.num_hidden_layers": 3, "backbone.hidden_size": 16, "backbone.intermediate_size": 24, "train.steps": 3,
    "train.batch_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("data") / "reviews")


@pytest.fixture(scope="module")
def asked(task: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    where = tmp_path_factory.mktemp("api") / "results"
    return {"task": str(task), "backbone": "bert-demo", "settings": SETTINGS, "latency": False, "offline": True,
            "quiet": True, "results_dir": where}  # fmt: skip


@pytest.fixture(scope="module")
def run(asked: dict[str, Any]) -> bench.RunView:
    return bench.run("entropy", **asked)


def test_a_run_has_frames_of_its_record(run: bench.RunView) -> None:
    points, curve, result = run.points, run.curve, run.result()
    assert list(points["point"]) == ["all layers", *(point.rule for point in result.points)]
    whole = points.set_index("point").loc["all layers"]
    assert (whole["quality"], whole["metric"]) == (result.full.metrics["accuracy"].value, "accuracy")
    assert list(curve["cost_speedup"]) == [row.cost_speedup for row in result.curve]
    assert {"task", "strategy", "seed"}.isdisjoint(points.columns)


def test_the_command_finds_what_was_run_from_python_and_records_how(
    run: bench.RunView, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ask_cell("entropy", Path(asked["task"]), asked["results_dir"])
    assert main(["run", *words, *TINY, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["folder"], bool(found["reused"])) == (str(run.folder), True)
    assert run.record.command.startswith("bench run --strategy entropy --task ")
    assert "--set train.steps=3" in run.record.command


def test_several_seeds_are_results(run: bench.RunView, asked: dict[str, Any]) -> None:
    found = bench.run(["entropy"], asked["task"], seed=[0], **{k: v for k, v in asked.items() if k != "task"})
    assert isinstance(found, bench.Results)
    assert [one.folder for one in found] == [run.folder]
    assert found[0].reused
    assert list_requests(["entropy"], ["demo"], [0, 1])[1].seed == 1


@pytest.mark.slow
def test_several_cells_run_in_processes(asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = {**asked, "results_dir": "mine", "recipe": "joint", "head": "linear"}
    found = bench.run(["entropy", "patience"], **here)
    assert [(one.strategy, one.reused, one.name.count("/")) for one in found] == [
        ("entropy", False, 2), ("patience", False, 2),
    ]  # fmt: skip
    assert len({one.record.training.key for one in found}) == 1
    assert [one.folder for one in bench.load("mine")] == [one.folder for one in found]


def test_a_text_is_explained_exit_by_exit(run: bench.RunView) -> None:
    found = run.explain("the soup was <b>good</b>")
    assert [step.layer for step in found.steps] == [1, 2, 3]
    page = found._repr_html_()
    assert "<b>good" not in page
    assert "p(neg)" in page
    with pytest.raises(bench.UserError, match="takes a text, or the id of a sample"):
        run.explain()
    with pytest.raises(bench.UserError, match="No sample 'none'"):
        run.explain(sample="none")


@pytest.mark.parametrize(
    ("strategy", "options", "said"),
    [
        ("entropy,patience", {}, r"Several strategies are a list: \['entropy', 'patience'\]"),
        ("entrophy", {}, "Unknown strategy 'entrophy'. Did you mean 'entropy'"),
        ([], {}, "strategies is empty"),
        ("entropy", {"settings": {"windw": 4}}, "windw"),
        ("entropy", {"limit": 3}, "at least 8"),
    ],
)
def test_mistakes_are_one_line(strategy: Any, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(bench.UserError, match=said) as caught:
        bench.run(strategy, "demo", results_dir=tmp_path / "results", offline=True, quiet=True, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
