"""Logits that runs share are stored once: everything reads as before, and can be made whole again to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli.process import main
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.exits import read_exits, write_exits
from bench.results.packed import packing
from bench.results.packed.packing import Packed, pack_results, replace_logits, unpack_results
from bench.results.packed.references import LogitsReference, follow_reference, read_reference, write_reference
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.report_store import LOGITS, edit_cell, list_runs, make_shared, read_all

QUIET = Progress(quiet=True)
SHA = "0" * 64


def pack(root: Path) -> Packed:
    return pack_results(Store(root), QUIET)


def unpack(root: Path) -> Packed:
    return unpack_results(Store(root), QUIET)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shared(tmp_path_factory.mktemp("made") / "results")


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Two strategies with three runs each; the runs of a strategy have the same logits."""
    return shutil.copytree(made, tmp_path / "results")


# --------------------------------------------------------------------------- packing


def test_the_first_run_by_name_keeps_the_file_and_the_others_refer_to_it(root: Path) -> None:
    before = read_all(root)
    found, after = pack(root), read_all(root)
    assert (found.files, found.references, found.changed, found.left_out) == (12, 8, 8, ())
    assert found.bytes_before == sum(map(len, before.values()))
    assert found.bytes_after == sum(map(len, after.values()))
    for strategy in ("entropy", "patience"):
        first, *others = list_runs(root, strategy)
        for name in LOGITS:
            assert after[f"{(first / name).relative_to(root)}"] == before[f"{(first / name).relative_to(root)}"]
            for other in others:
                reference = read_reference(other / name)
                assert reference == LogitsReference(first.name, read_exits(first / name).checksum())
                assert (other / name).stat().st_size < 200
                assert follow_reference(other / name) == first / name


def test_packing_again_changes_nothing_and_unpacking_restores_every_byte(root: Path) -> None:
    whole = read_all(root)
    first, again = pack(root), pack(root)
    assert (again.changed, again.references) == (0, first.references)
    assert again.bytes_before == again.bytes_after == first.bytes_after
    back = unpack(root)
    assert (back.changed, back.references, back.bytes_after) == (8, 0, first.bytes_before)
    assert read_all(root) == whole
    assert unpack(root).changed == 0


STEPS = st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["pack", "unpack"])), max_size=12)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_whatever_is_added_and_packed_when_every_run_reads_its_own(
    made: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """Runs arrive, whole, in any order between packing and unpacking, and whole ones replace references."""
    root, pool = tmp_path_factory.mktemp("grown"), [*list_runs(made), *list_runs(made, "patience")]
    there = set()
    for step in [0, *steps]:
        if isinstance(step, int):
            place = root / pool[step].relative_to(made)
            shutil.copytree(pool[step], place, dirs_exist_ok=True)
            there.add(place)
        else:
            assert {"pack": pack, "unpack": unpack}[step](root).left_out == ()
        for place in there:
            whole = (made / place.relative_to(root) / LOGITS[0]).read_bytes()
            assert follow_reference(place / LOGITS[0]).read_bytes() == whole
            assert Run.load(place).find_damaged_logits() == []
    pack(root)
    whole = [path for path in root.glob("*/*/*/exits-evaluation.parquet") if read_reference(path) is None]
    assert len(whole) == len({place.name.partition("-")[0] for place in there})


@pytest.mark.parametrize("after", range(9))
def test_a_process_that_is_killed_leaves_a_store_that_reads_the_same(
    after: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two halves that were packed apart are packed together, so that references move too."""
    (_, second, third), before = list_runs(root), read_all(root)
    for name in LOGITS:
        write_reference(third / name, LogitsReference(second.name, read_exits(second / name).checksum()))
    written: list[Path] = []

    def write_some(path: Path, reference: LogitsReference) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        write_reference(path, reference)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_reference", write_some)
        try:
            pack(root)
        except KeyboardInterrupt:
            assert len(written) == after
    assert {name: follow_reference(root / name).read_bytes() for name in before} == before
    assert pack(root).references == 8
    assert read_reference(third / LOGITS[0]) == read_reference(second / LOGITS[0])
    unpack(root)
    assert read_all(root) == before


def test_what_a_killed_process_left_is_removed(root: Path) -> None:
    leftover = list_runs(root)[1] / f".{LOGITS[0]}.0a1b2c3d.tmp"
    leftover.write_text("half")
    pack(root)
    assert not leftover.exists()


def other_labels(path: Path) -> None:
    """Make the logits whole ones of another run."""
    found = read_exits(path)
    write_exits(AllExits(found.ids, 1 - found.labels, found.logits, found.lengths), path)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:-100]), ""),
    "another run's": (other_labels, "the accuracy of its exits is not that of the record"),
    "no reference": (lambda path: path.write_text('{"same_as": "../x"}'), "it stands for another run's logits"),
    "a reference to nothing": (
        lambda path: write_reference(path, LogitsReference("entropy-s0-x", SHA)),
        "its logits are",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_stays_as_it_is_and_is_named(case: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In two runs alike, so that they could be taken for the same."""
    fault, reason = FAULTS[case]
    paths = [run / LOGITS[0] for run in list_runs(root)[:2]]
    for path in paths:
        fault(path)
    wrong = [path.read_bytes() for path in paths]
    assert main(["pack", "--results-dir", str(root)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [path.read_bytes() for path in paths] == wrong
    for path, line in zip(paths, said, strict=True):
        assert line.startswith(f"Left as it is: {path.relative_to(root)}: {reason}")
    assert read_exits(list_runs(root)[2] / LOGITS[1]).ids


def test_runs_that_are_not_finished_or_not_read_take_no_part(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = list_runs(root)
    (first / "record.json").write_text("{")
    before = read_all(first.parents[2])
    main(["pack", "--results-dir", str(root)])
    assert "Left as it is: demo/albert-demo/entropy-" in capsys.readouterr().err
    assert read_reference(second / LOGITS[0]) is None
    assert {name: text for name, text in read_all(root).items() if first.name in name} == {
        name: text for name, text in before.items() if first.name in name
    }


def test_logits_with_other_observations_are_not_the_same(root: Path) -> None:
    first, second, third = list_runs(root)
    found = read_exits(second / LOGITS[0])
    observed = np.zeros((50, found.logits.shape[1], 2), np.float32)
    for run, values in ((second, observed), (third, observed + 1)):
        write_exits(AllExits(found.ids, found.labels, found.logits, found.lengths, values), run / LOGITS[0])
    pack(root)
    assert [read_reference(run / LOGITS[0]) for run in (first, second, third)] == [None] * 3
    assert read_reference(second / LOGITS[1]) is not None


def test_the_same_logits_in_other_bytes_are_kept_apart_so_that_every_byte_comes_back(root: Path) -> None:
    """As another version of pyarrow writes them: the content and its checksum are the same."""
    first, *others = list_runs(root)
    for run in others:
        pq.write_table(pq.read_table(first / LOGITS[0], partitioning=None), run / LOGITS[0], compression="gzip")
    whole = read_all(root)
    pack(root)
    assert read_reference(others[1] / LOGITS[0]) == LogitsReference(
        others[0].name, read_exits(first / LOGITS[0]).checksum()
    )
    assert pack(root).changed == 0
    unpack(root)
    assert read_all(root) == whole


# --------------------------------------------------------------------------- links


def link_the_first(first: Path, second: Path, *_: Path) -> None:
    """The first run's file leads to the second's."""
    for name in LOGITS:
        (first / name).unlink()
        (first / name).symlink_to(second / name)


def link_a_run(first: Path, *_: Path) -> None:
    """A run's folder has a second name, behind its own."""
    (first.parent / "zeta").symlink_to(first.name)


def link_what_is_referred_to(first: Path, second: Path, third: Path) -> None:
    """What the third run refers to leads to the second's file."""
    for name in LOGITS:
        write_reference(third / name, LogitsReference(first.name, read_exits(first / name).checksum()))
    link_the_first(first, second)


@pytest.mark.parametrize("link", [link_the_first, link_a_run, link_what_is_referred_to])
def test_what_a_link_leads_to_is_neither_kept_nor_replaced(link: Callable[..., None], root: Path) -> None:
    """Else a file would refer to itself, and the logits were lost."""
    link(*list_runs(root))
    places = sorted(root.glob(f"*/*/*/{LOGITS[0]}"))
    before = {place: read_exits(place).checksum() for place in places}
    for change in (pack, pack, unpack):
        found = change(root)
        assert {place: read_exits(place).checksum() for place in places} == before
        assert found.references == 0 or {fault.why for fault in found.left_out} == {
            "a link leads to it, so that it may be another run's"
        }


def test_a_link_that_leads_nowhere_is_named_and_stops_nobody(root: Path) -> None:
    first, second, third = list_runs(root)
    (first / LOGITS[0]).unlink()
    (first / LOGITS[0]).symlink_to(first / "gone")
    for change in (pack, unpack):
        [fault] = change(root).left_out
        assert (fault.name, fault.why) == (
            (first / LOGITS[0]).relative_to(root).as_posix(), "it cannot be read: No such file or directory",
        )  # fmt: skip
    replace_logits(Store(root), read_exits(third / LOGITS[0]), second / LOGITS[0], QUIET)
    assert read_exits(second / LOGITS[0]).ids


# --------------------------------------------------------------------------- writing


def test_the_same_logits_again_leave_the_references(root: Path) -> None:
    pack(root)
    packed, (first, *_) = read_all(root), list_runs(root)
    replace_logits(Store(root), read_exits(first / LOGITS[0]), first / LOGITS[0], QUIET)
    assert read_all(root) == packed


def test_who_refers_to_logits_that_become_others_gets_a_file_first(root: Path) -> None:
    whole = read_all(root)
    pack(root)
    first, *others = list_runs(root)
    found = read_exits(first / LOGITS[0])
    new = AllExits(found.ids, found.labels, found.logits + 1, found.lengths)
    replace_logits(Store(root), new, first / LOGITS[0], QUIET)
    assert np.array_equal(read_exits(first / LOGITS[0]).logits, new.logits)
    for other in others:
        assert (other / LOGITS[0]).read_bytes() == whole[f"{(other / LOGITS[0]).relative_to(root)}"]
        assert read_reference(other / LOGITS[1]) == LogitsReference(
            first.name, read_exits(first / LOGITS[1]).checksum()
        )


def test_a_run_that_referred_to_another_gets_a_file_of_its_own(root: Path) -> None:
    pack(root)
    first, second, third = list_runs(root)
    found = read_exits(second / LOGITS[0])
    replace_logits(Store(root), found, second / LOGITS[0], QUIET)
    assert [read_reference(run / LOGITS[0]) is None for run in (first, second, third)] == [True, True, False]


# --------------------------------------------------------------------------- the command


def test_the_command_says_what_it_saved(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pack", "--results-dir", str(root)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("8 of 12 files of logits refer to another run's that is the same: ")
    assert " became " in said
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files"], found["references"], found["changed"], found["left_out"]) == (12, 8, 0, [])
    assert main(words) == 0
    assert capsys.readouterr().out.endswith(", as before.\n")
    assert main([*words, "--unpack"]) == 0
    assert capsys.readouterr().out.startswith("8 of 12 files of logits were written whole: ")


def test_what_cannot_be_made_whole_is_named_and_exit_code_2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(root)
    shutil.rmtree(list_runs(root)[0])
    capsys.readouterr()
    assert main(["pack", "--unpack", "--results-dir", str(root)]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 4
    assert all("which are not there: `bench pack --unpack` comes before" in line for line in printed.err.splitlines())
    assert printed.out.startswith("4 of 10 files")


@pytest.mark.parametrize("words", [[], ["--unpack"]])
def test_a_folder_without_runs_is_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", *words, "--results-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"Error: There are no runs in {tmp_path}: `bench run` makes some.\n"


def test_a_record_that_was_changed_is_not_the_runs_own(root: Path) -> None:
    """The numbers beside the logits tell: what they do not fit keeps its file, and nobody refers to it."""
    first, second, third = list_runs(root)

    def spoil(record: dict[str, dict[str, dict[str, dict[str, list[float]]]]]) -> None:
        record["evaluation"]["evaluation"]["per_exit"]["accuracy"][0] = 0.0

    edit_cell(first, spoil)
    pack(root)
    assert read_reference(first / LOGITS[0]) is None
    assert read_reference(third / LOGITS[0]) == LogitsReference(second.name, read_exits(second / LOGITS[0]).checksum())
