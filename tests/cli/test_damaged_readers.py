"""Every damage in every reader: one line that names the file by its place and the field, and the rest is shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.cli.process import main
from bench.compare.sources import read_results
from bench.errors import OK, REGRESSION, USAGE, UsageError
from tests.helpers.report_store import make_cell

BAD, LOGITS = "demo/albert-demo/bad", "exits-evaluation.parquet"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three criteria on one checkpoint; one of them is to be damaged."""
    results = tmp_path_factory.mktemp("home") / "r"
    for strategy in ("entropy", "patience", "random"):
        folder = make_cell(results, strategy)
    folder.rename(results / BAD)
    return results


@pytest.fixture
def results(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(good, Path("r"))


def edit(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(run: Path) -> None:
        record = json.loads((run / "record.json").read_text())
        change(record)
        (run / "record.json").write_text(json.dumps(record))

    return damage


def rewrite(change: Callable[[pa.Table], pa.Table]) -> Damage:
    return lambda run: pq.write_table(change(pq.read_table(run / LOGITS, partitioning=None)), run / LOGITS)


def link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def alter_byte(run: Path) -> None:
    text = (run / "record.json").read_bytes()
    at = text.index(b'"mean_layer": ') + len(b'"mean_layer": ')
    (run / "record.json").write_bytes(text[:at] + b"9" + text[at + 1 :])


RECORDS: dict[str, tuple[Damage, str]] = {
    "missing": (edit(lambda r: r["task"].pop("source")), "damaged (task.source is missing)"),
    "another type": (edit(lambda r: r["training"].update(seconds="x")), "damaged (training.seconds is text, a number"),
    "newer": (edit(lambda r: r.update(schema_version=99)), "newer ExitBench (schema_version is 99, this one knows 2)"),
    "a byte": (alter_byte, "damaged (its checksum differs)"),
    "empty": (lambda run: (run / "record.json").write_bytes(b""), "damaged (it is empty)"),
    "no JSON": (lambda run: (run / "record.json").write_text('{"a": 1,\n"b" 2}'), "damaged (it is no JSON: Expecting"),
}
FILES: dict[str, tuple[Damage, str]] = {
    "permuted": (rewrite(lambda t: t.take(np.arange(len(t))[::-1])), "damaged (its checksum sha256 differs"),
    "no checksum": (
        rewrite(lambda t: t.replace_schema_metadata({k: v for k, v in t.schema.metadata.items() if k != b"sha256"})),
        "has no checksum sha256, so that nothing tells",
    ),
    "empty": (lambda run: (run / LOGITS).write_bytes(b""), "damaged (it is empty)"),
    "a link to itself": (lambda run: link_to_itself(run / LOGITS), "damaged (Too many levels of symbolic links)"),
    "cut": (lambda run: (run / LOGITS).write_bytes((run / LOGITS).read_bytes()[:-50]), "damaged (Parquet magic bytes"),
}
ONE = {
    "show": ["show", f"r/{BAD}"],
    "diagnose": ["diagnose", f"r/{BAD}", "--stored"],
    "compare": ["compare", f"r/{BAD}", f"r/{BAD}"],
}
SEVERAL = {
    "table": (["table", "--results-dir", "r"], OK),
    "report": (["report", "--results-dir", "r", "--out", "out", "--format", "md"], OK),
    "compare": (["compare", "r", "r"], REGRESSION),
    "history": (["history", "--results-dir", "r", "--record"], OK),
}


def lines_about(text: str, file: str, said: str) -> list[str]:
    return [line for line in text.splitlines() if f"r/{BAD}/{file}" in line and said in line]


@pytest.mark.parametrize("damage", RECORDS)
def test_a_record(damage: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, said = RECORDS[damage]
    spoil(results / BAD)
    for words in ONE.values():
        assert main(words) == USAGE
        printed = capsys.readouterr()
        [line] = printed.err.splitlines()[-1:]
        assert lines_about(line, "record.json", said) == [line]
    for verb, (words, code) in SEVERAL.items():
        assert main(words) == code, verb
        printed = capsys.readouterr()
        assert len(lines_about(printed.err, "record.json", said)) == (2 if verb == "compare" else 1), verb
        assert "Traceback" not in printed.err
    state = "newer" if damage == "newer" else "damaged"
    assert f"- {state}: {BAD}: r/{BAD}/record.json" in Path("out/report.md").read_text()


@pytest.mark.parametrize("damage", FILES)
def test_logits(damage: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, said = FILES[damage]
    spoil(results / BAD)
    for verb, words in ONE.items():
        assert main(words) == (OK if verb == "show" else USAGE), verb
        assert len(lines_about(capsys.readouterr().err, LOGITS, said)) == 1, verb
    for verb, count in {"table": 1, "report": 1, "compare": 2}.items():
        words, code = SEVERAL[verb]
        assert main(words) == code, verb
        assert len(lines_about(capsys.readouterr().err, LOGITS, said)) == count, verb
    assert main(["replay", f"r/{BAD}/{LOGITS}", "--strategy", "entropy"]) == USAGE
    printed = capsys.readouterr().err
    assert printed.count(LOGITS) == 1
    assert said.removeprefix("damaged (") in printed
    assert ("run the cell again" in printed) == (damage == "no checksum")


def test_logits_of_another_run(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their checksum fits; what the record says of its exits does not."""
    other = next(path for path in results.glob(f"demo/*/*/{LOGITS}") if path.parent != results / BAD)
    shutil.copy(other, results / BAD / LOGITS)
    said = "the accuracy of its exits is not that of the record: it is another run's"
    for verb, words in ONE.items():
        assert main(words) == (OK if verb == "show" else USAGE), verb
        assert len(lines_about(capsys.readouterr().err, LOGITS, said)) == 1, verb
    for verb, count in {"table": 1, "report": 1, "compare": 2}.items():
        assert main(SEVERAL[verb][0]) == SEVERAL[verb][1], verb
        assert len(lines_about(capsys.readouterr().err, LOGITS, said)) == count, verb


def test_results_are_looked_for_where_they_lie_and_no_deeper(results: Path, tmp_path: Path) -> None:
    assert len(read_results(results / "demo").runs) == len(read_results(results / "demo" / "albert-demo").runs) == 3
    results.rename(tmp_path / "deep")
    (tmp_path / "more").mkdir()
    (tmp_path / "deep").rename(tmp_path / "more" / "deep")
    with pytest.raises(UsageError, match="There are no results in"):
        read_results(tmp_path / "more")
