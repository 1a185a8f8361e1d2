"""Imported logits: the same logits give the same numbers, side by side with ours, and what is wrong is one line."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.advise.external_data import find_split
from bench.cli.process import main
from bench.errors import DataError
from bench.measure.exits import AllExits
from bench.results.groups import list_panel_settings
from bench.results.logits_file import ARRAYS
from bench.results.run import Run
from bench.results.store import Store
from bench.tasks.base import Split, TaskData
from tests.helpers.small_runs import SHAPE, settings, write_task

TRAINED = [*settings(*SHAPE, "train.steps=100", "train.lr=0.003"), "--no-latency", "--offline", "--quiet"]
STRATEGIES = "entropy,patience,temperature,learned-exit"
"""One that reads logits alone, one that counts, one that is fitted on held-out samples, one with a probe."""


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Our own runs of a small task, by strategy, and the task's folder beside them."""
    folder = tmp_path_factory.mktemp("native")
    write_task(folder / "reviews", train=400, validation=60)
    for name in STRATEGIES.split(","):
        words = ["--strategy", name, "--head", "linear", "--recipe", "joint", "--backbone", "bert-demo"]
        made = ["run", *words, "--task", str(folder / "reviews"), "--results-dir", str(folder / "results"), *TRAINED]
        assert main(made) == 0
    return {run.strategy: run for run in Store(folder / "results").runs()[0]}


def export(run: Run, split: str, path: Path, **other: Any) -> Path:
    """Write the logits of a run as somebody else would."""
    found = run.exits(split)
    arrays = {"logits": found.logits, "labels": found.labels, "ids": np.array(found.ids), "tokens": found.lengths}
    arrays |= {} if found.observed is None else {"observed": found.observed}
    np.savez(path, **{name: value for name, value in {**arrays, **other}.items() if value is not None})
    return path


def import_run(run: Run, folder: Path, results: Path, *more: str, **other: Any) -> Run:
    """Import what another run recorded, with its own settings, and return the record that comes of it."""
    test = export(run, run.primary, folder / "test.npz", **other)
    held = export(run, "select", folder / "held.npz", **other)
    task = run.folder.parents[3] / "reviews"
    words = ["--select", str(held), "--name", "theirs", "--strategy", run.strategy, "--task", str(task)]
    words += ["--backbone", "bert-demo", "--head", "linear", *settings(*SHAPE), "--offline", "--quiet"]
    assert main(["import", str(test), *words, "--results-dir", str(results), *more]) == 0
    found, left_out = Store(results).runs()
    assert left_out == []
    return next(one for one in found if one.record.external is not None and one.strategy == run.strategy)


@pytest.mark.parametrize("strategy", STRATEGIES.split(","))
@pytest.mark.parametrize("tokens", [True, False], ids=["tokens in the file", "tokens from the task"])
def test_the_same_logits_give_the_same_numbers(
    native: dict[str, Run], strategy: str, tokens: bool, tmp_path: Path
) -> None:
    ours = native[strategy]
    theirs = import_run(ours, tmp_path, tmp_path / "results", **({} if tokens else {"tokens": None}))
    assert theirs.result() == ours.result()
    assert theirs.record.select == ours.record.select
    assert theirs.record.skill == ours.record.skill
    assert theirs.result().full.cost_unit == "flops"


def test_they_stand_on_one_panel_and_are_told_apart(native: dict[str, Run], tmp_path: Path) -> None:
    ours = native["entropy"]
    theirs = import_run(ours, tmp_path, tmp_path / "results")
    assert list_panel_settings(theirs, theirs.primary) == list_panel_settings(ours, ours.primary)
    assert theirs.head.quality_key != ours.head.quality_key
    assert "external-theirs" in theirs.label


def test_table_and_report_take_both(native: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = native["entropy"]
    results = ours.folder.parents[2]
    import_run(ours, tmp_path, results)
    capsys.readouterr()
    try:
        assert main(["table", "--results-dir", str(results), "--markdown", str(tmp_path / "table.md")]) == 0
        table = (tmp_path / "table.md").read_text()
        assert table.count("n = 60/60") == 1
        assert "external-theirs" in table
        assert main(["report", "--results-dir", str(results), "--out", str(tmp_path / "page")]) == 0
        assert "external-theirs" in (tmp_path / "page" / "report.html").read_text()
        capsys.readouterr()
        assert main(["list", "runs", "--results-dir", str(results)]) == 0
        assert "external" in capsys.readouterr().out
    finally:
        for run in Store(results).runs()[0]:
            if run.record.external is not None:
                for file in run.folder.iterdir():
                    file.unlink()


def test_what_needs_a_model_says_that_there_is_none(
    native: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = import_run(native["entropy"], tmp_path, tmp_path / "results")
    where = ["--results-dir", str(tmp_path / "results"), "--quiet"]
    for verb in (["explain", "last", "--text", "good"], ["serve", "last", "--points", "default"], ["diagnose", "last"]):
        capsys.readouterr()
        assert main([*verb, *where]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert f"{run.folder.name} was imported" in said[0]
        assert "no model" in said[0]
    assert main(["diagnose", "last", "--stored", *where]) == 0
    capsys.readouterr()
    assert main(["show", "last", "--results-dir", str(tmp_path / "results")]) == 0
    assert "External: theirs, imported from test.npz" in capsys.readouterr().out


def write_logits(path: Path, samples: int = 200, exits: int = 4, classes: int = 3, seed: int = 0, **other: Any) -> Path:
    """Logits that know the label better and better; ``other`` arrays come in place of theirs, None takes one away."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples) if classes > 1 else random.normal(size=samples)
    logits = random.normal(size=(samples, exits, classes)).astype(np.float32)
    if classes > 1:
        logits[np.arange(samples), :, labels] += np.linspace(0.5, 3, exits, dtype=np.float32)
    else:
        logits = (logits * np.linspace(2, 0.1, exits)[:, None] + labels[:, None, None]).astype(np.float32)
    made = {"logits": logits, "labels": labels, **other}
    np.savez(path, **{name: value for name, value in made.items() if value is not None})
    return path


def read_json(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["import", *words, "--json", "--quiet", "--offline"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_without_held_out_logits_a_part_is_set_apart_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_logits(tmp_path / "a.npz")
    found = read_json(capsys, str(file), "--name", "mine", "--results-dir", str(tmp_path / "results"))
    assert [one["record"]["spec"]["strategy"] for one in found] == [
        "entropy", "max-probability", "margin", "patience", "elbert-mono",
    ]  # fmt: skip
    record = found[0]["record"]
    assert record["task"]["rows"]["select"]["used"] == record["task"]["rows"]["reported"]["used"] == 100
    assert any("100 of 200 samples, drawn by seed 0" in warning for warning in record["warnings"])
    assert any("costs are layers" in warning for warning in record["warnings"])
    run = Run.load(Path(found[0]["folder"]))
    assert not set(run.exits("select").ids) & set(run.exits().ids)


def test_regression_takes_the_criteria_that_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_logits(tmp_path / "a.npz", classes=1)
    found = read_json(capsys, str(file), "--name", "mine", "--results-dir", str(tmp_path / "results"))
    assert [one["record"]["spec"]["strategy"] for one in found] == ["patience"]
    assert found[0]["record"]["task"]["metrics"] == ["pearson", "spearman"]


def test_criteria_are_compared_on_imported_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, results = write_logits(tmp_path / "a.npz"), str(tmp_path / "results")
    read_json(capsys, str(file), "--name", "mine", "--results-dir", results)
    assert main(["criteria", "--results-dir", results, "--json"]) == 0
    [table] = json.loads(capsys.readouterr().out)
    assert "external-mine" in table["title"]
    assert len(table["rows"]) == 5


def test_new_logits_of_a_model_are_compared_with_its_old_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.random.default_rng(0).integers(0, 3, 200)
    for name, seed in (("old", 1), ("new", 2)):
        file = write_logits(tmp_path / "a.npz", seed=seed)
        with np.load(file) as made:
            logits = made["logits"] - 3 * np.eye(3, dtype=np.float32)[made["labels"]][:, None]
        logits += 3 * np.eye(3, dtype=np.float32)[labels][:, None]
        np.savez(file, logits=logits, labels=labels)
        read_json(capsys, str(file), "--name", "mine", "--strategy", "entropy", "--results-dir", str(tmp_path / name))
    main(["compare", str(tmp_path / "old"), str(tmp_path / "new"), "--json"])
    printed = capsys.readouterr().out
    assert "imported logits " in printed
    metrics = {row["metric"] for row in json.loads(printed)["rows"]}
    assert {"accuracy", "layers", "layers, plain model"} <= metrics
    assert "FLOPs" not in metrics


HALF = {"logits": np.zeros((40, 3, 2), dtype=np.float32)}
REFUSED = {
    "label for labels": ({"labels": None, "label": np.zeros(200)}, "rename it to 'labels'"),
    "a foreign array": ({"hidden": np.zeros(200)}, "leave it out"),
    "no labels": ({"labels": None}, "bench replay"),
    "exits first": ({"logits": np.zeros((4, 200, 3))}, "logits.transpose(1, 0, 2)"),
    "classes first": ({"logits": np.zeros((200, 2, 12)), "labels": np.arange(200) % 2}, "logits.transpose(0, 2, 1)"),
    "twice the same id": ({"ids": np.array(["a", "a", *map(str, range(198))])}, "id 'a' of row 2"),
    "not a number": ({"logits": np.full((200, 4, 3), np.nan)}, "row 1, exit 1"),
    "labels from 1": ({"labels": np.arange(200) % 3 + 1}, "subtract 1"),
    "labels of -1": ({"labels": np.full(200, -1)}, "leave these rows out"),
    "one exit": ({"logits": np.zeros((200, 1, 3))}, "2 at least"),
    "tokens of 0": ({"tokens": np.zeros(200, dtype=int)}, "from 1 on"),
    "too few": ({"logits": np.zeros((8, 4, 3)), "labels": np.zeros(8)}, "--select"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_wrong_is_one_line_with_the_remedy(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, remedy = REFUSED[case]
    file = write_logits(tmp_path / "a.npz", **arrays)
    assert main(["import", str(file), "--name", "mine", "--results-dir", str(tmp_path / "results"), "--quiet"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "a.npz" in said[0] or case == "too few"
    assert remedy in said[0]
    assert not (tmp_path / "results").exists()


HELD = {
    "other exits": ({"exits": 5}, "5 exits and"),
    "other classes": ({"classes": 4}, "4 classes and"),
    "the same rows": ({"seed": 0}, "not reported"),
    "the same ids": ({"ids": np.array([f"s{i}" for i in range(199, 399)])}, "such as 's199'"),
}


@pytest.mark.parametrize("case", HELD)
def test_held_out_logits_that_do_not_go_with_the_others_are_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, said = HELD[case]
    file = write_logits(tmp_path / "a.npz", ids=np.array([f"s{i}" for i in range(200)]))
    held = write_logits(tmp_path / "b.npz", **{"seed": 1, **other})
    words = ["--select", str(held), "--name", "mine", "--results-dir", str(tmp_path / "results"), "--quiet"]
    assert main(["import", str(file), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


ASKED = {
    "a name with a slash": (["--name", "a/b"], "--name takes"),
    "a head alone": (["--head", "linear"], "--backbone"),
    "a backbone of another depth": (["--backbone", "bert-demo"], "4 exits"),
    "a strategy that changes the model": (["--strategy", "truncated"], "only its logits"),
    "a strategy that reads states": (["--strategy", "learned-exit"], "'observed'"),
    "a metric of regression": (["--metric", "pearson"], "for classes"),
    "thresholds of nobody": (["--thresholds", "0.5"], "--strategy"),
    "a limit of no task": (["--limit", "20"], "--task"),
    "data and a task": (["--data", "x", "--task", "demo"], "leave one"),
    "an unknown task": (["--task", "no-such-task"], "no-such-task"),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_is_asked_and_cannot_be_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, remedy = ASKED[case]
    file = write_logits(tmp_path / "a.npz")
    name = [] if "--name" in words else ["--name", "mine"]
    made = ["import", str(file), *name, *words, "--results-dir", str(tmp_path / "results"), "--quiet", "--offline"]
    assert main(made) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert remedy in lines[0]


def test_rows_that_are_not_the_tasks_are_one_line(
    native: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = native["entropy"]
    labels = run.exits().labels
    task = str(run.folder.parents[3] / "reviews")
    wrong = {
        "is none of task": {"ids": np.array([f"x{i}" for i in range(60)])},
        "labels are not those of task": {"labels": 1 - labels},
        "rows without ids": {"ids": None, "logits": np.zeros((59, 3, 2)), "labels": np.zeros(59), "tokens": None},
        "classes, and task": {"logits": np.zeros((60, 3, 4))},
    }
    for said, arrays in wrong.items():
        file = export(run, run.primary, tmp_path / "test.npz", **arrays)
        capsys.readouterr()
        words = ["--name", "x", "--task", task, "--results-dir", str(tmp_path / "r"), "--quiet", "--offline"]
        assert main(["import", str(file), *words]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert said in lines[0]


def of_rows(*ids: str) -> AllExits:
    count = len(ids)
    return AllExits(ids, np.zeros(count, np.int64), np.zeros((count, 2, 2), np.float32), np.ones(count, np.int64))


def test_ids_of_several_splits_are_not_called_strange() -> None:
    """MNLI reports two splits, and a file may hold both."""
    train, matched, mismatched = (
        Split(name, tuple(f"{name}-{i}" for i in range(3)), ("t",) * 3, None, np.zeros(3, np.int64), 3)
        for name in ("train", "matched", "mismatched")
    )
    evaluation = {"matched": matched, "mismatched": mismatched}
    data = TaskData("two", "classification", ("a", "b"), ("accuracy",), train, train, evaluation, "v1", "made up")
    split, found = find_split(Path("f.npz"), of_rows("mismatched-2", "mismatched-0"), True, data)
    assert (split.name, found.ids) == ("mismatched", ("mismatched-0", "mismatched-2"))
    with pytest.raises(
        DataError, match=r"f\.npz: its ids are of several splits of task 'two' \(matched 3, mismatched 3"
    ):
        find_split(Path("f.npz"), of_rows("matched-0", "mismatched-0"), True, data)
    with pytest.raises(DataError, match="id 'train-0' is none of task 'two', whose ids are as 'matched-0'"):
        find_split(Path("f.npz"), of_rows("mismatched-0", "train-0"), True, data)


PAGE = Path(__file__).parents[2] / "docs/import/README.md"


def test_the_example_of_the_documentation_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, Run] = {}
    for kind, block in re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL):
        if kind == "python":
            exec(compile(block, str(PAGE), "exec"), {})
            continue
        for line in block.strip().splitlines():
            assert main(shlex.split(line)[1:]) == 0, line
    for run in Store(Path("results")).runs()[0]:
        made[f"{run.record.external.name}, {run.strategy}"] = run  # type: ignore[union-attr]
    assert len(made) == 10
    for name, run in made.items():
        if name.startswith("again"):
            assert run.result() == made[name.replace("again", "theirs")].result()
    text = (tmp_path / "table.md").read_text()
    names = [name for name, run in made.items() if run.record.external.name == "again"]  # type: ignore[union-attr]
    assert len(names) == 5
    assert "external-again" in text
    assert [name for name in names if name.partition(", ")[2] not in text.partition("external-again")[2]] == []


def test_the_documentation_names_every_array() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == list(ARRAYS)


PLAIN = {
    "unequal lists": ({"logits": [[[0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]], "labels": [0, 1]}, "not all of one length"),
    "a gap": ({"logits": [[[0.0, 1.0], [0.0, 1.0]]] * 2, "labels": [0, None]}, "column 'labels' has gaps"),
    "label for labels": ({"logits": [[[0.0, 1.0], [0.0, 1.0]]] * 2, "label": [0, 1]}, "rename it to 'labels'"),
    "no logits": ({"x": [1, 2]}, "'x', which is not known: leave it out"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_table_that_is_wrong_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns, said = PLAIN[case]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    words = ["--name", "mine", "--results-dir", str(tmp_path / "results"), "--quiet"]
    assert main(["import", str(tmp_path / "a.parquet"), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
