"""What `bench advise` found, beside the record of its run, which holds what a cell gives and no verdict."""

from __future__ import annotations

from bench.files import write_json
from bench.results.part import Part, compute_checksum, read_part
from bench.results.run import Run

ADVICE = "advice.json"


class AdviceNote(Part):
    """A verdict, the point that it is about, and what the clock said of every way to answer."""

    created: str
    """When the record was made that this is about."""
    verdict: str
    point: str | None
    """The operating point that was chosen; None where there is none."""
    columns: tuple[str, ...]
    ways: tuple[tuple[str, ...], ...]
    """Early exit and its rivals, a row each, as they were printed under ``columns``."""
    notes: tuple[str, ...]
    """How to read the rows, and how they were timed."""
    checksum: str | None = None


def save_advice_note(run: Run, note: AdviceNote) -> None:
    """Write the note beside the record, whole or not at all, with its checksum."""
    plain = note.to_plain()
    write_json(run.folder / ADVICE, {**plain, "checksum": compute_checksum(plain)})


def read_advice_note(run: Run) -> AdviceNote | None:
    """Return the note beside the record of a run; None without one, or where the run was made anew since.

    Raises Damaged.
    """
    path = run.folder / ADVICE
    if not path.exists():
        return None
    note = read_part(path, AdviceNote)
    return note if note.created == run.head.created else None
