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
from bench.tasks.folder import READERS

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
    "half a pair": ("dev.jsonl", {"sentence1": ["a"], "label": ["pos"]}, "no column 'sentence2'"),
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
