"""Where a run's own files are looked for again, how a folder is spelled, what a run says of length and remote code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench.cell.request import Context, Request
from bench.cli.process import main
from bench.progress import Progress
from bench.results.store import Store
from bench.sweep.plan import make_plan
from tests.helpers.models.finetuned_models import save_finetuned
from tests.helpers.small_runs import SHAPE, TINY, reviews, run_json, settings, write_task


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder below another, with data in it, that is the current one."""
    made = tmp_path / "home" / "project"
    write_task(made / "data" / "reviews", train=48, validation=16)
    monkeypatch.chdir(made)
    return made


@pytest.mark.parametrize("spelled", ["data/reviews", "./data/reviews/", "{}/data/reviews"])
def test_a_run_is_explained_where_its_data_was_given_and_from_elsewhere(
    spelled: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "entropy", "--task", spelled.format(project), "--backbone", "bert-demo", *TINY]
    [run] = run_json(capsys, *words)
    assert str(project) not in json.dumps(run["record"]["task"])
    assert main(["explain", "last", "--text", "good room"]) == 0
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["explain", "last", "--text", "good room", "--results-dir", "../project/results"]) == 0
    (project / "data").rename(project / "moved")
    assert main(["explain", "last", "--text", "good room", "--results-dir", "../project/results"]) == 2
    assert "which is neither here nor beside the results" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["home/project/bert-demo", "home/models/bert-demo", "ann/models/bert-demo"])
def test_a_backbone_given_by_a_full_path_is_recorded_without_it_and_found_again(
    place: str, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its folder is called as a backbone of the catalog is: in the current one, beside it, below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))
    model = tmp_path / place
    save_finetuned(model, "bert", ("neg", "pos"), texts=[text for text, _ in reviews(96, 0)], vocab_size=200)
    capsys.readouterr()
    words = ["--strategy", "entropy", "--task", "data/reviews", "--backbone", str(model), "--recipe", "exits-only"]
    [run] = run_json(capsys, *words, "--no-latency", "--offline", "--quiet")
    record = run["record"]
    assert str(tmp_path) not in json.dumps(record)
    assert (record["spec"]["init"], record["identity"]["backbone"]["name"]) == ("finetuned", "bert-demo")
    elsewhere = project.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    look = ["--text", "good room", "--results-dir", "../project/results"]
    assert main(["explain", "last", *look]) == 0
    capsys.readouterr()
    assert main(["table", "--results-dir", "../project/results", "--backbone", str(model)]) == 0
    assert "entropy" in capsys.readouterr().out
    model.rename(tmp_path / "moved")
    assert main(["explain", "last", *look]) == 2
    assert "which is neither here nor beside the results" in capsys.readouterr().err


def test_a_run_given_by_its_path_has_its_checkpoint_in_its_own_results_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "entropy", "--task", "data/reviews", "--backbone", "bert-demo", *TINY]
    [run] = run_json(capsys, *words)
    monkeypatch.chdir(project.parent)
    given = str(Path("project") / run["folder"])
    under_load = ["--seconds", "0.1", "--percentile", "50", "--queries", "20"]
    assert main(["explain", given, "--text", "good room"]) == 0
    assert main(["explain", given, "--cases"]) == 0
    assert "Texts are left out" not in "".join(capsys.readouterr())
    assert main(["diagnose", given, "--limit", "2", "--edits", "1", "--candidates", "1"]) == 0
    assert main(["serve", given, *under_load]) == 0
    assert not Path("results").exists()
    shutil.copytree(given, "alone")  # without its results folder: looked for where --results-dir says
    capsys.readouterr()
    assert main(["explain", "alone", "--text", "good room"]) == 2
    assert "The checkpoint of alone is not in results/.cache" in capsys.readouterr().err


def test_one_folder_is_one_task_however_it_is_spelled(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spellings = ["data/reviews", "./data/reviews/", str(project / "data" / "reviews"), "data/../data/reviews"]
    requests = [Request("entropy", task, "bert-demo") for task in spellings]
    assert len(make_plan(requests, Context(Store(project / "results"), Progress(quiet=True), offline=True)).cells) == 1
    records = [
        run_json(capsys, "--strategy", "entropy", "--task", task, "--backbone", "bert-demo", *TINY)[0]
        for task in spellings
    ]
    assert len({run["folder"] for run in records}) == 1
    assert ["reused" in run for run in records] == [False, True, True, True]


def test_the_length_that_was_used_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "entropy", "--task", "data/reviews", "--backbone", "bert-demo", *TINY]
    assert main(["run", *words, *settings("max_length=128", "backbone.max_position_embeddings=6")]) == 0
    said = capsys.readouterr().out
    assert "Truncated to 6 tokens: " in said
    assert "128 tokens" not in said
    assert SHAPE[0] in words
