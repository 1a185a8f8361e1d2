"""What a run answers at its points, kept beside the checkpoints: the same as made anew, and made anew where it must."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import Damaged
from bench.results.groups import sum_answers
from bench.results.kept import answers as kept
from bench.results.kept.answers import EVERY_LAYER, PointAnswers
from bench.results.run import Run
from tests.helpers.report_store import make_cell, record_exits

SPLIT = "evaluation"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with logits whose points were made of them."""
    made = make_cell(tmp_path, "entropy")
    record_exits(made)
    return made


def load(folder: Path) -> Run:
    return Run.load(folder, "/".join(folder.parts[-3:]))


def files(folder: Path) -> list[Path]:
    return sorted((folder.parents[2] / ".cache" / "answers").glob("*"))


def same(one: PointAnswers, other: PointAnswers) -> bool:
    for ours, theirs in ((one.given, other.given), (one.layers, other.layers)):
        assert list(ours) == list(theirs)
        assert all(np.array_equal(ours[rule], theirs[rule]) for rule in ours)
        assert all(ours[rule].dtype == theirs[rule].dtype for rule in ours)
    assert np.array_equal(one.labels, other.labels)
    assert one.labels.dtype == other.labels.dtype
    return (one.ids, dict(one.moved), one.skill) == (other.ids, dict(other.moved), other.skill)


def test_what_is_kept_is_what_was_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load(folder).answers()
    assert len(files(folder)) == 1
    monkeypatch.setattr(Run, "exits", lambda *_: pytest.fail("read the logits again"))
    again = load(folder)
    assert same(again.answers(), made)
    assert again.skill() == made.skill
    assert again.find_refusal() == ""
    again.check_logits()
    sums = sum_answers(again, SPLIT, None)
    assert sums is not None
    assert np.array_equal(sums[:, 0], made.given[EVERY_LAYER] == made.labels)


def test_it_is_made_again_where_anything_that_made_it_is_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder).answers()
    monkeypatch.setattr(kept, "_digest_makers", lambda: "other source")
    load(folder).answers()
    assert len(files(folder)) == 2
    with (folder / "record.json").open("a") as file:
        file.write("\n")
    load(folder).answers()
    assert len(files(folder)) == 3


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_what_is_damaged_is_made_again(folder: Path, damage: object) -> None:
    made = load(folder).answers()
    (file,) = files(folder)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))  # type: ignore[operator]
    assert same(load(folder).answers(), made)
    assert file.read_bytes() == whole


def test_damaged_logits_are_found_beside_what_was_kept_of_whole_ones(folder: Path) -> None:
    load(folder).answers()
    path = folder / f"exits-{SPLIT}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(Damaged):
        load(folder).check_logits()


def test_nothing_is_kept_of_a_run_in_no_store(folder: Path) -> None:
    Run.load(folder).answers()
    assert not list(folder.parents[2].rglob(".cache"))


def test_a_store_that_cannot_be_written_to_is_read_all_the_same(folder: Path) -> None:
    (folder.parents[2] / ".cache").write_text("in the way")
    assert same(load(folder).answers(), Run.load(folder).answers())


def test_somebody_elses_criterion_is_asked_every_time() -> None:
    assert kept.identify_answers("entropy", {}, [])
    assert not kept.identify_answers("my_module:Rule", {}, [])
    assert not kept.identify_answers("temperature", {"of": "my_module:Rule"}, [])


def test_a_table_of_kept_answers_needs_no_torch(folder: Path) -> None:
    load(folder).answers()
    code = (
        "import sys; from bench.cli.process import main; "
        f"code = main(['table', '--results-dir', {str(folder.parents[2])!r}]); "
        "print(sorted({'torch', 'transformers', 'pyarrow', 'scipy.stats', 'pandas'} & set(sys.modules))); "
        "sys.exit(code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
