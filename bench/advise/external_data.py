"""Logits that were made elsewhere, as data to choose on and data to report: read, checked, matched with a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError
from bench.measure.exits import AllExits
from bench.measure.held_out import LEAST_TO_SHARE
from bench.results.facts import TaskFacts
from bench.results.logits_file import LogitsFile, make_exits, read_logits
from bench.tasks.base import Split, TaskData, name_primary

MOST_SET_APART = 1000
"""Samples that are set apart where no held-out file is given: as many as a task holds out at most."""
MOST_SHARED = 0.05
"""Share of the held-out rows that may be among the reported ones: texts do occur twice, a twentieth of them hardly."""


@dataclass(frozen=True)
class ExternalData:
    """Imported logits: ``select`` to choose on, ``report`` of the one split of ``task`` to report on.

    ``lengths`` of both are 0 where nobody gave them. ``warnings`` belong into the record.
    """

    task: TaskFacts
    report: AllExits
    select: AllExits
    warnings: tuple[str, ...]

    @property
    def split(self) -> str:
        """The split that is reported."""
        return name_primary(self.task.evaluation)

    @property
    def exits(self) -> int:
        """Number of exits L."""
        return self.report.logits.shape[1]

    @property
    def outputs(self) -> int:
        """Classes, or 1 for regression."""
        return self.report.logits.shape[2]

    def has_lengths(self) -> bool:
        """Return whether every sample's tokens are known."""
        return bool((self.report.lengths > 0).all() and (self.select.lengths > 0).all())


def read_external(path: Path) -> tuple[AllExits, bool]:
    """Return the logits in ``path`` with their labels, and whether the file itself names its samples.

    Raises DataError, in one line with the remedy, for what no record can be made of.
    """
    found = read_logits(path, others=False)
    if found.labels is None:
        raise DataError(f"{path} has no array 'labels', and quality needs them; `bench replay` decides without.")
    _check_values(path, found)
    return make_exits(found, found.labels), found.named


def _check_values(path: Path, found: LogitsFile) -> None:
    numbers = {"logits": found.logits, "labels": found.labels, "observed": found.observed}
    for name, values in numbers.items():
        bad = np.argwhere(~np.isfinite(values.astype(np.float32))) if values is not None else np.empty((0, 1))
        if len(bad):
            row, *exit_ = bad[0][:2].tolist()
            where = f"row {row + 1}" + (f", exit {exit_[0] + 1}" if exit_ else "")
            raise DataError(
                f"{path}: {name} of {where} are not finite float32 numbers: leave such rows out, in every array."
            )
    seen: set[str] = set()
    for row, name in enumerate(found.ids, start=1):
        if name in seen:
            raise DataError(f"{path}: id '{name}' of row {row} was there before: every sample needs an id of its own.")
        seen.add(name)
    exits = found.logits.shape[1]
    if exits < 2:
        raise DataError(
            f"{path}: logits of {exits} exit: early exit needs 2 at least, in the order (samples, exits, classes)."
        )


def check_alike(path: Path, report: AllExits, held_path: Path, held: AllExits) -> None:
    """Raise DataError where the held-out logits are of another model, or of samples that are reported on."""
    for axis, what in ((1, "exits"), (2, "classes")):
        ours, theirs = report.logits.shape[axis], held.logits.shape[axis]
        if ours != theirs:
            raise DataError(
                f"{held_path} has {theirs} {what} and {path} {ours}: both must be logits of the same model."
            )
    if (report.observed is None) != (held.observed is None):
        raise DataError(f"Only one of {path} and {held_path} has 'observed': both need it, or neither.")


def warn_of_leaks(path: Path, report: AllExits, held_path: Path, held: AllExits, *, named: bool) -> list[str]:
    """Return a warning where held-out rows have the logits of reported ones, whatever their ids and order.

    Raises DataError where many have, unless both files are ``named``: then other ids say that these are other samples.
    """
    known = {row.tobytes() for row in report.logits}
    shared = sum(row.tobytes() in known for row in held.logits)
    if shared > MOST_SHARED * len(held.ids) and not named:
        raise DataError(
            f"{shared} of {len(held.ids)} rows of {held_path} are rows of {path} too: thresholds must be chosen on "
            "samples that are not reported. Give others, leave --select out, or give ids in both that tell them apart."
        )
    if not shared:
        return []
    return [f"{shared} of {len(held.ids)} held-out rows have the same logits as reported ones, perhaps the same texts"]


def check_ids_apart(path: Path, report: AllExits, held_path: Path, held: AllExits) -> None:
    """Raise DataError where an id is in both files."""
    both = sorted(set(report.ids) & set(held.ids))
    if both:
        raise DataError(
            f"{len(both)} ids of {held_path} are in {path} too, such as '{both[0]}': thresholds must be chosen on "
            "samples that are not reported. Give others, or leave --select out."
        )


def set_apart(report: AllExits, seed: int) -> tuple[AllExits, AllExits]:
    """Return (select, report): half of the rows, 1,000 at most, drawn by ``seed`` to choose on, and the others.

    Raises DataError for too few rows.
    """
    samples = len(report.ids)
    if samples < LEAST_TO_SHARE:
        raise DataError(
            f"{samples} samples are too few to set some apart for choosing thresholds ({LEAST_TO_SHARE} are needed): "
            "give held-out logits with --select."
        )
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, samples]))).permutation(samples)
    size = min(samples // 2, MOST_SET_APART)
    return report.take(np.sort(order[:size])), report.take(np.sort(order[size:]))


def prefix_ids(exits: AllExits, start: str) -> AllExits:
    """Return ``exits`` with ids that begin with ``start``, for a file whose rows have no names."""
    return replace(exits, ids=tuple(f"{start}-{name}" for name in exits.ids))


def check_outputs(path: Path, exits: AllExits, outputs: int | None, what: str) -> None:
    """Raise DataError where logits have other classes than ``outputs`` of ``what``, or (None) than labels suggest."""
    _, depth, found = exits.logits.shape
    swapped = f"save logits.transpose(0, 2, 1), for they must be (samples, exits, classes), not {exits.logits.shape}"
    if outputs is None:
        seen = int(exits.labels.max()) + 1 if found > 1 else found
        if found > seen and depth == seen and seen > 1:
            raise DataError(
                f"{path}: the labels name {seen} classes, and {depth} is the number of exits: {swapped}; or name the "
                "--task, which says how many classes there are."
            )
    elif found != outputs:
        remedy = f": {swapped}." if depth == outputs else "."
        raise DataError(f"{path} has logits of {found} classes, and {what} has {outputs}{remedy}")


def find_split(path: Path, exits: AllExits, named: bool, data: TaskData) -> tuple[Split, AllExits]:
    """Return the task's split that ``exits`` are of, and these in the split's order and with its ids.

    By ids where the file has them, else by the number of rows. Raises DataError where they are of none, or their labels
    are others than the task's.
    """
    sizes = ", ".join(f"{name} {len(split)}" for name, split in data.evaluation.items())
    for split in data.evaluation.values():
        row_of = {name: row for row, name in enumerate(split.ids)}
        if named and all(name in row_of for name in exits.ids):
            rows = np.array([row_of[name] for name in exits.ids], dtype=np.int64)
            order = np.argsort(rows, kind="stable")
            found, rows = exits.take(order), rows[order]
        elif not named and len(exits.ids) == len(split):
            found, rows = replace(exits, ids=split.ids), np.arange(len(split))
        else:
            continue
        _check_labels(path, found, split.take(rows), data.name)
        return split, found
    if named:
        known = {name for split in data.evaluation.values() for name in split.ids}
        strange = next((name for name in exits.ids if name not in known), None)
        if strange is None:
            raise DataError(
                f"{path}: its ids are of several splits of task '{data.name}' ({sizes}): give a file for each."
            )
        raise DataError(
            f"{path}: id '{strange}' is none of task '{data.name}', whose ids are as '{data.primary.ids[0]}'; leave "
            f"ids out where the rows are all of the task's ({sizes}), in its order."
        )
    raise DataError(
        f"{path} has {len(exits.ids)} rows without ids, and task '{data.name}' has other numbers of them ({sizes}): "
        "give all rows in the task's order, or its ids; --limit as in `bench run` takes a part."
    )


def _check_labels(path: Path, exits: AllExits, split: Split, task: str) -> None:
    ours, theirs = exits.labels, split.labels
    other = np.flatnonzero(ours != theirs.astype(ours.dtype))
    if len(other):
        row = int(other[0])
        raise DataError(
            f"{path}: {len(other)} of {len(ours)} labels are not those of task '{task}', such as {ours[row]} of "
            f"'{exits.ids[row]}', which is {theirs[row]} there: another order of rows, or of classes. Give "
            "ids, or rows and classes in the task's order."
        )


def fill_lengths(exits: AllExits, splits: Sequence[tuple[tuple[str, ...], NDArray[np.int64]]]) -> AllExits:
    """Return ``exits`` with the tokens that ``splits``, pairs of ids and lengths, know of all of them, if they do."""
    known = {name: int(n) for ids, lengths in splits for name, n in zip(ids, lengths, strict=True)}
    if (exits.lengths > 0).all() or not all(name in known for name in exits.ids):
        return exits
    return replace(exits, lengths=np.array([known[name] for name in exits.ids], dtype=np.int64))
