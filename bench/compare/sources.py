"""Where results to compare come from: a results folder, the folder of one run, or a git revision of either."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.errors import Damaged, Newer, UsageError
from bench.results.packed.references import follow_reference
from bench.results.places import RECORD
from bench.results.run import Run
from bench.results.store import LeftOut, Store, find_damaged_logits, find_folders, leave_out, load_runs

RESULTS = "results"


@dataclass(frozen=True)
class SourceRuns:
    """The runs of one side of a comparison, and the records that could not be read."""

    runs: Sequence[Run]
    left_out: Sequence[LeftOut] = ()
    is_single: bool = False
    """Whether they are the one run that was named."""

    def leave_out_damaged(self) -> SourceRuns:
        """Return the results without the runs whose recorded logits are damaged, which are left out too.

        Raises Damaged for the logits of the one run that was named, as for its record.
        """
        if self.is_single and self.runs[0].is_finished():
            self.runs[0].check_logits()
        damaged = find_damaged_logits(self.runs)
        return SourceRuns(leave_out(self.runs, damaged), [*self.left_out, *damaged])


@contextmanager
def open_results(source: str) -> Iterator[SourceRuns]:
    """Read the runs of a folder, of a run's folder, of ``REV:folder`` or of ``REV`` (its results/).

    Raises UsageError where there is nothing of the kind. A revision is unpacked to a folder that is gone afterwards.
    """
    path = Path(source)
    if os.path.exists(path):  # pathlib fails on names that no file can have
        yield read_results(path)
        return
    revision, _, inside = source.partition(":")
    with tempfile.TemporaryDirectory(prefix="bench-compare-") as folder:
        _unpack(revision, inside or RESULTS, Path(folder), source)
        try:
            yield read_results(Path(folder) / (inside or RESULTS))
        except (Damaged, Newer) as error:  # of one run; its file is where the revision has it
            error.args = (str(error).replace(f"{folder}{os.sep}", f"{revision}:"),)
            raise


def read_results(path: Path) -> SourceRuns:
    """Read the runs of a results folder or of one below it, or the one run of a run's folder or record.

    Raises UsageError for an empty one, Damaged where the one run is.
    """
    if path.name == RECORD:
        path = path.parent
    if (path / RECORD).exists():
        return SourceRuns([Run.load(path)], is_single=True)
    runs, left_out = Store(path).runs()
    if not runs and not left_out:  # a folder below the root (one task, one backbone) will do as well
        runs, left_out = load_runs(find_folders(path, 2) or find_folders(path, 1), path)
    if not runs and not left_out:
        raise UsageError(f"There are no results in {path}: `bench run --results-dir {path}` would put some there.")
    return SourceRuns(runs, left_out)


def _unpack(revision: str, inside: str, folder: Path, source: str) -> None:
    wrong = f"'{source}' is neither a folder nor a git revision of one (REV:{RESULTS})"
    if revision.startswith("-"):
        raise UsageError(f"{wrong}.")
    try:
        top = _run_git("rev-parse", "--show-toplevel").decode().strip()
        packed = _run_git("-C", top, "archive", "--format=tar", revision, "--", inside)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or b""
        detail = said.decode(errors="replace").strip().splitlines()
        raise UsageError(f"{wrong}: {detail[-1]}." if detail else f"{wrong}.") from error
    _extract(packed, folder)
    for path in (folder / inside).glob("exits-*.parquet"):  # a run alone, which may refer to those beside it
        with suppress(Damaged, subprocess.CalledProcessError):  # who reads the run says what is not there
            if (there := follow_reference(path)) != path:
                name = there.relative_to(folder.absolute()).as_posix()
                _extract(_run_git("-C", top, "archive", "--format=tar", revision, "--", name), folder)


def _extract(packed: bytes, folder: Path) -> None:
    """Extract regular files and folders of a tar archive; Python 3.11.2 and 3.11.3 have no filter that does so."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
            return
        for member in archive:
            inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
            if inside and (member.isfile() or member.isdir()):
                archive.extract(member, folder)


def _run_git(*arguments: str) -> bytes:
    return subprocess.run(
        ["git", "--no-optional-locks", *arguments], capture_output=True, check=True, timeout=120
    ).stdout
