"""What the live engine does is counted: the same again and again, and each thing done once too often is red."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench.cli.process import main
from bench.compare.compare import compare_results
from bench.compare.counts import compare_counts, list_moves
from bench.compare.gate import baseline as store
from bench.compare.gate import check
from bench.compare.gate.baseline import Baseline
from bench.compare.gate.cells import GateCell
from bench.compare.sources import read_results
from bench.compare.verdict import Row
from bench.errors import OK, REGRESSION
from bench.inference import live
from bench.inference.counting import count_work
from bench.inference.executors import EagerExecutor
from bench.results.exits import read_exits
from bench.results.measures import COUNTED, Counts
from bench.results.record import SCHEMA_VERSION, RunRecord
from bench.results.record_file import read_record, write_record
from bench.selfcheck.tiny import TINY, make_tiny_model
from strategies.base import Criterion, Head
from strategies.elbert import MonotoneWindow, SharedHead
from strategies.entropy import LinearHead, NormalisedEntropy
from tests.helpers.compare_records import Made, fake_run, logits

Patch = pytest.MonkeyPatch
LAST = int(str(TINY["num_hidden_layers"]))
CELL = GateCell("entropy", "bert-demo")
KEPT = Path(__file__).parents[2] / "results" / "baseline" / "bert-demo"
ROW = Row("cell", "counts", "same", "")


def count(model_type: str = "bert", criterion: Criterion | None = None, head: type[Head] = LinearHead) -> Counts:
    found = count_work(make_tiny_model(model_type, head), criterion or NormalisedEntropy())
    return Counts.of(found, "cpu", "float32")


@pytest.fixture(scope="module")
def before() -> Counts:
    return count()


# --------------------------------------------------------------------------- what is counted


@pytest.mark.parametrize("model_type", ["albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert"])
def test_the_same_is_counted_again(model_type: str) -> None:
    assert count(model_type) == count(model_type)


def test_nothing_runs_after_the_exit_and_every_exit_before_it_is_looked_at(before: Counts) -> None:
    never, half, several = before.runs
    for run, deepest in ((never, LAST), (half, LAST // 2), (several, LAST)):
        assert len(run.layers.operations) == len(run.heads.operations) == len(run.checks.operations) == deepest
    assert never.layers.operations[: LAST // 2] == half.layers.operations
    assert several.exits == (1, LAST // 2, LAST, LAST)


def test_one_value_is_read_at_a_check_and_the_answer_at_the_exit(before: Counts) -> None:
    never, half, _ = before.runs
    assert never.checks.syncs == (1,) * LAST
    # the estimate with which it leaves counts as too near the cut, so that the step is asked, too
    assert half.checks.syncs == (*(1,) * (LAST // 2 - 1), 3)
    assert sum(never.layers.syncs + never.heads.syncs) == 0


def test_the_weights_of_a_head_are_those_that_it_reads() -> None:
    hidden, outputs, size = int(str(TINY["hidden_size"])), 3, 4
    linear = size * outputs * (hidden + 1)
    assert count().runs[0].heads.weight_bytes == (linear,) * LAST
    pooler = size * hidden * (hidden + 1)
    assert count(criterion=MonotoneWindow(), head=SharedHead).runs[0].heads.weight_bytes == (pooler + linear,) * LAST


def test_a_batch_costs_what_its_remaining_samples_cost(before: Counts) -> None:
    touched = before.runs[2].layers.activation_bytes
    assert touched[0] > touched[1] > touched[2] == touched[3]


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_every_criterion_that_runs_live_is_counted(path: Path) -> None:
    cell, kept = GateCell(path.stem, KEPT.name), json.loads(path.read_text())
    found = cell.count(read_exits(KEPT / kept["logits"]))
    assert (found is None) == ("counts" not in kept) == (not cell.criterion.causal)
    assert found is None or all(run.sum_amounts("operations", "layers") > 0 for run in found.runs)


def test_counts_are_read_as_they_were_written(before: Counts) -> None:
    plain = before.to_plain()
    assert Counts.from_plain(json.loads(json.dumps(plain))) == before
    assert plain["runs"][0]["heads"]["operations"] == " ".join(["3"] * LAST)


# --------------------------------------------------------------------------- what is planted


def read_once_more(patch: Patch) -> None:
    """The check asks for the score besides the decision, where the step is asked: not where an estimate is sure."""
    leaves = NormalisedEntropy.leaves

    def asked(self: NormalisedEntropy, score: Tensor, cut: float) -> Tensor:
        score.sum().item()
        return leaves(self, score, cut)

    patch.setattr(NormalisedEntropy, "leaves", asked)


def copy_keys(patch: Patch) -> None:
    """The keys go to the device once more."""
    call = EagerExecutor.__call__

    def moved(self: Any, criterion: Any, cut: float, batch: Any, keys: Tensor) -> Any:
        return call(self, criterion, cut, batch, keys.to(self.device))

    patch.setattr(EagerExecutor, "__call__", moved)


def evaluate_head_twice(patch: Patch) -> None:
    """The probing of an exit computes its logits again."""
    observe = live.observe_exit

    def again(model: Any, probe: Any, memory: Any, hidden: Any, attention: Any, layer: int, found: Tensor) -> Any:
        return observe(model, probe, memory, hidden, attention, layer, model.head(hidden, attention, layer))

    patch.setattr(live, "observe_exit", again)


def run_a_layer_more(patch: Patch) -> None:
    """One layer runs after the samples have left, as a speculative engine's would."""
    for name in ("_run_one", "_run_many"):
        run = getattr(live, name)

        def further(model: Any, criterion: Any, cut: float, batch: Any, keys: Any, run: Any = run) -> Any:
            found = run(model, criterion, cut, batch, keys)
            if (deepest := int(found.layer.max())) < model.num_layers:
                model.encoder.layer(deepest + 1, model.encoder.embed(batch)[0], None)
            return found

        patch.setattr(live, name, further)


PLANTED: dict[str, tuple[Callable[[Patch], None], str]] = {
    "an extra .item()": (read_once_more, "host synchronisations 3 -> 4"),
    "an extra copy of the keys": (copy_keys, "transfers to a device"),
    "a head evaluated twice": (evaluate_head_twice, "head 1: operations 3 -> 6"),
    "a layer after the exit": (run_a_layer_more, f"layer {LAST // 2 + 1}: operations 0 -> "),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_done_once_too_often_is_worse(name: str, before: Counts, monkeypatch: Patch) -> None:
    plant, reason = PLANTED[name]
    with monkeypatch.context() as patch:
        plant(patch)
        after = count()
    assert "worse" in {row.verdict for row in compare_counts(ROW, before, after)}
    moves = [move for runs in zip(before.runs, after.runs, strict=True) for move in list_moves(*runs)]
    assert any(reason in move for move in moves), moves
    assert {row.verdict for row in compare_counts(ROW, before, count())} == {"same"}
    assert {row.verdict for row in compare_counts(ROW, after, before)} <= {"same", "better"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of one cell."""
    made = tmp_path_factory.mktemp("counted") / "baseline"
    exits = logits(samples=160)
    store.write_baseline(made, {CELL: fake_run(made.parent, exits)}, check.decide_on_probe([CELL.strategy]))
    return made


@pytest.mark.parametrize("name", PLANTED)
def test_the_gate_is_red(name: str, folder: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    """One strategy on one backbone; the others are new to the baseline, which is no reason to fail here."""
    gate = ["gate", "--rules-only", "--strategy", "entropy", "--baseline", str(folder), "--fail-on", "worse"]
    assert main(gate) == OK
    capsys.readouterr()
    with monkeypatch.context() as patch:
        PLANTED[name][0](patch)
        assert main([*gate, "--json"]) == REGRESSION
    rows = [row for row in json.loads(capsys.readouterr().out)["rows"] if row["verdict"] == "worse"]
    assert rows
    assert all(row["metric"].startswith("counts, ") for row in rows)


def test_a_baseline_from_before_is_judged_by_the_rest(folder: Path, tmp_path: Path) -> None:
    baseline = Baseline.read(folder)
    kept = {name: value for name, value in baseline.cells[CELL.label].items() if name != "counts"}
    [row] = check.compare_work(CELL, kept, baseline.exits(kept), "")
    assert (row.verdict, "from before anything was counted" in row.reason) == ("inconclusive", True)


def test_other_libraries_leave_it_open(before: Counts, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        read_once_more(patch)
        after = count()
    rows = compare_counts(ROW, before, after, "torch 1 -> 2")
    assert [row.verdict for row in rows] == ["same", "inconclusive", "inconclusive"]
    assert all("torch 1 -> 2 did it cannot be told" in row.reason for row in rows[1:])


def test_records_are_compared_by_what_was_counted(before: Counts, tmp_path: Path, monkeypatch: Patch) -> None:
    with monkeypatch.context() as patch:
        read_once_more(patch)
        after = count()
    for name, counts in (("base", before), ("same", before), ("after", after), ("old", None)):
        (path,) = Made().write(tmp_path / name).glob("*/*/*/record.json")
        record = read_record(path)
        assert isinstance(record, RunRecord)
        training = record.training.model_copy(update={"micro_batch": None})
        later = {"schema_version": SCHEMA_VERSION, "training": training, "criterion": None, "selected": ()}
        write_record(path, record.model_copy(update={**later, "precision": None, "counts": counts}))

    def compare(name: str) -> list[tuple[str, str]]:
        rows = compare_results(read_results(tmp_path / "base"), read_results(tmp_path / name)).rows
        return [(row.verdict, row.reason) for row in rows if row.metric.startswith("counts")]

    assert [verdict for verdict, _ in compare("same")] == ["same"] * 3
    assert [verdict for verdict, _ in compare("after")] == ["same", "worse", "worse"]
    assert compare("old") == [("not comparable", "in the candidate, nothing was counted")]
    assert set(COUNTED) == set(before.runs[0].heads.to_plain())
