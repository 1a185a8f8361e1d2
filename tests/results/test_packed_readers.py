"""Readers of packed results: a reference is followed once and nowhere else, and what is read of it stays the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.process import main
from bench.compare.sources import open_results
from bench.errors import Damaged, Unfollowed
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.exits import read_exits, write_exits
from bench.results.packed.packing import pack_results
from bench.results.packed.references import LogitsReference, follow_reference, read_reference, write_reference
from bench.results.run import Run
from bench.results.store import Store
from bench.selfcheck.tables import multiply_runs
from tests.helpers.report_store import LOGITS, list_runs, make_shared, read_all

SHA = "0" * 64


def pack(root: Path) -> None:
    assert pack_results(Store(root), Progress(quiet=True)).left_out == ()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two strategies with three runs each; the runs of a strategy have the same logits."""
    return make_shared(tmp_path / "results")


def damage_of(path: Path) -> str:
    """The one line that reading a file ends in."""
    with pytest.raises(Damaged) as error:
        read_exits(path)
    moved = isinstance(error.value, Unfollowed)  # whole, but elsewhere: nothing is to be deleted
    assert str(error.value).startswith(f"{path} is {'not whole here' if moved else 'damaged'} (")
    assert ("Delete it" in str(error.value)) != moved
    assert "\n" not in str(error.value)
    return error.value.reason


def other_labels(path: Path) -> None:
    """Make the logits whole ones of another run."""
    found = read_exits(path)
    write_exits(AllExits(found.ids, 1 - found.labels, found.logits, found.lengths), path)


# --------------------------------------------------------------------------- references


REFERENCES = {
    "a folder above": '{"same_as": "../x", "sha256": "%s"}',
    "above": '{"same_as": "..", "sha256": "%s"}',
    "itself a folder": '{"same_as": ".", "sha256": "%s"}',
    "absolute": '{"same_as": "/x", "sha256": "%s"}',
    "another task": '{"same_as": "../../rte/minilm-l6/x", "sha256": "%s"}',
    "a file": '{"same_as": "x/exits-evaluation.parquet", "sha256": "%s"}',
    "on Windows": '{"same_as": "..\\\\x", "sha256": "%s"}',
    "hidden": '{"same_as": ".git", "sha256": "%s"}',
    "empty": '{"same_as": "", "sha256": "%s"}',
    "another alphabet": '{"same_as": "entropy-s\u0660", "sha256": "%s"}',
    "more": '{"same_as": "x", "sha256": "%s", "and": 1}',
    "two lines": '{"same_as": "x", "sha256": "%s"}\n{"same_as": "y"}\n',
    "no checksum": '{"same_as": "x"}',
}


@pytest.mark.parametrize("case", REFERENCES)
def test_a_reference_names_a_run_beside_its_own_and_nothing_else(case: str, root: Path) -> None:
    path = list_runs(root)[1] / LOGITS[0]
    path.write_text(REFERENCES[case].replace("%s", SHA), encoding="utf-8")
    assert damage_of(path) == "it stands for another run's logits and names no run beside its own"


@given(name=st.text(max_size=30))
def test_no_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    path = tmp_path_factory.mktemp("any") / "demo" / "model" / "run" / LOGITS[0]
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"same_as": name, "sha256": SHA}), encoding="utf-8")
    try:
        there = follow_reference(path)
    except Damaged:
        return
    assert there == path.parents[1] / name / path.name
    assert there.resolve() == there


def test_what_is_referred_to_is_there_whole_and_the_same(root: Path) -> None:
    pack(root)
    first, second, third = list_runs(root)
    path, said = third / LOGITS[0], f"its logits are those of {first.name}"
    kept = (first / LOGITS[0]).read_bytes()
    (first / LOGITS[0]).unlink()
    remedy = "`bench pack --unpack` comes before runs are moved or deleted"
    assert damage_of(path) == f"{said}, which are not there: {remedy}"
    (first / LOGITS[0]).write_bytes(kept[:-100])
    assert damage_of(path).startswith(f"{said}, whose file is damaged: ")
    (first / LOGITS[0]).write_bytes(kept)
    other_labels(first / LOGITS[0])
    assert damage_of(path) == f"{said}, which are others by now"
    write_reference(first / LOGITS[0], LogitsReference(second.name, SHA))
    assert damage_of(path) == f"{said}, which stand for another run's themselves"
    shutil.rmtree(first)
    first.write_text("a file")
    assert damage_of(path).startswith(f"{said}, which are not there")
    write_reference(path, LogitsReference(third.name, SHA))
    assert damage_of(path) == f"its logits are those of {third.name}, which stand for another run's themselves"


def test_line_ends_of_another_system_do_not_matter(root: Path) -> None:
    pack(root)
    path = list_runs(root)[1] / LOGITS[0]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_exits(path).ids


# --------------------------------------------------------------------------- readers


READERS = {
    "table": ["table", "--json"],
    "criteria": ["criteria", "--json"],
    "show": ["show", "RUN", "--json", "--metric", "auroc,log_loss"],
    "pick": ["pick", "--json"],
    "list": ["list", "runs", "--json"],
    "diagnose": ["diagnose", "RUN", "--stored", "--json"],
}


@pytest.mark.parametrize("case", READERS)
def test_every_number_that_is_printed_stays(case: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = list_runs(root)[1]
    words = [str(run) if word == "RUN" else word for word in READERS[case]]
    words += [] if case == "diagnose" else ["--results-dir", str(root)]
    printed = []
    for _ in range(2):
        code = main(words)
        printed.append((code, *capsys.readouterr()))
        shutil.rmtree(root / ".cache", ignore_errors=True)
        pack(root)
    assert printed[0][0] == 0
    assert printed[0][1]
    assert printed[0] == printed[1]
    assert read_reference(run / LOGITS[0]) is not None


def test_a_report_stays(root: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("whole", "packed"):
        words = ["report", "--results-dir", str(root), "--out", str(tmp_path / name), "--format", "md,csv", "--quiet"]
        assert main([*words, "--json"]) == 0
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.suffix in (".md", ".csv"))
        pages.append({path.relative_to(tmp_path / name): path.read_text() for path in files})
        shutil.rmtree(root / ".cache", ignore_errors=True)
        pack(root)
    assert pages[0]
    assert pages[0] == pages[1]


def test_a_packed_store_compares_as_the_same(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = shutil.copytree(root, tmp_path / "whole")
    pack(root)
    assert main(["compare", str(made), str(root), "--json"]) == 0
    assert {row["verdict"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"same"}


def test_kept_answers_hold_before_and_after(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Run:
        folder = list_runs(root)[1]
        return Run.load(folder, folder.relative_to(root).as_posix())

    made = load().answers()
    pack(root)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "exits", lambda *_: pytest.fail("read the logits again"))
        assert load().answers().moved == made.moved
        load().check_logits()
    other_labels(list_runs(root)[0] / LOGITS[0])
    with pytest.raises(Damaged, match="which are others by now"):
        load().check_logits()


def test_a_table_of_a_packed_store_needs_neither_torch_nor_pyarrow(root: Path) -> None:
    words = ["table", "--results-dir", str(root)]
    assert main(words) == 0
    pack(root)
    code = (
        f"import sys; from bench.cli.process import main; main({words!r}); "
        "print(sorted({'torch', 'pyarrow'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_file_that_is_named_is_followed_and_known_by_its_content(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, held_out = (str(list_runs(root)[1] / name) for name in LOGITS)
    found = []
    for _ in range(2):
        out = tmp_path / f"imported-{len(found)}"
        edited = tmp_path / f"held-{len(found)}.parquet"
        held = read_exits(Path(held_out))
        write_exits(AllExits(tuple(f"h{one}" for one in held.ids), held.labels, held.logits, held.lengths), edited)
        words = ["import", report, "--select", str(edited), "--name", "mine", "--backbone", "bert-demo", "--offline"]
        assert main([*words, "--results-dir", str(out), "--quiet", "--json"]) == 0, capsys.readouterr().err
        capsys.readouterr()
        found.append(sorted(path.name for path in out.glob("*/*/*")))
        pack(root)
    assert found[0]
    assert found[0] == found[1]


def test_copies_for_the_self_check_are_whole(root: Path, tmp_path: Path) -> None:
    whole = read_all(root)
    pack(root)
    multiply_runs(Store(root), Store(tmp_path / "copies"), 6)
    assert set(read_all(tmp_path / "copies").values()) == set(whole.values())


def test_a_run_of_a_revision_comes_with_what_it_refers_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(root)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "packed"]):
        subprocess.run(["git", *command], cwd=root, check=True, capture_output=True)
    monkeypatch.chdir(root)
    name = list_runs(root)[2].relative_to(root).as_posix()
    with open_results(f"HEAD:{name}") as found:
        [run] = found.leave_out_damaged().runs
        assert run.find_damaged_logits() == []
        assert run.exits("select").ids
