"""Records are typed: every committed one loads and is written again as it was read."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DataError, UsageError
from bench.results.exits import read_exits
from bench.results.measures import OperatingPoint
from bench.results.record import RunRecord
from bench.results.run import Run
from bench.results.store import Only, Store

COMMITTED = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    found, left_out = Store(COMMITTED).runs()
    assert left_out == []
    return found


def test_every_committed_record_is_written_again_as_it_was_read(runs: list[Run]) -> None:
    """Value by value, in the same order; the older ones have more lines."""
    assert len(runs) > 200
    for run in runs:
        text = (run.folder / "record.json").read_text()
        assert json.dumps(json.loads(run.head.to_json())) == json.dumps(json.loads(text)), run.name
        assert len(run.head.to_json()) <= len(text), run.name


def test_text_with_brackets_in_it_stays_as_it_is(runs: list[Run]) -> None:
    for warning in ("{ a }", "[ 1,\n 2 ]", "{ half", "] \n {"):
        record = runs[0].record.model_copy(update={"warnings": (warning, "end }")})
        assert json.loads(record.to_json())["warnings"] == [warning, "end }"]
        assert json.loads(record.to_json()) == json.loads(json.dumps(record.to_plain()))


def test_a_row_of_a_curve_has_a_line(runs: list[Run]) -> None:
    [run] = [r for r in runs if r.folder.name == "entropy-s0-3d89e96a"]
    lines = [line.strip() for line in run.head.to_json().splitlines()]
    assert sum(line.startswith('{"threshold": ') for line in lines) == len(run.result().curve)


def test_every_committed_file_of_exits_has_the_checksum_of_its_content() -> None:
    files = sorted(COMMITTED.rglob("*.parquet"))
    assert len(files) > 500
    for path in files:
        assert len(read_exits(path).ids)


def test_a_point_that_lets_nobody_leave_has_a_cut_of_minus_infinity(runs: list[Run]) -> None:
    """Its threshold is null where no number says it; a patience of 0 does, which by patience's scale lets nobody."""
    points = [(run, p) for run in runs for p in run.result().points if isinstance(p, OperatingPoint)]
    assert len(points) > 1200
    never = {(run.strategy, p.threshold) for run, p in points if p.cut == -math.inf}
    assert len(never) > 3
    assert {(name, threshold) for name, threshold in never if threshold is not None} <= {("patience", 0)}
    for run, point in points:
        assert point.cut > -math.inf or point.exit_counts[-1] == point.samples, run.name


def test_a_run_answers_what_readers_ask(runs: list[Run]) -> None:
    [run] = [r for r in runs if r.folder.name == "entropy-s0-3d89e96a"]
    assert (run.name, run.status, run.error) == ("sst2/minilm-l6/entropy-s0-3d89e96a", "success", "")
    assert (run.strategy, run.task, run.backbone, run.seed, run.layers) == ("entropy", "sst2", "minilm-l6", 0, 6)
    assert (run.primary, run.metric) == ("validation", "accuracy")
    assert run.label.startswith("entropy | minilm-l6 ")
    assert run.finished() is run
    for rule, point in run.result().reached.items():
        layers = run.layers_at(rule)
        assert np.bincount(layers, minlength=7)[1:].tolist() == list(point.exit_counts)
        assert np.array_equal(layers, run.trade_off().layers_at(run.cut_of(rule)))
    assert set(run.layers_at(None).tolist()) == {6}
    assert run.cut_of(None) == -math.inf
    assert run.exits() is run.exits("validation")
    with pytest.raises(UsageError, match="has no operating point '9x'"):
        run.cut_of("9x")
    with pytest.raises(UsageError, match="no evaluation split 'test'"):
        run.result("test")
    with pytest.raises(DataError, match="no stored exits"):
        run.exits("test")


def test_what_readers_share_cannot_be_written_to(runs: list[Run]) -> None:
    [run] = [r for r in runs if r.folder.name == "entropy-s0-3d89e96a"]
    result = run.result()
    for shared in (run.record.evaluation, result.full.metrics, result.per_exit, result.reached, run.record.task.rows):
        with pytest.raises(TypeError, match="does not support item assignment"):
            shared["accuracy"] = None  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        run.exits().logits[0] = 0.0


def test_runs_are_found_and_chosen(runs: list[Run]) -> None:
    chosen, _ = Store(COMMITTED).runs(Only.named("mrpc", "minilm-l6"))
    assert chosen
    assert {(run.task, run.backbone) for run in chosen} == {("mrpc", "minilm-l6")}
    assert Store(COMMITTED).find_run("3d89e96a").strategy == "entropy"
    with pytest.raises(UsageError, match="no results folder"):
        Store(COMMITTED / "nowhere").runs()


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from bench.results.store import Store; "
        f"runs, _ = Store(Path({str(COMMITTED)!r})).runs(); runs[0].exits(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_the_file_is_described_by_a_json_schema() -> None:
    schema = RunRecord.model_json_schema()
    assert {"spec", "evaluation", "task"} <= set(schema["required"])
    assert schema["$defs"]["Estimate"]["required"] == ["value", "low", "high"]
