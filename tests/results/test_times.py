"""Raw times that no checksum holds: what readers rely on is there and fits together, or it is said what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli.process import main
from bench.errors import Damaged
from bench.results.times import read_times
from tests.helpers.compare_records import Made, raw_times

NAMES = {"plain": 4e6, "2x": 2.2e6}
DAMAGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "a nanosecond": (lambda raw: raw["rounds"][0]["times"]["2x"].__setitem__(0, 7), "summary.2x.mean is not that of"),
    "a mean": (lambda raw: raw["summary"]["plain"].update(mean=9.0), "summary.plain.mean is not that of its rounds"),
    "a configuration": (lambda raw: raw["rounds"][1]["times"].pop("2x"), "rounds[1].times.2x is not of 4 queries"),
    "a query": (lambda raw: raw["rounds"][0]["times"]["plain"].pop(), "rounds[0].times.plain is not of 4 queries"),
    "no time at all": (lambda raw: raw["rounds"][0]["times"].update(plain=[0] * 4), "rounds[0].times.plain is not of"),
    "a time before": (lambda raw: raw["rounds"][0]["times"]["plain"].__setitem__(0, -1), "rounds[0].times.plain is"),
    "the baseline": (lambda raw: raw.update(baseline="nobody"), "order has no nobody, the baseline"),
    "a summary": (lambda raw: raw["summary"].pop("plain"), "summary.plain is missing"),
    "layers": (lambda raw: raw["layers"].pop("plain"), "layers.plain is not of 4 queries"),
    "rows": (lambda raw: raw.update(rows=[[0], [1], [2]]), "rows is no list of the rows of 4 queries"),
    "an empty row": (lambda raw: raw.update(rows=[[0], [1], [2], []]), "rows is no list of the rows of 4 queries"),
    "a row before": (lambda raw: raw.update(rows=[[0], [1], [2], [-1]]), "rows is no list of the rows of 4 queries"),
    "no queries": (lambda raw: raw.update(samples=[]), "rows is no list of the rows of 0 queries"),
    "samples": (lambda raw: raw.update(samples=[0, 1, 2]), "layers.plain is not of 3 queries"),
    "parts": (lambda raw: raw.update(parts=[3, 2]), "parts are not of 4 queries in 48 rounds"),
    "turns": (lambda raw: raw.update(parts=[2, 2]), "rounds[0].times.plain is not of 2 queries"),
    "rounds": (lambda raw: raw.pop("rounds"), "rounds is missing"),
    "a word": (lambda raw: raw["rounds"][0]["times"].update(plain=["x"] * 4), "rounds[0].times.plain[0] is text"),
}


def test_whole_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(raw_times(NAMES)))
    assert read_times(path).order == tuple(NAMES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_fit_is_said(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the reader, and in one row by `bench compare`, which shows the rest."""
    change, said = DAMAGES[damage]
    raw = raw_times(NAMES)
    change(raw)
    for side in ("base", "candidate"):
        Made(times=NAMES).write(tmp_path / side)
    [path] = (tmp_path / "candidate").glob("*/*/*/latency-1.json")
    path.write_text(json.dumps(raw))
    with pytest.raises(Damaged) as error:
        read_times(path)
    assert error.value.reason.startswith(said)
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "candidate"), "--all", "--json"]) == 3
    printed = capsys.readouterr()
    assert printed.err == "" or "Traceback" not in printed.err
    rows = json.loads(printed.out)["rows"]
    [found] = [row for row in rows if row["metric"].startswith("latency")]
    assert f"latency-1.json is damaged ({said}" in found["reason"]
    assert found["verdict"] == "worse"
    assert len([row for row in rows if row["verdict"] == "same"]) > 5
