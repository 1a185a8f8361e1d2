"""`--metric` of every command that has it, on imported logits of three unbalanced classes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import NDArray
from scipy.special import softmax

from bench.cli.process import main
from bench.measure.judges import JUDGES
from bench.results.run import Run
from bench.results.store import Store

SIZES, EXITS = (100, 60, 20), 6
STRATEGIES = ("entropy", "margin")
OF_CLASSES = [name for name in JUDGES if name not in ("pearson", "spearman")]
OWN = """
def count_cost(labels, logits):
    told = logits.argmax(axis=1)
    return float(((told != labels) * (1 + 4 * (labels == 2))).mean())
count_cost.higher_is_better = False

def break_off(labels, logits):
    raise RuntimeError("no costs")
"""


def write_logits(path: Path, seed: int, sizes: tuple[int, ...] = SIZES) -> Path:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    logits = random.normal(size=(len(labels), EXITS, len(sizes)))
    logits[np.arange(len(labels))[:, None], np.arange(EXITS), labels[:, None]] += np.linspace(0.3, 2.5, EXITS)
    ids = np.array([f"{seed}-{i}" for i in range(len(labels))])
    np.savez(path, logits=logits.astype(np.float32), labels=labels, ids=ids)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbalanced")
    files = [str(write_logits(folder / f"{seed}.npz", seed)) for seed in (1, 2)]
    words = ["import", files[0], "--select", files[1], "--name", "mine", "--strategy", ",".join(STRATEGIES), "--quiet"]
    assert main([*words, "--results-dir", str(folder / "results")]) == 0
    return folder / "results"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "costs_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "costs_of_mine", raising=False)
    return "costs_of_mine"


def find_run(store: Path, strategy: str = "entropy") -> Run:
    return next(run for run in Store(store).runs()[0] if run.strategy == strategy)


def read_logits(run: Run, rule: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    exits = run.exits()
    return exits.logits[np.arange(len(exits.labels)), run.layers_at(rule) - 1], exits.labels


def refer(name: str, logits: NDArray[Any], labels: NDArray[Any]) -> float:
    told, given = softmax(logits.astype(np.float64), axis=1), logits.argmax(axis=1)
    if name == "auroc":
        return float(sklearn.metrics.roc_auc_score(labels, told, multi_class="ovr"))
    if name == "log_loss":
        return float(sklearn.metrics.log_loss(labels, told))
    if name == "macro_f1":
        return float(sklearn.metrics.f1_score(labels, given, average="macro"))
    return float((given[labels == 2] == 2).mean())


@pytest.mark.parametrize("name", ["auroc", "log_loss", "macro_f1", "recall:2"])
def test_show_has_it_at_every_point(name: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run(store)
    assert main(["show", str(run.folder), "--metric", name, "--json", "--results-dir", str(store)]) == 0
    [found] = json.loads(capsys.readouterr().out)["metrics"].values()
    assert found.keys() == run.result().performances.keys()
    for point, values in found.items():
        expected = refer(name, *read_logits(run, None if point == "all layers" else point))
        assert values[name]["value"] == pytest.approx(expected, abs=1e-9)
        assert values[name]["low"] <= expected <= values[name]["high"]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_table_has_every_metric_at_matched_cost(name: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["table", "--metric", name, "--at", "2x", "--results-dir", str(store)]
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["strategy"], row["metric"]) for row in rows} == {(strategy, name) for strategy in STRATEGIES}
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    is_ranked = JUDGES[name].higher_is_better
    assert ("the best " in said, "chosen by accuracy" in said) == (is_ranked, name != "accuracy")


def test_table_and_show_agree(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["table", "--metric", "auroc", "--at", "2x", "--json", "--results-dir", str(store)])
    by_strategy = {row["strategy"]: row["2x"] for row in json.loads(capsys.readouterr().out)}
    for strategy in STRATEGIES:
        run = find_run(store, strategy)
        assert by_strategy[strategy]["value"] == pytest.approx(refer("auroc", *read_logits(run, "2x")))


def test_plot_draws_the_curve_of_any_metric(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run(store)
    words = ["plot", "trade-off", str(run.folder), "--metric", "log_loss", "--out", str(tmp_path / "a.svg"), "--json"]
    assert main([*words, "--results-dir", str(store)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "og-loss (less is better)" in found["caption"]
    assert "by accuracy" in found["caption"]
    drawn = [row for row in found["rows"] if row["kind"] == "curve"]
    assert len(drawn) == len(run.result().curve)
    assert max(row["quality"] for row in drawn) > 1.0
    trade_off, exits = run.trade_off(), run.exits()
    for row in drawn[:: max(1, len(drawn) // 5)]:
        cut = -np.inf if row["threshold"] is None else run.criterion.cut_at(row["threshold"])
        logits = exits.logits[np.arange(len(exits.labels)), trade_off.layers_at(cut) - 1]
        assert row["quality"] == pytest.approx(refer("log_loss", logits, exits.labels), abs=1e-5)


def test_pick_ranks_by_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pick", "--metric", "balanced_accuracy", "--json", "--results-dir", str(store)]) == 0
    [ranking] = json.loads(capsys.readouterr().out)
    values = [one["quality"]["value"] for one in ranking["ranked"]]
    assert values == sorted(values, reverse=True)
    assert "balanced accuracy" in ranking["said"]


def test_criteria_are_compared_by_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--oracle"]):
        assert main(["criteria", "--metric", "macro_f1", *more, "--results-dir", str(store)]) == 0
    by_f1 = capsys.readouterr().out
    assert main(["criteria", "--results-dir", str(store)]) == 0
    assert "macro-F1" in by_f1
    assert "accuracy" in capsys.readouterr().out


def test_report_judges_by_it_and_shows_what_becomes_of_unbalanced_classes(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", "--format", "html,md,latex,csv", "--results-dir", str(store), "--quiet"]
    assert main([*words, "--out", str(tmp_path / "own")]) == 0
    assert main([*words, "--out", str(tmp_path / "auroc"), "--metric", "auroc"]) == 0
    with (tmp_path / "auroc" / "points.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == {"auroc"}
    run = find_run(store)
    found = next(row for row in rows if (row["strategy"], row["point"]) == ("entropy", "2x"))
    assert float(found["value"]) == pytest.approx(refer("auroc", *read_logits(run, "2x")))
    with (tmp_path / "own" / "classes.csv").open() as file:
        classes = {(row["series"], row["point"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    for name in ("auroc", "log_loss", "macro_f1", "recall:2"):
        key = next(key for key in classes if key[0].startswith("entropy") and key[1:] == ("2x", name))
        assert classes[key] == pytest.approx(refer(name, *read_logits(run, "2x")))
    for name in ("report.html", "report.md", "tables.tex"):
        assert "Unbalanced classes" in (tmp_path / "own" / name).read_text()
    assert "by accuracy" in (tmp_path / "auroc" / "report.md").read_text()


def test_show_says_what_becomes_of_each_class(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(find_run(store).folder), "--results-dir", str(store)]) == 0
    said = capsys.readouterr().out
    assert "'0' has 100 samples, '2' 20" in " ".join(said.split())
    recall = refer("recall:2", *read_logits(find_run(store), None))
    assert f"{recall:.3f}" in said


def test_balanced_classes_have_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice as many of one class as of another are not yet more than twice as many."""
    for name, sizes in {"even": (40, 40, 20), "uneven": (41, 40, 20)}.items():
        file = write_logits(tmp_path / f"{name}.npz", 1, sizes)
        words = ["import", str(file), "--select", str(write_logits(tmp_path / "held.npz", 2)), "--name", name]
        assert main([*words, "--strategy", "entropy", "--results-dir", str(tmp_path / name), "--quiet"]) == 0
        assert ("Unbalanced classes" in capsys.readouterr().out) == (name == "uneven")


def test_a_metric_of_ones_own_is_in_tables_and_figures(
    own: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{own}:count_cost"
    assert main(["table", "--metric", name, "--at", "2x", "--json", "--results-dir", str(store)]) == 0
    found = {row["strategy"]: row["2x"] for row in json.loads(capsys.readouterr().out)}
    for strategy in STRATEGIES:
        logits, labels = read_logits(find_run(store, strategy), "2x")
        expected = ((logits.argmax(axis=1) != labels) * np.where(labels == 2, 5, 1)).mean()
        assert found[strategy]["value"] == pytest.approx(expected)
        assert found[strategy]["low"] < expected < found[strategy]["high"]
    out = str(tmp_path / "own.svg")
    assert main(["plot", "trade-off", "--metric", name, "--out", out, "--results-dir", str(store)]) == 0


def test_replay_shows_them_beside_what_chooses(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_logits(tmp_path / "logits.npz", 5)
    words = ["replay", str(file), "--strategy", "entropy", "--json", "--metric"]
    assert main([*words, f"auroc,log_loss,recall,{own}:count_cost"]) == 0
    found = json.loads(capsys.readouterr().out)
    recalls = ["recall:0", "recall:1", "recall:2"]
    assert found["metrics"] == ["accuracy", "auroc", "log_loss", *recalls, f"{own}:count_cost"]
    assert all(point["metrics"].keys() == set(found["metrics"]) for point in found["points"] if "metrics" in point)
    assert main([*words, "macro_f1,auroc"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == ["macro_f1", "auroc"]


REFUSED = {
    "unknown": (["table", "--metric", "auroch"], "Did you mean 'auroc'"),
    "class": (["table", "--metric", "recall:9"], "Unknown class '9'"),
    "every class": (["table", "--metric", "recall"], "name the class, recall:0"),
    "values": (["table", "--metric", "pearson"], "pearson is a metric of values"),
    "loss, pick": (["pick", "--metric", "log_loss"], "log_loss is a loss"),
    "loss, report": (["report", "--metric", "brier"], "brier is a loss"),
    "criteria": (["criteria", "--metric", "auroc"], "--metric takes accuracy, f1"),
    "module": (["table", "--metric", "no_such_module_here:cost"], "Is its folder on PYTHONPATH"),
    "failing": (["table", "--metric", "costs_of_mine:break_off"], "RuntimeError: no costs"),
    "loss of one's own": (["pick", "--metric", "costs_of_mine:count_cost"], "costs_of_mine:count_cost is a loss"),
    "a name": (["show", "strategy", "entropy", "--metric", "auroc"], "--metric is of a recorded run"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_one_line(
    case: str, own: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = REFUSED[case]
    out = ["--out", str(tmp_path / "out")] if words[0] == "report" else []
    assert main([*words, *out, "--results-dir", str(store)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in " ".join(error.split())
    assert "Traceback" not in error


def test_import_records_metrics_of_predictions_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_logits(tmp_path / "logits.npz", 5)
    words = ["import", str(file), "--name", "x", "--metric", "auroc", "--results-dir", str(tmp_path / "results")]
    assert main(words) == 2
    assert "bench show RUN --metric auroc" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_logits_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    held = str(write_logits(tmp_path / "held.npz", 2))
    for seed, name in ((1, "whole"), (3, "bare")):
        file = str(write_logits(tmp_path / f"{name}.npz", seed))
        words = ["import", file, "--select", held, "--name", name, "--strategy", "entropy", "--quiet"]
        assert main([*words, "--results-dir", str(results)]) == 0
    bare = next(run for run in Store(results).runs()[0] if run.record.external and run.record.external.name == "bare")
    bare.exits_file().unlink()
    capsys.readouterr()
    assert main(["table", "--metric", "auroc", "--json", "--results-dir", str(results)]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 1
    assert "no stored exits" in said.err
    whole = next(run for run in Store(results).runs()[0] if run.name != bare.name)
    whole.exits_file().unlink()
    assert main(["table", "--metric", "auroc", "--results-dir", str(results)]) == 2
    assert "No run can be judged by auroc" in " ".join(capsys.readouterr().err.split())


def test_what_a_record_names_is_never_imported(own: str, store: Path) -> None:
    """A metric of a record that is none of ours is unknown; nobody looks for a module of that name."""
    from bench.errors import UsageError
    from bench.results.judged_by.judging import find_judge

    run = find_run(store)
    task = run.record.task.model_copy(update={"metrics": (f"{own}:count_cost",)})
    object.__setattr__(run, "head", run.record.model_copy(update={"task": task}))
    with pytest.raises(UsageError, match="Unknown metric"):
        find_judge(run)
    assert own not in sys.modules
