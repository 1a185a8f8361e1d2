"""Tasks of somebody else's: what they may not give is one line before any work, and what means the same is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.errors import DataError, UserError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions, Split, Task, TaskData
from bench.tasks.contract import check_data, digest_rows, load_task


def make_split(name: str, rows: int, **changed: Any) -> Split:
    texts = tuple(f"{name} {i}" for i in range(rows))
    made = Split(name, texts, texts, None, np.arange(rows, dtype=np.int64) % 2, rows)
    return replace(made, **changed)


def make_data(**changed: Any) -> TaskData:
    splits = {name: make_split(name, 4) for name in ("train", "select", "validation")}
    made = TaskData("t", "classification", ("a", "b"), ("accuracy",), splits["train"], splits["select"],
                    {"validation": splits["validation"]}, "v1", "made up")  # fmt: skip
    return replace(made, **changed)


def with_split(**changed: Any) -> TaskData:
    return make_data(evaluation={"validation": make_split("validation", 4, **changed)})


def targets(values: Any) -> TaskData:
    numbers = np.linspace(0, 1, 4, dtype=np.float32)
    parts = {name: make_split(name, 4, labels=numbers) for name in ("train", "select")}
    reported = {"validation": make_split("validation", 4, labels=values)}
    return make_data(kind="regression", label_names=(), metrics=("pearson",), evaluation=reported, **parts)


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "load gives NoneType, not a TaskData"),
    "a list": ([1, 2], "load gives list"),
    "a generator": ((i for i in range(2)), "load gives generator"),
    "an unknown kind": (make_data(kind="ranking"), "kind is 'ranking'"),
    "a revision that is none": (make_data(revision=None), "revision is NoneType, not a text"),
    "half of a character": (make_data(source="\ud800"), "source is half of a character, not a text"),
    "classes in one text": (make_data(label_names="ab"), "label_names must be a tuple of texts"),
    "classes that are numbers": (make_data(label_names=(0, 1)), "label_names must be a tuple of texts"),
    "a class that cannot be written": (make_data(label_names=("a", "\ud800")), "label_names must be a tuple of texts"),
    "one class": (make_data(label_names=("a",)), "1 class in label_names"),
    "a class twice": (make_data(label_names=("a", "a")), "class 'a' is twice"),
    "warnings in one text": (make_data(warnings="careful"), "warnings must be a tuple of texts"),
    "no metric": (make_data(metrics=()), "metrics of a classification are of accuracy, f1, "),
    "a metric of targets": (make_data(metrics=("pearson",)), "metrics of a classification are of"),
    "nothing reported": (make_data(evaluation={}), "evaluation must map"),
    "a list of splits": (make_data(evaluation=[make_split("validation", 4)]), "evaluation must map"),
    "another name": (make_data(evaluation={"test": make_split("dev", 4)}), "'test' for the split 'dev'"),
    "a number for a name": (make_data(evaluation={1: make_split("dev", 4)}), "'1' for the split 'dev'"),
    "a path for a name": (make_data(evaluation={"../x": make_split("../x", 4)}), "its name must be of letters"),
    "held out and reported": (make_data(evaluation={"select": make_split("select", 4)}), "is held out and reported"),
    "a text for a split": (make_data(select="x"), "'select' is str, not a Split"),
    "pairs in train only": (make_data(train=make_split("train", 4, second=("x",) * 4)), "some splits have pairs"),
    "no rows": (with_split(ids=(), first=(), labels=np.array([], dtype=np.int64)), "it has no rows"),
    "too few texts": (with_split(first=("x",)), "4 ids and 1 first"),
    "too few seconds": (with_split(second=("x",)), "4 ids and 1 second"),
    "too many labels": (with_split(labels=np.zeros(5, dtype=np.int64)), "4 ids and 5 labels"),
    "texts that are none": (with_split(first=(None,) * 4), "first must be a tuple of texts"),
    "texts that are bytes": (with_split(first=(b"x",) * 4), "first must be a tuple of texts"),
    "ids that are numbers": (with_split(ids=(1, 2, 3, 4)), "ids must be a tuple of texts"),
    "an id twice": (with_split(ids=("a", "b", "b", "c")), "id 'b' is there twice"),
    "labels that are text": (with_split(labels=np.array(["a", "b"] * 2)), "array of class numbers"),
    "labels that are floats": (with_split(labels=np.array([0.0, 1.0] * 2)), "array of class numbers"),
    "labels in a table": (with_split(labels=np.zeros((4, 1), dtype=np.int64)), "array of class numbers"),
    "lists for labels": (with_split(labels=np.array([[0], "x", 1, 1], dtype=object)), "array of class numbers"),
    "labels of other lengths": (with_split(labels=[[0], [1, 1], 0, 1]), "array of class numbers"),
    "a class that is not there": (with_split(labels=np.array([0, 1, 2, 1])), "label 2 of row 3 is outside"),
    "a class below 0": (with_split(labels=np.array([0, -1, 1, 1])), "label -1 of row 2 is outside"),
    "a huge label": (with_split(labels=np.full(4, 2**62)), "label 4611686018427387904 of row 1 is outside"),
    "rows without a number": (with_split(available=None), "available is None"),
    "a target that is none": (targets(np.array([0, 1, np.nan, 1])), "label nan of row 3 is no finite number"),
    "a target beyond float32": (targets(np.array([0, 1, 1e39, 1])), "label 1e\\+39 of row 3 is no finite number"),
    "classes of a regression": (make_data(kind="regression"), "a regression has no classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_task_may_not_give(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(DataError, match=f"^Task 'mine': .*{message}") as raised:
        check_data("mine", data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "labels", [[0, 1, 0, 1], np.array([0, 1, 0, 1], dtype=np.int8), np.array([False, True] * 2), np.arange(4) % 2]
)
def test_what_means_the_same_is_taken(labels: Any) -> None:
    texts = np.array(["v 0", "v 1", "v 2", "v 3"])
    given = with_split(ids=list(texts), first=texts, labels=labels, available=np.int64(9))
    found = check_data("mine", replace(given, label_names=["a", "b"], metrics=["f1"], warnings=["w"]))
    plain = with_split(ids=tuple(texts.tolist()), first=tuple(texts.tolist()), available=9)
    reported, wanted = found.evaluation["validation"], plain.evaluation["validation"]
    assert (found.label_names, found.metrics, found.warnings) == (("a", "b"), ("f1",), ("w",))
    assert (reported.ids, reported.first, reported.available) == (wanted.ids, wanted.first, 9)
    assert all(type(text) is str for text in reported.first)
    assert reported.labels.dtype == np.int64
    assert reported.labels.tolist() == [0, 1, 0, 1]


def test_whole_targets_are_numbers() -> None:
    found = check_data("mine", targets(np.array([0, 5, 2, 3]))).evaluation["validation"].labels
    assert found.dtype == np.float32
    assert found.tolist() == [0, 5, 2, 3]


@pytest.mark.parametrize("regression", [False, True])
def test_a_training_split_may_have_no_labels(regression: bool) -> None:
    data = targets(np.zeros(4)) if regression else make_data()
    none = np.full(4, np.nan) if regression else np.full(4, -1)
    data = replace(data, train=replace(data.train, labels=none))
    assert np.array_equal(check_data("mine", data).train.labels, none, equal_nan=regression)


def test_texts_that_are_trained_on_and_reported_are_said() -> None:
    seen = with_split(first=("train 0", "train 1", "validation 2", "select 3"))
    assert check_data("mine", seen).warnings == ("3 of 4 rows of 'validation' are in 'train' or 'select' too",)


class Mine(Task):
    """A task whose load is given by a test."""

    name, default_backbone = "mine", "bert-demo"
    ways: Callable[[LoadOptions], Any]

    def load(self, options: LoadOptions) -> Any:
        return self.ways(options)


def fail(error: BaseException) -> Callable[[LoadOptions], Any]:
    def load(options: LoadOptions) -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not\nfound"),
        KeyError("x"),
        SystemExit(0),
        SystemExit("bye"),
        RecursionError("deep"),
        StopIteration(),
    ],
    ids=repr,
)
def test_a_task_that_fails_is_one_line_with_the_place(error: BaseException) -> None:
    task = Mine()
    task.ways = fail(error)
    with pytest.raises(UserError, match=rf"{type(error).__name__}.*test_contract\.py, line \d+") as raised:
        load_task(task, LoadOptions())
    assert "\n" not in str(raised.value)


def test_what_a_task_says_to_the_user_and_an_interruption_are_let_through() -> None:
    task = Mine()
    task.ways = fail(DataError("Give the file."))
    with pytest.raises(DataError, match=r"^Give the file\.$"):
        load_task(task, LoadOptions())
    task.ways = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        load_task(task, LoadOptions())


def test_a_task_whose_load_takes_nothing() -> None:
    task = Mine()
    task.ways = lambda: make_data()  # type: ignore[assignment,misc]
    with pytest.raises(UserError, match=r"^Task 'mine' failed: TypeError: .* takes 0 positional arguments"):
        load_task(task, LoadOptions())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None), ("name", 5), ("name", " "), ("name", "a\x1b[2J"), ("name", "a\nb"), ("name", "a\ud800"),
        ("default_backbone", None), ("max_length", "128"), ("training", None),
    ],
)  # fmt: skip
def test_what_a_task_says_of_itself(field: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mine, field, value)
    with pytest.raises(UserError, match=f"^Task '.*:Mine' cannot be used: its {field} is not ") as raised:
        get_task(f"{__name__}:Mine")
    assert str(raised.value).isprintable()


def test_a_task_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mine, "__init__", lambda self, path: None)
    with pytest.raises(UserError, match=r"^Task '.*:Mine' failed: TypeError: .*'path'"):
        get_task(f"{__name__}:Mine")


def test_rows_are_told_apart_whichever_are_held_out() -> None:
    data = make_data()
    rows = np.arange(2)
    moved = replace(data, train=data.select, select=data.train)
    assert digest_rows(data) == digest_rows(moved)
    fewer = replace(data, train=data.train.take(rows))
    other = with_split(first=("other", *data.evaluation["validation"].first[1:]))
    turned = with_split(labels=np.array([1, 1, 0, 1]))
    digests = {digest_rows(one) for one in (data, fewer, other, turned)}
    assert len(digests) == 4
