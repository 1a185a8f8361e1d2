"""Damaged records and raw times: `bench run` sets them aside and measures what is missing; readers move nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.errors import NOTHING_COMPARABLE, OK, REGRESSION, USAGE
from bench.files import write_json
from bench.results.exits import read_exits, write_exits
from bench.results.record_file import read_record
from bench.results.times import read_times
from tests.helpers.small_runs import TINY, settings, timeless, write_task

COMMITTED = Path(__file__).parents[2] / "results"
TIMED = settings("latency.samples=2", "latency.seconds=0.3")
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task and one measured cell of it, untimed in ``results`` and timed in ``timed``."""
    home = tmp_path_factory.mktemp("home")
    write_task(home / "reviews")
    assert main(["run", *words(home, home / "results"), "--quiet"]) == 0
    shutil.copytree(home / "results", home / "timed")
    assert main(["run", *words(home, home / "timed", timed=True), "--quiet"]) == 0
    return home


def words(home: Path, results: Path, timed: bool = False) -> list[str]:
    common = [word for word in TINY if word != "--quiet" and not (timed and word == "--no-latency")]
    cell = ["--strategy", "entropy", "--task", str(home / "reviews"), "--backbone", "bert-demo"]
    return [*cell, *common, *(TIMED if timed else []), "--results-dir", str(results)]


@pytest.fixture
def results(home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(home / "results", tmp_path / "results")


@pytest.fixture
def timed(home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(home / "timed", tmp_path / "timed")


def the(results: Path, pattern: str) -> Path:
    (path,) = results.glob(f"*/*/*/{pattern}")
    return path


def run(home: Path, results: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[dict[str, Any], list[str]]:
    """The record that `bench run` prints, and its lines on stderr that speak of damage."""
    capsys.readouterr()
    code = main(["run", *words(home, results, timed=results.name == "timed"), "--json", *more])
    printed = capsys.readouterr()
    assert code == OK, printed.err
    ((found),) = json.loads(printed.out)
    return found["record"], [line for line in printed.err.splitlines() if "damaged" in line]


def spoil_and_run(
    damage: Callable[[Path], None], path: Path, home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], str]:
    """The record of a run that finds ``path`` damaged and sets it aside, and the one line that says so."""
    damage(path)
    spoilt = path.read_bytes()
    record, (said,) = run(home, results, capsys)
    assert f"{path.relative_to(results).as_posix()} was damaged (" in said
    assert kept(results) == [spoilt]
    assert record["training"]["reused"]
    return record, said


def kept(results: Path) -> list[bytes]:
    """What is in the quarantine."""
    return [path.read_bytes() for path in sorted((results / ".cache" / "quarantine").glob("*"))]


def files(results: Path) -> dict[str, bytes]:
    """Everything but locks and the sweeps' journal."""
    paths = [p for p in results.rglob("*") if p.is_file() and not {"locks", "sweeps"} & set(p.parts)]
    return {path.relative_to(results).as_posix(): path.read_bytes() for path in paths}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bytes_of(content: bytes) -> Callable[[Path], None]:
    return lambda path: [path.write_bytes(content), None][1]


def edited(change: Change) -> Callable[[Path], None]:
    """Still JSON, but for ``change`` what was written."""

    def damage(path: Path) -> None:
        record = json.loads(path.read_text())
        change(record)
        write_json(path, record)

    return damage


def edited_text(old: str, new: str) -> Callable[[Path], None]:
    """One of the words in it another."""

    def damage(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def without(name: str) -> Callable[[Path], None]:
    return edited(lambda record: record.pop(name))


RECORDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (bytes_of(b""), "it is empty"),
    "half": (cut, "it is no JSON: "),
    "no text": (bytes_of(b"\xff\xfe{}"), "it is no text: byte 0 is no UTF-8"),
    "no end": (bytes_of(b"[" * 100_000), "recursion"),
    "a list": (bytes_of(b"[1]"), "it is a list, an object"),
    "of nobody": (bytes_of(b"{}"), "schema_version is missing"),
    "no status": (without("status"), "status is missing"),
    "status": (edited(lambda record: record.update(status=3)), "status is 3, "),
    "no spec": (without("spec"), "spec is missing"),
    "evaluation": (edited(lambda record: record.update(evaluation=[])), "evaluation is a list, an object"),
    "split": (
        edited(lambda r: r["evaluation"].update(validation=7)),
        "evaluation.validation is a number, an object is needed",
    ),
    "points": (
        edited(lambda r: r["evaluation"]["validation"].pop("points")),
        "evaluation.validation.points is missing",
    ),
    "training": (
        edited(lambda r: r["training"].update(seconds="long")),
        "training.seconds is text, a number is needed",
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_damaged_record_is_set_aside_and_measured_again(
    case: str, home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = RECORDS[case]
    path = the(results, "record.json")
    whole = json.loads(path.read_text())
    record, said = spoil_and_run(damage, path, home, results, capsys)
    assert reason in said
    assert record["warnings"] == [said.rpartition("] ")[2].removesuffix(".")]
    assert timeless(record) == timeless(whole)
    before = files(results)
    assert run(home, results, capsys) == (record, [])  # nothing is left to do
    assert files(results) == before


def test_what_is_measured_anew_anyway_is_set_aside_too(
    home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(the(results, "record.json"))
    for overwrite in ("always", "never"):
        record, said = run(home, results, capsys, "--overwrite", overwrite)
        assert (record["status"], len(said)) == ("success", overwrite == "always")
    assert len(kept(results)) == 1


def test_a_record_of_a_newer_version_is_refused_and_stays(
    home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(lambda record: record.update(schema_version=99))(the(results, "record.json"))
    before = files(results)
    assert main(["run", *words(home, results)]) == USAGE
    assert "was written by a newer ExitBench" in capsys.readouterr().err
    assert files(results) == before


def test_a_look_moves_nothing(home: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look = ["run", *words(home, results), "--dry-run"]
    assert main(look) == OK
    assert "recorded" in capsys.readouterr().out
    record = the(results, "record.json")
    for change, said in (
        (lambda record: record.pop("environment"), "is damaged (environment is missing), would be measured again."),
        (lambda record: record.update(schema_version=99), "was written by a newer ExitBench"),
    ):
        whole = record.read_bytes()
        edited(change)(record)
        before = files(results)
        assert main(look) == OK
        assert files(results) == before
        printed = capsys.readouterr()
        assert "recorded" not in printed.out
        assert f"{record} {said}" in printed.err
        assert main([*look, "--json"]) == OK
        assert f"{record} {said}" in json.loads(capsys.readouterr().out)["cells"][0]["spoilt"]
        record.write_bytes(whole)


# --------------------------------------------------------------------------- raw times

TIMES: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (bytes_of(b""), "it is empty"),
    "half": (cut, "it is no JSON: "),
    "a list": (bytes_of(b"[]"), "it is a list, an object"),
    "no rounds": (without("rounds"), "rounds is missing"),
    "summary": (edited(lambda raw: raw["summary"].update(plain=[])), "summary.plain is a list, an object"),
    "mean": (
        edited(lambda raw: raw["summary"]["plain"].update(mean="1")),
        "summary.plain.mean is text, a number is needed",
    ),
    "a nanosecond": (edited(lambda raw: raw["rounds"][0]["times"]["plain"].__setitem__(0, 7)), "its checksum differs"),
    "infinite": (edited_text('"clock":', '"more":1e999,"clock":'), "its checksum differs"),
}


@pytest.mark.parametrize("case", TIMES)
def test_damaged_times_are_set_aside_and_measured_again(
    case: str, home: Path, timed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = TIMES[case]
    path = the(timed, "latency-*.json")
    record, said = spoil_and_run(damage, path, home, timed, capsys)
    assert reason in said
    assert record["latency"]["file"] == path.name
    assert len(read_times(path).rounds) == record["latency"]["rounds"]
    assert run(home, timed, capsys) == (record, [])


def test_times_of_before_there_were_checksums_are_read(timed: Path) -> None:
    path = the(timed, "latency-*.json")
    whole = read_times(path)
    without("checksum")(path)
    assert read_times(path) == whole.model_copy(update={"checksum": None})


def test_times_of_samples_that_are_not_there(home: Path, timed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = the(timed, "latency-*.json")
    without("checksum")(path)
    edited(lambda raw: raw["rows"][0].__setitem__(0, 9999))(path)
    the(timed, "record.json").unlink()
    record, [said] = run(home, timed, capsys)
    assert "it has row 9999 of a split of 24" in said
    assert len(read_times(path).rounds) == record["latency"]["rounds"]


def test_good_times_are_kept_beside_a_damaged_record(
    home: Path, timed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, times = the(timed, "record.json"), the(timed, "latency-*.json")
    whole, before = json.loads(record.read_text()), times.read_bytes()
    cut(record)
    found, said = run(home, timed, capsys)
    assert len(said) == 1
    assert times.read_bytes() == before
    assert timeless(found) == timeless(whole)


def test_both_damaged_is_a_line_each(home: Path, timed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("record.json", "latency-*.json"):
        cut(the(timed, name))
    _, said = run(home, timed, capsys)
    assert ["record.json" in line for line in said] == [True, False]
    assert len(kept(timed)) == 2


# --------------------------------------------------------------------------- logits


def of_other_samples(path: Path) -> None:
    """Whole, with a checksum that fits, but those of the other split."""
    other = {"exits-select": "exits-validation", "exits-validation": "exits-select"}
    other |= {"select": "validation", "validation": "select"}
    path.write_bytes(path.with_stem(other[path.stem]).read_bytes())


def of_another_model(path: Path) -> None:
    """Whole, of the same samples, but of a model that is always right."""
    exits = read_exits(path)
    right = np.eye(2, dtype=np.float32)[exits.labels]
    write_exits(replace(exits, logits=np.repeat(right[:, None], exits.logits.shape[1], axis=1)), path)


LOGITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (bytes_of(b""), "it is empty"),
    "half": (cut, ""),
    "the other split's": (of_other_samples, " samples, the run "),
    "another model's": (of_another_model, "the accuracy of its exits is not that of the record"),
}


@pytest.mark.parametrize("case", LOGITS)
def test_damaged_logits_of_a_recorded_run_are_set_aside_and_recorded_again(
    case: str, home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = LOGITS[case]
    path = the(results, "exits-validation.parquet")
    whole = path.read_bytes()
    damage(path)
    spoilt = path.read_bytes()
    _, said = run(home, results, capsys, "--overwrite", "never")
    assert [(f"{path} is damaged (" in s, "`--overwrite always` measures again" in s) for s in said] == [(True, True)]
    assert (path.read_bytes(), kept(results)) == (spoilt, [])
    record, (said_again,) = run(home, results, capsys)
    assert f"{path.relative_to(results).as_posix()} was damaged (" in said_again
    assert reason in said_again
    assert (path.read_bytes(), kept(results)) == (whole, [spoilt])
    assert record["training"]["reused"]
    assert run(home, results, capsys) == (record, [])


def test_cached_logits_that_are_whole_but_of_other_samples_are_set_aside(
    home: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (results / ".cache" / "exits").glob("*/validation.parquet")
    whole = path.read_bytes()
    of_other_samples(path)
    _, (said,) = run(home, results, capsys, "--overwrite", "always")
    assert "was damaged (it is of other samples, or of a model of another shape)" in said
    assert path.read_bytes() == whole


# --------------------------------------------------------------------------- readers

READERS: dict[str, tuple[list[str], int]] = {
    "show": (["show", "last"], USAGE),
    "table": (["table"], NOTHING_COMPARABLE),
    "criteria": (["criteria"], NOTHING_COMPARABLE),
    "report": (["report", "--format", "md", "--out", "OUT"], OK),
    "compare": (["compare", "RESULTS", "RESULTS"], REGRESSION),
    "history": (["history", "--record"], USAGE),
}


@pytest.mark.parametrize("case", READERS)
def test_readers_list_or_refuse_and_move_nothing(
    case: str, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, expected = READERS[case]
    cut(the(results, "record.json"))
    before = files(results)
    arguments = [{"OUT": str(tmp_path / "out"), "RESULTS": str(results)}.get(word, word) for word in given]
    where = [] if case == "compare" else ["--results-dir", str(results)]
    code = main([*arguments, *where])
    printed = capsys.readouterr()
    assert code == expected, printed.err
    assert files(results) == before
    if case in ("show", "table", "criteria", "history"):  # the first line: what is left out, or why nothing is shown
        assert "record.json is damaged (" in printed.err.splitlines()[0]
    elif case == "report":
        pages = [path.read_text() for path in (tmp_path / "out").glob("*.md")]
        assert any("- damaged: reviews/bert-demo/entropy" in page for page in pages)


def test_damaged_times_leave_the_rest_of_a_comparison(
    timed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = shutil.copytree(timed, tmp_path / "whole")
    cut(the(timed, "latency-*.json"))
    before = files(timed)
    for sides, code, verdict in (((timed, whole), OK, "not comparable"), ((whole, timed), REGRESSION, "worse")):
        assert main(["compare", *map(str, sides), "--json"]) == code
        rows = json.loads(capsys.readouterr().out)["rows"]
        (row,) = [row for row in rows if "is damaged (" in row["reason"]]
        assert (row["metric"], row["verdict"]) == ("latency", verdict)
        assert "same" in {other["verdict"] for other in rows}
    assert files(timed) == before


def test_committed_results_are_sound() -> None:
    records, times = COMMITTED.glob("*/*/*/record.json"), COMMITTED.glob("*/*/*/latency-*.json")
    assert len([read_record(path) for path in records]) > 100
    assert len([read_times(path) for path in times]) > 5
