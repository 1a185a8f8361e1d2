"""Results on disk: whole or absent, found again by many names, one writer at a time."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from bench import files
from bench.cell.command import write_command, write_from_here
from bench.errors import UsageError
from bench.files import remove_leftovers, replace_file, write_json
from bench.progress import Progress
from bench.results.places import make_slug
from bench.results.record import SCHEMA_VERSION
from bench.results.record_file import read_record
from bench.results.store import Store

QUIET = Progress(quiet=True)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/file"
    for text in ("one", "two"):
        with replace_file(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
        assert path.read_text() == text
    assert names(path.parent) == ["file"]


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (path.read_text(), names(tmp_path)) == ("old", ["file"])


def test_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut could leave a file with a name and no content."""
    order: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda handle: (order.append("sync"), sync(handle))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    write_json(tmp_path / "file", {})
    assert order == ["sync", "rename", "sync"]  # the file, its name, the folder


def test_leftovers_of_the_killed_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".record.json.0123abcd.tmp", "record.json", "notes.tmp", ".hidden"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "not there")
    assert names(tmp_path) == [".hidden", "notes.tmp", "record.json"]


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", {"x": float("nan")})
    assert names(tmp_path) == []
    write_json(tmp_path / "file", {"ö": 1.5})
    assert (tmp_path / "file").read_text(encoding="utf-8") == '{\n "ö": 1.5\n}\n'


def filled(root: Path, *cells: tuple[str, str]) -> Store:
    """A store with a record for each (strategy, key)."""
    store = Store(root)
    for number, (strategy, key) in enumerate(cells):
        record = store.place("sst2", "bert-base", strategy, 0, key) / "record.json"
        write_json(record, {"n": number})
        os.utime(record, ns=(number, number))
    return store


KEYS = ("0123456789abcdef", "01ff456789abcdef")


def test_a_run_lies_under_task_and_backbone(tmp_path: Path) -> None:
    store = filled(tmp_path, ("entropy", KEYS[0]))
    assert store.folders() == [tmp_path / "sst2/bert-base/entropy-s0-01234567"]


def test_runs_are_found_by_folder_name_key_and_last(tmp_path: Path) -> None:
    store = filled(tmp_path, ("entropy", KEYS[0]), ("full", KEYS[1]))
    one, other = store.folders()
    for run in (str(one), "entropy-s0-01234567", "0123", "01234567"):
        assert store.find_folder(run) == one
    assert store.find_folder("last") == other
    with pytest.raises(UsageError, match=r"'01' matches 2 runs .*give more of the name"):
        store.find_folder("01")
    with pytest.raises(UsageError, match=r"No run 'abc' in .* \(2 runs there\)"):
        store.find_folder("abc")
    with pytest.raises(UsageError, match=r"no run 'last' and no results folder .*empty"):
        Store(tmp_path / "empty").find_folder("last")


def test_what_is_cached_is_no_run_wherever_the_results_are(tmp_path: Path) -> None:
    store = filled(tmp_path / ".cache/results", ("entropy", KEYS[0]))
    write_json(store.cache("checkpoints", "key") / "record.json", {})
    write_json(store.cache("exits", "key").parent / "record.json", {})
    assert [folder.name for folder in store.folders()] == ["entropy-s0-01234567"]


BAD = {
    "damaged": ('{"schema_version": 1', "is damaged .*Delete it"),
    "not text": (b"\xff\xfe", "is damaged .*Delete it"),
    "no object": ("[]", "is damaged .*it "),
    "no version": ("{}", "is damaged .*it "),
    "newer": (json.dumps({"schema_version": SCHEMA_VERSION + 1}), "was written by a newer ExitBench"),
}


@pytest.mark.parametrize("case", BAD)
def test_records_that_cannot_be_read(case: str, tmp_path: Path) -> None:
    content, message = BAD[case]
    (tmp_path / "record.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=message):
        read_record(tmp_path / "record.json")


def test_one_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, order = Store(tmp_path), []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with store.lock("key", QUIET):
            inside.set()
            leave.wait(30)
            order.append("first")

    def second() -> None:
        with store.lock("key", Progress()):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    with store.lock("another key", QUIET):  # other cells do not wait
        leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("elbert-mono", "elbert-mono"),
        ("my_module:Name", "my_module-Name"),
        ("../../etc", "etc"),
        ("org/model v2", "org-model-v2"),
        ("///", "unnamed"),
        ("ä", "unnamed"),
    ],
)
def test_names_as_folders(name: str, expected: str) -> None:
    assert make_slug(name) == expected


def test_the_recorded_command_does_not_say_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "mine" / "project"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    given = ["run", "--results-dir", str(here / "results"), "--hub-root", str(here.parent / "hub"), "--quiet"]
    assert write_command(given) == "bench run --results-dir ./results --hub-root ../hub"
    assert write_command(["show", "/elsewhere/x"]) == "bench show /elsewhere/x"


@pytest.mark.parametrize(
    ("home", "word", "seen"),
    [
        ("/homes/ann", "/homes/ann/model", "~/model"),
        ("/homes/ann", "--data=/homes/ann/mine.csv", "--data=~/mine.csv"),
        ("/homes/ann", "/homes/ann", "~"),
        ("/homes/ann", "/homes/anna/model", "/homes/anna/model"),
        ("/homes/ann", "/mnt/homes/ann/model", "/mnt/homes/ann/model"),
        ("/", "/data/model", "/data/model"),
    ],
)
def test_only_the_home_folder_is_left_out(home: str, word: str, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert write_from_here(word) == seen


def test_git_leaves_the_cache_alone(tmp_path: Path) -> None:
    """Checkpoints must not end up in a repository by ``git add -A``; what a user wrote there himself stays."""
    store = Store(tmp_path / "results")
    for words in (["init", "-q"], ["config", "core.excludesFile", "/dev/null"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    with store.lock("key", QUIET):
        store.cache("checkpoints", "key").mkdir(parents=True)
        (store.cache("checkpoints", "key") / "model.safetensors").write_text("")
    (tmp_path / "results" / "kept.json").write_text("{}")
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    listed = subprocess.run(["git", "ls-files"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert listed.stdout.split() == ["results/kept.json"]
    (store.root / ".cache" / ".gitignore").write_text("!checkpoints\n")
    store.make_cache("locks")
    assert (store.root / ".cache" / ".gitignore").read_text() == "!checkpoints\n"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replace_file(tmp_path / "file") as temporary:
        temporary.open("rb")
    assert caught.value.filename == str(tmp_path / "file")
