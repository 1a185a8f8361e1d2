"""How the process ends where no result is to blame: paths that cannot be used, readers that have gone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import report


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "out/a.json"),
            "out/a.json cannot be used: Permission denied.",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", ".out.tmp", None, "out"),
            "out cannot be used: Is a directory.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "The output cannot be used: No space left on device."),
    ],
)
def test_a_path_that_cannot_be_written_is_the_users_to_mend(
    error: OSError, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == 2
    assert capsys.readouterr().err == f"Error: {said}\n"


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_reader_that_has_gone_gets_no_traceback(json_too: list[str]) -> None:
    unread, end = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "bench", "list", "tasks", *json_too]
    done = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, check=False, cwd=Path(__file__).parents[2])
    os.close(end)
    assert (done.returncode, done.stderr) == (141, b"")
