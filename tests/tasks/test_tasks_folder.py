"""Folders of the user's own files: what loads, and the one line that says why it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from bench.errors import DataError
from bench.tasks import get_task
from bench.tasks.base import LoadOptions
from bench.tasks.readers import READ_BY_SUFFIX
from tests.helpers.task_folders import GOOD, Columns, load, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "reviews"
    path.mkdir()
    write(path / "train.csv", GOOD)
    write(path / "validation.csv", GOOD | {"text": [f"other {i}" for i in range(10)]})
    return path


@pytest.mark.parametrize("suffix", READ_BY_SUFFIX)
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
    assert data.warnings[0] == f"10 of 10 rows of {evaluation}{suffix} are in train{suffix} too"


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


@pytest.mark.parametrize(("listed", "count"), [("", "no classes"), ("\r\n", "no classes"), ("neg\n", "1 class")])
def test_a_list_of_too_few_classes(listed: str, count: str, folder: Path) -> None:
    """The file is named that has too few, and what to do about this one."""
    (folder / "labels.txt").write_text(listed, encoding="utf-8")
    with pytest.raises(DataError, match=rf"labels\.txt: {count}, at least 2 are needed\. Give one a line"):
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


# --------------------------------------------------------------------------- columns that nobody uses


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_columns_are_not_read(tmp_path: Path, suffix: str) -> None:
    other: Columns = {"sentence1": [["a", "list"]] * 10, "sentence2": [{"x": 1}] * 10}
    write(tmp_path / f"train{suffix}", GOOD | other)
    write(tmp_path / f"dev{suffix}", GOOD | {"sentence1": [["another"]] * 10, "sentence2": [{"x": 2}] * 10})
    data = load(tmp_path)
    assert data.train.second is None
    unused, leak = data.warnings
    assert unused == f"sentence1 and sentence2 of train{suffix} are not used: it has a column 'text'"
    assert "10 of 10 rows" in leak, "the leak shows though the other columns differ"


def test_a_far_date_and_an_endless_number_in_other_columns(tmp_path: Path) -> None:
    far = pa.array([10**12] * 10, pa.timestamp("s"))
    further = pa.array([2**52] * 10, pa.timestamp("s"))  # beyond what Python can even convert
    pa.parquet.write_table(pa.table({**GOOD, "when": far, "sentence1": further}), tmp_path / "train.parquet")
    rows = [f'{{"text": "t {i}", "label": "{"pos" if i % 2 else "neg"}", "n": {"9" * 5000}}}' for i in range(10)]
    (tmp_path / "dev.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert load(tmp_path).label_names == ("neg", "pos")


def test_a_far_date_is_no_label(tmp_path: Path) -> None:
    table = pa.table({"text": GOOD["text"], "label": pa.array([2**52] * 10, pa.timestamp("s"))})
    pa.parquet.write_table(table, tmp_path / "train.parquet")
    write(tmp_path / "dev.csv", GOOD)
    with pytest.raises(DataError, match=r"train\.parquet, row 1: label is FarDate\. Give a class name or a number"):
        load(tmp_path)


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


def test_quoting_in_tsv_is_pointed_out(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text('text\tlabel\n"a ""b"" c"\tx\n"d"\ty\n', encoding="utf-8")
    data = load(tmp_path)
    assert any("1 texts of" in warning and "TSV keeps the quotes" in warning for warning in data.warnings)
    assert data.evaluation["dev"].first == ('"a ""b"" c"', '"d"')


@pytest.mark.parametrize(("suffix", "mark", "between"), [(".csv", ";", "commas"), (".tsv", ",", "tabs")])
def test_another_separator_is_named(tmp_path: Path, suffix: str, mark: str, between: str) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}{suffix}").write_text(f"text{mark}label\ngood{mark}1\n", encoding="utf-8")
    said = f"train{suffix}: columns are separated by '{mark}'. Save it as {suffix}: {between} between columns."
    with pytest.raises(DataError, match=re.escape(said)):
        load(tmp_path)


def test_a_folder_that_is_called_as_the_home_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/nowhere")
    (tmp_path / "~").mkdir()
    for name in ("train.csv", "dev.csv"):
        write(tmp_path / "~" / name, GOOD)
    data = get_task("./~").load(LoadOptions())
    assert len(data.evaluation["dev"]) == 10
