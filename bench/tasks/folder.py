"""A task out of a folder of the user's own files: ``--task FOLDER``.

Files: ``train.*`` and one of ``validation.*``, ``dev.*``, ``test.*`` (the first of these that is there is
reported), each as .csv, .tsv, .jsonl or .parquet. CSV follows RFC 4180; TSV has no quoting, as in GLUE's files;
JSONL has one object a line. Text is UTF-8.

Columns: ``text``, or ``sentence1`` and ``sentence2``; and ``label``. Others are not read.

What the labels are is decided by train alone:

- ``labels.txt`` with one class name a line fixes the class set and its order; labels are then these names,
  or whole numbers 0..C-1. ``labels.txt`` with the single line ``regression`` makes numbers targets.
- else, when the column is numeric (:mod:`bench.tasks.labels`) and a number is not whole, the task is regression;
- else, when it is numeric, the classes are its numbers in ascending order;
- else the classes are the labels in alphabetical order.

A row without a label (nothing, NULL, NaN; -1 beside the classes 0..C-1) is refused, in every format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.base import LoadOptions, Split, Task, TaskData
from bench.tasks.checks import RawTable, digest_files, make_split
from bench.tasks.labels import (
    ClassIndex,
    Labels,
    find_class_names,
    find_hidden_numbers,
    number_classes,
    read_labels,
    read_targets,
    warn_of_lookalikes,
)
from bench.tasks.readers import READ_BY_SUFFIX, read_columns, read_lines
from bench.tasks.sampling import hold_out, limit_split

EVALUATION = ("validation", "dev", "test")
LABELS_FILE = "labels.txt"
SINGLE, PAIR = ("text",), ("sentence1", "sentence2")


class FolderTask(Task):
    """Your own files: train and validation as csv, tsv, jsonl or parquet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def load(self, options: LoadOptions) -> TaskData:
        """Read, check and split the files; raises DataError naming file, row and remedy."""
        train_file = self._file("train")
        if train_file is None:
            raise DataError(f"{self.folder}: no train file. {self._remedy(['train'])}")
        named = next(((n, f) for n in EVALUATION if (f := self._file(n)) is not None), None)
        if named is None:
            raise DataError(f"{self.folder}: nothing to evaluate on. {self._remedy(EVALUATION)}")
        split_name, evaluation_file = named
        wanted = (*SINGLE, *PAIR, "label")
        train, evaluation = read_columns(train_file, "train", wanted), read_columns(evaluation_file, split_name, wanted)
        texts = list_text_columns(train)
        for table in (train, evaluation):
            for column in ("label", *texts):
                table.column(column)
        labels = read_labels(train)
        classes = self.find_classes(labels)
        trained, reported = (make_labelled_split(table, texts, classes) for table in (train, evaluation))
        rows, held = hold_out(limit_split(trained, options.limit), options)
        return self.make_data(
            classes,
            (rows, held, {split_name: limit_split(reported, options.limit)}),
            [("train", train_file), (split_name, evaluation_file)],
            "labels as written" if classes is not None and _once_merged(labels) else "",
            (
                *warn_of_doubts(train, texts, labels, classes, self.lists_classes),
                *_warn_of_leaks(trained, reported, train, evaluation),
            ),
        )

    @property
    def lists_classes(self) -> bool:
        """Whether the user says himself what the classes are."""
        return (self.folder / LABELS_FILE).exists()

    @property
    def source(self) -> str:
        """Where the data come from, in words."""
        return f"folder {self.name}"

    def make_data(
        self,
        classes: ClassIndex | None,
        splits: tuple[Split, Split, Mapping[str, Split]],
        files: Sequence[tuple[str, Path]],
        rule: str,
        warnings: Iterable[str],
    ) -> TaskData:
        """Return the data of ``classes``, None for a regression: splits to fit, to choose and to report on.

        ``files`` are the named files that they were read from, and ``rule`` by what else than their content they are
        other data.
        """
        listed = self.folder / LABELS_FILE
        used = [*files, *([(LABELS_FILE, listed)] if listed.exists() else [])]
        return TaskData(
            self.name,
            "regression" if classes is None else "classification",
            () if classes is None else classes.names,
            ("pearson", "spearman") if classes is None else ("accuracy",),
            *splits,
            revision=digest_files(used, rule),
            source=self.source,
            warnings=(*warnings, *warn_of_lookalikes(() if classes is None else classes.names)),
        )

    def _file(self, split: str) -> Path | None:
        found = [p for suffix in READ_BY_SUFFIX if (p := self.folder / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            names = " and ".join(p.name for p in found)
            raise DataError(f"{self.folder}: both {names} are there. Keep one of them.")
        return found[0] if found else None

    def _remedy(self, splits: Sequence[str]) -> str:
        """Return what to add, or which file is there in a form that is not read."""
        *most, last = READ_BY_SUFFIX
        readable = f"{', '.join(most)} or {last}"
        there = sorted(p.name for split in splits for p in self.folder.glob(f"{split}.*") if p.is_file())
        return f"{there[0]} is none of {readable}: unpack or convert it." if there else f"Add {splits[0]}{readable}."

    def find_classes(self, train: Labels) -> ClassIndex | None:
        """Return the classes by the rule in the module's docstring; None for regression."""
        listed = self.folder / LABELS_FILE
        if listed.exists():
            names = [line.strip() for line in read_lines(listed) if line.strip()]
            if names == ["regression"]:
                return None
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise DataError(f"{listed}: class '{repeated[0]}' is listed twice. Keep one line for each class.")
            classes = number_classes(names, train)
        elif train.is_fractional():
            return None
        else:
            classes = ClassIndex(find_class_names(train))
        if len(classes.names) < 2:
            count = "1 class" if classes.names else "no classes"
            if listed.exists():
                raise DataError(f"{listed}: {count}, at least 2 are needed. Give one a line, or remove the file.")
            raise DataError(f"{train.table.where}: {count}, at least 2 are needed. Add samples of another class.")
        return classes


def list_text_columns(table: RawTable) -> tuple[str, ...]:
    """Return the names of the one or two columns that hold a table's texts."""
    return PAIR if "text" not in table.columns and set(PAIR) & set(table.columns) else SINGLE


def make_labelled_split(table: RawTable, texts: Sequence[str], classes: ClassIndex | None) -> Split:
    """Return the checked split of a table with labels; ``classes`` None is a regression."""
    labels: NDArray[np.int64] | NDArray[np.float32]
    labels = read_targets(table) if classes is None else classes.indices(read_labels(table))
    return make_split(table, texts, labels)


def _once_merged(labels: Labels) -> bool:
    """Return whether version 0.1.0 read these labels as others, by way of a float: as another task."""
    for text in set(labels.texts):
        try:
            number = float(text)
            shortened = str(int(number)) if number == int(number) else text
        except (ValueError, OverflowError):
            continue
        if shortened != text:
            return True
    return False


def warn_of_doubts(
    train: RawTable, texts: Sequence[str], labels: Labels, classes: ClassIndex | None, listed: bool
) -> Iterator[str]:
    """Yield warnings of what can be read in two ways; ``listed``: the user names the classes himself."""
    if classes is not None and not listed and (found := find_hidden_numbers(labels)):
        yield f"{train.name}: {found[0]}: taken as {len(classes.names)} classes. {found[1]} for a regression"
    if "text" in train.columns and (unused := [name for name in PAIR if name in train.columns]):
        yield f"{' and '.join(unused)} of {train.name} are not used: it has a column 'text'"
    if train.where.endswith(".tsv"):
        quoted = sum(
            isinstance(text, str) and len(text) > 2 and text[0] == text[-1] == '"' and '""' in text[1:-1]
            for column in texts
            for text in train.columns[column]
        )
        if quoted:
            yield f"{quoted} texts of {train.name} look quoted, and TSV keeps the quotes: save it as CSV if they are"


def _warn_of_leaks(train: Split, reported: Split, trained: RawTable, evaluated: RawTable) -> Iterator[str]:
    """Yield a warning where evaluation texts were trained on: accuracy then says little."""
    seen = set(zip(train.first, train.second or train.first, strict=True))
    again = sum(row in seen for row in zip(reported.first, reported.second or reported.first, strict=True))
    if again:
        yield f"{again} of {len(reported)} rows of {evaluated.name} are in {trained.name} too"
