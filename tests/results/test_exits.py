"""Files of logits: what was written comes back, and anything else is one line that names the file and the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.cli.process import main
from bench.errors import Damaged
from bench.measure.exits import AllExits
from bench.results.exits import read_exits, write_exits
from tests.helpers.report_store import make_cell, record_exits

Change = Callable[[pa.Table], pa.Table]


def some_exits() -> AllExits:
    random = np.random.default_rng(0)
    logits, observed = (random.normal(size=(7, 3, k)).astype(np.float32) for k in (2, 5))
    return AllExits(tuple("abcdefg"), np.arange(7), logits, np.arange(7) + 3, observed)


def rewrite(path: Path, change: Change) -> None:
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def with_facts(**changes: str | None) -> Change:
    def change(table: pa.Table) -> pa.Table:
        facts = {k.decode(): v.decode() for k, v in table.schema.metadata.items()} | changes
        return table.replace_schema_metadata({k: v for k, v in facts.items() if v is not None})

    return change


def with_column(name: str, values: pa.Array | list[object]) -> Change:
    return lambda table: table.set_column(table.column_names.index(name), name, [values])


def permute(table: pa.Table) -> pa.Table:
    return table.take(np.arange(len(table))[::-1])


LISTS = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(28), pa.float32()), 4)
DAMAGES: dict[str, tuple[Change, str]] = {
    "rows in another order": (permute, "its checksum sha256 differs"),
    "a row less": (lambda table: table.slice(1), "its checksum sha256 differs"),
    "another label": (with_column("label", pa.array([1] * 7, pa.int64())), "its checksum sha256 differs"),
    "no checksum": (with_facts(sha256=None), "it has no checksum sha256"),
    "no number of exits": (with_facts(exits=None), "exits is missing"),
    "exits in words": (with_facts(exits="three"), "exits is 'three', a positive whole number is needed"),
    "other exits": (with_facts(exits="4"), "logits has 6 numbers a row, which is not 4 exits"),
    "no labels": (lambda table: table.drop_columns(["label"]), "label is missing"),
    "no logits": (lambda table: table.drop_columns(["logits"]), "logits is missing"),
    "labels as text": (with_column("label", pa.array(list("abcdefg"))), "label is string, int64 or float is needed"),
    "ids as numbers": (with_column("id", pa.array(range(7))), "id is int64, string is needed"),
    "a gap": (with_column("tokens", pa.array([None, *range(6)], pa.int64())), "tokens has 1 gaps"),
    "logits as numbers": (with_column("logits", pa.array(range(7))), "logits is int64, lists of float32"),
    "short logits": (with_column("logits", LISTS), "logits has 4 numbers a row, which is not 3 exits"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_exits(some_exits(), tmp_path / "exits.parquet")
    return tmp_path / "exits.parquet"


def test_what_was_written_comes_back_and_cannot_be_changed(path: Path) -> None:
    found, made = read_exits(path), some_exits()
    assert found.ids == made.ids
    for name in ("labels", "logits", "lengths", "observed"):
        assert np.array_equal(getattr(found, name), getattr(made, name))
        assert not getattr(found, name).flags.writeable


def test_floats_are_kept_byte_by_byte_which_compresses(path: Path) -> None:
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    split = {c.path_in_schema.partition(".")[0] for c in columns if "BYTE_STREAM_SPLIT" in c.encodings}
    assert split == {"logits", "observed"}
    assert {c.compression for c in columns} == {"ZSTD"}


@pytest.mark.parametrize("case", DAMAGES)
def test_anything_else_is_damage_and_the_field_is_named(case: str, path: Path) -> None:
    change, reason = DAMAGES[case]
    rewrite(path, change)
    with pytest.raises(Damaged) as error:
        read_exits(path)
    assert error.value.reason.startswith(reason)
    what = "has no checksum sha256, so that nothing tells" if case == "no checksum" else "is damaged ("
    assert str(error.value).startswith(f"{path} {what}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_exits(tmp_path / "exits.parquet")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three criteria on one checkpoint with two seeds; of one seed of one of them the logits' rows changed places."""
    for seed in (0, 1):
        for strategy in ("entropy", "patience", "random"):
            folder = make_cell(tmp_path / "r", strategy, seed=seed)
            record_exits(folder)
    rewrite(folder / "exits-evaluation.parquet", permute)
    return tmp_path / "r"


@pytest.mark.parametrize(("verb", "what"), [("table", "No interval over seeds with"), ("criteria", "Left out:")])
def test_a_reader_says_what_it_leaves_out_and_shows_the_rest(
    verb: str, what: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--results-dir", str(store), "--json"]) == 0
    printed = capsys.readouterr()
    [said] = printed.err.splitlines()
    assert said.startswith(f"{what} demo/albert-demo/random-s1-")
    assert "exits-evaluation.parquet is damaged (its checksum sha256 differs" in said
    found = json.loads(printed.out)
    rows = found if verb == "table" else found[0]["rows"]
    assert {row["strategy" if verb == "table" else "criterion"] for row in rows} == {"entropy", "patience", "random"}


def test_a_report_lists_it_as_damaged_and_shows_the_rest(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["report", "--results-dir", str(store), "--out", str(out), "--format", "md", "--quiet", "--json"]
    assert main(words) == 0
    [said] = [line for line in (out / "report.md").read_text().splitlines() if line.startswith("- damaged: ")]
    assert said.startswith("- damaged: demo/albert-demo/random-s1-")
    assert "exits-evaluation.parquet" in said


def test_a_comparison_goes_on_without_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(store), str(store), "--fail-on", "none", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    [worse] = [row for row in rows if row["verdict"] == "worse"]
    assert worse["cell"].startswith("demo/albert-demo/random-s1-")
    assert "its checksum sha256 differs" in worse["reason"]
    assert sum(row["verdict"] == "same" for row in rows) > 20
