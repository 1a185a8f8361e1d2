"""What runs the cells of a sweep: the protocol of an engine, and what travels to a worker and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.cell.request import Overwrite, Request
from bench.sweep.engines.shares import TrainingLoad


@dataclass(frozen=True)
class Job:
    """One cell as a worker gets it: plain data, with everything that the worker needs to be where the driver is.

    ``memory`` is a guess in bytes; ``gpu`` says whether the cell runs on one; ``timed`` cells have their machine to
    themselves. ``threads`` None leaves torch's own choice. ``sync`` is the URL that finished cells are copied to.
    """

    number: int
    request: Request
    training: str
    timed: bool
    gpu: bool
    memory: int
    threads: int | None
    results_dir: str
    hub_root: str | None
    offline: bool
    overwrite: Overwrite
    quiet: bool
    cwd: str
    path: tuple[str, ...]
    sync: str | None = None
    wait_quiet: float = 0.0


@dataclass(frozen=True)
class Ending:
    """How a job ended; ``died`` is a worker that ended without an answer: killed, or lost with its machine.

    ``message`` is one line; ``traceback`` is there for a mistake of ours.
    """

    status: Literal["success", "error", "died"]
    folder: str | None = None
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0


class Engine(Protocol):
    """Where jobs run. One thread uses it: start while there is room, then wait."""

    attempts: int
    """How often a job may be started before a worker's death counts as the cell's failure."""
    threads: int | None
    """CPU threads of each untimed cell."""
    talks: bool
    """Whether the progress of its workers makes sense on the driver's stderr."""

    def share_cores(self, load: TrainingLoad, trainings: int) -> str:
        """Choose how many of so many ``trainings`` run at once, where nobody has said; return it in words, or ""."""

    def has_room(self, job: Job) -> bool:
        """Return whether ``job`` can be started now. Always true while nothing runs."""

    def start(self, job: Job) -> None:
        """Start ``job`` without waiting for it."""

    def wait(self) -> Sequence[tuple[Job, Ending]]:
        """Wait until at least one job has ended; return how all that have ended did."""

    def stop(self) -> None:
        """End what still runs; what it has finished stays in the store."""
