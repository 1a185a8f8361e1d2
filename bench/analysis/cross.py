"""Two runs on the same samples: which ones one gets right and the other wrong, from their stored logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.cases import choose_point
from bench.errors import NothingComparable, UsageError
from bench.measure.calibration import probabilities
from bench.measure.stats import mcnemar
from bench.results.run import Run
from bench.tasks.base import TaskData

KINDS = ("only the first is right", "only the second is right", "both are right", "both are wrong")


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answers to every sample of a split at an operating point (None: all layers), and where it leaves."""

    run: Run
    rule: str | None
    split: str
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    given: NDArray[np.int64]
    """Class indices [N]."""
    layers: NDArray[np.int64]
    sure: NDArray[np.float64]
    """Probability of the class that is answered [N]."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is its label [N]."""
        return np.equal(self.given, self.labels)

    def take(self, rows: NDArray[np.int64]) -> Answers:
        """Return some of the samples, by row."""
        ids = tuple(self.ids[i] for i in rows)
        columns = (self.labels[rows], self.given[rows], self.layers[rows], self.sure[rows])
        return Answers(self.run, self.rule, self.split, ids, *columns)


def answer_split(run: Run, rule: str | None, split: str | None = None) -> Answers:
    """Return a run's answers on ``split``, the primary one by default.

    Raises UsageError for a regression and a point that was not reached, DataError where the logits are not stored.
    """
    if run.record.task.kind == "regression":
        raise UsageError(f"{run.folder.name} is a regression: no answer is right or wrong.")
    where = split or run.primary
    exits, layers = run.exits(where), run.layers_at(rule, where)
    rows = np.arange(len(layers))
    given = exits.predictions[rows, layers - 1].astype(np.int64)
    sure = probabilities(exits.logits)[rows, layers - 1, given]
    return Answers(run, rule, where, exits.ids, exits.labels.astype(np.int64), given, layers, sure)


@dataclass(frozen=True, eq=False)
class Crossing:
    """Two runs' answers to the samples that both have, in the first one's order."""

    first: Answers
    second: Answers
    left_out: tuple[int, int]
    """Samples that only the first, only the second has."""

    @property
    def kinds(self) -> NDArray[np.int64]:
        """Which of :data:`KINDS` every sample is [N]."""
        a, b = self.first.right, self.second.right
        return np.select([a & ~b, b & ~a, a & b], [0, 1, 2], 3)

    @property
    def counts(self) -> list[int]:
        """How many samples are of each of :data:`KINDS`."""
        return np.bincount(self.kinds, minlength=len(KINDS)).tolist()

    @property
    def p(self) -> float:
        """Exact McNemar p-value that both are equally accurate."""
        return mcnemar(self.first.right, self.second.right)

    @property
    def same(self) -> bool:
        """Whether both were asked the same samples."""
        return not any(self.left_out)

    def describe_samples(self) -> str:
        """Return on how many samples they are paired, and whether these are all of both."""
        count = len(self.first.ids)
        if self.same:
            return f"Both answer the same {count} samples."
        one, other = self.left_out
        return (
            f"Not the same samples: paired on the {count} that both have; {one} of the first and {other} of the second "
            "are left out."
        )

    def describe_difference(self) -> str:
        """Return accuracies, and what the test says, in a sentence."""
        one, other, *_ = self.counts
        values = [float(side.right.mean()) for side in (self.first, self.second)]
        verdict = "differ" if self.p < 0.05 else "are not shown to differ"
        return (
            f"Right: {values[0]:.3f} and {values[1]:.3f}. {one} samples only by the first, {other} only by the second: "
            f"they {verdict} (exact McNemar, p = {self.p:.2g})."
        )

    def list_rows(self, kind: int, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the samples of one of :data:`KINDS`, those first of which the run that is wrong is surest."""
        rows = np.flatnonzero(self.kinds == kind)
        wrong = self.first if kind == 1 else self.second
        names = self.first.run.record.task.labels
        for i in rows[np.lexsort([rows, -wrong.sure[rows]])][:most]:
            sides = [
                {"answer": names[side.given[i]], "exit": int(side.layers[i]), "sure": round(float(side.sure[i]), 4)}
                for side in (self.first, self.second)
            ]
            label = names[self.first.labels[i]]
            yield {"kind": KINDS[kind], "id": self.first.ids[i], "label": label, "first": sides[0], "second": sides[1]}


def cross_answers(first: Answers, second: Answers) -> Crossing:
    """Pair two runs' answers by sample.

    Raises NothingComparable where they have no sample in common, or one of them another label in the two.
    """
    one, other = first.run.record.task, second.run.record.task
    if one.labels != other.labels:
        raise NothingComparable(f"{first.run.folder.name} and {second.run.folder.name} have other classes.")
    if first.ids == second.ids:
        found = Crossing(first, second, (0, 0))
    else:
        at = {sample: i for i, sample in enumerate(second.ids)}
        pairs = np.array([(i, at[s]) for i, s in enumerate(first.ids) if s in at], dtype=np.int64).reshape(-1, 2)
        left_out = (len(first.ids) - len(pairs), len(second.ids) - len(pairs))
        found = Crossing(first.take(pairs[:, 0]), second.take(pairs[:, 1]), left_out)
    names = f"{first.run.folder.name} and {second.run.folder.name}"
    if not found.first.ids:
        raise NothingComparable(f"{names} have no sample in common: other data, or another task.")
    differ = np.flatnonzero(found.first.labels != found.second.labels)
    if len(differ):
        sample = found.first.ids[differ[0]]
        raise NothingComparable(f"{names}: {len(differ)} samples have another label, the first {sample}.")
    return found


def cross_runs(first: Run, second: Run, rule: str | None) -> Crossing:
    """Pair two runs on their primary split at an operating point: by default no-loss, else the first of each.

    A run without operating points answers with all its layers, whatever is asked. Raises as :func:`answer_split`
    and :func:`cross_answers`, and NothingComparable for runs of two tasks.
    """
    if first.task != second.task or first.primary != second.primary:
        raise NothingComparable(f"{first.folder.name} is of {first.task}, {second.folder.name} of {second.task}.")
    sides = []
    for run in (first, second):
        point = choose_point(run, rule) if run.result().points else None
        sides.append(answer_split(run, None if point is None else point.rule))
    return cross_answers(*sides)


def list_split_texts(data: TaskData | None, split: str) -> dict[str, str]:
    """Return the text of every sample of a split by its id, both texts of a pair; empty without data."""
    if data is None or split not in data.evaluation:
        return {}
    rows = data.evaluation[split]
    seconds = [""] * len(rows.ids) if rows.second is None else [f" | {text}" for text in rows.second]
    return {name: text + more for name, text, more in zip(rows.ids, rows.first, seconds, strict=True)}
