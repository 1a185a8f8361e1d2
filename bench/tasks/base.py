"""What a task is: texts, labels and metrics, with nothing about models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Split:
    """Samples of one split, in their stored order.

    ``ids`` are stable across runs and machines (the row's number in its source, or the data set's
    own index). ``second`` is None for single-sentence tasks. ``labels`` is int64 [N] class indices
    or float32 [N] targets. ``available`` is the number of rows before ``--limit``.
    """

    name: str
    ids: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...] | None
    labels: NDArray[np.int64] | NDArray[np.float32]
    available: int

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64], name: str | None = None) -> Split:
        """Return the given rows as a split of their own."""
        return Split(
            name or self.name,
            tuple(self.ids[i] for i in rows),
            tuple(self.first[i] for i in rows),
            None if self.second is None else tuple(self.second[i] for i in rows),
            self.labels[rows],
            self.available,
        )


@dataclass(frozen=True)
class TaskData:
    """A loaded task: ``train`` to fit, ``select`` (held out of train) to choose thresholds, ``evaluation`` to report.

    ``evaluation`` maps split names to splits, the primary one first; MNLI has two (matched and
    mismatched). ``metrics`` names the reported metrics, the primary one first. ``revision`` pins
    the data: a hub commit, or a digest of the rows.
    """

    name: str
    kind: Kind
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    train: Split
    select: Split
    evaluation: Mapping[str, Split]
    revision: str
    source: str
    warnings: tuple[str, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Width of the logits: the number of classes, or 1 for regression."""
        return 1 if self.kind == "regression" else len(self.label_names)

    @property
    def primary(self) -> Split:
        """The reported split that a run is judged by, times and shows."""
        return self.evaluation[name_primary(self.evaluation)]


def name_primary(evaluation: Iterable[str]) -> str:
    """Return which of the splits that are reported is the primary one: the first."""
    return next(iter(evaluation))


@dataclass(frozen=True)
class LoadOptions:
    """How to load a task. ``limit`` caps train and evaluation rows each; ``seed`` draws the select split."""

    seed: int = 0
    limit: int | None = None
    hub_root: Path | None = None
    offline: bool = False
    select_fraction: float = 0.1
    select_max: int = 1000


class Task(ABC):
    """A named task. One instance per entry of the table in :mod:`bench.tasks`."""

    name: str
    max_length: int = 128
    default_backbone: str = "albert-base"
    training: Mapping[str, object] = {}
    """Settings of :class:`bench.results.spec.TrainArgs` that suit this task better than the general defaults."""

    @abstractmethod
    def load(self, options: LoadOptions) -> TaskData:
        """Load, check and split the data; raises :class:`bench.errors.DataError` in one line."""
