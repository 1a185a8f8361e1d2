"""`bench monitor`: drift is found where there is some, and false alarms are as rare as they should be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.advise.export.monitor import (
    Drift,
    compare_shares,
    compare_traffic,
    describe_drift,
    read_exported,
    read_monitored,
)
from bench.advise.export.recorded import LARGEST, MOST_KEPT, count_leavers, thin_scores
from bench.cli.process import main
from bench.errors import DataError, UsageError
from tests.helpers.small_runs import TINY, reviews, write_task


def draw(seed: int, texts: int, shift: float = 0.0) -> tuple[list[int], list[list[float]]]:
    """Exits of ``texts`` from 1 to 4, and the scores at those asked: a text leaves where its score is below 0.5."""
    random = np.random.default_rng(seed)
    layers, scores = [], []
    for row in random.uniform(0, 1, (texts, 3)) + shift:
        below = np.flatnonzero(row < 0.5)
        layer = int(below[0]) + 1 if len(below) else 4
        layers.append(layer)
        scores.append(row[: min(layer, 3)].tolist())
    return layers, scores


def record(seed: int, texts: int) -> dict[str, Any]:
    layers, scores = draw(seed, texts)
    return {
        "split": "validation",
        "samples": texts,
        "exit_counts": count_leavers(layers, 4),
        "asked": [sum(layer > passed for layer in layers) for passed in range(3)],
        "scores": [thin_scores([s[passed] for s in scores if len(s) > passed]) for passed in range(3)],
    }


def compare(seed: int, texts: int, shift: float = 0.0, recorded: int = 400) -> Drift:
    return compare_traffic(*draw(seed, texts, shift), record(seed + 10_000, recorded), 0.05)


def test_the_same_texts_have_not_drifted() -> None:
    found = compare_traffic(*draw(3, 300), record(3, 300), 0.05)
    assert not found.drifted
    assert [shift.p for shift in found.shifts] == pytest.approx([1.0] * 4)
    assert describe_drift(found).startswith("No drift is seen: smallest p = 1 over 4 tests, 300 texts against 300")


def test_false_alarms_are_as_rare_as_asked() -> None:
    alarms = sum(compare(seed, 150).drifted for seed in range(200))
    assert alarms <= stats.binom.ppf(0.999, 200, 0.05)


@pytest.mark.parametrize("texts", [8, 30])
def test_few_texts_raise_no_more_false_alarms(texts: int) -> None:
    assert sum(compare(seed, texts).drifted for seed in range(200)) <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_shift_is_found_and_named() -> None:
    found = compare(1, 400, shift=0.2)
    assert found.drifted
    assert {shift.what for shift in found.shifts} == {"exit shares", *(f"scores at exit {i}" for i in (1, 2, 3))}
    said = describe_drift(found)
    assert said.startswith("Drifted: the ")
    assert "400 texts against 400 recorded ones (validation)" in said
    assert found.to_plain()["drifted"] is True


def test_scores_tell_what_shares_do_not() -> None:
    layers, scores = draw(5, 400)
    nearer = [[score if score >= 0.5 else score / 5 for score in asked] for asked in scores]
    found = compare_traffic(layers, nearer, record(5, 400), 0.05)
    by_name = {shift.what: shift for shift in found.shifts}
    assert by_name["exit shares"].p == 1
    assert by_name["scores at exit 1"].adjusted < 0.001


def test_few_texts_are_said_to_be_few() -> None:
    said = describe_drift(compare(2, 25))
    assert "With so few, only shifts of more than 28% of the texts would show." in said
    assert "With so few" not in describe_drift(compare(2, 150))


def test_the_shares_test_agrees_with_the_tables_of_old_where_these_hold() -> None:
    new, old = [60, 30, 10], [180, 140, 80]
    distance, p = compare_shares(new, old)
    assert p == pytest.approx(stats.chi2_contingency([new, old]).pvalue, abs=0.015)
    assert distance == pytest.approx((abs(0.6 - 0.45) + abs(0.3 - 0.35) + abs(0.1 - 0.2)) / 2)
    assert compare_shares([5, 0, 0], [50, 0, 0]) == (0, 1)


def test_scores_are_thinned_to_quantiles_and_are_numbers_of_json() -> None:
    kept = thin_scores(np.linspace(0, 1, 5001))
    assert len(kept) == MOST_KEPT
    assert stats.ks_2samp(kept, np.linspace(0, 1, 5001)).statistic < 0.002
    assert thin_scores([np.inf, 0.25, -np.inf]) == pytest.approx([-LARGEST, 0.25, LARGEST])
    json.dumps(thin_scores([np.inf, -np.inf]), allow_nan=False)


# ------------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("name", "content", "pairs", "expected"),
    [
        ("a.txt", "one\n\ntwo\twords\n", False, ["one", "two\twords"]),
        ("a.txt", "one\ttwo\nthree\tfour", True, [("one", "two"), ("three", "four")]),
        ("a.csv", "text,label\none,x\ntwo,y\n", False, ["one", "two"]),
        ("a.jsonl", '{"sentence1": "a", "sentence2": "b"}\n', True, [("a", "b")]),
    ],
)
def test_texts_are_read(tmp_path: Path, name: str, content: str, pairs: bool, expected: list[Any]) -> None:
    (tmp_path / name).write_text(content)
    assert read_monitored(tmp_path / name, pairs=pairs) == expected


@pytest.mark.parametrize(
    ("name", "content", "pairs", "message"),
    [
        ("a.txt", "\n\n", False, "no texts. Give one a line"),
        ("a.txt", "one\ttwo\nthree\n", True, "row 2: the model takes pairs"),
        ("a.csv", "words\none\n", False, "no column 'text' "),
        ("a.csv", "text\none\n", True, "no column 'sentence1'"),
        ("a.doc", "one", False, "is none of .txt, .csv"),
    ],
)
def test_texts_that_are_none(tmp_path: Path, name: str, content: str, pairs: bool, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_monitored(tmp_path / name, pairs=pairs)


# ------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an exported model in ``model``, the texts that were recorded, and others; the current one."""
    folder, before = tmp_path_factory.mktemp("monitor"), Path.cwd()
    os.chdir(folder)
    write_task(folder / "task", validation=120)
    more = ["--set", "train.steps=30", "--results-dir", "results"]
    assert main(["run", "--strategy", "entropy", "--task", "./task", "--backbone", "bert-demo", *TINY, *more]) == 0
    run = ["last", "model", "--results-dir", "results", "--offline", "--quiet"]
    assert main(["export", *run, "--point", repr(median_score(folder))]) == 0
    (folder / "same.txt").write_text("\n".join(text for text, _ in reviews(120, 1)))
    (folder / "other.txt").write_text("\n".join(f"{word} " * 12 for word in "soup bed view good dull".split() * 12))
    yield folder
    os.chdir(before)


def median_score(folder: Path) -> float:
    from bench.results.store import Store

    return float(np.median(Store(folder / "results").find_run("last").trade_off().scores[:, 0]))


@pytest.mark.slow
def test_the_command_says_whether_texts_have_drifted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "model", "same.txt", "--check", "--quiet"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No drift is seen" in said
    assert "Where they leave" in said
    assert main(["monitor", "model", "other.txt", "--quiet"]) == 0
    assert "Drifted: the" in capsys.readouterr().out
    assert main(["monitor", "model", "other.txt", "--check", "--quiet", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["drifted"]
    assert sum(found["exit_counts"]) == found["texts"] == 60


@pytest.mark.slow
def test_the_recorded_texts_do_what_was_recorded(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "model", "same.txt", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exit_counts"] == found["recorded_counts"]
    assert max(shift["distance"] for shift in found["shifts"]) < 0.02


@pytest.mark.slow
def test_a_folder_that_is_not_as_exported_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["monitor", "task", "same.txt", "--quiet"]) == 2
    assert "has no exit_config.json" in capsys.readouterr().err
    assert main(["monitor", "model", "nope.txt", "--quiet"]) == 2
    assert main(["monitor", "model", "same.txt", "--alpha", "2"]) == 2
    weights = home / "model" / "exits.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + b"\x01")
    with pytest.raises(UsageError, match="safetensors is not the file that was exported"):
        read_exported(home / "model")
    weights.write_bytes(kept)
    config = home / "model" / "exit_config.json"
    text = config.read_text()
    for broken in ("{", "[]", '{"format": 1}', "", text.replace('"format": 1', '"format": 2')):
        config.write_text(broken)
        with pytest.raises(UsageError):
            read_exported(home / "model")
    config.write_text(text)
    (home / "model" / "early_exit.py").write_text("raise SystemExit('run')")  # it is not
    assert main(["monitor", "model", "same.txt", "--quiet"]) == 0
