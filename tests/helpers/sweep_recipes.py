"""Recipes that note every training that they finish, and that kill their worker where a test asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from strategies.base import Stage
from strategies.entropy import JointRecipe

LAST = 1  # the tests train two steps: 0 and 1


class Watched(JointRecipe):
    """The joint recipe; appends a line to ``log`` whenever a training comes to its last step."""

    def __init__(self, num_layers: int, *, log: str) -> None:
        super().__init__(num_layers)
        self.log = log

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        if step == LAST:
            append(self.log, f"{type(self).__name__} {os.getpid()}")
        return super().losses(stage, logits, labels, step)


class Deadly(JointRecipe):
    """The joint recipe; kills its process in the middle of the first ``times`` trainings, as a full memory does."""

    def __init__(self, num_layers: int, *, log: str, times: int = 1) -> None:
        super().__init__(num_layers)
        self.log, self.times = log, times

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        if step == LAST:
            append(self.log, "Deadly")
            if len(Path(self.log).read_text().splitlines()) <= self.times:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(stage, logits, labels, step)


def append(log: str, line: str) -> None:
    """One line, whole, however many processes write."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, (line + "\n").encode())
    os.close(handle)


def lines(log: Path) -> list[str]:
    """What was noted."""
    return log.read_text().splitlines() if log.exists() else []
