"""Who pays for the speed-up: recall of each class where they are uneven, accuracy and mean exit of each group."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure.exits import AllExits
from bench.tasks.file import FileTask
from bench.tasks.readers import read_columns

UNEVEN = 0.5
"""Classes are uneven where the rarest has less than this part of an even share."""
MOST_GROUPS = 50


@dataclass(frozen=True)
class GroupResult:
    """A class or a group: its samples, what the model and early exit get right of them, what changes, where they leave.

    ``own`` and ``early`` are recalls for a class, accuracies for a group (of a regression: mean absolute errors).
    """

    name: str
    samples: int
    own: float
    early: float
    changed: float
    mean_exit: float


@dataclass(frozen=True)
class ClassBalance:
    """Macro-F1 of the model and of early exit, and each class, the rarest first; at most 50 of them."""

    macro_f1_own: float
    macro_f1_early: float
    classes: tuple[GroupResult, ...]


def balance_classes(exits: AllExits, layers: NDArray[np.int64], names: tuple[str, ...]) -> ClassBalance | None:
    """Return what becomes of each class where they are uneven; None where they are even, and of a regression."""
    if exits.labels.dtype.kind == "f":
        return None
    counts = np.bincount(exits.labels.astype(np.int64), minlength=len(names))
    if counts.min() >= UNEVEN * counts.sum() / len(names):
        return None
    from sklearn.metrics import f1_score

    early, own = take_answers(exits, layers)
    order = [int(c) for c in np.argsort(counts, kind="stable") if counts[c]][:MOST_GROUPS]
    macro = [float(f1_score(exits.labels, found, average="macro", zero_division=0.0)) for found in (own, early)]
    classes = tuple(measure_group(names[c], exits, layers, exits.labels == c) for c in order)
    return ClassBalance(macro[0], macro[1], classes)


def slice_groups(task: FileTask, column: str, exits: AllExits, layers: NDArray[np.int64]) -> tuple[GroupResult, ...]:
    """Return what becomes of the samples of each value of a column of the file, the largest group first.

    Raises UsageError for a column that is not there or has too many values.
    """
    values = read_groups(task, column)
    found = np.array([values[int(name.rpartition("-")[2])] for name in exits.ids])
    often = Counter(found.tolist())
    return tuple(measure_group(name, exits, layers, found == name) for name, _ in often.most_common())


def read_groups(task: FileTask, column: str) -> list[str]:
    """Return the group of every row of the file. Raises UsageError, naming the columns there are."""
    table = read_columns(task.file, "data", (column,))
    if column not in table.columns:
        there = ", ".join(sorted(table.others)) or "none"
        raise UsageError(f"{task.file}: no column '{column}' to tell groups by (columns: {there}).")
    values = [str(value) for value in table.column(column)]
    if len(set(values)) > MOST_GROUPS:
        raise UsageError(
            f"{task.file}: column '{column}' has {len(set(values)):,} values, more than the {MOST_GROUPS} groups that "
            "can be told apart: give a coarser column."
        )
    return values


def measure_group(name: str, exits: AllExits, layers: NDArray[np.int64], members: NDArray[np.bool_]) -> GroupResult:
    """Return what becomes of the samples of one class or group, at least one."""
    early, own = (answers[members] for answers in take_answers(exits, layers))
    labels = exits.labels[members]
    if labels.dtype.kind == "f":
        right = [float(np.abs(found - labels).mean()) for found in (own, early)]
        changed = float(np.minimum(np.abs(early - own), 1.0).mean())
    else:
        right = [float((found == labels).mean()) for found in (own, early)]
        changed = float((early != own).mean())
    return GroupResult(name, int(members.sum()), right[0], right[1], changed, float(layers[members].mean()))


def take_answers(exits: AllExits, layers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the answers of early exit and of the model itself, [N] each."""
    answers = exits.predictions
    return answers[np.arange(len(layers)), layers - 1], answers[:, -1]
