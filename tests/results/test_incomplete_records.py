"""A right checksum says who wrote a record last, not that it is whole: no reader falls over a part that is missing.

``EXITBENCH_FIELDS=500 pytest tests/results/test_incomplete_records.py`` changes more fields than a usual run.
"""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from bench.cli.process import main
from bench.errors import UserError
from bench.results.record_file import read_record
from tests.helpers.faults.damages import drop_field, retype_field
from tests.helpers.report_store import edit_cell, make_cell, write_sealed

FIELDS = int(os.environ.get("EXITBENCH_FIELDS", "25"))
Change = Callable[[dict[str, Any]], object]


def split(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = record["evaluation"]["evaluation"]
    return found


def point(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = split(record)["points"][1]
    return found


def measure_nothing(record: dict[str, Any]) -> None:
    record["task"]["metrics"] = []
    record["select"]["full"] = {}


def report_nothing(record: dict[str, Any]) -> None:
    record["task"]["evaluation"] = []
    record["evaluation"] = {}


DAMAGES: dict[str, Change] = {
    "evaluation.evaluation.full.metrics are not task.metrics": lambda r: split(r)["full"]["metrics"].clear(),
    "evaluation.evaluation.points[1].metrics are not task.metrics": lambda r: point(r)["metrics"].clear(),
    "evaluation.evaluation.per_exit has other metrics": lambda r: split(r)["per_exit"].clear(),
    "evaluation.evaluation.per_exit.accuracy has 5 values": lambda r: split(r)["per_exit"]["accuracy"].pop(),
    "evaluation.evaluation.curve is empty": lambda r: split(r)["curve"].clear(),
    "evaluation.evaluation.samples is 0": lambda r: split(r).update(samples=0),
    "evaluation.evaluation.points[1].samples is 3": lambda r: point(r).update(samples=3),
    "evaluation.evaluation.points[1].exit_counts": lambda r: point(r).update(exit_counts=[-1, 81, 0, 0, 0, 0]),
    "evaluation.evaluation.full.exit_counts": lambda r: split(r)["full"].update(exit_counts=[]),
    "evaluation.evaluation.points[1].rule is '@@@'": lambda r: point(r).update(rule="@@@"),
    "evaluation.evaluation.points[1].rule is 'no-loss' again": lambda r: point(r).update(rule="no-loss"),
    "evaluation.evaluation.points[1].cost_speedup is 0": lambda r: point(r)["cost_speedup"].update(value=0),
    "evaluation.evaluation.curve[1].quality is 7, which is": lambda r: split(r)["curve"][1].update(quality=7),
    "latency.depth.bare is not a row": lambda r: r["latency"]["depth"]["bare"].clear(),
    "task.rows.select is missing": lambda r: r["task"]["rows"].pop("select"),
    "task.rows.evaluation is missing": lambda r: r["task"]["rows"].pop("evaluation"),
    "task.metrics is empty": measure_nothing,
    "task.evaluation is empty": report_nothing,
    "backbone.layers is 0": lambda r: r["backbone"].update(layers=0),
    "evaluation.evaluation.full.exit_counts do not share 80 samples among 7": lambda r: r["backbone"].update(layers=7),
}
READERS = {
    "table": ["table"],
    "criteria": ["criteria"],
    "history": ["history", "--record"],
    "report": ["report", "--format", "md", "--out", "OUT"],
    "list": ["list", "runs"],
    "compare": ["compare", "RESULTS", "RESULTS"],
}


def call(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``bench``."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def read_all(reader: str, results: Path) -> tuple[int, str, str]:
    """What a reader of results folders does with this one; a report's page stands for its stdout."""
    out = results.parent / "out"
    given = [{"OUT": out, "RESULTS": results}.get(word, word) for word in READERS[reader]]
    code, printed, err = call(*given, *([] if reader == "compare" else ["--results-dir", results]))
    page = out / "report.md"
    return code, page.read_text() if page.exists() else printed, err


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The lines of every reader on a store where one run is whole and each other one has a damage."""
    results = tmp_path_factory.mktemp("home") / "results"
    make_cell(results)
    folders = [
        edited(make_cell(results, seed=seed, latency="valid", depth=True), change)
        for seed, change in enumerate(DAMAGES.values(), start=1)
    ]
    found = {}
    for reader in READERS:
        code, out, err = read_all(reader, results)
        assert code in (0, 3, 4), err  # 3: in a candidate, what cannot be used is worse; 4: one run has no criteria
        found[reader] = (out if reader == "report" else err).splitlines()
    shown = [call("show", folder) for folder in folders]
    assert {code for code, _, _ in shown} == {2}
    found["show"] = [line for _, _, err in shown for line in err.splitlines()]
    return found


def edited(folder: Path, change: Change) -> Path:
    edit_cell(folder, change)
    return folder


@pytest.mark.parametrize("reader", [*READERS, "show"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_sealed_record_that_is_not_whole_is_one_line_in_every_reader(
    damage: str, reader: str, readings: dict[str, list[str]]
) -> None:
    seed = list(DAMAGES).index(damage) + 1
    lines = [line for line in readings[reader] if f"-s{seed}-" in line and f"damaged ({damage}" in line]
    assert len(lines) == (2 if reader in ("report", "compare") else 1)  # in a list and a table; of both sides


@pytest.mark.parametrize("seed", range(FIELDS))
def test_any_one_field_that_another_writer_left_out_or_changed(seed: int, tmp_path: Path) -> None:
    """It is refused in one line, or every reader goes on."""
    chance = random.Random(seed)
    folder = make_cell(tmp_path / "results", latency="valid", depth=True)
    path = folder / "record.json"
    chance.choice([drop_field, retype_field])(path, chance)
    record = json.loads(path.read_text())
    write_sealed(folder, record)
    try:
        read_record(path)
    except UserError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert (str(path) in said, "\n" in said) == (True, False)
        return
    for reader in READERS:
        code, _, err = read_all(reader, tmp_path / "results")
        assert (code in (0, 2, 3, 4), "Traceback" in err) == (True, False), (seed, reader, err)
    code, _, err = call("show", folder)
    assert code in (0, 2), (seed, err)
