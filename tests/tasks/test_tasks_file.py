"""One file as a task: shared out by text, with texts of its own to fit on or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError, UsageError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions, Split, TaskData
from bench.tasks.file import PARTS, FileTask, find_file_task
from tests.helpers.small_runs import reviews, write_task


def write_file(path: Path, rows: list[tuple[str, int]]) -> Path:
    lines = ["text,label", *(f"{text},{'pos' if label else 'neg'}" for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(name: str, **options: int) -> TaskData:
    return get_task(name).load(LoadOptions(**options))


def parts_of(data: TaskData) -> list[Split]:
    return [data.train, data.select, *data.evaluation.values()]


def test_parts_share_no_text_and_leave_out_none(tmp_path: Path) -> None:
    rows = reviews(400, 3)
    data = load(str(write_file(tmp_path / "mine.csv", [*rows, *rows[:50]])))
    texts = [set(part.first) for part in parts_of(data)]
    assert sum(map(len, texts)) == len(set().union(*texts)) == 400
    assert sum(map(len, parts_of(data))) == 450
    for part, share in zip(parts_of(data), PARTS.values(), strict=True):
        assert abs(len(part) / 450 - share) < 0.1
    assert (data.name, data.label_names) == ("mine", ("neg", "pos"))


@pytest.mark.parametrize(
    ("flipped", "said"), [(0, "earlier row: "), (3, "earlier row, 3 of them with another label: ")]
)
def test_rows_that_repeat_a_text_are_counted_in_a_warning(tmp_path: Path, flipped: int, said: str) -> None:
    rows = reviews(60, 3)
    again = [*[(text, 1 - label) for text, label in rows[:flipped]], *rows[flipped:9]]
    data = load(str(write_file(tmp_path / "a.csv", [*rows, *again])))
    [warning] = [warning for warning in data.warnings if "the same text" in warning]
    assert warning.startswith("9 of 69 rows of a.csv have the same text as an earlier ")
    assert said in warning
    assert not load(str(write_file(tmp_path / "b.csv", rows))).warnings


def test_a_text_is_in_the_same_part_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = reviews(100, 3)
    first = load(str(write_file(tmp_path / "a.csv", rows)))
    second = load(str(write_file(tmp_path / "b.csv", rows[::-1])))
    assert [set(part.first) for part in parts_of(first)] == [set(part.first) for part in parts_of(second)]
    other = load(str(tmp_path / "a.csv"), seed=1)
    assert set(other.select.first) != set(first.select.first)


def test_an_id_is_the_row_of_the_file(tmp_path: Path) -> None:
    rows = reviews(60, 3)
    data = load(str(write_file(tmp_path / "a.csv", rows)))
    for part in parts_of(data):
        for name, text, label in zip(part.ids, part.first, part.labels, strict=True):
            assert rows[int(name.removeprefix("data-"))] == (text, label)


def test_texts_of_a_second_file_are_fitted_on_but_for_those_of_the_data(tmp_path: Path) -> None:
    rows, others = reviews(100, 3), [text for text, _ in reviews(40, 4)]
    file = write_file(tmp_path / "a.csv", rows)
    (tmp_path / "b.txt").write_text("\n".join([*others, others[0], "", rows[0][0]]) + "\n")
    data = load(f"{file}+{tmp_path / 'b.txt'}")
    assert data.train.first == tuple(others)
    assert set(data.train.labels.tolist()) == {-1}
    assert {*data.select.first, *data.evaluation["report"].first} == {text for text, _ in rows}
    assert any("no labels" in warning for warning in data.warnings)
    assert any("1 texts of b.txt are in a.csv too" in warning for warning in data.warnings)
    assert data.revision != load(str(file)).revision


def test_a_list_of_classes_beside_the_file_counts(tmp_path: Path) -> None:
    file = write_file(tmp_path / "a.csv", reviews(60, 3))
    (tmp_path / "labels.txt").write_text("pos\nneutral\nneg\n")
    assert load(str(file)).label_names == ("pos", "neutral", "neg")


def test_pairs_and_numbers(tmp_path: Path) -> None:
    rows = [f"the room {i},the bed {i},{i / 8}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]) + "\n")
    data = load(str(tmp_path / "a.csv"))
    assert (data.kind, data.metrics[0], data.train.second is None) == ("regression", "pearson", False)
    assert np.issubdtype(data.train.labels.dtype, np.floating)


def test_the_file_of_a_task_folder_is_no_task_by_itself(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "task")
    assert find_file_task(str(folder / "train.csv")) is None
    with pytest.raises(UsageError, match="Give the folder"):
        get_task(str(folder / "train.csv"))
    (folder / "train.csv").unlink()
    assert isinstance(get_task(str(folder / "validation.csv")), FileTask)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.doc", "text,label\nx,1\n", "none of .*csv.*Convert it"),
        ("a.csv", "text,label\nx,pos\ny,neg\n", "too few"),
        ("a.csv", "words,label\nx,pos\n", "no column 'text'"),
        ("a.csv", "text\nx\n", "no column 'label'"),
    ],
)
def test_what_cannot_be_shared_out_is_said(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        load(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_second_file_with_nothing_new_is_refused(tmp_path: Path) -> None:
    rows = reviews(60, 3)
    file = write_file(tmp_path / "a.csv", rows)
    (tmp_path / "b.txt").write_text("\n".join(text for text, _ in rows))
    with pytest.raises(DataError, match=r"0 of its 60 texts are not in the data too.*Give texts that are not"):
        load(f"{file}+{tmp_path / 'b.txt'}")
    (tmp_path / "b.txt").write_text("one that is new\n")
    with pytest.raises(DataError, match=r"b\.txt: 1 texts are too few to fit exits on\. Give more"):
        load(f"{file}+{tmp_path / 'b.txt'}")
