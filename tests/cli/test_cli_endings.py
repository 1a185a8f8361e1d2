"""How the process ends where no result is to blame: paths that cannot be used, readers that have gone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.process import main, report_error
from tests.helpers.report_store import make_cell
from tests.helpers.small_runs import TINY

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
def test_closed_streams_stop_nothing_but_lost_output_is_said(closed: str, words: list[str]) -> None:
    done = in_shell(f'exec "$@" {closed}', *words)
    lost = " >&-" in f" {closed}"
    said = b"Error: Stdout is closed, and what was to be printed is lost: open it, or send it to /dev/null.\n"
    assert done.returncode == (2 if lost else 0)
    assert done.stderr == (said if closed == ">&-" else b"")
    assert bool(done.stdout) == (not lost)


def test_a_closed_stdout_that_nothing_was_to_go_to_is_no_loss() -> None:
    done = in_shell('exec "$@" >&-', "show", "nothing")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"Stdout" not in done.stderr


PRINTING = "--version|--help|list tasks|list tasks --json|table|table --json|show last|history --record".split("|")


@pytest.mark.parametrize("words", [words.split() for words in PRINTING], ids=PRINTING)
def test_output_on_a_full_disk_is_one_line_and_no_success(words: list[str], tmp_path: Path) -> None:
    make_cell(tmp_path / "results")
    done = in_shell('exec "$@" >/dev/full', *words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == b"Error: The output cannot be used: No space left on device."


@pytest.mark.parametrize("words", [["list", "tasks"], ["show", "nothing"]])
@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_what_cannot_be_said_on_stderr_changes_nothing(words: list[str], stderr: str) -> None:
    plain, done = in_shell('exec "$@"', *words), in_shell(f'exec "$@" {stderr}', *words)
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, b"")


@pytest.mark.slow
def test_a_full_log_stops_no_run(tmp_path: Path) -> None:
    """Lines of progress go to a disk that is full: everything is measured all the same, by workers too."""
    tiny = [word for word in TINY if word != "--quiet"]
    words = ["run", "--strategy", "entropy", "--task", "demo", "--limit", "64", "--backbone", "bert-demo", *tiny]
    seeds = ["--seed", "0,1", "--workers", "2", "--results-dir", str(tmp_path)]
    done = in_shell('exec "$@" 2>/dev/full', *words, *seeds)
    assert done.returncode == 0
    found = [json.loads(path.read_text(encoding="utf-8"))["status"] for path in tmp_path.rglob("record.json")]
    assert found == ["success"] * 2


def test_what_is_wrong_is_still_told_by_the_exit_code() -> None:
    assert in_shell('exec "$@" 2>&-', "show", "nothing").returncode == 2


def test_files_do_not_take_a_closed_streams_number(tmp_path: Path) -> None:
    """What is printed must not end up in a file that is written: here a table, in the file of the same table."""
    make_cell(tmp_path / "results")
    words = ["table", "--results-dir", str(tmp_path / "results"), "--markdown"]
    assert in_shell('exec "$@"', *words, str(tmp_path / "open.md")).returncode == 0
    assert in_shell('exec "$@" >&-', *words, str(tmp_path / "closed.md")).returncode == 2
    assert (tmp_path / "closed.md").read_text() == (tmp_path / "open.md").read_text()


@pytest.mark.parametrize("words", [["list", "tasks"], ["compare", "a", "b"], ["run", "--task", "demo"]])
def test_a_folder_that_is_gone_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = in_shell('rmdir ../gone && exec "$@"', *words, cwd=tmp_path / "gone")
    said = [line for line in done.stderr.decode().splitlines() if not line.startswith("sh: ")]
    assert (done.returncode, said) == (2, ["Error: The current folder is gone: change to one that is there."])
