"""How the process ends where no result is to blame: paths that cannot be used, readers that have gone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.process import main, report_error
from tests.helpers.report_store import make_cell

ROOT = Path(__file__).parents[2]


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
    assert report_error(error) == 2
    assert capsys.readouterr().err == f"Error: {said}\n"


@pytest.mark.parametrize("path", ["", ".", "/", ".."])
def test_a_folder_is_no_file_to_write(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_cell(tmp_path / "results")
    assert main(["table", "--results-dir", str(tmp_path / "results"), "--markdown", path]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {path or '.'} cannot be used: Is a directory."


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_reader_that_has_gone_gets_no_traceback(json_too: list[str]) -> None:
    unread, end = os.pipe()
    os.close(unread)
    command = [sys.executable, "-m", "bench", "list", "tasks", *json_too]
    done = subprocess.run(command, stdout=end, stderr=subprocess.PIPE, check=False, cwd=Path(__file__).parents[2])
    os.close(end)
    assert (done.returncode, done.stderr) == (141, b"")


def in_shell(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[bytes]:
    """``bench`` in a shell that does something to its streams or its folder; ``"$@"`` in ``script`` is the call."""
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "bench", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", [["list", "tasks"], ["list", "tasks", "--json"], ["--version"]])
def test_closed_streams_are_no_error(closed: str, words: list[str], tmp_path: Path) -> None:
    done = in_shell(f'exec "$@" {closed}', *words)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (">&-" not in closed or closed == "2>&-")


def test_what_is_wrong_is_still_told_by_the_exit_code() -> None:
    assert in_shell('exec "$@" 2>&-', "show", "nothing").returncode == 2


def test_files_do_not_take_a_closed_streams_number(tmp_path: Path) -> None:
    """What is printed must not end up in a file that is written: here a table, in the file of the same table."""
    make_cell(tmp_path / "results")
    words = ["table", "--results-dir", str(tmp_path / "results"), "--markdown"]
    assert in_shell('exec "$@"', *words, str(tmp_path / "open.md")).returncode == 0
    assert in_shell('exec "$@" >&-', *words, str(tmp_path / "closed.md")).returncode == 0
    assert (tmp_path / "closed.md").read_text() == (tmp_path / "open.md").read_text()


@pytest.mark.parametrize("words", [["list", "tasks"], ["compare", "a", "b"], ["run", "--task", "demo"]])
def test_a_folder_that_is_gone_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = in_shell('rmdir ../gone && exec "$@"', *words, cwd=tmp_path / "gone")
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("sh: ")]
    assert (done.returncode, said) == (2, ["Error: The current folder is gone: change to one that is there."])
