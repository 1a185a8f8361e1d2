"""What a question about a run is about: its operating points, and typical samples.

Both are found in the record and stored exits: no model is needed to see which inputs are simple or overthought.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure.calibration import probabilities
from bench.measure.exits import AllExits
from bench.results.measures import OperatingPoint
from bench.results.run import Run
from bench.tasks.base import TaskData


def find_point(run: Run, rule: str, split: str | None = None) -> OperatingPoint:
    """Return the operating point of ``rule``. Raises UsageError, naming those there are, where it was not reached."""
    reached = run.result(split).reached
    if rule not in reached:
        known = ", ".join(reached) or "none"
        raise UsageError(f"The run has no operating point '{rule}'. It has: {known}.")
    return reached[rule]


def choose_point(run: Run, rule: str | None, split: str | None = None) -> OperatingPoint | None:
    """Return the point of ``rule``, by default no-loss, else the first that was reached; None where none was.

    Raises UsageError for a rule that was not reached.
    """
    if rule is not None:
        return find_point(run, rule, split)
    reached = run.result(split).reached
    return reached.get("no-loss") or next(iter(reached.values()), None)


def find_points(run: Run, rules: str | None) -> list[OperatingPoint]:
    """Return the points of ``rules``, separated by commas; by default no-loss and 2x where reached, else the first.

    Raises UsageError for a rule that was not reached.
    """
    if rules is not None:
        return [find_point(run, rule) for rule in dict.fromkeys(filter(None, map(str.strip, rules.split(","))))]
    reached = run.result().reached
    return [reached[rule] for rule in ("no-loss", "2x") if rule in reached] or list(reached.values())[:1]


# --------------------------------------------------------------------------- typical samples


@dataclass(frozen=True)
class Case:
    """A typical sample: its row, why it is one, where it leaves, and how sure the exit was."""

    kind: str
    row: int
    id: str
    layer: int
    confidence: float


SIMPLE, OVERTHOUGHT = "simple: leaves early and is right", "overthinking: right where it leaves, wrong at the last exit"


def find_cases(exits: AllExits, layers: NDArray[np.int64], most: int) -> list[Case]:
    """Return simple samples at the earliest exit used, and overthinking ones: ``most`` of each, the surest first.

    ``layers`` int [N] are where the samples leave. Where the criterion saves no sample from overthinking, those are
    returned that any earlier exit answers rightly.
    """
    p = probabilities(exits.logits)
    right = exits.predictions == exits.labels[:, None]
    at_exit = right[np.arange(len(layers)), layers - 1]
    simple = np.flatnonzero((layers == layers.min()) & (layers < p.shape[1]) & at_exit)
    saved = np.flatnonzero(at_exit & ~right[:, -1])
    shown = layers
    if not len(saved):
        saved = np.flatnonzero(right.any(axis=1) & ~right[:, -1])
        shown = np.where(right.any(axis=1), right.argmax(axis=1) + 1, layers)
    made = []
    for kind, found, at in ((SIMPLE, simple, layers), (OVERTHOUGHT, saved, shown)):
        sure = p.max(axis=2)[found, at[found] - 1]
        for i in np.lexsort([found, -sure])[:most]:
            row = int(found[i])
            made.append(Case(kind, row, exits.ids[row], int(at[row]), float(sure[i])))
    return made


def describe_absent(kinds: Collection[str], samples: int) -> list[str]:
    """Return a sentence for each kind of typical sample that is not among the ``kinds`` found in ``samples``."""
    said = {
        SIMPLE: f"None of {samples:,} is simple: no sample is right at the earliest exit used, before the last one.",
        OVERTHOUGHT: f"None of {samples:,} is overthought: no sample is right at an exit before a wrong last one.",
    }
    return [sentence for kind, sentence in said.items() if kind not in kinds]


@dataclass(frozen=True)
class Span:
    """Neighbouring exits, 1-based, that give one sample the same answer, and the least and largest probability of it.

    ``leaves``: the sample leaves at the one exit that this is.
    """

    first: int
    last: int
    answer: int
    least: float
    most: float
    leaves: bool


def list_spans(exits: AllExits, case: Case) -> list[Span]:
    """Return what the exits say of one sample, those with the same answer together, the one where it leaves alone."""
    p = probabilities(exits.logits[case.row : case.row + 1])[0]
    spans: list[Span] = []
    for layer, (answer, sure) in enumerate(
        zip(p.argmax(axis=1).tolist(), p.max(axis=1).tolist(), strict=True), start=1
    ):
        leaves, before = layer == case.layer, spans[-1] if spans else None
        if before is None or leaves or before.leaves or before.answer != answer:
            spans.append(Span(layer, layer, answer, sure, sure, leaves))
        else:
            spans[-1] = replace(before, last=layer, least=min(before.least, sure), most=max(before.most, sure))
    return spans


def find_run_cases(run: Run, rule: str | None, most: int) -> list[Case]:
    """Return the typical samples of a run's first split at an operating point.

    Raises UsageError for a regression or an unknown point, DataError where the exits are not stored.
    """
    if run.record.task.kind == "regression":
        raise UsageError("Cases need right and wrong answers, and this task is a regression.")
    point = choose_point(run, rule)
    return find_cases(run.exits(), run.layers_at(None if point is None else point.rule), most)


def describe_cases(run: Run, cases: Sequence[Case], data: TaskData | None) -> list[dict[str, Any]]:
    """Return the cases as plain data, with label and text where the run's ``data`` are there.

    Raises UsageError where the data have no sample of that id.
    """
    rows = []
    for case in cases:
        text, label = "", None
        if data is not None:
            split = data.evaluation[run.primary]
            if case.id not in split.ids:
                some = ", ".join(split.ids[:3])
                raise UsageError(
                    f"{run.exits_file()}: sample '{case.id}' is not in the data of task '{run.task}', whose ids look "
                    f"like: {some}. The logits belong to other data: run it again."
                )
            row = split.ids.index(case.id)
            text = split.first[row] + ("" if split.second is None else f" | {split.second[row]}")
            label = run.record.task.labels[int(split.labels[row])]
        exits = [asdict(span) for span in list_spans(run.exits(), case)]
        rows.append({**asdict(case), "split": run.primary, "label": label, "text": text, "exits": exits})
    return rows
