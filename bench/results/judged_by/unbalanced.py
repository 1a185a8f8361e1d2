"""What accuracy hides where classes are unbalanced: recall of each class, and metrics in which rare ones count.

A split is unbalanced where its most frequent class is there more than twice as often as its rarest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.measure.judges import RECALL, AskedMetric, Metric
from bench.results.doubts import doubt_outgrown
from bench.results.kept.answers import EVERY_LAYER
from bench.results.run import Run

MOST_UNEVEN = 2
"""The most frequent class is there so many times as often as the rarest, or less, in a balanced split."""
TELLING = ("balanced_accuracy", "macro_f1", "auroc", "log_loss", "brier")
"""Metrics that are shown of an unbalanced split."""
MOST_RECALLS = 8
"""Classes whose recall is shown: of more the rarest."""


@dataclass(frozen=True)
class ClassNumbers:
    """Metrics of a run on an unbalanced split, by point and name, without intervals.

    ``samples`` of each class; ``missing`` says why there are no points, where there are none.
    """

    samples: Mapping[str, int]
    points: Mapping[str, Mapping[str, float]]
    missing: str = ""

    @property
    def recalled(self) -> list[str]:
        """The classes whose recall is shown, in the task's order: all of few, the rarest of many."""
        rarest = sorted(self.samples, key=lambda label: self.samples[label])[:MOST_RECALLS]
        return [label for label in self.samples if label in rarest]

    @property
    def said(self) -> str:
        """That the classes are unbalanced, in a sentence."""
        often, rare = max(self.samples, key=self.samples.__getitem__), min(self.samples, key=self.samples.__getitem__)
        said = f"Unbalanced classes: '{often}' has {self.samples[often]} samples, '{rare}' {self.samples[rare]}"
        shown = len(self.recalled)
        return f"{said}; recall of the {shown} rarest of {len(self.samples)}" if shown < len(self.samples) else said


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Return whether the most frequent of the classes that are there is more than twice as frequent as the rarest."""
    there = [count for count in counts if count]
    return len(there) > 1 and max(there) > MOST_UNEVEN * min(there)


def measure_classes(run: Run, split: str) -> ClassNumbers | None:
    """Return what is shown of an unbalanced split; None for a balanced one, values, and where no logits are stored.

    Raises Damaged, and UsageError for logits that are not finite.
    """
    task = run.record.task
    if task.kind != "classification" or not run.has_exits(split):
        return None
    exits = run.exits(split)
    counts = np.bincount(exits.labels, minlength=len(task.labels)).tolist()
    if not is_unbalanced(counts):
        return None
    samples = {label: count for label, count in zip(task.labels, counts, strict=True) if count}
    layers, missing = {EVERY_LAYER: np.full(len(exits.labels), run.layers)}, ""
    try:
        answers = run.answers(split)
        if answers.moved:
            missing = doubt_outgrown(list(answers.moved)).found
        else:
            layers |= {rule: answers.layers[rule] for rule in run.result(split).reached}
    except UserError as error:
        missing = str(error)
    asked = [AskedMetric(name) for name in (*TELLING, RECALL)]
    metrics: list[Metric] = [metric for one in asked for metric in one.list_metrics(task.kind, task.labels)]
    points: dict[str, Mapping[str, float]] = {}
    told: dict[bytes, Mapping[str, float]] = {}  # points at the same exits say the same
    for rule, at in layers.items():
        if (key := at.tobytes()) not in told:
            told[key] = {m.name: compute_quickly(m, m.read_answers(exits, at), exits.labels) for m in metrics}
        points[rule or "all layers"] = told[key]
    return ClassNumbers(samples, points, missing)


def compute_quickly(metric: Metric, answers: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return what ``metric`` gives, through its sums where it has any: a tenth of the time of scikit-learn's checks."""
    if metric.sums is None:
        return metric.compute(answers, labels)
    add, combine = metric.sums
    return float(combine(add(answers, labels).sum(axis=0, keepdims=True))[0])


def list_columns(found: ClassNumbers) -> list[str]:
    """Return the names of the metrics that are shown, as ``recall:LABEL`` those of classes."""
    return [*TELLING, *(f"{RECALL}:{label}" for label in found.recalled)]
