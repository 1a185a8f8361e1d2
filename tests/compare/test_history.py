"""History only grows, marks lasting steps and no noise, and draws itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.cli.process import main
from bench.compare import history
from bench.compare.sources import read_results
from bench.errors import OK, USAGE
from bench.results.places import RECORD
from bench.results.record import RecordHead, UnfinishedRecord
from bench.results.record_file import write_record
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.compare_records import Made
from tests.helpers.report_store import make_cell


def test_the_same_results_are_added_once(tmp_path: Path) -> None:
    root = Made().write(tmp_path)
    path = root / history.FILE
    assert len(history.append_runs(path, read_results(root).runs)) == 1
    before = path.read_text()
    assert history.append_runs(path, read_results(root).runs) == []
    Made(created="2026-02-01T00:00:00+00:00", commit="b" * 40).write(root)
    assert len(history.append_runs(path, read_results(root).runs)) == 1
    assert path.read_text().startswith(before)
    [series] = history.group_by_series(history.read_history(path)[0]).values()
    assert [e.commit[0] for e in series] == ["a", "b"]


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_an_entry_after_half_a_line_is_whole(cut: int, tmp_path: Path) -> None:
    """A kill leaves the beginning of a line, or all of it but its end; what is added later is not lost in it."""
    for seed in (0, 1):
        Made(seed=seed).write(tmp_path)
    path, (runs, _) = tmp_path / "history.jsonl", Store(tmp_path).runs()
    whole = history.append_runs(path, runs)
    path.write_bytes(path.read_bytes()[:-cut])
    added = history.append_runs(path, runs)
    found, left_out = history.read_history(path)
    assert len(added) == len(left_out) == (cut > 1)
    assert {entry.identity for entry in found} == {entry.identity for entry in whole}


def test_what_did_not_finish_is_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Made().write(tmp_path)
    [folder] = Store(root).folders()
    head = Run.load(folder).head
    fields = {name: getattr(head, name) for name in RecordHead.model_fields}
    write_record(folder / RECORD, UnfinishedRecord(**{**fields, "status": "cancelled"}))
    assert main(["history", "--results-dir", str(root), "--record"]) == USAGE
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"Left out: {folder.relative_to(root).as_posix()}: its status is cancelled"


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a value of text": (lambda line: re.sub(rb'"value": [0-9.]+', b'"value": "x"', line, count=1), "value is text"),
    "no number": (lambda line: re.sub(rb'"value": [0-9.]+', b'"value": NaN', line, count=1), "value: "),
    "a label of numbers": (lambda line: re.sub(rb'"label": "[^"]*"', b'"label": 5', line), "label is a number, text"),
    "no UTF-8": (lambda line: b"\xff" + line, "Invalid JSON"),
    "half": (lambda line: line[: len(line) // 2], "Invalid JSON"),
    "a list of values": (lambda line: re.sub(rb'"values": {.*?}}', b'"values": []', line), "values is a list"),
    "no list of doubts": (lambda line: re.sub(rb'"doubts": \[[^\]]*\]', b'"doubts": 5', line), "doubts"),
    "another object": (lambda line: b'{"at": "x"}', "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_left_out_and_named(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Made().write(tmp_path)
    path = root / history.FILE
    assert main(["history", "--results-dir", str(root), "--record"]) == OK
    capsys.readouterr()
    change, said = DAMAGES[damage]
    whole = path.read_bytes()
    path.write_bytes(change(whole.strip()) + b"\n" + whole)
    assert main(["history", "--results-dir", str(root)]) == OK
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Left out: ")]
    assert line.startswith(f"Left out: {path}, line 1: it is damaged (")
    assert said in line


@pytest.mark.parametrize("seed", range(5))
def test_steps_are_found_where_they_are(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(scale=0.002, size=30)
    flat = [history.Value(float(v)) for v in 0.9 + noise]
    assert history.find_steps(flat, 0.005) == []
    stepped = [history.Value(float(v)) for v in 0.9 + noise - 0.03 * (np.arange(30) >= 20)]
    [step] = history.find_steps(stepped, 0.005)
    assert step.at == 20
    assert step.after - step.before == pytest.approx(-0.03, abs=0.004)


def test_two_points_and_small_steps() -> None:
    assert history.find_steps([history.Value(0.9)], 0.005) == []
    assert history.find_steps([history.Value(0.9), history.Value(0.904)], 0.005) == []
    assert len(history.find_steps([history.Value(0.9), history.Value(0.8)], 0.005)) == 1


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--results-dir", str(tmp_path)]) == USAGE
    root = Made().write(tmp_path)
    drawing = tmp_path / "history.svg"
    assert main(["history", "--results-dir", str(root), "--record", "--svg", str(drawing)]) == OK
    assert "Made once: nothing to follow yet" in capsys.readouterr().out
    entries, _ = history.read_history(root / history.FILE)
    again = [
        replace(e, at="2030-01-01T00:00:00+00:00", values={n: step(n, v) for n, v in e.values.items()}) for e in entries
    ]
    lines = [json.dumps(asdict(e)) for e in (*entries, *again)]
    (root / history.FILE).write_text("\n".join(lines) + "\n")
    assert main(["history", "--results-dir", str(root)]) == OK
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("Steps of accuracy at all layers: ") == len(entries)
    assert "Made once" not in printed
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def step(name: str, value: history.Value) -> history.Value:
    return replace(value, value=value.value - 0.1) if name == "accuracy at all layers" else value


def cheapest_pieces(x: np.ndarray, margin: float) -> list[int]:
    """Where the pieces begin that cost least, all ways of cutting tried: squares over noise², 5 ln n for each piece."""
    scatter = float(np.median(np.abs(np.diff(x)))) / 0.954 if len(x) > 2 else 0.0
    noise = max(scatter, margin / 3)

    def cost(cuts: tuple[int, ...]) -> float:
        pieces = np.split(x / noise, cuts)
        return sum(float(((p - p.mean()) ** 2).sum()) for p in pieces) + 5 * math.log(len(x)) * len(pieces)

    return list(min((c for k in range(len(x)) for c in combinations(range(1, len(x)), k)), key=cost))


@pytest.mark.parametrize("seed", range(40))
def test_steps_are_the_cheapest_of_all_ways_to_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = np.repeat(random.normal(scale=0.03, size=4), 2)
    x = 0.9 + levels + random.normal(scale=0.002, size=8)
    found = history.find_steps([history.Value(float(v)) for v in x], 0.005)
    bounds = [0, *cheapest_pieces(x, 0.005), 8]
    means = [x[a:b].mean() for a, b in pairwise(bounds)]
    expected = [
        (bounds[i + 1], means[i], means[i + 1])
        for i in range(len(means) - 1)
        if abs(means[i + 1] - means[i]) > 0.005
    ]  # fmt: skip
    assert [step.at for step in found] == [at for at, _, _ in expected]
    assert [(s.before, s.after) for s in found] == [pytest.approx((before, after)) for _, before, after in expected]


@pytest.mark.parametrize(
    ("name", "level", "margin"),
    [
        ("accuracy at 2x", 0.9, 0.005),
        ("latency speed-up at 2x", 2.0, 0.1),
        ("FLOPs speed-up at 2x", 2.0, 0.02),
        ("FLOPs speed-up at 2x", -2.0, 0.02),
    ],
)
def test_what_counts_as_a_step(name: str, level: float, margin: float) -> None:
    assert history.choose_margin(name, level) == pytest.approx(margin)


def test_an_entry_keeps_value_and_standard_error(tmp_path: Path) -> None:
    root = Made().write(tmp_path)
    [run] = read_results(root).runs
    kept = history.make_entry(run, "a").values
    for rule, point in run.result().performances.items():
        accuracy = point.metrics["accuracy"]
        assert kept[f"accuracy at {rule}"].value == accuracy.value
        assert kept[f"accuracy at {rule}"].error == pytest.approx((accuracy.high - accuracy.low) / 3.92)
        assert kept[f"{point.cost_unit} speed-up at {rule}"].value == point.cost_speedup.value


@pytest.mark.parametrize("latency", ["valid", "invalid"])
def test_a_latency_that_is_not_valid_is_left_out_by_name(
    latency: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.load(make_cell(tmp_path, latency=latency))
    assert main(["history", "--results-dir", str(tmp_path), "--record"]) == OK
    [entry], _ = history.read_history(tmp_path / history.FILE)
    assert any(name.startswith("latency speed-up at ") for name in entry.values) == (latency == "valid")
    said = f"/{run.name}: it is INVALID: the clock was throttled"
    assert (said in capsys.readouterr().err) == (latency == "invalid")
