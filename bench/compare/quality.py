"""Quality on the same samples: exact McNemar for accuracy, the paired bootstrap for every other metric and the curve.

Both results are replayed from their recorded logits with the present criterion, each at its own thresholds, so that
every sample's answer is known on both sides. Where the present criterion does not give the exits that a record says,
the rule has changed since it was made, and the row says that instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from bench.compare.pairing import Pair
from bench.compare.verdict import Margins, Row
from bench.measure import metrics as m
from bench.measure.areas import GRID, QualityArea
from bench.measure.curve import Array, Float
from bench.measure.exits import AllExits
from bench.measure.stats import Interval, draw_counts, mcnemar, paired_bootstrap
from bench.measure.trade_off import Costs, TradeOff
from bench.results.measures import OperatingPoint, Performance
from bench.results.run import Run

REPLICATES = 2000  # so that a p-value can be as small as 0.001 before Holm's adjustment
RANK_REPLICATES = 500  # Spearman has no sums: every replicate ranks anew
AREA_REPLICATES = 1000


@dataclass(frozen=True)
class Side:
    """One result's samples on a split: its trade-off over the common samples and its record's points by rule."""

    trade_off: TradeOff
    points: Mapping[str, OperatingPoint]
    moved: Mapping[str, str]
    """Rule -> how the present criterion's exits differ from the recorded ones, empty where they are the same."""

    @classmethod
    def replay(cls, run: Run, kept: AllExits, split: str) -> Side:
        """Replay a run: all its samples, to check the record, and those that both sides have (``kept``)."""
        whole, points = run.trade_off(split), run.result(split).reached
        moved = run.find_moved(split)
        if kept.ids == whole.exits.ids:
            return cls(whole, points, moved)
        costs = Costs.layers(len(kept.ids), run.layers)
        return cls(TradeOff(run.criterion, kept, costs, run.record.task.metrics), points, moved)


def keep_common(base: AllExits, candidate: AllExits) -> tuple[AllExits, AllExits]:
    """Return the samples that both have, in the base's order."""
    at = {sample: i for i, sample in enumerate(candidate.ids)}
    kept = [(i, at[sample]) for i, sample in enumerate(base.ids) if sample in at]
    rows = np.array(kept, dtype=np.int64).reshape(-1, 2)
    return base.take(rows[:, 0]), candidate.take(rows[:, 1])


def compare_samples(row: Row, base: AllExits, candidate: AllExits) -> Row:
    """Return whether both have the same samples with the same labels and token counts."""
    lost, new = sorted(set(base.ids) - set(candidate.ids)), sorted(set(candidate.ids) - set(base.ids))
    row = replace(row, base=len(base.ids), candidate=len(candidate.ids))
    if lost:
        return replace(row, verdict="worse", reason=f"{len(lost)} samples are lost: {', '.join(lost[:3])}")
    if new:
        return replace(row, verdict="not comparable", reason=f"{len(new)} samples are new: {', '.join(new[:3])}")
    one, other = keep_common(base, candidate)
    for what, before, after in (("labels", one.labels, other.labels), ("token counts", one.lengths, other.lengths)):
        differ = np.flatnonzero(before != after)
        if len(differ):
            first = one.ids[differ[0]]
            text = f"{what} of {len(differ)} samples changed, the first {first}: "
            return replace(row, verdict="worse", reason=f"{text}{before[differ[0]]} -> {after[differ[0]]}")
    return replace(row, verdict="same", reason=f"the same {len(base.ids)} samples, labels and token counts")


def compare_quality(pair: Pair, split: str, base: Side, candidate: Side, margins: Margins) -> list[Row]:
    """Return rows for all layers, every point that both have, and the whole curve, tested but not yet adjusted."""
    metrics = pair.base.record.task.metrics
    rows = []
    a, b = base.trade_off, candidate.trade_off
    labels = a.exits.labels
    for name in metrics:
        start = Row(pair.label, name, "inconclusive", "", point="all layers", split=split, margin=margins.quality)
        rows.append(compare_answers(start, name, a.predictions[:, -1], b.predictions[:, -1], labels))
        for rule, point in base.points.items():
            other = candidate.points.get(rule)
            if other is None:
                continue  # the cost rows say that one of them is not reached
            row = replace(start, point=rule)
            moved = base.moved.get(rule) or candidate.moved.get(rule)
            if moved:
                reason = f"the rule has changed since the record was made ({moved}): no paired test"
                rows.append(compare_recorded(row, point, other, f"equal; {reason}", reason))
                continue
            before, after = (t.answers_at(t.layers_at(p.cut)) for t, p in ((a, point), (b, other)))
            rows.append(compare_answers(row, name, before, after, labels))
    if m.is_additive(metrics[0]):
        start = Row(pair.label, f"{metrics[0]}, curve area", "same", "", split=split, margin=margins.quality)
        rows += [area] if (area := compare_areas(start, metrics[0], a, b)) else []
    return rows


def compare_recorded(row: Row, base: Performance, candidate: Performance, equal: str, untested: str) -> Row:
    """Compare the recorded values of the row's metric, without a test: ``equal`` or ``untested`` is the reason."""
    before, after = (point.metrics[row.metric].value for point in (base, candidate))
    row = replace(row, base=before, candidate=after)
    if before == after:
        return replace(row, verdict="same", reason=equal)
    return replace(row, verdict="inconclusive", reason=untested, difference=after - before)


def compare_answers(row: Row, metric: str, base: Array, candidate: Array, labels: Array) -> Row:
    """Return the paired test of one metric on answers [N] to the same samples."""
    values = [m.compute_metrics([metric], answers, labels)[metric] for answers in (base, candidate)]
    row = replace(row, base=values[0], candidate=values[1], difference=values[1] - values[0])
    changed = int((base != candidate).sum())
    if not changed:
        return replace(row, verdict="same", reason=f"the same answers to all {len(labels)} samples", low=0.0, high=0.0)
    interval, p = run_paired_test(metric, base, candidate, labels)
    return replace(row, low=interval.low, high=interval.high, p=p, family=f"{row.metric} at {row.point} ({row.split})",
                   reason=f"{changed} of {len(labels)} answers changed")  # fmt: skip


def run_paired_test(metric: str, base: Array, candidate: Array, labels: Array, seed: int = 0) -> tuple[Interval, float]:
    """Return the interval of metric(candidate) - metric(base) and two-sided p-value that they are equal.

    Accuracy: exact McNemar, interval by the paired bootstrap. Other metrics: both by the paired bootstrap, p twice the
    smaller tail with the data themselves counted as one replicate, so never 0 (Davison & Hinkley 1997, sec. 4.2).
    """
    if not m.is_additive(metric):
        random = np.random.default_rng(seed)
        drawn = [random.integers(0, len(labels), len(labels)) for _ in range(RANK_REPLICATES)]
        found = [_subtract_metric(metric, base[rows], candidate[rows], labels[rows]) for rows in drawn]
        return _find_percentiles(_subtract_metric(metric, base, candidate, labels), np.array(found))
    before, after = (m.statistics(metric, answers[:, None], labels)[:, 0] for answers in (base, candidate))
    if before.shape != after.shape:  # Matthews counts the classes that occur
        both = m.statistics(metric, np.stack([base, candidate], axis=1), labels)
        before, after = both[:, 0], both[:, 1]

    def value(sums: Float) -> Float:
        return m.from_statistics(metric, sums)

    if metric == "accuracy":
        return paired_bootstrap(after, before, value, seed=seed), mcnemar(base == labels, candidate == labels)
    draws = [value(w @ after) - value(w @ before) for w in draw_counts(len(labels), REPLICATES, seed)]
    estimate = float(value(after.sum(0, keepdims=True))[0] - value(before.sum(0, keepdims=True))[0])
    return _find_percentiles(estimate, np.concatenate(draws))


def _subtract_metric(metric: str, base: Array, candidate: Array, labels: Array) -> float:
    before, after = (m.compute_metrics([metric], answers, labels)[metric] for answers in (base, candidate))
    return after - before


def _find_percentiles(estimate: float, draws: Float, level: float = 0.95) -> tuple[Interval, float]:
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    p = min(1.0, 2 * (float(tail) + 1) / (len(draws) + 1))
    return Interval(estimate, float(low), float(high), level), p


# --------------------------------------------------------------------------- whole curves


def compare_areas(row: Row, metric: str, base: TradeOff, candidate: TradeOff) -> Row | None:
    """Return the mean quality over layer budgets that both curves reach, paired; None where there is no such range."""
    both = [QualityArea(t, metric) for t in (base, candidate)]
    lowest, highest = max(a.layers[-1] for a in both), min(a.layers[0] for a in both)
    if highest - lowest < 1e-9:
        return None
    grid = np.linspace(lowest, highest, GRID)
    before, after = (a.of_sample(grid) for a in both)
    row = replace(row, base=before, candidate=after, difference=after - before)
    span = f"mean over budgets of {lowest:.2f} to {highest:.2f} layers"
    if np.array_equal(base.exits.logits, candidate.exits.logits) and np.array_equal(base.scores, candidate.scores):
        return replace(row, verdict="same", reason=f"identical curves, {span}", low=0.0, high=0.0)
    resamples = draw_counts(len(base.exits.ids), AREA_REPLICATES, 0)
    draws = [both[1].of_weights(weights, grid) - both[0].of_weights(weights, grid) for weights in resamples]
    interval, p = _find_percentiles(after - before, np.concatenate(draws))
    return replace(row, low=interval.low, high=interval.high, p=p, family=f"{row.metric} ({row.split})", reason=span)
