"""`bench doctor` says first what is ready, and folds what is alike; every check is still there."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.process import main
from bench.cli.verbs.harness.doctor import fold_remarks, join_alike
from bench.selfcheck.doctor import Remark

REMARKS = [
    Remark("python", "ok", "Python 3.11"),
    Remark("package", "ok", "torch 2.9"),
    Remark("package", "ok", "numpy 2.4"),
    Remark("package", "warn", "rich 99 is newer", "if it fails: rich==15"),
    Remark("package", "fail", "scipy is not installed", "pip install scipy"),
    Remark("cpu", "ok", "A processor"),
    Remark("backbone", "ok", "albert-demo: from scratch"),
    Remark("backbone", "ok", "bert-demo: from scratch"),
    Remark("backbone", "ok", "minilm-l6: ready"),
    Remark("backbone", "warn", "bert-base: not here", "download it"),
    Remark("backbone", "warn", "bert-large: not here", "download it"),
]


def test_what_is_alike_is_one_line() -> None:
    assert fold_remarks([r for r in REMARKS if r.level == "ok"]) == [
        "python: Python 3.11",
        "package: 2 in their tested versions",
        "cpu: A processor",
        "backbone: albert-demo, bert-demo: from scratch; minilm-l6: ready",
    ]
    assert fold_remarks([r for r in REMARKS if r.level == "warn"]) == [
        "package: rich 99 is newer -> if it fails: rich==15",
        "backbone: bert-base, bert-large: not here -> download it",
    ]
    assert join_alike(["no colon", "no colon either"]) == ["no colon", "no colon either"]


@pytest.mark.parametrize("columns", [60, 80])
def test_what_is_ready_comes_first(
    columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("bench.selfcheck.doctor.check_machine", lambda *_: REMARKS)
    assert main(["doctor", "--results-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.startswith("Ready:\n")
    titles = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Ready:", "Would fail:", "To know of:"]
    flat = " ".join(shown.split())
    assert "scipy is not installed -> pip install scipy" in flat
    assert "1 of 11 would fail, 3 to know of." in flat


@pytest.mark.parametrize("option", ["--all", "-v"])
def test_every_check_is_shown_when_asked(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.selfcheck.doctor.check_machine", lambda *_: REMARKS)
    assert main(["doctor", option]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[: len(REMARKS)]] == [r.level for r in REMARKS]
