"""Names longer than a file's may be: shortened where they become folders, refused in one line where unknown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.process import main
from bench.errors import OK, USAGE
from bench.files import write_json
from bench.results.places import LONGEST, make_slug
from bench.results.store import Store
from tests.helpers.small_runs import TINY, run_json, write_task

KEY = "0123456789abcdef"
LONG = "n" * 300


@pytest.mark.parametrize("length", [1, 100, LONGEST])
def test_names_that_fit_stay(length: int) -> None:
    assert make_slug("n" * length) == "n" * length
    strategy = "n" * min(length, LONGEST - len("-s0-01234567"))
    assert Store(Path("r")).place("t", "b", strategy, 0, KEY).name == f"{strategy}-s0-01234567"


@given(st.text(min_size=1, max_size=600), st.integers(20, LONGEST))
def test_no_name_is_longer_than_its_room(name: str, room: int) -> None:
    found = make_slug(name, room)
    assert 0 < len(found.encode()) <= room
    assert make_slug(found, room) == found
    if len(found) < room:
        assert found == make_slug(name)


def test_long_names_stay_readable_and_distinct() -> None:
    """Those that differ in the end only, or in what no folder's name shows, too."""
    names = [f"readable-{LONG}{end}" for end in ("", "m", "/", ":", "\udcff")]
    found = [make_slug(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(len(name) == LONGEST and name.startswith("readable-nnn") for name in found)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_a_cell_with_long_names_can_be_written_and_found(seed: int, tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = [store.place(LONG, f"/{LONG}/{LONG}", f"{LONG}:{name}", seed, KEY) for name in ("One", "Other")]
    for folder in folders:
        write_json(folder / "record.json", {})
    assert store.folders() == sorted(folders)
    assert all(folder.name.endswith(f"-s{seed}-01234567") for folder in folders)
    assert store.find_folder(folders[0].name) == folders[0]


PLUG_IN = """
from strategies.entropy import Entropy


class {name}(Entropy):
    name = "mine"
"""


def test_a_run_with_long_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task's folder, a backbone's folder and a plug-in: all as long as the file system lets them be; damage too."""
    task = write_task(tmp_path / ("t" * LONGEST))
    backbone = tmp_path / ("b" * 200) / ("c" * LONGEST)
    backbone.parent.mkdir()
    shutil.move(folder, backbone)
    package, name = tmp_path / ("p" * 200), "N" * 200
    package.mkdir()
    (package / "plug_in.py").write_text(PLUG_IN.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    results = tmp_path / "results"
    words = ["--strategy", f"{package.name}.plug_in:{name}", "--task", str(task), "--backbone", str(backbone)]
    common = ["--set", "train.steps=2", *TINY[-3:], "--results-dir", str(results)]
    (found,) = run_json(capsys, *words, *common)
    place = Path(found["folder"])
    assert place.parent.parent.name == task.name
    assert [len(part) for part in place.relative_to(results).parts] == [LONGEST] * 3
    (place / "record.json").write_text("{")
    (again,) = run_json(capsys, *words, *common)
    assert again["folder"] == found["folder"]
    (kept,) = (results / ".cache" / "quarantine").iterdir()
    assert kept.name.endswith("-1-record.json")
    assert main(["show", "last", "--results-dir", str(results)]) == OK


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--task", LONG, "--strategy", "full"],
        ["run", "--task", f"./{LONG}", "--strategy", "full"],
        ["run", "--task", f"{LONG}:Task", "--strategy", "full"],
        ["run", "--task", "demo", "--strategy", f"{LONG}:Strategy"],
        ["run", "--task", "demo", "--strategy", "full", "--backbone", LONG, "--offline"],
        ["run", "--task", "demo", "--strategy", "full", "--backbone", f"./{LONG}", "--offline"],
        ["show", LONG],
        ["compare", LONG, LONG],
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_long_names_of_nothing_are_refused_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, *(["--quiet", "--no-latency"] if words[0] == "run" else [])]) == USAGE
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("Error: ")
    assert LONG in said
