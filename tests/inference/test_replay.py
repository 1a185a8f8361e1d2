"""Anybody's logits: `bench replay` and `bench.replay` decide alike, and as worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bench
from bench.cli.process import main
from bench.errors import UsageError
from bench.measure.exits import AllExits
from bench.measure.scores import hash_ids
from bench.results.exits import read_exits, write_exits
from strategies import STRATEGIES
from strategies.base import Evidence, StrategyError
from tests.helpers.criteria import reads

# Two classes as log-probabilities: (p0 at exits 1..3) per sample, then the class that is said there.
P0 = np.array([[0.99, 0.6, 0.7], [0.6, 0.99, 0.2], [0.5, 0.4, 0.01], [0.55, 0.6, 0.65]])
LOGITS = np.log(np.stack([P0, 1 - P0], axis=2))
LABELS = np.array([0, 0, 1, 1])


@pytest.fixture
def logits_file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "logits.npz", logits=LOGITS, labels=LABELS, ids=np.array(["a", "b", "c", "d"]))
    return tmp_path / "logits.npz"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["replay", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_by_hand() -> None:
    found = bench.replay("entropy", LOGITS, threshold=0.1)
    assert found.layer.tolist() == [1, 2, 3, 3]
    assert found.prediction.tolist() == [0, 0, 1, 0]
    assert found.layer.dtype == np.int64
    assert found.scores.shape == (4, 3)


def test_the_command_line_decides_as_the_call(logits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, str(logits_file), "--strategy", "entropy", "--threshold", "0.1")
    assert [(d["id"], d["layer"], d["prediction"]) for d in shown["decisions"]] == [
        ("a", 1, 0),
        ("b", 2, 0),
        ("c", 3, 1),
        ("d", 3, 0),
    ]
    assert shown["mean_layer"] == 2.25
    assert shown["exit_counts"] == [1, 1, 2]
    assert shown["full"]["metrics"]["accuracy"]["value"] == 0.5
    given_point = shown["points"][-1]
    assert (given_point["chosen_on"], given_point["threshold"]) == ("given", 0.1)
    assert given_point["metrics"]["accuracy"]["value"] == 0.75
    assert given_point["cost_unit"] == "layers"
    assert {p["chosen_on"] for p in shown["points"][:-1]} == {"these samples"}


def test_the_criterions_own_threshold_is_called_default(logits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, str(logits_file), "--strategy", "entropy")
    assert [(p["rule"], p["chosen_on"]) for p in shown["points"] if p["chosen_on"] != "these samples"] == [
        ("default", "default")
    ]
    assert shown["points"][0]["threshold"] == shown["threshold"]


def test_the_table(logits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(logits_file), "--strategy", "entropy", "--threshold", "0.1"]) == 0
    shown = capsys.readouterr().out
    assert "entropy | 4 samples, 3 exits" in shown
    assert "layers speed-up" in shown
    assert "Thresholds are chosen by accuracy on these samples and reported on them: optimistic" in shown
    assert "  b: exit 2, prediction 0" in shown


def test_without_labels_there_are_decisions_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "logits.npz", logits=LOGITS.astype(np.float16))
    shown = printed(capsys, str(tmp_path / "logits.npz"), "--strategy", "entropy")
    assert "points" not in shown
    assert [d["id"] for d in shown["decisions"]] == ["0", "1", "2", "3"]
    assert main(["replay", str(tmp_path / "logits.npz"), "--strategy", "entropy"]) == 0
    assert "optimistic" not in capsys.readouterr().out


def test_long_tables_are_cut_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "logits.npz", logits=np.repeat(LOGITS, 10, axis=0))
    assert main(["replay", str(tmp_path / "logits.npz"), "--strategy", "entropy"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(", prediction ") == 20
    assert "... 20 more; --json prints all." in shown
    assert len(printed(capsys, str(tmp_path / "logits.npz"), "--strategy", "entropy")["decisions"]) == 40


def test_exits_of_a_run_are_read_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "exits.parquet"
    kept = AllExits(("a", "b", "c", "d"), LABELS, LOGITS.astype(np.float32), np.full(4, 7))
    write_exits(kept, path)
    again = read_exits(path)
    assert again.ids == kept.ids
    for name in ("labels", "logits", "lengths"):
        assert np.array_equal(getattr(again, name), getattr(kept, name))
    assert not again.logits.flags.writeable
    shown = printed(capsys, str(path), "--strategy", "entropy", "--threshold", "0.1")
    assert [d["layer"] for d in shown["decisions"]] == [1, 2, 3, 3]


def test_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([[[1.0], [1.05], [1.06]], [[0.0], [0.5], [2.0]], [[3.0], [1.0], [1.0]]])
    np.savez(tmp_path / "logits.npz", logits=values, labels=np.array([1.0, 2.5, 1.5]))
    shown = printed(capsys, str(tmp_path / "logits.npz"), "--strategy", "patience", "--set", "patience=1")
    assert [d["layer"] for d in shown["decisions"]] == [2, 3, 3]
    assert shown["metrics"] == ["pearson"]
    both = printed(capsys, str(tmp_path / "logits.npz"), "--strategy", "full", "--metric", "pearson,spearman")
    assert set(both["full"]["metrics"]) == {"pearson", "spearman"}


def test_the_fields_own_name_of_the_threshold() -> None:
    named, plain = bench.replay("patience", LOGITS, patience=1), bench.replay("patience", LOGITS, threshold=1)
    assert named.layer.tolist() == plain.layer.tolist() == [2, 2, 3, 2]
    with pytest.raises(UsageError, match="Give the threshold once: as threshold or as patience"):
        bench.replay("patience", LOGITS, threshold=1, patience=1)
    with pytest.raises(UsageError, match="patience must be a number, not 'much'"):
        bench.replay("patience", LOGITS, patience="much")


def test_a_wrapper_takes_the_wrapped_criterions_name_of_the_threshold() -> None:
    held_out = Evidence(torch.from_numpy(LOGITS), torch.from_numpy(LABELS))
    found = [
        bench.replay("temperature", LOGITS, fit_on=held_out, of="patience", **{name: 1})
        for name in ("patience", "threshold")
    ]
    assert found[0].layer.tolist() == found[1].layer.tolist()


def test_arguments_and_warnings(logits_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = printed(capsys, str(logits_file), "--strategy", "elbert-label", "--set", "window=2", "--threshold", "0")
    assert [d["layer"] for d in short["decisions"]] == [2, 2, 3, 2]
    assert short["warnings"] == []
    usual = printed(capsys, str(logits_file), "--strategy", "elbert-label", "--threshold", "0")
    assert (usual["decisions"], usual["warnings"]) == (short["decisions"], [])  # a third of 3 layers, at least 2
    long = printed(capsys, str(logits_file), "--strategy", "elbert-label", "--set", "window=8")
    assert long["warnings"] == ["window 8 is longer than the backbone's 3 layers and can never fire"]
    with pytest.raises(UsageError, match=r"Unknown argument 'windw' of .*\. Did you mean 'window'"):
        bench.replay("elbert-label", LOGITS, windw=2)


def test_oracles_need_labels() -> None:
    with pytest.raises(UsageError, match="is an oracle and needs the labels"):
        bench.replay("oracle-correct", LOGITS, threshold=0.5)
    # the last sample is right nowhere, so its depth is wasted and exit 1 will do
    assert bench.replay("oracle-correct", LOGITS, threshold=0.5, labels=LABELS).layer.tolist() == [1, 1, 2, 1]


@pytest.mark.parametrize("shape", [(3, 2), (0, 3, 2), (4, 0, 2), (4, 3, 0)])
def test_shapes_that_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="logits must be samples x exits x classes"):
        bench.replay("entropy", np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad: float) -> None:
    logits = LOGITS.copy()
    logits[1, 2, 0] = bad
    with pytest.raises(StrategyError, match="Logits of sample 1 at exit 3 are not finite"):
        bench.replay("entropy", logits)


def test_kinds_of_arrays() -> None:
    expected = bench.replay("entropy", LOGITS, threshold=0.1).layer.tolist()
    for kind in (torch.tensor(LOGITS), torch.tensor(LOGITS).bfloat16(), LOGITS.tolist(), LOGITS.astype(np.float32)):
        assert bench.replay("entropy", kind, threshold=0.1).layer.tolist() == expected
    read_only = LOGITS.copy()
    read_only.flags.writeable = False
    assert bench.replay("entropy", read_only, threshold=0.1).layer.tolist() == expected


def test_sample_keys_belong_to_the_id_alone() -> None:
    one, other = hash_ids(("a", "b", "c")), hash_ids(("c", "a"))
    assert other.tolist() == [one[2], one[0]]


CAUSAL = [name for name in STRATEGIES if STRATEGIES.load(name).criterion.causal]


@pytest.mark.parametrize("name", CAUSAL)
@settings(deadline=None)
@given(data=st.data())
def test_samples_do_not_know_of_each_other(name: str, data: st.DataObject) -> None:
    """Alone, reordered or among others, a sample leaves at the same exit with the same answer."""
    samples, exits, classes = (data.draw(st.integers(1, 6)) for _ in range(3))
    seed = data.draw(st.integers(0, 2**16))
    random = np.random.default_rng(seed)
    logits: NDArray[np.float64] = random.normal(0, 3, (samples, exits, classes + 1)).round(1)
    labels, ids = random.integers(0, classes + 1, samples), np.array([f"s{i}" for i in range(samples)])
    other, criterion = torch.from_numpy(logits[::-1].copy()), STRATEGIES.load(name).criterion()
    threshold = data.draw(st.sampled_from([0.0, 1.0, 2.0] if criterion.integer else [0.0, 0.1, 0.5, 1.0, 2.0]))
    evidence = Evidence(other, torch.from_numpy(labels), reads(criterion, other))

    def replay(logits: NDArray[np.float64], threshold: float, **given: Any) -> bench.Decisions:
        observed = reads(criterion, torch.from_numpy(logits))
        return bench.replay(name, logits, threshold, fit_on=evidence, observed=observed, **given)

    whole = replay(logits, threshold, labels=labels, ids=ids)
    order = random.permutation(samples)
    mixed = replay(logits[order], threshold, labels=labels[order], ids=ids[order])
    assert mixed.layer.tolist() == whole.layer[order].tolist()
    assert mixed.prediction.tolist() == whole.prediction[order].tolist()
    for i in range(samples):
        alone = replay(logits[i : i + 1], threshold, labels=labels[i : i + 1], ids=ids[i : i + 1])
        assert (alone.layer[0], alone.prediction[0]) == (whole.layer[i], whole.prediction[i])


def test_decisions_with_labels_have_accuracy_and_the_exact_curve() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(60, 4, 3)), random.integers(0, 3, 60)
    decided = bench.replay("entropy", logits, 0.6, labels=labels)
    assert decided.accuracy == (decided.prediction == labels).mean()
    curve = decided.curve
    assert curve["quality"].iloc[0] == (logits[:, -1].argmax(axis=1) == labels).mean()
    for threshold, quality, mean_layer in (
        curve[["threshold", "quality", "mean_layer"]].iloc[1:10].itertuples(index=False)
    ):
        again = bench.replay("entropy", logits, threshold, labels=labels)
        assert (again.accuracy, again.layer.mean()) == pytest.approx((quality, mean_layer))
    assert f"leave after {decided.layer.mean():.2f} of 4 layers" in decided._repr_html_()


def test_decisions_without_labels_say_what_is_missing() -> None:
    decided = bench.replay("entropy", np.zeros((2, 2, 2)), 0.5)
    with pytest.raises(UsageError, match="labels="):
        _ = decided.curve
    with pytest.raises(UsageError, match="one a sample"):
        bench.replay("entropy", np.zeros((2, 2, 2)), 0.5, labels=[0])
