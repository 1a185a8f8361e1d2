"""Where results come from: code, packages and machines, each said once and marked by a letter where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.results.data import canonical
from bench.results.run import Run
from bench.results.store import LeftOut


@dataclass(frozen=True)
class StoreContents:
    """What a report is about: runs in order of path, and the records that could not be read."""

    runs: Sequence[Run]
    left_out: Sequence[LeftOut]

    @property
    def finished(self) -> list[Run]:
        """Those with results."""
        return [run for run in self.runs if run.is_finished()]

    @property
    def failed(self) -> list[Run]:
        """Those that stopped with an error."""
        return [run for run in self.runs if run.status == "error"]

    @property
    def unfinished(self) -> list[Run]:
        """Those that were started or cancelled."""
        return [run for run in self.runs if run.status in ("started", "cancelled")]

    @property
    def badly_timed(self) -> list[Run]:
        """Those whose timing is not valid."""
        return [run for run in self.runs if find_timing_problem(run)]


def find_timing_problem(run: Run) -> str:
    """Return why a run's timing is not valid; empty where it is or was not made."""
    latency = run.record.latency if run.is_finished() else None
    return "" if latency is None else latency.problem


def find_machine(run: Run) -> str:
    """Return the machine's id that latency belongs to."""
    return run.head.environment.machine_id


def describe_machine(run: Run) -> str:
    """Return the machine in words."""
    machine = run.head.environment.machine
    memory = None if machine.memory_gib is None else f"{machine.memory_gib} GiB"
    parts = [machine.cpu, _counted(machine.cores, "core"), _counted(machine.threads, "thread"), memory, machine.system]
    return ", ".join(filter(None, [*parts, ", ".join(machine.gpus) or "no GPU"]))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def describe_machines(runs: Sequence[Run]) -> dict[str, str]:
    """Return machine ids and what they are, in order of the runs."""
    return {find_machine(run): describe_machine(run) for run in reversed(runs)}


@dataclass
class Revision:
    """A source revision or environment that results came from, with the letter that marks them in tables."""

    letter: str
    code: str
    packages: str
    cells: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Code and packages."""
        return f"{self.code}; {self.packages}"


def find_revisions(runs: Sequence[Run]) -> dict[str, Revision]:
    """Return every combination of commit, dirty flag and package versions, lettered in order of the runs."""
    found: dict[str, Revision] = {}
    for run in runs:
        key = make_revision_key(run)
        if key not in found:
            found[key] = Revision(_letter(len(found)), *_code_and_packages(run))
        found[key].cells.append(run.name)
    return found


def make_revision_key(run: Run) -> str:
    """Return the same for runs of the same code and packages."""
    plain = run.head.environment.to_plain()
    return canonical([plain["source"], plain["versions"]])


def _code_and_packages(run: Run) -> tuple[str, str]:
    source, versions = run.head.environment.source, run.head.environment.versions
    if source is None:
        code = f"release {versions.get('exitbench')}"
    else:
        code = f"commit {source.commit[:10]}" + (" with uncommitted changes" if source.dirty else "")
    named = ("python", "torch", "transformers", "tokenizers", "datasets", "numpy")
    return code, ", ".join(f"{n} {versions[n]}" for n in named if versions.get(n))


def _letter(index: int) -> str:
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
