"""What others have published, number by number, as data: ``published.csv`` beside this file, read without torch.

Nothing in it was measured here. Every number keeps its source, how sure it is, and its own definition of speed-up: one
of layers, one of FLOPs and one of wall-clock time are different quantities, and so is a mean over several tasks.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from backbones.names import make_unknown_error

Known = Literal["V", "A", "S"]
EVIDENCE: dict[Known, str] = {
    "V": "read in the primary text or the released files",
    "A": "read in the abstract or readme alone",
    "S": "second hand: transcribed by others, or read off a plot",
}
"""How a number is known."""


@dataclass(frozen=True)
class PublishedNumber:
    """One published result: a method on a task and a backbone, and what was said of its speed.

    Tasks, backbones and metrics have the names they have here, where they have one. ``value`` is in percent and
    ``speedup`` in times, both as printed, so that a range stays one; empty where nothing was said. ``cost`` is what
    that speed-up counts, empty where that is not told; ``speedup_of`` says whether it is of this task, one number for
    several, or that of everybody leaving at one exit. ``note`` marks likely misprints and what else must be known.
    """

    paper: str
    table: str
    method: str
    backbone: str
    task: str
    split: str
    metric: str
    value: str
    speedup: str
    cost: Literal["layers", "flops", "runtime", ""]
    speedup_of: Literal["the task", "several tasks", "one exit", ""]
    speedup_definition: str
    setting: str
    evidence: Known
    source: str
    note: str

    @property
    def quality(self) -> float | None:
        """The value as a share, None where it is no number."""
        found = _read_number(self.value)
        return None if found is None else found / 100

    @property
    def times(self) -> float | None:
        """The speed-up of leaving early on this task, None where it is no number or one of something else."""
        return _read_number(self.speedup) if self.speedup_of == "the task" else None

    @property
    def system(self) -> str:
        """The method without who measured it, or which row it is: ``PABEE`` of ``PABEE (via GPFEE)``."""
        return re.split(r" \(| #", self.method)[0]


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@cache
def read_published() -> tuple[PublishedNumber, ...]:
    """Return every published number, in the order of the file."""
    text = (files(__package__) / "published.csv").read_text(encoding="utf-8")
    return tuple(PublishedNumber(**row) for row in csv.DictReader(text.splitlines()))  # type: ignore[arg-type]


def find_published(
    methods: Collection[str] = (), tasks: Collection[str] = (), evidence: Collection[str] = ()
) -> list[PublishedNumber]:
    """Return the published numbers of some methods, tasks and kinds of evidence; empty means all.

    Case does not count, and a method is also found by its :attr:`~PublishedNumber.system`. Raises UsageError for
    a name that no number has.
    """
    found: Sequence[PublishedNumber] = read_published()
    asked = (("method", methods), ("task", tasks), ("evidence", evidence))
    for what, names in asked:
        known = {name for number in read_published() for name in _list_names(number, what)}
        wanted = {name.casefold() for name in names}
        for name in names:
            if name.casefold() not in {one.casefold() for one in known}:
                raise make_unknown_error(what, name, sorted(known), " among the published numbers")
        found = [one for one in found if not wanted or wanted & {n.casefold() for n in _list_names(one, what)}]
    return list(found)


def _list_names(number: PublishedNumber, what: str) -> set[str]:
    """Return what a number is found by."""
    return {number.method, number.system} if what == "method" else {str(getattr(number, what))}
