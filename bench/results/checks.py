"""What a record says twice must agree: the check of records from before there were checksums."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.results.measures import OperatingPoint, Performance, SplitResult
from bench.results.part import Estimate
from bench.results.record import RecordHead, RunRecord
from bench.results.spec import hash_identity, resolve_precision

SLACK = 1e-6
"""Relative: some numbers are kept with six digits."""


def find_contradiction(record: RecordHead) -> str:
    """Return the first field that contradicts another one, with what it should be; the empty string for none."""
    found = next(_head_contradictions(record), "")
    return found or (next(_result_contradictions(record), "") if isinstance(record, RunRecord) else "")


def _head_contradictions(record: RecordHead) -> Iterator[str]:
    spec, identity = record.spec, record.identity
    if record.quality_key != hash_identity(identity.to_plain()):
        yield "quality_key is not that of identity"
    train = {**vars(spec.train), "precision": resolve_precision(spec)}
    asked = {
        "identity.strategy.name": (identity.strategy.name, spec.strategy),
        "identity.strategy.args": (identity.strategy.args, spec.criterion_args),
        "identity.task.name": (identity.task.name, spec.task),
        "identity.task.limit": (identity.task.limit, spec.limit),
        "identity.task.max_length": (identity.task.max_length, spec.max_length),
        "identity.backbone.name": (identity.backbone.name, spec.backbone),
        "identity.backbone.init": (identity.backbone.init, spec.init),
        "identity.backbone.args": (identity.backbone.args, spec.backbone_args),
        "identity.head.name": (identity.head.name, spec.head),
        "identity.head.args": (identity.head.args, spec.head_args),
        "identity.recipe.name": (identity.recipe.name, spec.recipe),
        "identity.recipe.args": (identity.recipe.args, spec.recipe_args),
        "identity.train": (identity.train, train),
        "identity.seed": (identity.seed, spec.seed),
        "identity.dtype": (identity.dtype, spec.dtype),
    }
    for field, (found, wanted) in asked.items():
        if found != wanted:
            yield f"{field} is not what spec says"


def _result_contradictions(record: RunRecord) -> Iterator[str]:
    task, layers = record.task, record.backbone.layers
    if tuple(record.evaluation) != task.evaluation:
        yield f"evaluation has the splits {', '.join(record.evaluation)}, task.evaluation {', '.join(task.evaluation)}"
    if record.select.split != task.select:
        yield f"select.split is '{record.select.split}', task.select '{task.select}'"
    if tuple(record.select.full) != task.metrics:
        yield "select.full has other metrics than task.metrics"
    for name, estimate in record.select.full.items():
        yield from _interval_contradictions(estimate, f"select.full.{name}")
    if record.backbone.name != record.spec.backbone:
        yield "backbone.name is not what spec says"
    if record.backbone.digest != record.identity.backbone.digest:
        yield "backbone.digest is not that of identity"
    if task.revision != record.identity.task.revision:
        yield "task.revision is not that of identity"
    for split, result in record.evaluation.items():
        where = f"evaluation.{split}"
        if split in task.rows and result.samples != task.rows[split].used:
            yield f"{where}.samples is {result.samples}, task.rows.{split}.used {task.rows[split].used}"
        yield from _split_contradictions(result, layers, task.metrics, where)


def _split_contradictions(result: SplitResult, layers: int, metrics: tuple[str, ...], where: str) -> Iterator[str]:
    points: dict[str, Performance] = {f"{where}.full": result.full}
    points |= {f"{where}.points[{i}]": p for i, p in enumerate(result.points) if isinstance(p, OperatingPoint)}
    plain = result.full.cost_mean * result.full.cost_speedup.value
    for place, point in points.items():
        if not math.isclose(point.cost_mean * point.cost_speedup.value, plain, rel_tol=SLACK):
            yield f"{place}.cost_mean times cost_speedup is not the plain model's cost"
        yield from _point_contradictions(point, layers, metrics, result.samples, place)
    if tuple(result.per_exit) != metrics:
        yield f"{where}.per_exit has other metrics than task.metrics"
    for name, values in result.per_exit.items():
        if len(values) != layers:
            yield f"{where}.per_exit.{name} has {len(values)} values for {layers} exits"
        elif not _is_close(values[-1], result.full.metrics[name].value):
            yield f"{where}.per_exit.{name} ends with another value than all layers have"
    if result.full.exit_counts[-1] != result.samples:
        yield f"{where}.full.exit_counts says that not everybody has all layers"
    for i, row in enumerate(result.curve):
        if not 1 - SLACK <= row.mean_layer <= layers + SLACK:
            yield f"{where}.curve[{i}].mean_layer is {row.mean_layer:g} of {layers} layers"


def _point_contradictions(
    point: Performance, layers: int, metrics: tuple[str, ...], samples: int, where: str
) -> Iterator[str]:
    if tuple(point.metrics) != metrics:
        yield f"{where}.metrics are not task.metrics"
    for name, estimate in point.metrics.items():
        yield from _interval_contradictions(estimate, f"{where}.metrics.{name}")
        right = estimate.value * samples
        if name == "accuracy" and not math.isclose(right, round(right), abs_tol=1e-6 * samples):
            yield f"{where}.metrics.accuracy.value {estimate.value:g} is no share of {samples} samples"
    yield from _interval_contradictions(point.cost_speedup, f"{where}.cost_speedup")
    if point.samples != samples:
        yield f"{where}.samples is {point.samples}, {samples} elsewhere"
    if len(point.exit_counts) != layers or min(point.exit_counts) < 0 or sum(point.exit_counts) != samples:
        yield f"{where}.exit_counts do not share {samples} samples among {layers} exits"
    mean = sum(exit_ * count for exit_, count in enumerate(point.exit_counts, start=1)) / max(1, samples)
    if not _is_close(point.mean_layer, mean):
        yield f"{where}.mean_layer is {point.mean_layer:g}, that of exit_counts {mean:g}"
    if not _is_close(point.layer_fraction, point.mean_layer / layers):
        yield f"{where}.layer_fraction is {point.layer_fraction:g}, which is not mean_layer over {layers}"


def _interval_contradictions(estimate: Estimate, where: str) -> Iterator[str]:
    slack = SLACK * max(1.0, abs(estimate.value))
    if not estimate.low - slack <= estimate.value <= estimate.high + slack:
        yield f"{where}.value {estimate.value:g} lies outside its interval [{estimate.low:g}, {estimate.high:g}]"


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SLACK, abs_tol=SLACK)
