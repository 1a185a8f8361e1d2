"""Golden cuts, the probe, and what a criterion decides at them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.inference.replay import fit_criterion, make_evidence
from bench.measure.curve import Curve, Int, Scores, exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.scores import score_recorded
from strategies.base import Criterion

DEPTHS = (0.2, 0.4, 0.6, 0.8)
"""Golden cuts are looked for near these shares of the way from nobody leaving early to everybody at once."""
NEAR = 0.1  # how far from such a share, as a share, a wide gap may be
NARROWEST = 1e-4  # a gap must be this wide, relative to the score: a thousand times float32's rounding


def write_layers(layers: Int) -> str:
    """Return exit layers below 10 as a string of digits."""
    if layers.max() > 9:
        raise ValueError("The gate's models have at most 9 exits.")
    return "".join(str(layer) for layer in layers.tolist())


def read_layers(text: str) -> Int:
    """Return the exit layers int64 [N] that :func:`write_layers` wrote."""
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - ord("0")


def fit_and_score(criterion: Criterion, exits: AllExits) -> Scores:
    """Return a criterion's scores [N, L] of recorded logits.

    One that is fitted is fitted on the same samples: here it is judged against itself, not by how good it is.
    """
    fit_criterion(criterion, make_evidence(exits))
    return score_recorded(criterion, exits)


def choose_golden_cuts(found: Scores, strict: bool) -> list[dict[str, Any]]:
    """Return at most five cuts in the middle of wide gaps, the loosest of all among them; none where nobody leaves.

    Each is the ``cut``, the ``gap`` around it, and every sample's exit, a digit (1-based) each, as ``layers``.
    """
    curve = exact_curve(found, [], strict=strict)
    if len(curve) == 1:
        return []
    gaps = _measure_gaps(curve)
    reach = (curve.mean_layer[0] - curve.mean_layer) / (curve.mean_layer[0] - curve.mean_layer[-1])
    rows = {len(curve) - 1}
    for depth in DEPTHS:
        near = np.flatnonzero((np.abs(reach - depth) <= NEAR) & (gaps >= NARROWEST))
        if len(near):
            rows.add(int(near[np.argmax(gaps[near])]))
    made = []
    for row in sorted(rows):
        cut = float(curve.midpoints[row])
        layers = write_layers(exit_layers(found, cut, strict=strict))
        made.append({"cut": cut, "gap": float(min(gaps[row], 1e9)), "layers": layers})
    return made


def _measure_gaps(curve: Curve) -> NDArray[np.float64]:
    """Return the relative width of the gap in which each row's midpoint lies, [K]; 0 for "nobody leaves"."""
    values = curve._values.astype(np.float64)
    above = np.append(values[1:], np.inf)
    with np.errstate(invalid="ignore"):
        width = np.where(np.isfinite(values), above - values, np.inf)
        width = width / np.maximum(1e-6, np.abs(np.where(np.isfinite(above), above, 1.0)))
    return np.append(0.0, width)


class LiveDiffers(Exception):
    """That a criterion leaves live where it stays in replay, or the other way round."""


def decide_tie(criterion: Criterion, found: Scores) -> bool | None:
    """Return whether a sample whose score equals the cut leaves, by the rule that replays; None without finite scores.

    The cut is one of today's own scores, so that it is met exactly whatever the machine rounds. Raises LiveDiffers
    where the live rule disagrees.
    """
    early = found[:, :-1]
    before = np.minimum.accumulate(np.pad(early, ((0, 0), (1, 0)), constant_values=np.inf), axis=1)[:, :-1]
    records = np.argwhere(np.isfinite(early) & (early < before))  # below all the sample's earlier scores
    if not len(records):
        return None
    row, exit_ = (int(i) for i in records[0])
    value = found[row, exit_]
    leaves = int(exit_layers(found[row : row + 1], float(value), strict=criterion.strict)[0]) == exit_ + 1
    if bool(criterion.leaves(torch.from_numpy(found[row, exit_ : exit_ + 1]), float(value))[0]) != leaves:
        raise LiveDiffers("live and replayed exits differ where a score equals the cut")
    return leaves


# --------------------------------------------------------------------------- the probe

SHAPES: dict[str, int] = {"two classes": 2, "three classes": 3, "regression": 1}
PROBE_SAMPLES, PROBE_EXITS = 64, 8


def make_probe(outputs: int, criterion: Criterion | None = None) -> AllExits:
    """Make up logits [64, 8, outputs] that wander with depth: labels flip, confidence rises and falls.

    For a criterion that reads more than logits, what it reads is made up too, between 0 and 1. Drawn with
    ``Random.random``, whose sequence Python guarantees, and rounded to 1/1024: the same on every machine.
    """
    draw = random.Random(20_210_701 + outputs).random
    logits = np.empty((PROBE_SAMPLES, PROBE_EXITS, outputs), dtype=np.float32)
    for sample in range(PROBE_SAMPLES):
        state, drift = [4 * draw() - 2 for _ in range(outputs)], [1.2 * draw() - 0.6 for _ in range(outputs)]
        for layer in range(PROBE_EXITS):
            state = [z + d + 1.6 * draw() - 0.8 for z, d in zip(state, drift, strict=True)]
            logits[sample, layer] = [round(z * 1024) / 1024 for z in state]
    if outputs == 1:
        labels: NDArray[Any] = logits[:, -1, 0] + np.float32(0.25)
    else:
        labels = logits[:, PROBE_EXITS - 2].argmax(axis=1).astype(np.int64)
    ids = tuple(f"probe-{outputs}-{i:02d}" for i in range(PROBE_SAMPLES))
    read = None if criterion is None or criterion.probe is None else criterion.probe.width(outputs)
    observed = None
    if read is not None:
        flat = [round(draw() * 1024) / 1024 for _ in range(PROBE_SAMPLES * PROBE_EXITS * read)]
        observed = np.array(flat, dtype=np.float32).reshape(PROBE_SAMPLES, PROBE_EXITS, read)
    return AllExits(ids, labels, logits, np.full(PROBE_SAMPLES, 16, dtype=np.int64), observed)


def record_decisions(criterion: Criterion, exits: AllExits) -> dict[str, Any]:
    """Return what is kept of a criterion on recorded logits: its golden cuts, and what happens at a tie."""
    found = fit_and_score(criterion, exits)
    return {"tie": decide_tie(criterion, found), "cuts": choose_golden_cuts(found, criterion.strict)}


def find_departures(criterion: Criterion, exits: AllExits, stored: Mapping[str, Any]) -> list[str]:
    """Return how the present criterion departs from what :func:`record_decisions` kept; empty where it does not."""
    found = fit_and_score(criterion, exits)
    problems = []
    for kept in stored["cuts"]:
        now = exit_layers(found, kept["cut"], strict=criterion.strict)
        if problem := describe_moves(exits.ids, read_layers(kept["layers"]), now):
            problems.append(f"at cut {kept['cut']:.6g} {problem}")
    try:
        tie = decide_tie(criterion, found)
    except LiveDiffers as error:
        return [*problems, str(error)]
    if tie != stored["tie"]:
        said = {True: "leaves", False: "stays", None: "does not occur"}
        problems.append(f"a sample whose score equals the cut {said[stored['tie']]} in the baseline, now {said[tie]}")
    return problems


def describe_moves(ids: Sequence[str], before: Int, after: Int) -> str:
    """Return ``12 of 160 samples leave elsewhere, first x: exit 2 -> 3``, or nothing."""
    differ = np.flatnonzero(before != after)
    if not len(differ):
        return ""
    i = int(differ[0])
    return f"{len(differ)} of {len(before)} samples leave elsewhere, first {ids[i]}: exit {before[i]} -> {after[i]}"
