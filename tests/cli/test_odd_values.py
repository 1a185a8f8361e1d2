"""Values that no setting and no array has, through the command line: one line and exit code 2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main

LONG = "9" * 5000
UNHEARD_OF = {
    "5,000 digits": (LONG, r"has 5,0\d\d letters: no setting needs more than 1,000"),
    "5,000 brackets": ("[" * 5000, r"has 5,0\d\d letters"),
    "900 digits": ("9" * 900, r"must be a finite number below 2\^63"),
    "minus 2^63": (str(-(2**63)), r"must be a finite number below 2\^63"),
    "400 brackets": ("[" * 400 + "]" * 400, r"is nested more than 8 times"),
    "a number in a list": (f"[1, {10**30}]", r"must be a finite number below 2\^63"),
}


@pytest.mark.parametrize("key", ["train.lr", "train.steps", "window", "max_length", "backbone.num_hidden_layers",
                                 "latency.seconds", "recipe.initial", "criterion.margin"])  # fmt: skip
@pytest.mark.parametrize("case", UNHEARD_OF)
def test_settings_that_no_setting_is(case: str, key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, message = UNHEARD_OF[case]
    words = ["run", "--strategy", "elbert-mono", "--task", "demo", "--set", f"{key}={text}", "--offline", "--quiet"]
    assert main([*words, "--results-dir", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)
    assert key in line
    assert len(line) < 200


MEASURED: dict[str, tuple[list[str], str]] = {
    "no time": (["--set", "latency.seconds=0"], r"latency\.seconds must be a finite number above 0, not 0\.$"),
    "time before": (["--set", "latency.seconds=-1"], r"latency\.seconds must be a finite number above 0, not -1\.$"),
    "nan": (["--set", "latency.seconds=nan"], r"latency\.seconds must be a finite number, not 'nan'\.$"),
    "NaN": (["--set", "latency.seconds=NaN"], r"latency\.seconds must be a finite number, not 'NaN'\.$"),
    "inf": (["--set", "latency.seconds=inf"], r"latency\.seconds must be a finite number, not 'inf'\.$"),
    "no samples": (["--set", "latency.samples=0"], r"latency\.samples must be at least 1, not 0\.$"),
    "threads": (["--threads", "1000"], r"--threads must be 1 to [0-9]+, the cores .* may use, not 1000\.$"),
    "threads, dry": (["--threads", "1000", "--dry-run"], r"--threads must be 1 to [0-9]+, .* not 1000\.$"),
    "latency.threads, dry": (
        ["--set", "latency.threads=1000", "--dry-run"],
        r"latency.threads must be 1 to [0-9]+, the cores .* may use, not 1000\.$",
    ),
    "latency.threads, several cells": (
        ["--set", "latency.threads=1000", "--seed", "0,1"],
        r"latency.threads must be 1 to [0-9]+, the cores .* may use, not 1000\.$",
    ),
    "no threads": (["--threads", "0"], r"--threads must be 1 to [0-9]+, .* not 0\.$"),
}


@pytest.mark.parametrize("case", MEASURED)
def test_measurements_that_cannot_be(case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words, message = MEASURED[case]
    asked = ["run", "--strategy", "entropy", "--task", "demo", *words, "--offline", "--quiet"]
    assert main([*asked, "--results-dir", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)
    assert list(tmp_path.iterdir()) == []


INFINITE = {
    "margin": ["compare", "a", "b", "--margin", "1e999", "--json"],
    "latency-factor": ["compare", "a", "b", "--latency-factor", "nan"],
    "threshold": ["replay", "logits.npz", "--strategy", "entropy", "--threshold", "inf"],
    "seconds": ["serve", "last", "--seconds", "inf"],
    "scale": ["simulate", "--scale", "nan"],
}


@pytest.mark.parametrize("option", INFINITE)
def test_numbers_that_are_none(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(INFINITE[option]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"Error: --{option} must be a finite number, not ")


ARRAYS: dict[str, dict[str, Any]] = {
    "one id for all": {"ids": np.array("only")},
    "ids in a table": {"ids": np.array([["a"], ["b"]])},
    "too few ids": {"ids": np.array(["a"])},
    "one label for all": {"labels": np.array(0)},
    "one number": {"logits": np.array(0.5)},
    "observed": {"observed": np.array(1.0)},
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_of_other_shapes(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {"logits": np.zeros((2, 3, 2), dtype=np.float32), "labels": np.array([0, 1]), **ARRAYS[case]}
    np.savez(tmp_path / "a.npz", **arrays)
    assert main(["replay", str(tmp_path / "a.npz"), "--strategy", "entropy"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert next(iter(ARRAYS[case])) in line


@pytest.mark.parametrize(
    "words", ["table", "history", "history --record", "show last", "report", "criteria", "list runs", "diagnose last"]
)
@pytest.mark.parametrize("below", ["", "/x"])
def test_a_file_in_the_place_of_the_results_folder(
    words: str, below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.csv"
    file.write_text("a\n", encoding="utf-8")
    assert main([*words.split(), "--results-dir", f"{file}{below}"]) == 2
    assert capsys.readouterr().err == f"Error: {file} is a file, and results are kept in a folder.\n"


def test_a_link_to_nothing_in_the_place_of_the_results_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").symlink_to(tmp_path / "gone")
    assert main(["table", "--results-dir", str(tmp_path / "results")]) == 2
    assert "results is a link that leads nowhere" in capsys.readouterr().err


def test_a_file_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.csv").write_text("a\n", encoding="utf-8")
    assert main(["compare", str(tmp_path / "results.csv"), str(tmp_path)]) == 2
    assert "results.csv is a file, and results are kept in a folder" in capsys.readouterr().err
