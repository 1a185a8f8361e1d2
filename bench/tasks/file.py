"""A task out of one file of the user's own: ``--task FILE``, shared out by a hash of each text.

What is fitted on, what thresholds are chosen on and what is reported share no text: rows with the same text stay
together, whatever the order of rows. ``FILE+TEXTS`` fits on the texts of a second file, which needs no labels (one text
a line in a .txt file, else a table with the same text columns), and shares the first out between the other two.

Columns and labels are those of a task folder (:mod:`bench.tasks.folder`); a ``labels.txt`` beside the file lists the
classes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.names import expand_home
from bench.errors import DataError
from bench.tasks.base import LoadOptions, Split, TaskData
from bench.tasks.checks import RawTable, make_split
from bench.tasks.folder import (
    EVALUATION,
    PAIR,
    SINGLE,
    FolderTask,
    list_text_columns,
    make_labelled_split,
    warn_of_doubts,
)
from bench.tasks.labels import read_labels
from bench.tasks.readers import READ_BY_SUFFIX, read_columns, read_lines
from bench.tasks.sampling import limit_split

PARTS = {"train": 0.4, "select": 0.3, "report": 0.3}
"""The shares of a file's texts that exits are fitted on, thresholds chosen on, results reported of."""
JOIN = "+"
"""Between a file with labels and one with texts to fit on."""


class FileTask(FolderTask):
    """One file of your own, shared out between fitting, choosing and reporting."""

    def __init__(self, file: Path, texts: Path | None = None) -> None:
        super().__init__(file.parent)
        self.file, self.texts, self.name = file, texts, file.stem

    def load(self, options: LoadOptions) -> TaskData:
        """Read, check and share out the file; raises DataError naming file, row and remedy."""
        for path, more in ((self.file, ()), *([(self.texts, (".txt",))] if self.texts else [])):
            check_suffix(path, (*READ_BY_SUFFIX, *more))
        table = read_columns(self.file, "data", (*SINGLE, *PAIR, "label"))
        columns = list_text_columns(table)
        for column in ("label", *columns):
            table.column(column)
        labels = read_labels(table)
        classes = self.find_classes(labels)
        every = make_labelled_split(table, columns, classes)
        parts = share_out(every, options.seed, fitted=self.texts is None)
        files = [("data", self.file)]
        warnings = list(warn_of_doubts(table, columns, labels, classes, self.lists_classes))
        warnings += warn_of_repeats(every, table.name)
        if self.texts is None:
            train = limit_split(parts["train"], options.limit)
        else:
            train, again = read_unlabelled(self.texts, columns, classes is None, parts)
            train = limit_split(train, options.limit)
            files.append(("texts", self.texts))
            warnings.append(f"the {len(train)} texts of {self.texts.name} that exits are fitted on have no labels")
            if again:
                warnings.append(f"{again} texts of {self.texts.name} are in {self.file.name} too: they are left out")
        select, report = (limit_split(parts[name], options.limit) for name in ("select", "report"))
        return self.make_data(classes, (train, select, {"report": report}), files, "shared out by text", warnings)

    @property
    def source(self) -> str:
        """Where the data come from, in words."""
        return f"file {self.file.name}" + (f" and {self.texts.name}" if self.texts else "")


def find_file_task(name: str, root: Path = Path()) -> FileTask | None:
    """Return the task of ``FILE`` or ``FILE+TEXTS`` below ``root``; None where ``name`` is neither.

    A file of a task folder is none by itself: its folder is the task.
    """
    whole = root / expand_home(name)
    if os.path.isfile(whole):  # pathlib fails on names that no file can have
        return None if is_part_of_folder(whole) else FileTask(whole)
    for at in (i for i, letter in enumerate(name) if letter == JOIN):
        file, texts = (root / expand_home(part) for part in (name[:at], name[at + 1 :]))
        if os.path.isfile(file) and os.path.isfile(texts):
            return FileTask(file, texts)
    return None


def is_part_of_folder(file: Path) -> bool:
    """Return whether ``file`` is train or an evaluation file of a folder that has both."""
    if file.stem not in ("train", *EVALUATION):
        return False
    there = {name for name in ("train", *EVALUATION) for s in READ_BY_SUFFIX if (file.parent / f"{name}{s}").is_file()}
    return "train" in there and len(there) > 1


def check_suffix(path: Path, known: Sequence[str]) -> None:
    """Raise DataError for a file of a kind that is not read."""
    if path.suffix not in known:
        *most, last = known
        raise DataError(f"{path}: is none of {', '.join(most)} or {last}. Convert it.")


def warn_of_repeats(every: Split, file: str) -> Iterator[str]:
    """Yield a warning where rows have the text of earlier ones: they count again, as if they were new."""
    first: dict[tuple[str, str], float] = {}
    known = [first.setdefault(*row) for row in zip(list_texts(every), every.labels.tolist(), strict=True)]
    again, other = len(every) - len(first), int((np.array(known) != every.labels).sum())
    if again:
        labels = f", {other} of them with another label" if other else ""
        yield (
            f"{again} of {len(every)} rows of {file} have the same text as an earlier row{labels}: they are kept "
            "together in one part, and count there as if they were new"
        )


def share_out(every: Split, seed: int, *, fitted: bool = True) -> dict[str, Split]:
    """Share rows out between train, select and report by a hash of their texts and the seed.

    Not ``fitted``, train gets none. Raises DataError where a part would have fewer than two rows.
    """
    shares = {name: share for name, share in PARTS.items() if fitted or name != "train"}
    total = sum(shares.values())
    edges = np.cumsum([share / total for share in shares.values()])[:-1]
    part = np.searchsorted(edges, hash_texts(every, seed), side="right")
    found = {name: every.take(np.flatnonzero(part == i), name) for i, name in enumerate(shares)}
    for name, split in found.items():
        if len(split) < 2:
            raise DataError(f"{len(every)} rows are too few: '{name}' has {len(split)} of them. Give more rows.")
    return found


def hash_texts(split: Split, seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each row, the same for the same texts, [N]."""
    rows = zip(split.first, split.second or ("",) * len(split), strict=True)
    digests = (hashlib.sha256(f"{seed}\0{first}\0{second}".encode()).digest() for first, second in rows)
    return np.array([int.from_bytes(digest[:8]) / 2**64 for digest in digests])


def read_unlabelled(path: Path, columns: Sequence[str], regression: bool, parts: dict[str, Split]) -> tuple[Split, int]:
    """Return the texts of ``path`` that are in none of ``parts``, each once, and how many were.

    Their labels are -1, or NaN for a regression. Raises DataError where there are none.
    """
    if path.suffix == ".txt":
        if len(columns) > 1:
            raise DataError(f"{path}: the data has pairs of texts: give a table with {' and '.join(columns)}.")
        lines = [line.strip() for line in read_lines(path)]
        table = RawTable("train", str(path), {columns[0]: [line for line in lines if line]})
    else:
        table = read_columns(path, "train", tuple(columns))
    count = len(table)
    none = np.full(count, np.nan, dtype=np.float32) if regression else np.full(count, -1, dtype=np.int64)
    split = make_split(table, columns, none)
    reserved = {row for part in parts.values() for row in list_texts(part)}
    firsts = {row: i for i, row in reversed(list(enumerate(list_texts(split))))}
    kept = sorted(i for row, i in firsts.items() if row not in reserved)
    if len(kept) < 2:
        if len(kept) == len(firsts):
            raise DataError(f"{path}: {len(kept)} texts are too few to fit exits on. Give more.")
        raise DataError(
            f"{path}: {len(kept)} of its {len(firsts)} texts are not in the data too, which keeps its own to choose "
            "cuts on and to report. Give texts that are not in it."
        )
    return split.take(np.array(kept)), len(firsts) - len(kept)


def list_texts(split: Split) -> list[tuple[str, str]]:
    """Return each row's texts."""
    return list(zip(split.first, split.second or ("",) * len(split), strict=True))
