"""Folders of the user's own files: what loads, and the one line that says why it does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from bench.errors import DataError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions, TaskData
from bench.tasks.checks import digest
from bench.tasks.readers import READERS

Columns = Mapping[str, list[object]]
GOOD: Columns = {"text": [f"Text, nö {i} “x”" for i in range(10)], "label": ["pos", "neg"] * 5}


def write(path: Path, columns: Columns) -> None:
    """``columns`` in the format of the path's suffix; None is an empty cell in csv and tsv."""
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.table(dict(columns)), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        cells = [["" if value is None else str(value) for value in row] for row in rows]
        quoted = [[f'"{c}"' if path.suffix == ".csv" and "," in c else c for c in row] for row in cells]
        separator = "," if path.suffix == ".csv" else "\t"
        path.write_text("\n".join(separator.join(r) for r in [list(columns), *quoted]) + "\n", encoding="utf-8")


def load(folder: Path, limit: int | None = None) -> TaskData:
    return get_task(str(folder)).load(LoadOptions(limit=limit))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "reviews"
    path.mkdir()
    write(path / "train.csv", GOOD)
    write(path / "validation.csv", GOOD | {"text": [f"other {i}" for i in range(10)]})
    return path


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("evaluation", ["validation", "dev", "test"])
def test_formats_and_split_names(tmp_path: Path, suffix: str, evaluation: str) -> None:
    write(tmp_path / f"train{suffix}", GOOD)
    write(tmp_path / f"{evaluation}{suffix}", GOOD)
    data = load(tmp_path)
    assert tuple(data.evaluation) == (evaluation,)
    assert data.label_names == ("neg", "pos")
    assert data.evaluation[evaluation].first == tuple(GOOD["text"])
    assert data.evaluation[evaluation].labels.tolist() == [1, 0] * 5
    assert len(data.train) + len(data.select) == 10
    assert data.metrics == ("accuracy",)
    assert f"10 of 10 rows of {tmp_path / evaluation}{suffix}" in data.warnings[0]


def test_pairs(tmp_path: Path) -> None:
    pairs: Columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 0]}
    write(tmp_path / "train.jsonl", pairs)
    write(tmp_path / "dev.tsv", pairs)
    assert load(tmp_path).evaluation["dev"].second == ("c", "d")


def test_csv_fields_may_hold_newlines_and_tsv_quotes(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('\ufefftext,label\r\n"a\nb, ""c""",x\r\nd,y\r\n', encoding="utf-8")
    (tmp_path / "dev.tsv").write_text('text\tlabel\n"open quote\tx\nd\ty\n', encoding="utf-8")
    data = load(tmp_path)
    assert {*data.train.first, *data.select.first} == {'a\nb, "c"', "d"}
    assert data.evaluation["dev"].first == ('"open quote', "d")


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


def with_column(name: str, row: int, value: object) -> Columns:
    values = list(GOOD[name])
    values[row] = value
    return GOOD | {name: values}


BAD: dict[str, tuple[str, Columns | bytes, str]] = {
    "no text column": ("train.csv", {"words": ["a"], "label": ["x"]}, r"no column 'text' \(columns: label, words\)"),
    "no label column": ("train.csv", {"text": ["a"]}, "no column 'label'"),
    "half a pair": ("train.jsonl", {"sentence1": ["a"], "label": ["pos"]}, "no column 'sentence2'"),
    "empty file": ("train.csv", b"", "the file is empty"),
    "no label in dev": ("dev.csv", {"text": ["a"], "label": [None]}, "row 1: label is empty"),
    "no rows": ("train.csv", b"text,label\n", "no rows"),
    "no rows, jsonl": ("train.jsonl", b"\n", "no column 'label'"),
    "not UTF-8": ("train.csv", b"text,label\nfine,a\ncaf\xe9,b\n", "line 3: not UTF-8"),
    "empty label": ("train.csv", with_column("label", 4, None), "row 5: label is empty"),
    "NaN label": ("train.jsonl", with_column("label", 4, float("nan")), "row 5: label is empty"),
    "null label": ("train.parquet", with_column("label", 0, None), "row 1: label is empty"),
    "null text": ("train.parquet", with_column("text", 9, None), "row 10: 'text' is NULL"),
    "missing text": ("train.csv", with_column("text", 2, None), "row 3: 'text' is empty"),
    "text is a number": ("train.jsonl", with_column("text", 2, 5), "row 3: 'text' is int, not text"),
    "unknown label": ("validation.csv", with_column("label", 7, "neutral"), r"row 8: unknown label 'neutral' .classes"),
    "no labels": ("validation.csv", GOOD | {"label": [-1] * 10}, "every label is -1"),
    "one class": ("train.csv", GOOD | {"label": ["pos"] * 10}, "1 class, at least 2"),
    "fields": ("train.csv", b"text,label\na,x\nb, c,y\n", "row 2: 3 fields, the header has 2"),
    "same name twice": ("train.csv", b"text,label,text\na,x,b\n", "two columns have the same name"),
    "quoting": ("train.csv", b'text,label\n"a,x\n', "row 1: .*quoting"),
    "not JSON": ("train.jsonl", b'{"text": "a", "label": 1}\n{text}\n', "row 2: not JSON"),
    "not an object": ("train.jsonl", b"[1]\n", "row 1: not a JSON object"),
    "not Parquet": ("train.parquet", b"text", "not a readable Parquet file"),
    "not a target": ("validation.csv", b"text,label\na,x\n", "row 1: unknown label 'x'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_line(folder: Path, case: str) -> None:
    name, contents, message = BAD[case]
    split = name.partition(".")[0]
    for old in folder.glob("validation.*" if split == "dev" else f"{split}.*"):
        old.unlink()
    if isinstance(contents, bytes):
        (folder / name).write_bytes(contents)
    else:
        write(folder / name, contents)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert str(caught.value).startswith(str(folder / name))
    assert "\n" not in str(caught.value)


def test_regression_wants_numbers_in_both_files(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", {"text": ["a", "b"], "label": [0.5, 1]})
    write(tmp_path / "dev.csv", {"text": ["a", "b"], "label": [0.5, "good"]})
    with pytest.raises(DataError, match=r"dev\.csv, row 2: label 'good' is not a number"):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["train", "validation"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / f"{missing}.csv").unlink()
    with pytest.raises(DataError, match=rf"Add {missing}\.csv, \.tsv, \.jsonl or \.parquet"):
        load(folder)


def test_two_files_for_one_split_are_ambiguous(folder: Path) -> None:
    write(folder / "train.jsonl", GOOD)
    with pytest.raises(DataError, match=r"both train\.csv and train\.jsonl"):
        load(folder)


def test_a_class_listed_twice(folder: Path) -> None:
    (folder / "labels.txt").write_text("neg\npos\nneg\n", encoding="utf-8")
    with pytest.raises(DataError, match="'neg' is listed twice"):
        load(folder)


def test_revision_is_of_the_contents_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = load(folder).revision
    moved = folder.rename(tmp_path / "elsewhere")
    assert load(moved).revision == before
    write(moved / "validation.csv", GOOD)
    assert load(moved).revision != before


def test_limit_caps_both_and_remembers(folder: Path) -> None:
    data = load(folder, limit=6)
    assert len(data.train) + len(data.select) == len(data.evaluation["validation"]) == 6
    assert data.train.available == data.evaluation["validation"].available == 10


# --------------------------------------------------------------------------- labels are their text


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


@pytest.mark.parametrize("suffix", READERS)
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


@pytest.mark.parametrize("suffix", READERS)
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


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("case", UNLABELLED)
def test_rows_without_a_label_are_refused_in_every_format(tmp_path: Path, suffix: str, case: str) -> None:
    labels, listed, message = UNLABELLED[case]
    if suffix == ".parquet":  # whose columns have one type
        labels = [None if x is None else str(x) if any(isinstance(y, str) for y in labels) else x for x in labels]
    with pytest.raises(DataError, match=message):
        classes_of(tmp_path / "data", suffix, labels, listed)


@pytest.mark.parametrize("suffix", READERS)
def test_minus_one_may_be_listed(tmp_path: Path, suffix: str) -> None:
    assert classes_of(tmp_path / "data", suffix, [1, -1, 0], "-1\n0\n1\n") == ("-1", "0", "1")
    assert load(tmp_path / "data").evaluation["dev"].labels.tolist() == [2, 0, 1]


def test_quoted_fractions_are_classes_and_said_to_be(tmp_path: Path) -> None:
    assert classes_of(tmp_path, ".jsonl", ["1.5", "2.0", "1.5"]) == ("1.5", "2.0")
    assert "text that spells numbers, such as '1.5': taken as 2 classes" in load(tmp_path).warnings[0]


def test_what_was_read_by_way_of_a_float_has_another_revision(tmp_path: Path) -> None:
    """Results of version 0.1.0, which took 01 for 1, are of another task; those of plain labels are not."""
    files = {name: tmp_path / f"{name}.csv" for name in ("train", "dev")}
    for labels, same in ((["0", "1"], True), (["good", "bad"], True), (["01", "1"], False), (["1.0", "2.0"], False)):
        for path in files.values():
            write(path, {"text": ["a", "b"], "label": list[object](labels)})
        assert (load(tmp_path).revision == digest(files.items())) == same


# --------------------------------------------------------------------------- columns that nobody uses


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_columns_are_not_read(tmp_path: Path, suffix: str) -> None:
    other: Columns = {"sentence1": [["a", "list"]] * 10, "sentence2": [{"x": 1}] * 10}
    write(tmp_path / f"train{suffix}", GOOD | other)
    write(tmp_path / f"dev{suffix}", GOOD | {"sentence1": [["another"]] * 10, "sentence2": [{"x": 2}] * 10})
    data = load(tmp_path)
    assert data.train.second is None
    assert "10 of 10 rows" in data.warnings[0], "the leak shows though the other columns differ"


def test_a_far_date_and_an_endless_number_in_other_columns(tmp_path: Path) -> None:
    far = pa.array([10**12] * 10, pa.timestamp("s"))
    pa.parquet.write_table(pa.table({**GOOD, "when": far}), tmp_path / "train.parquet")
    rows = [f'{{"text": "t {i}", "label": "{"pos" if i % 2 else "neg"}", "n": {"9" * 5000}}}' for i in range(10)]
    (tmp_path / "dev.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert load(tmp_path).label_names == ("neg", "pos")


def test_other_columns_of_one_name_are_no_matter(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("text,x,label,x,\na,1,p,2,\nb,1,q,2,\n", encoding="utf-8")
    assert load(tmp_path).label_names == ("p", "q")


# --------------------------------------------------------------------------- what is said of a file


def test_a_document_in_one_field(tmp_path: Path) -> None:
    long = "word " * 40_000
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text(f'text,label\n"{long}",a\nshort,b\n', encoding="utf-8")
    assert load(tmp_path).evaluation["dev"].first == (long, "short")


HALF = b'{"text": "a \\ud83d", "label": "x"}\n{"text": "b", "label": "y"}'
SAID: dict[str, tuple[str, bytes, str]] = {
    "tab in TSV": (
        "train.tsv",
        b'text\tlabel\n"a\tb"\tx\n',
        "row 1: 3 fields.* TSV has no quoting here: take",
    ),
    "half a character in a text": (
        "train.jsonl",
        HALF,
        r"row 1: 'text' has half of",
    ),
    "and in a label": (
        "train.jsonl",
        b'{"text": "a", "label": "\\ud83d"}',
        r"row 1: 'label' has half of .*U\+D83D",
    ),
    "nesting": ("train.jsonl", b'{"text": ' + b"[" * 10**5, "row 1: brackets within brackets without end"),
    "long label": ("train.csv", b"text,label\na," + b"x" * 5000 + b"\nb,\n", "row 2: label is empty"),
    "packed": (
        "train.csv.gz",
        b"\x1f\x8b",
        r"no train file\. train\.csv\.gz is none of .* unpack or convert",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said_can_be_followed(folder: Path, case: str) -> None:
    name, contents, message = SAID[case]
    (folder / "train.csv").unlink()
    (folder / name).write_bytes(contents)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_target_that_float32_cannot_hold_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", {"text": ["a", "b", "c"], "label": [0.5, "1e39", 1]})
    write(tmp_path / "dev.csv", {"text": ["a"], "label": [0.5]})
    with pytest.raises(DataError, match=r"train\.csv, row 2: label 1e\+39 is beyond the numbers of float32"):
        load(tmp_path)


def test_quoting_in_tsv_is_pointed_out(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text('text\tlabel\n"a ""b"" c"\tx\n"d"\ty\n', encoding="utf-8")
    data = load(tmp_path)
    assert any("1 texts of" in warning and "TSV keeps the quotes" in warning for warning in data.warnings)
    assert data.evaluation["dev"].first == ('"a ""b"" c"', '"d"')
