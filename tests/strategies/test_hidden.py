"""Criteria that read hidden states: their numbers by hand, the same live and replayed, recorded, stored, fitted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import bench
from bench.cell.fitting import MOST_FITTED, Probing
from bench.cli.process import main
from bench.errors import UsageError
from bench.inference.graphs import GraphExecutor
from bench.inference.live import run_live
from bench.inference.probing import probe_batch
from bench.inference.replay import make_criterion, make_evidence
from bench.inference.segments import EagerSegment
from bench.measure.cost import CostModel
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.scores import score_recorded
from bench.progress import Progress
from bench.results.exits import read_exits, write_exits
from bench.results.run import Run
from bench.results.store import Store
from bench.tasks.base import Split
from bench.tasks.encode import EncodedSplit
from bench.tasks.sampling import draw_rows
from strategies import STRATEGIES
from strategies.base import Seen, StrategyError, step_through
from strategies.learned import LearnedExit, LearningToExit, mark_wrong
from strategies.probe import Probe
from strategies.prototypes import ClassDistances, FarFromPrototype
from strategies.saturation import NeighbourCosine, Saturated
from tests.helpers.criteria import fitted
from tests.helpers.models.exit_models import make_batch, make_model, replay
from tests.helpers.small_runs import TINY, run_json, write_task

READING = [name for name in STRATEGIES if STRATEGIES.load(name).criterion().probe is not None]


def numbers(probe: Probe, states: list[list[list[float]]]) -> Tensor:
    """What ``probe`` reads of states given as [L][N][H]: [L, N, K]."""
    memory = probe.start(len(states[0]), len(states[0][0]), torch.float64, "cpu")
    read = []
    for layer, features in enumerate(states, start=1):
        memory, observed = probe.read(memory, torch.tensor(features, dtype=torch.float64), layer)
        read.append(observed)
    return torch.stack(read)


# --------------------------------------------------------------------------- by hand


def test_what_learning_to_exit_learns() -> None:
    """BERxiT, learning to exit: 1 where the answer is wrong; |tanh(y_hat - y)| for regression."""
    logits = torch.tensor([[[2.0, 1.0], [0.0, 3.0]], [[1.0, 0.0], [0.5, 0.0]]])
    assert mark_wrong(logits, torch.tensor([1, 0])).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    values = torch.tensor([[[1.0], [2.5]]])
    expected = [math.tanh(1.0), math.tanh(0.5)]
    assert mark_wrong(values, torch.tensor([2.0]))[0].tolist() == pytest.approx(expected)


def test_the_learned_module_is_one_sigmoid_shared_by_all_exits() -> None:
    """u = sigmoid(c.h + b) with c = (1, -2), b = 0.5; it leaves where u < threshold."""
    probe = LearnedExit()
    probe.restore({"weight": torch.tensor([1.0, -2.0]), "bias": torch.tensor([0.5])})
    read = numbers(probe.double(), [[[0.5, 0.5], [0.0, 3.0]], [[0.0, 0.25], [0.0, 0.25]]])
    expected = [0.5, 1 / (1 + math.exp(5.5)), 0.5, 0.5]
    assert read.flatten().tolist() == pytest.approx(expected)
    _, score = LearningToExit().step({}, Seen(1, torch.zeros(2, 3), read[0]))
    assert (score < 0.005).tolist() == [False, True]


def test_learning_to_exit_finds_what_makes_exits_wrong() -> None:
    """Where the first feature is positive, early exits are wrong: nothing else may be learned from."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 3, 4, generator=generator)
    wrong = features[:, :, 0] > 0
    wrong[:, 2] = True  # the last exit, which is not learned from
    logits = torch.nn.functional.one_hot(wrong.long(), 2).float()
    labels = torch.zeros(300, dtype=torch.long)
    probe, again = LearnedExit(), LearnedExit()
    report = probe.fit(features, logits, labels)
    again.fit(features, logits, labels)
    assert report["loss"][0] < 0.1  # 0.25 knows nothing
    assert report["wrong"] == pytest.approx(wrong[:, :2].float().mean(dim=0).tolist())
    assert probe.weight[0] > 5 * probe.weight[1:].abs().max()
    assert torch.equal(probe.weight, again.weight)


@pytest.mark.parametrize(("exits", "learned"), [(1, 1), (2, 1), (3, 2)])
def test_the_last_exit_teaches_only_where_it_is_the_only_one(exits: int, learned: int) -> None:
    features, logits = torch.zeros(4, exits, 2), torch.zeros(4, exits, 2)
    assert len(LearnedExit().fit(features, logits, torch.tensor([0, 1, 0, 1]))["wrong"]) == learned


def test_saturation_is_the_cosine_with_the_exit_before() -> None:
    """CALM: (1, 0) then (1, 1) is cos 45 degrees, then (2, 2) is saturated, then (-1, -1) is turned round."""
    read = numbers(NeighbourCosine(), [[[1.0, 0.0]], [[1.0, 1.0]], [[2.0, 2.0]], [[-1.0, -1.0]]])
    assert read.flatten().tolist() == pytest.approx([-1.0, math.sqrt(0.5), 1.0, -1.0])
    score = torch.cat([Saturated().step({}, Seen(i, torch.zeros(1, 2), row))[1] for i, row in enumerate(read, 1)])
    assert score.tolist() == pytest.approx([2.0, 1 - math.sqrt(0.5), 0.0, 2.0], abs=1e-12)
    layers = [int(exit_layers(score[None].numpy(), cut)[0]) for cut in (0.0, 0.1, 0.3, 2.0, 2.1)]
    assert layers == [4, 3, 2, 2, 1]  # no setting up to 2 takes exit 1


def test_prototypes_are_class_means_and_distances_are_relative() -> None:
    """E2CM. Class 0 at 0 and 2, class 1 at 9 and 11: means 1 and 10, mean distances 5 and 5 over all four samples."""
    features = torch.tensor([0.0, 2.0, 9.0, 11.0])[:, None, None]
    probe = ClassDistances()
    counts = probe.fit(features, torch.zeros(4, 1, 2), torch.tensor([0, 0, 1, 1]))
    assert counts == {"samples": [2.0, 2.0]}
    assert probe.means.flatten().tolist() == [1.0, 10.0]
    assert probe.scale.flatten().tolist() == [(1 + 1 + 8 + 10) / 4, (10 + 8 + 1 + 1) / 4]
    [read] = numbers(probe.double(), [[[1.0], [5.5], [10.0]]])
    assert read.tolist() == [[0.0, 1.8], [0.9, 0.9], [1.8, 0.0]]
    answers = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # all say class 0
    _, score = FarFromPrototype().step({}, Seen(1, answers, read))
    sure = 1 / (1 + math.exp(1.8))
    assert score.tolist() == pytest.approx([sure, 0.5, 1 - sure])


def test_a_class_without_samples_has_no_prototype() -> None:
    with pytest.raises(StrategyError, match="Class 2 has no sample"):
        ClassDistances().fit(torch.zeros(4, 1, 3), torch.zeros(4, 1, 3), torch.tensor([0, 0, 1, 1]))


# --------------------------------------------------------------------------- live, segments, FLOPs


@pytest.mark.parametrize("name", READING)
def test_segments_carry_the_probes_memory(name: str) -> None:
    """Over buckets that change, as the eager executor decides."""
    strategy = STRATEGIES.load(name)
    model = make_model("bert", strategy.head).double()
    criterion = fitted(strategy.criterion(), model)
    batch = make_batch([40, 5, 30, 16, 20, 8])
    z, observed = (torch.stack(one, dim=1) for one in zip(*seen(model, criterion), strict=True))
    levels = torch.cat([score for _, score in step_through(criterion, z, observed=observed)])
    executor = GraphExecutor(model, EagerSegment)
    depths = set()
    for cut in levels.quantile(torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)).tolist():
        expected, found = run_live(model, criterion, cut, batch), executor(criterion, cut, batch)
        assert found.layer.tolist() == expected.layer.tolist()
        assert replay(model, criterion, cut, batch, None).layer.tolist() == expected.layer.tolist()
        depths |= set(found.layer.tolist())
    assert len(depths) >= 3


def seen(model: Any, criterion: Any) -> list[tuple[Tensor, Tensor]]:
    """Logits and observations at every exit of one batch."""
    batch = make_batch([40, 5, 30, 16, 20, 8])
    with torch.inference_mode():
        logits = model(batch)
    return list(zip(logits, probe_batch(model, criterion.probe, batch).unbind(dim=1), strict=True))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", READING)
def test_half_precision_is_read_in_float32(name: str, size: int) -> None:
    strategy = STRATEGIES.load(name)
    model = make_model("bert", strategy.head)
    criterion = fitted(strategy.criterion(), model)
    model.to(torch.bfloat16)
    batch = make_batch([7, 5, 6][:size])
    assert probe_batch(model, criterion.probe, batch).dtype == torch.float32
    assert run_live(model, criterion, criterion.cut(criterion.default_threshold), batch).logits.dtype == torch.float32


@pytest.mark.parametrize("name", READING)
def test_what_a_probe_reads_is_paid_for_at_every_visited_exit(name: str) -> None:
    strategy = STRATEGIES.load(name)
    model = make_model("bert", strategy.head, 3)
    criterion, hidden = strategy.criterion(), model.encoder.hidden_size
    bare = CostModel(model.encoder, model.head).flops_table(np.array([7]))
    extra = CostModel(model.encoder, model.head, criterion).flops_table(np.array([7])) - bare
    paid = [2 * criterion.probe.macs(hidden, 3, layer) for layer in range(1, model.num_layers)]
    assert extra[0].tolist() == np.cumsum([*paid, 0]).tolist()
    assert sum(paid) > 0


def test_matmuls_of_the_learned_module_are_what_torch_counts() -> None:
    model = make_model("bert")
    probe = fitted(LearningToExit(), model).probe
    assert probe is not None
    with FlopCounterMode(display=False) as counter:
        probe.read({}, torch.ones(1, 1, 32)[0], 1)
        torch.ones(1, 32) @ torch.ones(32, 1)  # a product with a vector is not counted; the same as a matrix is
    assert counter.get_total_flops() == 2 * probe.macs(32, 3, 1)


# --------------------------------------------------------------------------- recorded and kept


def test_exits_keep_what_was_observed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    logits, observed = random.normal(size=(5, 4, 2)), random.normal(size=(5, 4, 3))
    kept = AllExits(tuple("abcde"), np.arange(5), logits.astype(np.float32), np.full(5, 9), observed.astype(np.float32))
    write_exits(kept, tmp_path / "with.parquet")
    write_exits(replace(kept, observed=None), tmp_path / "without.parquet")
    again = read_exits(tmp_path / "with.parquet")
    assert np.array_equal(again.observed, kept.observed)
    assert np.array_equal(again.logits, kept.logits)
    assert read_exits(tmp_path / "without.parquet").observed is None
    part = again.take(np.array([3, 0]))
    assert part.ids == ("d", "a")
    assert np.array_equal(part.observed, kept.observed[[3, 0]])
    evidence = make_evidence(again)
    assert evidence.labels.dtype == torch.int64
    assert np.array_equal(evidence.observed, kept.observed)


def split(rows: int) -> Split:
    ids = tuple(f"s{i}" for i in range(rows))
    return Split("train", ids, ids, None, np.arange(rows) % 3, rows)


def test_a_probe_is_fitted_on_a_fixed_draw_of_the_training_split() -> None:
    small, large = split(50), split(MOST_FITTED + 900)
    assert draw_rows(small, MOST_FITTED, 0) is small
    first, other = draw_rows(large, MOST_FITTED, 0), draw_rows(large, MOST_FITTED, 1)
    assert len(first) == MOST_FITTED
    assert first.ids == draw_rows(large, MOST_FITTED, 0).ids != other.ids
    rows = [int(name[1:]) for name in first.ids]
    assert rows == sorted(set(rows))


class Careful(ClassDistances):
    """Counts how often it is fitted; with a setting of its own."""

    fits = 0

    def __init__(self, power: int = 1) -> None:
        super().__init__()
        self.settings = {"power": power}

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        Careful.fits += 1
        assert features.shape == (30, 5, 32)
        assert logits.shape == (30, 5, 3)
        return super().fit(features, logits, labels)


def tokens_of(part: Split) -> EncodedSplit:
    lengths = np.array([3 + int(name[1:]) % 4 for name in part.ids])
    return EncodedSplit([[5 + i % 40] * int(n) for i, n in enumerate(lengths)], None, lengths, 0, 1)


def test_what_a_probe_learned_is_loaded_the_next_time(tmp_path: Path) -> None:
    model, store, quiet = make_model("bert"), Store(tmp_path), Progress(quiet=True)

    def probing(probe: Probe, **identity: object) -> Probing:
        return Probing(model, probe, store, {"seed": 0, **identity}, quiet)

    first, second = probing(Careful()), probing(Careful())
    facts = first.fit_or_load(split(30), tokens_of, 0, print)
    assert facts == second.fit_or_load(split(30), tokens_of, 0, print) == probing(Careful()).load()
    assert facts.samples == 30
    assert Careful.fits == 1
    assert torch.equal(first.probe.means, second.probe.means)  # type: ignore[arg-type]
    assert len({first.key, probing(Careful(2)).key, probing(Careful(), dtype="bf16").key}) == 3
    with pytest.raises(UsageError, match="learned is gone"):
        probing(Careful(2)).load()

    part, encoded = split(7), tokens_of(split(7))
    exits = AllExits(part.ids, part.labels, np.zeros((7, 5, 3), dtype=np.float32), encoded.lengths)
    read = first.read(exits, part, encoded, print)
    assert read.observed is not None
    assert read.observed.shape == (7, 5, 3)
    row = probe_batch(model, first.probe, make_batch_of(encoded, 4))
    np.testing.assert_allclose(read.observed[4], row[0], rtol=1e-5)
    model.encoder.layer = None  # type: ignore[assignment, method-assign]  # nothing is computed a second time
    assert np.array_equal(second.read(exits, part, encoded, print).observed, read.observed)


def make_batch_of(encoded: EncodedSplit, row: int) -> Any:
    from bench.tasks.encode import collate_batch

    return collate_batch(encoded, [row])


# --------------------------------------------------------------------------- from anybody's files


LOGITS = np.array([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 1.0]]])


def test_observations_are_asked_for_and_checked() -> None:
    with pytest.raises(UsageError, match=r"needs `observed` \(2, 2, 1\) beside the logits"):
        bench.replay("saturation", LOGITS)
    with pytest.raises(UsageError, match=r"observed must be .* \(2, 2, 1\), not \(2, 2, 2\)"):
        bench.replay("saturation", LOGITS, observed=LOGITS)
    found = bench.replay("learned-exit", LOGITS, 0.5, observed=[[[0.4], [0.9]], [[0.5], [0.9]]])
    assert found.layer.tolist() == [1, 2]


def test_the_command_line_reads_observations_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, observed = tmp_path / "logits.npz", np.array([[[0.4], [0.9]], [[0.5], [0.9]]])
    np.savez(file, logits=LOGITS, labels=[0, 1], observed=observed)
    assert main(["replay", str(file), "--strategy", "learned-exit", "--threshold", "0.5", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["exit_counts"] == [1, 1]
    assert shown["points"]
    np.savez(file, logits=LOGITS, observed=observed[:1])
    assert main(["replay", str(file), "--strategy", "learned-exit"]) == 2
    assert "observed must be (samples, exits, numbers)" in capsys.readouterr().err


def test_a_fitted_criterion_needs_a_held_out_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other, bare = tmp_path / "logits.npz", tmp_path / "held-out.npz", tmp_path / "bare.npz"
    random = np.random.default_rng(0)
    np.savez(file, logits=LOGITS, labels=[0, 1])
    np.savez(other, logits=random.normal(size=(50, 2, 2)), labels=random.integers(0, 2, 50))
    np.savez(bare, logits=LOGITS)
    asked = ["replay", str(file), "--strategy", "temperature", "--json"]
    assert main([*asked, "--fit-on", str(other)]) == 0
    assert len(json.loads(capsys.readouterr().out)["fitted"]["temperatures"]) == 2
    for more, said in (
        ([], "is fitted on held-out samples: give a file of them with --fit-on"),
        (["--fit-on", str(bare)], "has no labels, and --fit-on needs them"),
        (["--strategy", "entropy", "--fit-on", str(other)], "has nothing to fit: leave --fit-on out"),
    ):
        assert main([*asked, *more]) == 2
        assert said in capsys.readouterr().err


# --------------------------------------------------------------------------- from question to record


@pytest.mark.slow
def test_a_run_records_what_its_criterion_read_and_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is replayed from its folder as it ran; texts and typical cases are explained."""
    task, results = write_task(tmp_path / "reviews"), tmp_path / "results"
    monkeypatch.chdir(tmp_path)  # where a folder task is looked for again
    common = ["--task", str(task), "--backbone", "bert-demo", "--recipe", "joint", "--results-dir", str(results)]
    names = [*READING, "temperature"]
    for found_cell in run_json(capsys, "--strategy", ",".join(names), *common, *TINY):
        record = found_cell["record"]
        name = record["spec"]["strategy"]
        run = Run.load(Path(found_cell["folder"]))
        assert (record["criterion"]["probe"] is not None) == (name in READING)
        assert bool(record["criterion"]["fitted"]) == (name == "temperature")
        assert record["live_check"]["ok"]
        found = score_recorded(run.criterion, run.exits("validation"))
        strict = make_criterion(name, {})[0].strict
        for point in record["evaluation"]["validation"]["points"]:
            if "metrics" in point:
                cut = -math.inf if point["cut"] is None else point["cut"]
                layers = exit_layers(found, float(found.dtype.type(cut)), strict=strict)
                assert np.bincount(layers, minlength=4)[1:].tolist() == point["exit_counts"]
        explained = ["explain", run.folder.name, "--results-dir", str(results), "--quiet"]
        assert main([*explained, "--text", "the soup was great in week 3", "--json"]) == 0
        [shown] = json.loads(capsys.readouterr().out)
        assert not {leaving["criterion"] for leaving in shown["leavings"] if not leaving["own"]} & {*names}
        assert main([*explained, "--sample", run.exits("validation").ids[0], "--json"]) == 0
        point = record["evaluation"]["validation"]["points"][0]
        [shown] = json.loads(capsys.readouterr().out)
        default = next(leaving for leaving in shown["leavings"] if leaving["point"] == point["rule"])
        at = float(found.dtype.type(point["cut"]))
        assert default["layer"] == exit_layers(found[:1], at, strict=strict)[0]
        assert main([*explained, "--cases", "--json"]) == 0
        capsys.readouterr()
    heads = {STRATEGIES.load(name).head for name in names}  # one checkpoint each: the criteria share them
    assert [len(list((results / ".cache" / kept).iterdir())) for kept in ("checkpoints", "exits")] == [len(heads)] * 2
    assert len(list((results / ".cache" / "probes").iterdir())) == len(READING)


@pytest.mark.slow
def test_a_probe_serves_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, results = write_task(tmp_path / "scores", regression=True), str(tmp_path / "results")
    common = ["--task", str(task), "--backbone", "bert-demo", "--results-dir", results, *TINY]
    for found in run_json(capsys, "--strategy", "learned-exit,saturation", *common):
        assert found["record"]["live_check"]["ok"]
        assert found["record"]["task"]["kind"] == "regression"
    assert main(["run", "--strategy", "prototypes", *common]) != 0
    assert "a regression task has none" in capsys.readouterr().err


def test_every_prototype_has_a_scale_of_its_own_at_every_exit() -> None:
    """Exit 1: class 0 at 0 and 2, class 1 at 9 and 15; exit 2 the same, ten times as far apart."""
    features = torch.tensor([[0.0, 0.0], [2.0, 20.0], [9.0, 90.0], [15.0, 150.0]])[:, :, None]
    probe = ClassDistances()
    probe.fit(features, torch.zeros(4, 2, 2), torch.tensor([0, 0, 1, 1]))
    first = [(1 + 1 + 8 + 14) / 4, (12 + 10 + 3 + 3) / 4]  # mean distances of all four to 1 and to 12
    assert probe.scale.tolist() == [pytest.approx(first), pytest.approx([10 * s for s in first])]
    _, read = probe.double().read({}, torch.tensor([[2.0]], dtype=torch.float64), 1)
    assert read.tolist() == [pytest.approx([1 / first[0], 10 / first[1]])]
    _, read = probe.read({}, torch.tensor([[20.0]], dtype=torch.float64), 2)
    assert read.tolist() == [pytest.approx([1 / first[0], 10 / first[1]])]
