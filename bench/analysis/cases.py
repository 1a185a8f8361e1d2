"""Typical samples, found in stored exits: no model is needed to see which inputs are simple or overthought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measure.calibration import probabilities
from bench.measure.curve import exit_layers
from bench.results.data import Array, Exits


@dataclass(frozen=True)
class Case:
    """A typical sample: its row, why it is one, where it leaves, and how sure the exit was."""

    kind: str
    row: int
    id: str
    layer: int
    confidence: float


SIMPLE, OVERTHOUGHT = "simple: leaves early and is right", "overthinking: right where it leaves, wrong at the last exit"


def find_cases(scores: Array, cut: float, strict: bool, exits: Exits, most: int = 5) -> list[Case]:
    """Typical samples in stored exits: simple ones at the earliest exit used, and overthinking ones; surest first.

    ``scores`` [N, L] are the criterion's. Where the criterion saves no sample from overthinking, those are shown that
    any earlier exit answers rightly.
    """
    layers = exit_layers(scores, cut, strict=strict)
    p = probabilities(exits.logits)
    answers, labels = exits.logits.argmax(axis=2), np.asarray(exits.labels)
    right = answers == labels[:, None]
    rows = np.arange(len(labels))
    at_exit = right[rows, layers - 1]
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
