"""What arrives from a second place is foreign: it stays below the results folder, and is read before it is kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile
from fsspec.spec import AbstractFileSystem

import bench.sweep.remote as remote_module
from bench.cli.process import main
from bench.errors import UsageError
from bench.progress import Progress
from bench.results.packed.packing import pack_results, unpack_results
from bench.results.store import Store
from bench.sweep.config import expand_cells
from bench.sweep.plan import make_plan
from bench.sweep.remote import explain_no_use, stays_below
from tests.helpers.report_store import LOGITS, list_runs, make_shared, read_all
from tests.helpers.sweeps import TINY, quiet, remote_of, write

RECORDED = sorted((Path(__file__).parents[2] / "results").glob("mrpc/*/*/record.json"))[0].parent
"""A cell that was really measured."""


def files_below(folder: Path) -> set[str]:
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return {name for name in found if ".cache" not in name.split("/")}


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A folder as the second place, with one good cell in it."""
    shutil.copytree(RECORDED, tmp_path / "bucket" / "mrpc" / "model" / RECORDED.name)
    return tmp_path / "bucket"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "a//b", "", "a/./b", "a\\..\\..\\evil", "a/b\0c", ".."]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not stays_below(name)


def test_objects_that_would_be_written_elsewhere_are_left_out(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object store's names are any text; what a folder cannot list, its listing says here."""
    results = tmp_path / "deep" / "results"
    remote = remote_of(bucket.as_uri(), results)
    record = (RECORDED / "record.json").read_bytes()
    hostile = ("../../escaped", "/../escaped", "mrpc/../../escaped", ".git/hooks/x", "mrpc/.git/x", "a//b", "a\\..\\b")
    listed, read = remote.files.find, remote.files.get_file
    monkeypatch.setattr(
        remote.files, "find", lambda top: [*listed(top), *(f"{remote.root}/{name}/record.json" for name in hostile)]
    )
    monkeypatch.setattr(
        remote.files,
        "get_file",
        lambda there, here: read(there, here) if Path(there).is_file() else Path(here).write_bytes(record),
    )
    before = files_below(tmp_path)
    assert remote.fetch_cells() == 1
    assert {name.split("/")[0] for name in files_below(results)} == {"mrpc"}
    assert {name for name in files_below(tmp_path) if not name.startswith("deep/results/")} == before


def test_a_dry_run_writes_nothing_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("../../escaped/a/b", f"good/model/{RECORDED.name}"):  # past what pipe would make of the name
        path = f"/hostile/results/{name}/record.json"
        memory.store[path] = MemoryFile(memory, path, (RECORDED / "record.json").read_bytes())
    config = write(tmp_path / "sweep.yaml", {"defaults": TINY, "matrix": {"strategy": "entropy", "task": "demo"}})
    results = tmp_path / "deep" / "er" / "results"
    words = ["run", "--config", str(config), "--results-dir", str(results), "--offline", "--dry-run"]
    assert main([*words, "--sync", "memory://hostile/results"]) == 0
    assert "1 cells fetched" in capsys.readouterr().err
    assert files_below(tmp_path) == {"sweep.yaml", f"deep/er/results/good/model/{RECORDED.name}/record.json"}


def _edit(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "half a record": lambda cell: (cell / "record.json").write_bytes((cell / "record.json").read_bytes()[:200]),
    "a record that says nothing": lambda cell: (cell / "record.json").write_text("{}"),
    "a list": lambda cell: (cell / "record.json").write_text("[1]"),
    "a field of another type": lambda cell: _edit(cell / "record.json", b'"status": "success"', b'"status": 7'),
    "another cell's record": lambda cell: cell.rename(cell.with_name("entropy-s0-00000000")),
    "a newer version's": lambda cell: _edit(cell / "record.json", b'"schema_version": 2', b'"schema_version": 99'),
    "half the logits": lambda cell: (cell / "exits-select.parquet").write_bytes(
        (cell / "exits-select.parquet").read_bytes()[:-100]
    ),
    "no logits": lambda cell: (cell / "exits-select.parquet").write_bytes(b""),
    "a record of 300 MB": lambda cell: os.truncate(cell / "record.json", 300_000_000),
    "a cell too high": lambda cell: cell.rename(cell.parent.with_name(cell.name)),
    "a cell too deep": lambda cell: shutil.move(cell, cell.parent / "a" / "b" / cell.name),
    "a name that a terminal obeys": lambda cell: cell.parent.rename(cell.parent.with_name("\x1b]0;x\x07")),
    "a program": lambda cell: (cell / "sitecustomize.py").write_text("import os"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_cannot_be_read_is_not_kept(
    case: str, bucket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [cell] = bucket.glob("*/*/*")
    DAMAGE[case](cell)
    remote = remote_of(bucket.as_uri(), tmp_path / "results")
    remote.progress = Progress()
    assert remote.fetch_cells() == 0
    assert files_below(tmp_path / "results") == set()
    [line] = capsys.readouterr().err.strip().splitlines()
    assert " is left out: " in line


def test_a_good_cell_arrives_whole_and_once(bucket: Path, tmp_path: Path) -> None:
    remote = remote_of(bucket.as_uri(), tmp_path / "results")
    assert (remote.fetch_cells(), remote.fetch_cells()) == (1, 0)
    assert files_below(tmp_path / "results") == files_below(bucket)
    [record] = (tmp_path / "results").rglob("record.json")
    assert json.loads(record.read_text()) == json.loads((RECORDED / "record.json").read_text())
    assert not list((tmp_path / "results" / ".cache" / "incoming").iterdir())


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder as the second place, with two runs of which the second refers to the first."""
    made = make_shared(tmp_path / "bucket", 2)
    pack_results(Store(made), Progress(quiet=True))
    return made


def test_what_refers_to_another_run_arrives_whole(packed: Path, tmp_path: Path) -> None:
    unpacked = shutil.copytree(packed, tmp_path / "unpacked")
    unpack_results(Store(unpacked), Progress(quiet=True))
    remote = remote_of(packed.as_uri(), tmp_path / "results")
    assert remote.fetch_cells() == 4
    assert read_all(tmp_path / "results") == read_all(unpacked)


def put_others(kept: Path, run: Path) -> None:
    shutil.copyfile(list_runs(run.parents[2], "patience")[0] / LOGITS[0], kept / LOGITS[0])


REFERRED: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "nothing": (lambda kept, run: shutil.rmtree(kept), "which are not there"),
    "half a file": (lambda kept, run: os.truncate(kept / LOGITS[0], 100), ""),
    "others": (put_others, "which are others by now"),
    "a reference": (lambda kept, run: shutil.copyfile(run / LOGITS[0], kept / LOGITS[0]), "which are not there"),
    "nowhere": (lambda kept, run: (run / LOGITS[0]).write_text('{"same_as": "../x"}'), "names no run beside its own"),
}


@pytest.mark.parametrize("case", REFERRED)
def test_what_refers_to_what_is_not_there_or_not_the_same_is_left_out(
    case: str, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, run = list_runs(packed)
    damage, reason = REFERRED[case]
    damage(kept, run)
    remote = remote_of(packed.as_uri(), tmp_path / "results")
    remote.progress = Progress()
    remote.fetch_cells()
    assert not (tmp_path / "results" / run.relative_to(packed)).exists()
    said = [line for line in capsys.readouterr().err.splitlines() if run.name in line.partition(" is left out: ")[0]]
    assert [reason in line for line in said] == [True]


def test_a_run_that_refers_to_another_is_sent_whole(packed: Path, tmp_path: Path) -> None:
    cell = make_plan(expand_cells({"matrix": {"strategy": "full", "task": "demo"}}), quiet(packed)).cells[0].identified
    assert cell is not None
    kept, run = list_runs(packed)
    shutil.copytree(kept, cell.folder.parent / kept.name, dirs_exist_ok=True)
    shutil.copytree(run, cell.folder)
    remote_of((tmp_path / "place").as_uri(), packed).send(cell)
    [sent] = (tmp_path / "place").glob("*/*/*/exits-evaluation.parquet")
    assert sent.read_bytes() == (kept / LOGITS[0]).read_bytes()


@pytest.mark.parametrize("url", ["nope://bucket", "github://x", "dir://x", "reference://x", "zip://nowhere.zip"])
def test_a_scheme_that_is_not_there_is_one_line(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path / "sweep.yaml", {"defaults": TINY, "matrix": {"strategy": "entropy", "task": "demo"}})
    words = ["run", "--config", str(config), "--results-dir", str(tmp_path / "results"), "--offline", "--quiet"]
    assert main([*words, "--sync", url]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"Error: --sync {url} ")


class Silent(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A host that takes the call and never answers."""

    protocol = "silent"

    def exists(self, path: str, **options: Any) -> bool:
        Event().wait()
        return False


PLACES = {
    "a colon": (":", "names no place"),
    "a scheme alone": ("file://", "names no place"),
    "slashes alone": ("://", "names no place"),
    "a scheme without slashes": ("s3:bucket", "names no place"),
    "a package that is not here": ("oci://bucket/x", "needs another package: Install ocifs"),
    "a scheme of nobody": ("nosuch://x", "cannot be used: Protocol not known: nosuch"),
    "a scheme that needs more": ("reference://x", "cannot be used"),
    "5,000 letters": (f"nosuch{'a' * 5000}://x", "cannot be used"),
    "a host that says nothing": ("silent://host/x", r"cannot be used: no answer in 0\.2 s\.$"),
    "a file": ("FILE", "is a file: give a folder"),
}


@pytest.mark.parametrize("case", PLACES)
def test_what_is_no_place_is_told_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "ANSWER_WITHIN", 0.2 if "silent" in PLACES[case][0] else 60.0)
    fsspec.register_implementation("silent", Silent, clobber=True)
    (tmp_path / "file").write_text("")
    url, said = PLACES[case]
    with pytest.raises(UsageError, match=said) as error:
        remote_of(url.replace("FILE", str(tmp_path / "file")), tmp_path / "results")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_refused_connection_is_no_answer() -> None:
    error = OSError("HTTPSConnectionPool(host='x'): Max retries exceeded with url: /a\nb")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert explain_no_use(error) == "no answer (ConnectionRefusedError)"


def test_a_first_push_is_told_that_nothing_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--strategy", "full", "--task", "demo", "--offline", "--dry-run", "--results-dir", str(tmp_path)]
    assert main([*words, "--sync", (tmp_path / "typo").as_uri()]) == 0
    assert f"Nothing there yet: {(tmp_path / 'typo').as_uri()}.\n" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(bucket: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    cell = make_plan(expand_cells({"matrix": {"strategy": "full", "task": "demo"}}), quiet(results)).cells[0]
    assert cell.identified is not None
    cell.identified.folder.mkdir(parents=True)
    (cell.identified.folder / "record.json").write_text("{}")
    remote = remote_of((tmp_path / "place").as_uri(), results)
    (tmp_path / "place").write_text("a file by now")
    with pytest.raises(UsageError, match=r"record\.json: .*(Not a directory|File exists)"):
        remote.send(cell.identified)
