"""Whatever is typed ends with a line and an exit code that says what it was: never a traceback, never exit code 1.

``EXITBENCH_FUZZ=400 pytest tests/cli/test_fuzz.py`` draws more command lines than the few of a usual run.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from bench.cli.process import main
from tests.helpers.command_lines import command_lines, verbs
from tests.helpers.small_runs import TINY, write_task

EXAMPLES = math.ceil(int(os.environ.get("EXITBENCH_FUZZ", "40")) / len(verbs()))
KNOWN_CODES = {0, 2, 3, 4, 5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task, a results folder with one run, logits and files of the wrong kind."""
    home = tmp_path_factory.mktemp("fuzz")
    task = write_task(home / "TASK")
    arguments = ["--strategy", "entropy", "--task", str(task), "--backbone", "bert-demo"]
    assert main(["run", *arguments, *TINY, "--results-dir", str(home / "RESULTS")]) == 0
    shutil.copytree(home / "RESULTS", home / "kept")
    (home / "CSV").write_text("text,label\na,b\n")
    (home / "YAML").write_text("matrix: {strategy: [entropy], task: [demo], seed: [!!int x, 2026-02-31]}\n")
    np.savez(home / "NPZ", logits=np.zeros((4, 3, 2), np.float32), labels=np.zeros(4, np.int64), ids=np.array(7))
    return home


@pytest.mark.slow
@pytest.mark.parametrize("verb", verbs())
def test_no_command_line_is_an_internal_error(
    verb: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (run,) = (path.parent.name for path in (home / "kept").glob("*/*/*/record.json"))

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(command_lines(verb))
    def every(words: list[str]) -> None:
        shutil.rmtree(home / "RESULTS", ignore_errors=True)
        shutil.copytree(home / "kept", home / "RESULTS")
        words = [word.replace("RUN", run) for word in words]
        code = main(words)
        printed = capfd.readouterr()
        assert code in KNOWN_CODES, (words, code, printed.err)
        assert "Traceback" not in printed.err + printed.out, (words, printed.err)
        if code == 2:
            assert "Error" in printed.err or "Usage" in printed.err, (words, printed.err)

    every()
