"""What a task of somebody else's must give, checked before any work is done with it: one line names what is wrong.

Tasks of our own are held to it by their tests. What means the same is taken: lists for tuples, any integers as labels.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from backbones.names import blame_maker, is_ours
from bench.errors import DataError, UsageError, name_causes
from bench.measure.metrics import METRICS
from bench.tasks.base import Kind, LoadOptions, Split, Task, TaskData
from bench.text import show_hidden

SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A split's name is a part of file names."""
NO_LABELS = -1
"""The class of every row of a training split without labels, of which only states are wanted."""


def load_task(task: Task, options: LoadOptions) -> TaskData:
    """Load the data of ``task``; those of a task that is not ours are checked.

    Raises DataError in one line, and UsageError for a task that fails.
    """
    with blame_maker(type(task), f"Task '{task.name}'"), name_causes():
        data = task.load(options)
    return data if is_ours(type(task)) else check_data(task.name, data)


def check_task(task: Task, name: str) -> Task:
    """Return ``task``, which ``name`` stands for. Raises UsageError where what it says of itself is of another type."""
    for field, fits, wanted in (
        ("name", is_text(task.name) and task.name.strip() and task.name.isprintable(), "a text on one line"),
        ("default_backbone", is_text(task.default_backbone), "a text"),
        ("max_length", isinstance(task.max_length, int), "a whole number"),
        ("training", isinstance(task.training, Mapping), "a mapping of settings"),
    ):
        if not fits:
            raise UsageError(show_hidden(f"Task '{name}' cannot be used: its {field} is not {wanted}."))
    return task


def check_data(name: str, data: object) -> TaskData:
    """Return ``data`` with the types that it must have. Raises DataError for what the task ``name`` may not give."""

    def refuse(what: str) -> NoReturn:
        raise DataError(show_hidden(f"Task '{name}': {what}."))

    if not isinstance(data, TaskData):
        refuse(f"load gives {describe_type(data)}, not a TaskData")
    if data.kind not in get_args(Kind):
        refuse(f"kind is {data.kind!r}, not one of {', '.join(get_args(Kind))}")
    for field in ("name", "revision", "source"):
        if not is_text(getattr(data, field)):
            refuse(f"{field} is {describe_type(getattr(data, field))}, not a text")
    texts = {field: take_texts(getattr(data, field)) for field in ("label_names", "metrics", "warnings")}
    for field, found in texts.items():
        if found is None:
            refuse(f"{field} must be a tuple of texts")
    names, metrics, warnings = (found or () for found in texts.values())
    classes = data.kind == "classification"
    if classes and len(names) < 2:
        refuse(f"{len(names)} class in label_names, at least 2 are needed")
    if not classes and names:
        refuse("a regression has no classes: label_names must be empty")
    if twice := next((n for i, n in enumerate(names) if n in names[:i]), None):
        refuse(f"class '{twice}' is twice in label_names")
    known = [m for m in METRICS if (m in ("pearson", "spearman")) != classes]
    if not metrics or not set(metrics) <= set(known):
        refuse(f"metrics of a {data.kind} are of {', '.join(known)}, the primary one first; not {list(metrics)}")
    if not isinstance(data.evaluation, Mapping) or not data.evaluation:
        refuse("evaluation must map the names of one or more splits to them")
    splits = {"train": data.train, "select": data.select, **data.evaluation}
    checked: dict[str, Split] = {}
    for part, split in splits.items():
        if not isinstance(split, Split):
            refuse(f"{part!r} is {describe_type(split)}, not a Split")
        try:
            checked[part] = check_split(split, len(names) if classes else None, part == "train")
        except DataError as error:
            refuse(f"split '{split.name}': {error}")
        if part in data.evaluation and split.name != part:
            refuse(f"evaluation has '{part}' for the split '{split.name}': give both one name")
    reported = {part: checked[part] for part in data.evaluation}
    if checked["select"].name in reported:
        refuse(f"'{checked['select'].name}' is held out and reported: give the splits names of their own")
    if len({split.second is None for split in checked.values()}) > 1:
        refuse("some splits have pairs of texts and others single ones")
    held = {(row[1], row[2]) for name in ("train", "select") for row in list_rows(checked[name])}
    for part, split in reported.items():
        again = sum((row[1], row[2]) in held for row in list_rows(split))
        if again:
            warnings = (*warnings, f"{again} of {len(split)} rows of '{part}' are in 'train' or 'select' too")
    return replace(
        data,
        label_names=names,
        metrics=metrics,
        train=checked["train"],
        select=checked["select"],
        evaluation=reported,
        warnings=warnings,
    )


def check_split(split: Split, classes: int | None, is_train: bool) -> Split:
    """Return ``split`` with tuples and labels of the right type; ``classes`` None is a regression.

    Raises DataError, which does not name the split, for what does not fit.
    """
    if not (isinstance(split.name, str) and SPLIT_NAME.fullmatch(split.name)):
        raise DataError("its name must be of letters, digits, '.', '_' and '-'")
    columns = {"ids": take_texts(split.ids), "first": take_texts(split.first)}
    columns |= {} if split.second is None else {"second": take_texts(split.second)}
    for field, found in columns.items():
        if found is None:
            raise DataError(f"{field} must be a tuple of texts: no numbers, bytes, None or halves of characters")
    ids = columns["ids"] or ()
    if not ids:
        raise DataError("it has no rows")
    if len(set(ids)) < len(ids):
        raise DataError(f"id '{next(i for n, i in enumerate(ids) if i in ids[:n])}' is there twice")
    labels = take_labels(split.labels, classes, is_train)
    for field, count in {**{f: len(c or ()) for f, c in columns.items()}, "labels": len(labels)}.items():
        if count != len(ids):
            raise DataError(f"{len(ids)} ids and {count} {field}: give one for each row")
    if not isinstance(split.available, int | np.integer) or split.available < len(ids):
        raise DataError(f"available is {split.available!r}: give the number of rows before --limit")
    second = columns.get("second")
    return Split(split.name, ids, columns["first"] or (), second, labels, int(split.available))


def take_labels(labels: Any, classes: int | None, is_train: bool) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return labels as int64 class numbers, or as float32 targets where ``classes`` is None.

    A training split may have none: all -1, or all NaN. Raises DataError for any others.
    """
    try:
        found = np.asarray(labels)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    if found.ndim != 1 or found.dtype.kind not in ("iub" if classes is not None else "iuf"):
        wanted = "class numbers" if classes is not None else "numbers"
        raise DataError(f"labels must be a numpy array of {wanted}, one for each row")
    if classes is None:
        with np.errstate(over="ignore"):
            targets = found.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(targets))
        if len(bad) and not (is_train and len(bad) == len(targets)):
            raise DataError(f"label {found[bad[0]]} of row {bad[0] + 1} is no finite number of float32")
        return targets
    bad = np.flatnonzero((found < 0) | (found >= classes))
    if len(bad) and not (is_train and (found == NO_LABELS).all()):
        raise DataError(f"label {found[bad[0]]} of row {bad[0] + 1} is outside the classes 0..{classes - 1}")
    return found.astype(np.int64)


def take_texts(values: Any) -> tuple[str, ...] | None:
    """Return a tuple of plain texts of a list, tuple or array of them; None for anything else."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return None
    found = tuple(values)
    return tuple(str(value) for value in found) if all(is_text(value) for value in found) else None


def is_text(value: object) -> bool:
    """Return whether ``value`` is text that can be written."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe_type(value: object) -> str:
    """Return what a value is, for a message: its type's name, or that it cannot be written."""
    return "half of a character" if isinstance(value, str) and not is_text(value) else type(value).__name__


def digest_rows(data: TaskData) -> str:
    """Return 16 hex digits of every row of ``data``, whichever of them are held out of train.

    A task's revision need not follow what it loads.
    """
    total = hashlib.sha256()
    for splits in ((data.train, data.select), *((split,) for split in data.evaluation.values())):
        rows = [repr(row) for split in splits for row in list_rows(split)]
        total.update("\n".join([*sorted(rows), ""]).encode())
    return total.hexdigest()[:16]


def list_rows(split: Split) -> Iterable[tuple[str, str, str, float]]:
    """Return id, texts and label of every row."""
    return zip(split.ids, split.first, split.second or ("",) * len(split), split.labels.tolist(), strict=True)
