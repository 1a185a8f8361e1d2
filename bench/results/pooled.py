"""A recorded operating point over several seeds: its samples' answers are replayed from the stored logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.cell.fitting import recorded_criterion
from bench.inference.replay import score_recorded
from bench.measure import metrics as m
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.seeds import SeedSummary, summarise_seeds
from bench.results.exits import read_exits
from bench.results.store import Cell


def pooled(
    cells: Sequence[Cell], records: Sequence[Mapping[str, Any]], split: str, metric: str, rule: str | None
) -> SeedSummary | None:
    """``metric`` at ``rule`` (None: all layers) over the seeds of one cell, or None where it cannot be pooled.

    It cannot where logits are missing, the seeds answered different samples, or the metric is not a function of sums.
    """
    if not m.is_additive(metric) or not all(cell.exits_file(split).exists() for cell in cells):
        return None
    exits = [read_exits(cell.exits_file(split)) for cell in cells]
    if any(e.ids != exits[0].ids for e in exits):
        return None
    statistics = []
    for one, cell, record in zip(exits, cells, records, strict=True):
        layers = layers_at(one, cell, record, split, rule)
        answers = one.predictions[np.arange(len(layers)), layers - 1]
        statistics.append(m.statistics(metric, answers[:, None], one.labels)[:, 0])
    return summarise_seeds(np.stack(statistics), lambda sums: m.from_statistics(metric, sums))


def layers_at(
    exits: AllExits, cell: Cell, record: Mapping[str, Any], split: str, rule: str | None
) -> np.ndarray[Any, Any]:
    """Exit layers, 1-based [N], of a recorded operating point."""
    cut = -math.inf
    if rule is not None:
        [point] = [p for p in record["evaluation"][split]["points"] if p["rule"] == rule]
        cut = -math.inf if point["cut"] is None else point["cut"]
    criterion = recorded_criterion(cell.folder, record)
    found = score_recorded(criterion, exits)
    return exit_layers(found, float(found.dtype.type(cut)), strict=criterion.strict)
