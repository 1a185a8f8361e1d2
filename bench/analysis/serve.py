"""A recorded run's model under load: single stream, batches, and random arrivals within a latency target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bench.analysis.cases import find_points
from bench.cell.latency import draw_queries, throttle_messages
from bench.cell.reload import load_run_model
from bench.cell.request import Context
from bench.errors import UsageError
from bench.inference.exits import DTYPES
from bench.latency.result import LatencyOptions
from bench.latency.scenarios import ServingOptions, measure_scenarios
from bench.measure.scores import hash_ids
from bench.results.run import Run
from bench.tasks.encode import collate_batch, encode_split


def choose_cuts(run: Run, rules: str) -> dict[str, float]:
    """Return rule and cut of the operating points ``rules``, separated by commas.

    Raises UsageError for none, and for one that was not reached or at which nobody leaves early.
    """
    points = find_points(run, rules)
    if not points:
        raise UsageError("--points is empty.")
    for point in points:
        if point.cut == -math.inf:
            raise UsageError(f"At operating point '{point.rule}' nobody leaves early: take another one.")
    return {point.rule: point.cut for point in points}


def serve_run(
    run: Run,
    context: Context,
    cuts: Mapping[str, float],
    *,
    device: str,
    dtype: str,
    load: ServingOptions,
    options: LatencyOptions,
) -> dict[str, Any]:
    """Measure all scenarios on the run's first split; plain data, see :func:`measure_scenarios`.

    Raises UsageError for a run that cannot run live, or whose model cannot be had.
    """
    model = load_run_model(run, context, attention="sdpa")
    if not model.criterion.causal or model.criterion.needs_labels:
        raise UsageError(f"{run.folder.name} looks ahead or knows the labels: it can be replayed, but not served.")
    model.model.to(device=device, dtype=DTYPES[dtype])
    rows = model.data.evaluation[run.primary]
    encoded, keys = encode_split(rows, model.tokenizer, model.max_length), hash_ids(rows.ids)
    together = draw_queries(len(encoded), load.batch_size)
    single = [collate_batch(encoded, [row]) for row in range(len(encoded))], list(keys.split(1))
    batches = [collate_batch(encoded, some) for some in together], [keys[some] for some in together]
    say = throttle_messages(context.progress)
    found = measure_scenarios(model.model, model.criterion, cuts, single, batches, load, options, say)
    doubts = [doubt.to_plain() for doubt in run.find_doubts(rules=cuts)]
    return {"run": run.folder.name, "split": run.primary, "cuts": dict(cuts), "doubts": doubts, **found}
