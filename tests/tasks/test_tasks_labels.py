"""What labels of a folder's files are: texts, numbers or targets; and which are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions
from bench.tasks.checks import digest_files
from bench.tasks.readers import READ_BY_SUFFIX
from tests.helpers.task_folders import load, write

LABELS: dict[str, tuple[list[object], str | None, tuple[str, ...]]] = {
    "names": (["b", "a", "b"], None, ("a", "b")),
    "numbers in order": ([10, 9, 10], None, ("9", "10")),
    "whole floats": ([1.0, 0.0, 1.0], None, ("0", "1")),
    "regression": ([1.0, 0.5, 2], None, ()),
    "numbers and names": (["1.5", "a", "1"], None, ("1", "1.5", "a")),
    "booleans": ([True, False, True], None, ("false", "true")),
    "listed order": (["b", "a", "b"], "b\na\nc\n", ("b", "a", "c")),
    "listed, numbered": ([0, 1, 1], "b\na\n", ("b", "a")),
    "regression asked for": ([0, 1, 5], "regression\n", ()),
}


@pytest.mark.parametrize("case", LABELS)
def test_what_labels_are(tmp_path: Path, case: str) -> None:
    labels, listed, expected = LABELS[case]
    for name in ("train.jsonl", "dev.jsonl"):
        write(tmp_path / name, {"text": ["x", "y", "z"], "label": labels})
    if listed:
        (tmp_path / "labels.txt").write_text(listed, encoding="utf-8")
    data = load(tmp_path)
    assert data.label_names == expected
    assert data.kind == ("classification" if expected else "regression")
    assert data.evaluation["dev"].labels.dtype == (np.int64 if expected else np.float32)


def test_numbered_labels_follow_the_list(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("b\na\n", encoding="utf-8")
    for name in ("train.csv", "dev.csv"):
        write(tmp_path / name, {"text": ["x", "y"], "label": [1, 0]})
    assert load(tmp_path).evaluation["dev"].labels.tolist() == [1, 0]


def classes_of(folder: Path, suffix: str, labels: list[object], listed: str | None = None) -> tuple[str, ...]:
    """The classes of a task with these labels in train and in dev."""
    folder.mkdir(exist_ok=True)
    for name in (f"train{suffix}", f"dev{suffix}"):
        write(folder / name, {"text": [f"{name} {i}" for i in range(len(labels))], "label": labels})
    if listed:
        (folder / "labels.txt").write_text(listed, encoding="utf-8")
    data = load(folder)
    assert data.kind == "classification"
    named = [data.label_names[i] for i in data.evaluation["dev"].labels]
    if all(isinstance(label, str) for label in labels) and not listed:
        assert named == labels
    return data.label_names


TEXTS: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "codes": (["1E1", "10", "A7", "B2"], ("10", "1E1", "A7", "B2")),
    "leading zeros": (["01", "1", "001", "0001"], ("0001", "001", "01", "1")),
    "underscores": (["1_1", "11"], ("11", "1_1")),
    "beyond 2^53": (["9007199254740992", "9007199254740993"], ("9007199254740992", "9007199254740993")),
    "not a number": (["naan", "nan", "roti"], ("naan", "nan", "roti")),
    "infinity": (["Infinity", "Nissan"], ("Infinity", "Nissan")),
    "true": (["true", "maybe", "false"], ("false", "maybe", "true")),
    "numbers in order": (["10", "9", "100"], ("9", "10", "100")),
    "minus one and one": (["-1", "1"], ("-1", "1")),
    "other digits": (["٣", "3"], ("3", "٣")),
}


@pytest.mark.parametrize("suffix", READ_BY_SUFFIX)
@pytest.mark.parametrize("case", TEXTS)
def test_a_label_is_its_text_in_every_format(tmp_path: Path, suffix: str, case: str) -> None:
    labels, expected = TEXTS[case]
    found = classes_of(tmp_path / "data", suffix, labels)
    typed = suffix in (".jsonl", ".parquet")
    assert found == (tuple(sorted(expected)) if typed else expected)  # quoted numbers are text, in alphabetical order


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_numbers_are_whole_and_exact(tmp_path: Path, suffix: str) -> None:
    assert classes_of(tmp_path / "a", suffix, [2**53 + 1, 2**53]) == (str(2**53), str(2**53 + 1))
    assert classes_of(tmp_path / "b", suffix, [1.0, 0.0, 10.0]) == ("0", "1", "10")


def test_one_and_one_point_nought_are_one_number_in_jsonl(tmp_path: Path) -> None:
    assert classes_of(tmp_path, ".jsonl", [1, 1.0, 0, 1e1, 10]) == ("0", "1", "10")


@pytest.mark.parametrize("suffix", READ_BY_SUFFIX)
def test_listed_classes_may_be_decimals(tmp_path: Path, suffix: str) -> None:
    assert classes_of(tmp_path / "data", suffix, [1.0, 2.0], "1.0\n2.0\n3.0\n") == ("1.0", "2.0", "3.0")
    assert load(tmp_path / "data").evaluation["dev"].labels.tolist() == [0, 1]


def test_train_alone_decides_what_numbers_mean(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("2\n1\n0\n", encoding="utf-8")
    write(tmp_path / "train.csv", {"text": ["a", "b"], "label": ["2", "0"]})
    write(tmp_path / "dev.csv", {"text": ["c", "d"], "label": ["1", "1"]})
    assert load(tmp_path).evaluation["dev"].labels.tolist() == [1, 1]
    (tmp_path / "labels.txt").write_text("b\na\n", encoding="utf-8")
    write(tmp_path / "train.csv", {"text": ["a", "b"], "label": ["1", "0"]})
    write(tmp_path / "dev.csv", {"text": ["c", "d"], "label": ["a", "b"]})
    with pytest.raises(DataError, match=r"row 1: unknown label 'a' \(classes: b, a\)"):
        load(tmp_path)


TOGETHER: dict[str, tuple[str, list[object], str, str | None]] = {
    "decimal point": (".csv", ["1", "0", "1.0"], r"row 3: label '1\.0' and '1' in row 1 are the same number", None),
    "exponent": (".tsv", ["1E1", "10", "2"], r"row 1: label '1E1' and '10' in row 2 are the same number", None),
    "number and text": (".jsonl", ["1", 0, 1], r"row 3: label 1 \(a number\) and '1' in row 1 are one class", None),
    "true and text": (".jsonl", [True, False, "true"], r"row 3: label 'true' and true \(no text\) in row 1", None),
    "blank behind": (".csv", ["good", "bad", "good "], r"row 3: label 'good ' and 'good' in row 1", None),
    "listed": (".jsonl", [1, 0, 1], r"the classes '1' and '1\.0' are the same one\. Keep one", "1\n1.0\n0\n"),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_two_spellings_that_fall_together_are_named(tmp_path: Path, case: str) -> None:
    suffix, labels, message, listed = TOGETHER[case]
    with pytest.raises(DataError, match=message):
        classes_of(tmp_path, suffix, labels, listed)


UNLABELLED: dict[str, tuple[list[object], str | None, str]] = {
    "beside classes from 0": ([1, -1, 0], None, r"row 2: label -1 beside 0\.\.1 marks rows without a label \(1 of 3"),
    "beside listed ones": (["a", -1, "b"], "a\nb\n", r"row 2: label -1 marks rows without a label \(1 of 3 rows\)"),
    "NULL": ([1, None, 0], None, "row 2: label is empty"),
    "a blank": (["a", "  ", "b"], None, "row 2: label is empty"),
    "a word among numbers": (["0", "nan", "1"], None, "row 2: label 'nan' stands among numbers"),
}


@pytest.mark.parametrize("suffix", READ_BY_SUFFIX)
@pytest.mark.parametrize("case", UNLABELLED)
def test_rows_without_a_label_are_refused_in_every_format(tmp_path: Path, suffix: str, case: str) -> None:
    labels, listed, message = UNLABELLED[case]
    if suffix == ".parquet":  # whose columns have one type
        labels = [None if x is None else str(x) if any(isinstance(y, str) for y in labels) else x for x in labels]
    with pytest.raises(DataError, match=message):
        classes_of(tmp_path / "data", suffix, labels, listed)


@pytest.mark.parametrize("suffix", READ_BY_SUFFIX)
def test_minus_one_may_be_listed(tmp_path: Path, suffix: str) -> None:
    assert classes_of(tmp_path / "data", suffix, [1, -1, 0], "-1\n0\n1\n") == ("-1", "0", "1")
    assert load(tmp_path / "data").evaluation["dev"].labels.tolist() == [2, 0, 1]


LIKE_TARGETS: dict[str, tuple[str, list[object], str]] = {
    "quoted": (
        ".jsonl",
        ["1.5", "2.0", "1.5"],
        "labels are text that spells numbers, such as '1.5': taken as 2 classes. Write numbers without quotes",
    ),
    "some quoted": (
        ".jsonl",
        [0.5, "1.5", 2],
        "2 labels are numbers and 1 text, such as '1.5': taken as 3 classes. Write all without quotes",
    ),
    "a stray word": (
        ".csv",
        ["0.5", "0.25", "unknown"],
        "labels such as '0.25' are numbers, and 'unknown' is none: taken as 3 classes. Correct what is no number",
    ),
    "a stray word in JSON": (
        ".jsonl",
        [0.5, 0.25, "unknown"],
        "labels such as '0.25' are numbers, and 'unknown' is none: taken as 3 classes. Correct what is no number",
    ),
    "decimal commas": (
        ".tsv",
        ["0,5", "1,5", "2"],
        "labels are numbers with a decimal comma, such as '0,5': taken as 3 classes. Write decimal points",
    ),
}


@pytest.mark.parametrize("case", LIKE_TARGETS)
def test_classes_that_look_like_targets_are_said_to_be_classes(tmp_path: Path, case: str) -> None:
    suffix, labels, said = LIKE_TARGETS[case]
    assert len(classes_of(tmp_path / "data", suffix, labels)) == len(set(labels))
    assert load(tmp_path / "data").warnings[0].endswith(f"train{suffix}: {said} for a regression")
    alone = tmp_path / f"alone{suffix}"
    write(alone, {"text": [f"text {n}" for n in range(60)], "label": (labels * 60)[:60]})
    [warning] = get_task(str(alone)).load(LoadOptions()).warnings
    assert said.partition("such as ")[2] in warning


@pytest.mark.parametrize(
    ("suffix", "labels"),
    [(".jsonl", ["1", "2", "x"]), (".csv", ["1.0", "2.0"]), (".csv", ["v1", "v2", "3.10"]), (".jsonl", ["1", "2"])],
)
def test_classes_that_do_not_look_like_targets_are_taken_in_silence(
    tmp_path: Path, suffix: str, labels: list[object]
) -> None:
    write(tmp_path / f"train{suffix}", {"text": [f"text {n}" for n in range(len(labels))], "label": labels})
    write(tmp_path / f"dev{suffix}", {"text": ["other"], "label": labels[:1]})
    assert load(tmp_path).warnings == ()


def test_listed_classes_may_look_like_targets(tmp_path: Path) -> None:
    assert classes_of(tmp_path, ".jsonl", ["1.5", "2.5", "1.5"], "1.5\n2.5\n") == ("1.5", "2.5")
    assert not [line for line in load(tmp_path).warnings if "regression" in line]


def test_what_was_read_by_way_of_a_float_has_another_revision(tmp_path: Path) -> None:
    """Results of version 0.1.0, which took 01 for 1, are of another task; those of plain labels are not."""
    files = {name: tmp_path / f"{name}.csv" for name in ("train", "dev")}
    for labels, same in ((["0", "1"], True), (["good", "bad"], True), (["01", "1"], False), (["1.0", "2.0"], False)):
        for path in files.values():
            write(path, {"text": ["a", "b"], "label": list[object](labels)})
        assert (load(tmp_path).revision == digest_files(files.items())) == same


def test_a_target_that_float32_cannot_hold_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", {"text": ["a", "b", "c"], "label": [0.5, "1e39", 1]})
    write(tmp_path / "dev.csv", {"text": ["a"], "label": [0.5]})
    with pytest.raises(DataError, match=r"train\.csv, row 2: label 1e\+39 is beyond the numbers of float32"):
        load(tmp_path)


ALIKE = {
    "composed and not": ("caf\u00e9", "cafe\u0301", r"'caf\xe9' and 'cafe\u0301'"),
    "a hidden letter": ("pos", "po\u200bs", r"'pos' and 'po\u200bs'"),
    "case": ("Pos", "pos", "'Pos' and 'pos'"),
    "a wide letter": ("\uff50os", "pos", r"'pos' and '\uff50os'"),
    "two blanks": ("very good", "very  good", "'very  good' and 'very good'"),
}


@pytest.mark.parametrize("case", ALIKE)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_two_spellings_of_a_class_are_two_classes_and_said(case: str, kind: str, tmp_path: Path) -> None:
    one, other, said = ALIKE[case]
    rows = "text,label\n" + "".join(f"text {i},{(one, other, 'else')[i % 3]}\n" for i in range(60))
    for name in ("train", "validation") if kind == "folder" else ("mine",):
        (tmp_path / f"{name}.csv").write_text(rows, encoding="utf-8")
    data = get_task(str(tmp_path if kind == "folder" else tmp_path / "mine.csv")).load(LoadOptions())
    assert set(data.label_names) == {one, other, "else"}
    [warning] = [line for line in data.warnings if "classes" in line]
    assert sorted(said.split(" and ")) == sorted(
        warning.split(" differ only")[0].removeprefix("the classes ").split(" and ")
    )


def test_a_label_that_looks_like_a_class_is_told_from_it(tmp_path: Path) -> None:
    for name, label in (("train", "caf\u00e9"), ("validation", "cafe\u0301")):
        rows = "text,label\n" + "".join(f"{name} {i},{label if i % 2 else 'else'}\n" for i in range(20))
        (tmp_path / f"{name}.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(DataError, match=r"It is 'cafe\\u0301' and the class is 'caf\\xe9': write both alike\."):
        get_task(str(tmp_path)).load(LoadOptions())
