"""`bench diagnose` through its entry point on a tiny run: JSON, tables, files; and what it refuses, in one line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.analysis.cases import find_points
from bench.analysis.diagnose import describe_cut, measure_shift, spread_cuts
from bench.cli.process import main
from bench.inference.replay import replay
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs, TradeOff
from bench.report import diagnose_view
from bench.results.measures import OperatingPoint
from bench.results.run import Run
from bench.results.store import Store
from strategies.controls import OracleCorrect
from strategies.entropy import NormalisedEntropy
from tests.helpers.report_store import make_cell
from tests.helpers.small_runs import TINY, write_task

COMMON = ["--results-dir", "r", "--quiet"]
SMALL = ["--limit", "6", "--edits", "2", "--candidates", "2", "--offline"]


def write_rows(folder: Path, rows: list[str]) -> Path:
    """A task of csv rows, the same for both parts."""
    folder.mkdir()
    for name in ("train", "validation"):
        numbered = [rows[0], *(f"{name} {i} {row}" for i, row in enumerate(rows[1:]))]
        (folder / f"{name}.csv").write_text("\n".join(numbered) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with runs of entropy, an oracle, no early exit and a regression, and tasks to shift to."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("diagnose")
        patch.chdir(folder)
        patch.delenv("EXITBENCH_HUB", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "0")
        write_task(folder / "own")
        write_task(folder / "numbers", regression=True)
        write_rows(folder / "other", ["text,label", *(f"a {w} day,{w}" for w in ("wet", "dry") * 8)])
        write_rows(folder / "three", ["text,label", *(f"number {i % 3},c{i % 3}" for i in range(24))])
        pairs = [f"one,two {i % 2},{('neg', 'pos')[i % 2]}" for i in range(16)]
        write_rows(folder / "pairs", ["sentence1,sentence2,label", *pairs])
        for strategy, task in (("entropy,oracle-correct,full", "own"), ("patience", "numbers")):
            given = ["--strategy", strategy, "--task", f"./{task}", "--backbone", "bert-demo", *TINY]
            assert main(["run", *given, "--results-dir", "r"]) == 0
        yield folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def run_of(strategy: str) -> str:
    (found,) = [f.name for f in Store(Path("r")).folders() if f.name.startswith(f"{strategy}-s0-")]
    return found


def diagnosed(capsys: pytest.CaptureFixture[str], *arguments: str, strategy: str = "entropy") -> dict[str, Any]:
    code = main(["diagnose", run_of(strategy), *arguments, "--json", *COMMON])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found: dict[str, Any] = json.loads(printed.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, strategy: str = "entropy") -> str:
    assert main(["diagnose", run_of(strategy), *arguments, *COMMON]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err
    return lines[0]


def test_everything_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "d.md"
    points = "default,2x"
    found = diagnosed(capsys, "--on", "./other", "--point", points, *SMALL, "--out", str(out), "--markdown", str(page))
    assert (found["strategy"], found["samples"], len(found["exits"])) == ("entropy", 24, 3)
    assert found["notes"] == []
    slow = found["slowdown"]
    assert (slow["samples"], slow["edits"], slow["candidates"]) == (6, 2, 2)
    wanted = [(p, kind) for p in points.split(",") for kind in ("random", "targeted")]
    assert [(row["point"], row["change"]) for row in slow["rows"]] == wanted
    for row in slow["rows"]:
        assert row["difference"]["estimate"] == pytest.approx(row["after"] - row["before"])
        assert row["difference"]["low"] <= row["difference"]["estimate"] <= row["difference"]["high"]
    shift = found["shift"]
    assert shift["texts"] == ["own", "other"]
    assert shift["samples"] == 6
    (warning,) = shift["warnings"]
    assert warning.startswith("Labels are matched by their number (dry = neg, wet = pos)")
    assert [(row["point"], row["texts"]) for row in shift["points"]] == [
        (p, t) for p in points.split(",") for t in ("own", "other")
    ]
    assert json.loads((out / "diagnosis.json").read_text(encoding="utf-8")) == found
    names = {"exits.csv", "consistency.csv", "slowdown.csv", "shift-points.csv", "shift.csv"}
    assert {path.name for path in out.iterdir()} == {"diagnosis.json", "shift.svg", *names}
    with (out / "shift.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean_exit"]) for row in rows] == [row["mean_exit"] for row in shift["curve"]]
    with (out / "slowdown.csv").open(encoding="utf-8") as file:
        assert float(next(csv.DictReader(file))["difference_low"]) == slow["rows"][0]["difference"]["low"]
    assert (out / "shift.svg").read_bytes().startswith(b"<?xml")
    assert page.read_text(encoding="utf-8").count("### ") == 4


def test_the_same_question_has_the_same_answer(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = (diagnosed(capsys, "--point", "2x", *SMALL, "--seed", seed) for seed in ("0", "0", "1"))
    assert one == two
    assert one["slowdown"]["rows"] != three["slowdown"]["rows"]


def test_stored_exits_need_no_model(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise AssertionError("A model was loaded.")

    monkeypatch.setattr("bench.analysis.diagnose.load_run_model", broken)
    found = diagnosed(capsys, "--stored")
    assert found["slowdown"] is None
    assert found["shift"] is None
    exits = Store(Path("r")).find_run(run_of("entropy")).exits()
    accuracy = (exits.predictions == exits.labels[:, None]).mean(axis=0)
    assert [row["accuracy"]["estimate"] for row in found["exits"]] == pytest.approx(accuracy.tolist())
    default = next(row for row in found["consistency"] if row["point"] == "default")
    decided = replay("entropy", exits.logits, default["threshold"])
    assert default["mean_exit"] == pytest.approx(float(decided.layer.mean()))
    same = float((decided.prediction == exits.predictions[:, -1]).mean())
    assert default["agreement"]["estimate"] == pytest.approx(same)


def test_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", run_of("entropy"), *SMALL, "--on", "./other", *COMMON]) == 0
    shown = capsys.readouterr().out
    for words in ("Does an exit know", "Is the early answer", "Can small changes", "on other texts", "Warning: Labels"):
        assert words in shown


@pytest.mark.parametrize(("strategy", "why"), [("oracle-correct", "sees labels"), ("full", "never leaves early")])
def test_what_cannot_be_slowed_down_is_said(strategy: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = diagnosed(capsys, *SMALL, strategy=strategy)
    assert found["slowdown"] is None
    assert why in found["notes"][0]
    assert all((row["auroc_own"] is None) == (strategy == "full") for row in found["exits"][:1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stored", "--on", "./other"], "--stored runs no model"),
        (["--limit", "1"], "--limit must be at least 2"),
        (["--edits", "0"], "--edits must be at least 1"),
        (["--point", "9x"], "no operating point '9x'. It has: default"),
        (["--on", "./own"], "trained on this task"),
        (["--on", "./three"], "has 3 classes, and the run has 2"),
        (["--on", "./numbers"], "has a number"),
        (["--on", "./pairs"], "has two, and the run was trained on one text"),
        (["--on", "./nowhere"], "does not exist"),
        (["--on", "sst3"], "Did you mean 'sst2'"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *arguments, "--offline", *([] if "--limit" in arguments else ["--limit", "6"]))


def test_a_regression_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "task is a regression" in refused(capsys, strategy="patience")


# --------------------------------------------------------------------------- numbers behind the shift


def exits_of(seed: int, samples: int = 40) -> AllExits:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(samples, 4, 2)).astype(np.float32) * np.arange(1, 5)[:, None].astype(np.float32)
    ids = tuple(f"{seed}-{i}" for i in range(samples))
    return AllExits(ids, random.integers(0, 2, samples), logits, np.full(samples, 5))


def curve_of(seed: int) -> TradeOff:
    exits = exits_of(seed)
    return TradeOff(NormalisedEntropy(), exits, Costs.layers(len(exits.ids), 4), ["accuracy"])


def test_a_row_of_the_shift_is_what_replay_gives() -> None:
    curve = curve_of(0)
    for cut in spread_cuts(curve)[1:]:
        row = describe_cut("own", curve, cut)
        decided = replay("entropy", curve.exits.logits, row["threshold"])
        assert row["mean_exit"] == pytest.approx(float(decided.layer.mean()))
        assert row["accuracy"] == pytest.approx(float((decided.prediction == curve.exits.labels).mean()), abs=1e-6)
        assert row["mean_flops"] == round(float(decided.layer.mean()))
        assert row["flops_speedup"] == pytest.approx(4 / float(decided.layer.mean()), abs=1e-6)


def test_thresholds_are_spread_over_the_mean_exit_and_reach_both_ends() -> None:
    curve = curve_of(1)
    cuts = spread_cuts(curve, most=9)
    assert cuts == sorted(cuts)
    assert 2 <= len(cuts) <= 9
    layers = [describe_cut("own", curve, cut)["mean_exit"] for cut in cuts]
    assert layers[0] == 4.0
    assert layers[-1] == float(curve.curve.mean_layer[-1])


def test_both_texts_are_judged_at_the_same_thresholds(tmp_path: Path) -> None:
    recorded = Run.load(make_cell(tmp_path)).result().points
    point = next(p for p in recorded if p.rule == "2x").model_copy(update={"cut": 0.5, "threshold": 0.5})
    assert isinstance(point, OperatingPoint)
    own, other = curve_of(2), curve_of(3)
    found = measure_shift({"own": own, "other": other}, [point])
    thresholds = {name: [r["threshold"] for r in found["curve"] if r["texts"] == name] for name in ("own", "other")}
    assert thresholds["own"] == thresholds["other"]
    here, there = found["points"]
    assert here["mean_layer"] == float(own.layers_at(0.5).mean())
    assert there["mean_layer"] == float(other.layers_at(0.5).mean())
    assert found["full"]["other"]["accuracy"]["value"] == pytest.approx(
        float((other.predictions[:, -1] == other.exits.labels).mean())
    )


def test_points_are_the_usual_ones_or_the_first(tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path))
    assert [p.rule for p in find_points(run, None)] == ["no-loss", "2x"]
    assert [p.rule for p in find_points(run, "2x, -1")] == ["2x", "-1"]


def test_cells_of_csv_are_flat() -> None:
    row = {"point": "2x", "agreement": {"estimate": 0.5, "low": 0.4, "high": 0.6, "level": 0.95}, "counts": [1, 2]}
    flat = diagnose_view.flatten_row(row)
    assert flat == {"point": "2x", "agreement_estimate": 0.5, "agreement_low": 0.4, "agreement_high": 0.6}


def test_names_cannot_break_out_of_a_table() -> None:
    exits = exits_of(4)
    curve = TradeOff(OracleCorrect.criterion(), exits, Costs.layers(len(exits.ids), 4), ["accuracy"])
    shift = {"samples": 40, "warnings": ["<b>|"], **measure_shift({"a|b": curve, "<script>": curve}, [])}
    found = {"run": "<img>", "split": "x", "samples": 40, "exits": [], "consistency": [], "slowdown": None,
             "flips": {"mean": None, "back": {"estimate": math.nan}}, "shift": shift, "notes": [],
             "doubts": []}  # fmt: skip
    page = diagnose_view.render_diagnosis(found)
    assert "<img>" not in page
    assert "<b>" not in page
    out = Console(width=120, record=True, quiet=True)
    diagnose_view.print_diagnosis(found, out)
