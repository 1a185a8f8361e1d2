"""`bench log`: what trackers are told, by fakes and by those installed; the card by the hub's own reader."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

import bench
from bench.api.trackers import TRACKERS, TrackedRun, log_run
from bench.cli.process import main
from tests.helpers.report_store import make_cell


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bench.RunView:
    root = tmp_path_factory.mktemp("store") / "results"
    make_cell(root, "entropy", warnings=["few samples"])
    return bench.load(root, quiet=True)[0]


def test_an_entry_has_settings_numbers_and_what_is_doubted(run: bench.RunView) -> None:
    entry = TrackedRun.of(run)
    assert (entry.settings["strategy"], entry.settings["seed"]) == ("entropy", 0)
    assert entry.metrics["2x/accuracy"] == run.result().reached["2x"].metrics["accuracy"].value
    assert entry.metrics["all layers/cost_speedup"] == run.result().full.cost_speedup.value
    assert not [name for name in entry.metrics if name.startswith("4x/")], "it was not reached"
    assert [row["curve/quality"] for row in entry.steps] == [row.quality for row in run.result().curve]
    assert "few samples" in entry.notes
    assert all(map(math.isfinite, entry.metrics.values()))


def collect(tracker: str, fake: MagicMock) -> tuple[dict[str, float], int]:
    """The metrics that a fake was given, and how many steps of the curve."""
    calls: list[Any]
    if tracker == "wandb":
        inside = fake.init.return_value.__enter__.return_value
        return inside.summary.update.call_args.args[0], inside.log.call_count
    if tracker == "mlflow":
        calls = fake.log_metrics.call_args_list
        return calls[0].args[0], len(calls) - 1
    calls = fake.log.call_args_list
    return calls[-1].args[0], len(calls) - 1


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_every_tracker_is_told_all(run: bench.RunView, tracker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = MagicMock()
    monkeypatch.setitem(sys.modules, tracker, fake)
    assert run.log(tracker, "mine")
    metrics, steps = collect(tracker, fake)
    assert metrics == TrackedRun.of(run).metrics
    assert steps == len(run.result().curve)


def test_tensorboard_reads_what_was_written(
    run: bench.RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    where = log_run(run, "tensorboard")
    found = reading.EventAccumulator(str(tmp_path / where))
    found.Reload()
    assert [e.value for e in found.Scalars("curve/quality")] == pytest.approx([r.quality for r in run.result().curve])
    assert found.Scalars("2x/accuracy")[0].value == pytest.approx(TrackedRun.of(run).metrics["2x/accuracy"])


def test_mlflow_reads_what_was_written(run: bench.RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow: Any = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    found = mlflow.get_run(log_run(run, "mlflow", "mine"))
    assert found.data.metrics["2x/accuracy"] == TrackedRun.of(run).metrics["2x/accuracy"]
    assert found.data.params["strategy"] == "entropy"


def test_wandb_keeps_it_here_when_told_so(run: bench.RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    where = Path(log_run(run, "wandb", "mine"))
    assert list(where.parent.glob("*.wandb"))
    assert where.is_relative_to(tmp_path)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_package_that_is_missing_is_one_line(
    run: bench.RunView, tracker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(bench.UserError, match=rf"{tracker} is not installed: pip install 'exitbench\[{tracker}\]'"):
        run.log(tracker)


def test_a_card_is_read_by_the_hub(run: bench.RunView, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from huggingface_hub import ModelCard

    words = ["log", run.folder.name, "--results-dir", str(run.root), "--card", str(tmp_path / "card"), "--point", "2x"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"card: {tmp_path / 'card' / 'README.md'}\n"
    card = ModelCard.load(tmp_path / "card" / "README.md")
    values = {found.metric_name: found.metric_value for found in card.data.eval_results or []}
    reached = run.result().reached["2x"]
    assert values["accuracy (all layers)"] == run.result().full.metrics["accuracy"].value
    assert reached.metrics["accuracy"].value in values.values()
    assert "early_exit" not in card.text, "there is no model beside it"
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [([], "--to TRACKER"), (["--to", "wand"], "Did you mean 'wandb'")])
def test_mistakes_of_the_command(
    run: bench.RunView, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", run.folder.name, "--results-dir", str(run.root), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_notebook_has_one_line_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import progress

    shown: list[str] = []
    handle = SimpleNamespace(update=lambda page: shown.append(page.data))
    fake = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    page = SimpleNamespace(
        HTML=lambda text: SimpleNamespace(data=text),
        display=lambda page, display_id: shown.append(page.data) or handle,  # type: ignore[func-returns-value]
    )
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    with progress.clear_when_done():
        progress.Progress().say("<Loading>")
        with progress.Progress().work("Training", 2) as work:
            work.advance(2, note="loss 0.1")
    assert [text for text in shown if "&lt;Loading&gt;" in text]
    assert '<progress value="2" max="2"></progress> 2/2 loss 0.1' in shown[-2]
    assert shown[-1] == ""
