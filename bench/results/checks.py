"""What a record says twice must agree: what was asked, and its parts, in every record; numbers where no checksum is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise

from bench.errors import UsageError
from bench.measure.exits import AllExits
from bench.measure.held_out import HeldOutShares, share_held_out
from bench.measure.metrics import from_statistics, is_additive, statistics
from bench.measure.rules import Rule
from bench.results.measures import OperatingPoint, Performance, SplitResult
from bench.results.part import Estimate
from bench.results.record import RecordHead, RunRecord
from bench.results.spec import hash_identity, resolve_precision

SLACK = 1e-6
"""Relative: some numbers are kept with six digits."""


def find_contradiction(record: RecordHead, *, sealed: bool) -> str:
    """Return the first field that contradicts another one, with what it should be; the empty string for none.

    Measured numbers of a ``sealed`` record are not looked at, since its checksum holds them; that all parts are there
    and fit together is, since readers rely on it and a checksum says only who wrote it last.
    """
    checks = [_head_contradictions(record)]
    if isinstance(record, RunRecord):
        checks += [_fact_contradictions(record), _shape_contradictions(record)]
        checks += [] if sealed else [_number_contradictions(record)]
    return next(chain.from_iterable(checks), "")


def find_other_logits(record: RunRecord, split: str, exits: AllExits) -> str:
    """Return why whole logits over ``split`` are not those that ``record`` was made from; the empty string if they are.

    A file that was put in another's place has a checksum that fits. Rank correlations are not looked at.
    """
    task, (samples, *shape) = record.task, exits.logits.shape
    outputs = len(task.labels) if task.kind == "classification" else 1
    if shape != [record.backbone.layers, outputs]:
        return f"it has {shape[0]} exits of {shape[1]} outputs, the run {record.backbone.layers} of {outputs}"
    rows = task.rows.get(split)
    if rows is not None and samples != rows.used:
        return f"it has {samples} samples, the run {rows.used}"
    if split == task.select:  # of which only the last exit is recorded
        exits = share_recorded(record, exits).choose
        recorded: Mapping[str, Sequence[float]] = {n: (full.value,) for n, full in record.select.full.items()}
    else:
        recorded = record.evaluation[split].per_exit
    for name, values in recorded.items():
        if is_additive(name):
            found = from_statistics(name, statistics(name, exits.predictions, exits.labels).sum(axis=0))
            if not all(map(_is_close, found[-len(values) :].tolist(), values)):
                return f"the {name} of its exits is not that of the record: it is another run's"
    return ""


def share_recorded(record: RunRecord, held_out: AllExits) -> HeldOutShares:
    """Share held-out samples as the run did that is recorded; all of them are for both where it did not."""
    shared = None if record.criterion is None else record.criterion.held_out
    together = HeldOutShares(held_out, held_out)
    return share_held_out(held_out, record.spec.seed) if shared is not None and shared.apart else together


def _head_contradictions(record: RecordHead) -> Iterator[str]:
    spec, identity = record.spec, record.identity
    if record.quality_key != hash_identity(identity.to_plain()):
        yield "quality_key is not that of identity"
    train = {**vars(spec.train), "precision": resolve_precision(spec)}
    if isinstance(record, RunRecord) and record.external is not None:
        files = record.external  # which stand in the place of a training
        train = {"logits": files.digest, "held_out": files.held_out_digest, "metrics": list(record.task.metrics)}
    trained = {name: value for name, value in identity.train.items() if name != "weight"}  # came later
    asked = {
        "identity.strategy.name": (identity.strategy.name, spec.strategy),
        "identity.strategy.args": (identity.strategy.args, spec.criterion_args),
        "identity.task.name": (identity.task.name, spec.task),
        "identity.task.limit": (identity.task.limit, spec.limit),
        "identity.task.max_length": (identity.task.max_length, spec.max_length),
        "identity.backbone.init": (identity.backbone.init, spec.init),
        "identity.backbone.args": (identity.backbone.args, spec.backbone_args),
        "identity.head.name": (identity.head.name, spec.head),
        "identity.head.args": (identity.head.args, spec.head_args),
        "identity.recipe.name": (identity.recipe.name, spec.recipe),
        "identity.recipe.args": (identity.recipe.args, spec.recipe_args),
        "identity.train": (trained, train),
        "identity.seed": (identity.seed, spec.seed),
        "identity.dtype": (identity.dtype, spec.dtype),
    }
    for field, (found, wanted) in asked.items():
        if found != wanted:
            yield f"{field} is not what spec says"


def _fact_contradictions(record: RunRecord) -> Iterator[str]:
    task = record.task
    for name in ("metrics", "evaluation"):
        if not getattr(task, name):
            yield f"task.{name} is empty"
    if tuple(record.evaluation) != task.evaluation:
        yield f"evaluation has the splits {', '.join(record.evaluation)}, task.evaluation {', '.join(task.evaluation)}"
    for split in (*task.evaluation, task.select):
        if split not in task.rows:
            yield f"task.rows.{split} is missing"
    if record.select.split != task.select:
        yield f"select.split is '{record.select.split}', task.select '{task.select}'"
    if tuple(record.select.full) != task.metrics:
        yield "select.full has other metrics than task.metrics"
    if record.backbone.name != record.spec.backbone:
        yield "backbone.name is not what spec says"
    folder = record.backbone.source.partition("folder:")[2]  # whose name a backbone has that was given by its path
    if record.identity.backbone.name != (folder or record.spec.backbone):
        yield "identity.backbone.name is not what spec says"
    if record.backbone.digest != record.identity.backbone.digest:
        yield "backbone.digest is not that of identity"
    if task.revision != record.identity.task.revision:
        yield "task.revision is not that of identity"


def _shape_contradictions(record: RunRecord) -> Iterator[str]:
    task, layers = record.task, record.backbone.layers
    if layers < 1:
        yield f"backbone.layers is {layers}"
    for split, result in record.evaluation.items():
        where, used = f"evaluation.{split}", task.rows[split].used
        if not 0 < result.samples == used:
            yield f"{where}.samples is {result.samples}, task.rows.{split}.used {used}"
        for place, point in _list_performances(result, where):
            if tuple(point.metrics) != task.metrics:
                yield f"{place}.metrics are not task.metrics"
            if point.samples != result.samples:
                yield f"{place}.samples is {point.samples}, {result.samples} elsewhere"
            counts = point.exit_counts
            if len(counts) != layers or min(counts) < 0 or sum(counts) != point.samples:
                yield f"{place}.exit_counts do not share {point.samples} samples among {layers} exits"
        if tuple(result.per_exit) != task.metrics:
            yield f"{where}.per_exit has other metrics than task.metrics"
        for name, values in result.per_exit.items():
            if len(values) != layers:
                yield f"{where}.per_exit.{name} has {len(values)} values for {layers} exits"
        if not result.curve:
            yield f"{where}.curve is empty"
        yield from _range_contradictions(result, task.metrics[0], where)
        asked = [(point.rule, point.chosen_on) for point in result.points]
        rules = [rule for rule, _ in asked]
        for i, (rule, chosen_on) in enumerate(asked):
            if not _is_rule(rule, chosen_on):
                yield f"{where}.points[{i}].rule is '{rule}', which nobody can ask for"
            if rule in rules[:i]:
                yield f"{where}.points[{i}].rule is '{rule}' again"
    if record.latency is not None and (depth := record.latency.depth) is not None:
        for name, found in (("bare", depth.bare), ("checks", depth.checks), ("checked", depth.checked)):
            if [len(row) for row in found] != [len(depth.buckets)] * layers:
                yield f"latency.depth.{name} is not a row of {len(depth.buckets)} numbers for each of {layers} exits"


def _is_rule(name: str, chosen_on: str) -> bool:
    try:
        if chosen_on == "select":
            Rule.parse(name)
        elif chosen_on == "given":
            float(name.removeprefix("threshold="))
    except (UsageError, ValueError):
        return False
    return chosen_on != "default" or name == chosen_on


def _list_performances(result: SplitResult, where: str) -> list[tuple[str, Performance]]:
    """Return the full model and every point that was reached, with their places."""
    reached = [(f"{where}.points[{i}]", p) for i, p in enumerate(result.points) if isinstance(p, OperatingPoint)]
    return [(f"{where}.full", result.full), *reached]


def _range_contradictions(result: SplitResult, first: str, where: str) -> Iterator[str]:
    """Speed-ups are positive and accuracies shares, or nothing can be drawn."""
    points, curve = _list_performances(result, where), [(f"{where}.curve[{i}]", r) for i, r in enumerate(result.curve)]
    speedups = [(place, point.cost_speedup.value) for place, point in points]
    speedups += [(place, row.cost_speedup) for place, row in curve]
    yield from (f"{place}.cost_speedup is {value:g}" for place, value in speedups if value <= 0)
    shares = [(f"{place}.metrics", name, e.value) for place, point in points for name, e in point.metrics.items()]
    shares += [(f"{where}.per_exit", name, value) for name, values in result.per_exit.items() for value in values]
    shares += [(f"{place}.quality", first, row.quality) for place, row in curve]
    for place, name, value in shares:
        if name == "accuracy" and not 0 <= value <= 1:
            yield f"{place} is {value:g}, which is no accuracy"


def _number_contradictions(record: RunRecord) -> Iterator[str]:
    for name, estimate in record.select.full.items():
        yield from _interval_contradictions(estimate, f"select.full.{name}")
    for split, check in (record.skill or {}).items():
        yield from _interval_contradictions(check.gain, f"skill.{split}.gain")
    for split, result in record.evaluation.items():
        yield from _split_contradictions(result, record.backbone.layers, f"evaluation.{split}")


def _split_contradictions(result: SplitResult, layers: int, where: str) -> Iterator[str]:
    plain = result.full.cost_mean * result.full.cost_speedup.value
    for place, point in _list_performances(result, where):
        if not math.isclose(point.cost_mean * point.cost_speedup.value, plain, rel_tol=SLACK):
            yield f"{place}.cost_mean times cost_speedup is not the plain model's cost"
        yield from _point_contradictions(point, layers, place)
    yield from _order_contradictions(result, where)
    for name, values in result.per_exit.items():
        if not _is_close(values[-1], result.full.metrics[name].value):
            yield f"{where}.per_exit.{name} ends with another value than all layers have"
    if result.full.exit_counts[-1] != result.samples:
        yield f"{where}.full.exit_counts says that not everybody has all layers"
    for i, row in enumerate(result.curve):
        if not 1 - SLACK <= row.mean_layer <= layers + SLACK:
            yield f"{where}.curve[{i}].mean_layer is {row.mean_layer:g} of {layers} layers"


def _point_contradictions(point: Performance, layers: int, where: str) -> Iterator[str]:
    for name, estimate in point.metrics.items():
        yield from _interval_contradictions(estimate, f"{where}.metrics.{name}")
        right = estimate.value * point.samples
        if name == "accuracy" and not math.isclose(right, round(right), abs_tol=1e-6 * point.samples):
            yield f"{where}.metrics.accuracy.value {estimate.value:g} is no share of {point.samples} samples"
    yield from _interval_contradictions(point.cost_speedup, f"{where}.cost_speedup")
    mean = sum(exit_ * count for exit_, count in enumerate(point.exit_counts, start=1)) / point.samples
    if not _is_close(point.mean_layer, mean):
        yield f"{where}.mean_layer is {point.mean_layer:g}, that of exit_counts {mean:g}"
    if not _is_close(point.layer_fraction, point.mean_layer / layers):
        yield f"{where}.layer_fraction is {point.layer_fraction:g}, which is not mean_layer over {layers}"


def _order_contradictions(result: SplitResult, where: str) -> Iterator[str]:
    """The looser the cut the earlier everybody leaves, and the criterion's own threshold runs one way with it."""
    points = {place: p for place, p in _list_performances(result, where) if isinstance(p, OperatingPoint)}
    for place, point in points.items():
        if point.threshold is None and point.cut != -math.inf:
            yield f"{place}.threshold is null, which goes with no cut {point.cut:g}"
        if point.latency is not None:
            yield from _interval_contradictions(point.latency.speedup, f"{place}.latency.speedup")
            yield from _interval_contradictions(point.latency.sampling, f"{place}.latency.sampling")
    cuts = [(point.cut, point.mean_layer, f"{place}.cut") for place, point in points.items()]
    yield from _find_turns(cuts, rising=False)
    curve = {f"{where}.curve[{i}]": row for i, row in enumerate(result.curve) if row.threshold is not None}
    ends = sorted((row.threshold or 0.0, row.mean_layer) for row in curve.values())
    counted = all(float(threshold).is_integer() for threshold, _ in ends)  # a patience, of which 0 lets nobody leave
    if not counted and ends[-1][0] > ends[0][0]:
        rows = [(r.threshold, r.mean_layer, f"{p}.threshold") for p, r in (curve | points).items()]
        known = [(threshold, layer, place) for threshold, layer, place in rows if threshold is not None]
        yield from _find_turns(known, rising=ends[-1][1] > ends[0][1])


def _find_turns(found: Sequence[tuple[float, float, str]], *, rising: bool) -> Iterator[str]:
    """Numbers with the mean layers at them, and their places: the first that runs the other way than the others."""
    for (one, before, _), (other, layer, place) in pairwise(sorted(found)):
        if other > one and not _is_close(layer, before) and (layer > before) != rising:
            yield f"{place} {other:g} does not go with its mean_layer {layer:g}"


def _interval_contradictions(estimate: Estimate, where: str) -> Iterator[str]:
    slack = SLACK * max(1.0, abs(estimate.value))
    if not estimate.low - slack <= estimate.value <= estimate.high + slack:
        yield f"{where}.value {estimate.value:g} lies outside its interval [{estimate.low:g}, {estimate.high:g}]"


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SLACK, abs_tol=SLACK)
