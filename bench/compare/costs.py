"""Costs: FLOPs and exits exactly, latency by paired ratios and only where machine and protocol are the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from bench.compare.pairing import Pair
from bench.compare.quality import Side
from bench.compare.verdict import Margins, Row, judge_cost
from bench.errors import Damaged
from bench.latency.names import AS_IT_IS, write_over
from bench.measure.rounds import RatioSeries, compare_ratios, follow_ratio, follow_time
from bench.results.measures import OperatingPoint
from bench.results.run import Run
from bench.results.times import RawTimes, describe_two_speeds, read_times

FEWEST_COMMON = 8
"""Samples that two measurements of latency must share, and half of the smaller one's."""


def compare_costs(pair: Pair, split: str, sides: tuple[Side, Side] | None, margins: Margins) -> list[Row]:
    """Compare FLOPs of the full model and, with exits, of every point: exactly, as nothing about them is random."""
    base, candidate = pair.base.result(split), pair.candidate.result(split)
    unit = "FLOPs" if base.full.cost_unit == "flops" else base.full.cost_unit
    start = Row(pair.label, unit, "not comparable", "", point="all layers", split=split)
    if base.full.cost_unit != candidate.full.cost_unit:
        return [replace(start, reason=f"{base.full.cost_unit} -> {candidate.full.cost_unit}")]
    before, after = (result.full.cost_mean * result.full.cost_speedup.value for result in (base, candidate))
    rows = [
        judge_cost(start, base.full.cost_mean, candidate.full.cost_mean, 0.0),
        judge_cost(replace(start, metric=f"{unit}, plain model"), before, after, 1e-9),
    ]
    for rule in [point.rule for point in base.points]:
        row, point, other = replace(start, point=rule), base.reached.get(rule), candidate.reached.get(rule)
        lacking = candidate.unreached.get(rule)
        if other is None and lacking is None:
            rows.append(replace(row, reason="the candidate has no such point"))
        elif point is None:
            better = replace(row, verdict="better", reason="reached now")
            rows.append(better if other else replace(row, verdict="same", reason="reached by neither"))
        elif other is None:
            rows.append(replace(row, verdict="worse", reason=f"no longer reached: {lacking and lacking.reason}"))
        else:
            rows.append(judge_cost(row, point.cost_mean, other.cost_mean, margins.cost))
            rows.append(_compare_exits(replace(row, metric="exits"), point, other, sides, pair.notes))
    return rows


def _compare_exits(
    row: Row, base: OperatingPoint, candidate: OperatingPoint, sides: tuple[Side, Side] | None, notes: list[str]
) -> Row:
    """Judge exit histograms: equal, or moved with the same logits and cut (a changed rule), or of another model."""
    row = replace(row, base=base.mean_layer, candidate=candidate.mean_layer)
    before, after = list(base.exit_counts), list(candidate.exit_counts)
    if before == after:
        return replace(row, verdict="same", reason=f"exit histogram {before}")
    moved = f"exit histogram {before} -> {after}"
    versions = [note for note in notes if " version " in note]
    if versions:
        return replace(row, verdict="not comparable", reason=f"{moved}, as announced: {'; '.join(versions)}")
    if sides is None:
        return replace(row, verdict="inconclusive", reason=f"{moved}; no logits beside the record to say why")
    one, other = (side.trade_off.exits.logits for side in sides)
    if not np.array_equal(one, other):
        reason = f"{moved}; the logits changed too, so this is another model and not another rule"
        return replace(row, verdict="not comparable", reason=reason)
    if base.cut != candidate.cut:
        reason = f"{moved} on the same logits: another cut was chosen, {base.cut} -> {candidate.cut}"
        return replace(row, verdict="worse", reason=reason)
    return replace(row, verdict="worse", reason=f"{moved} on the same logits with the same cut: the rule has changed")


# --------------------------------------------------------------------------- latency


def compare_latency(pair: Pair, margins: Margins) -> list[Row]:
    """Compare the speed-up of every timed point over the plain model, and the plain model's own time."""
    row = Row(pair.label, "latency", "not comparable", "")
    facts = [run.record.latency for run in (pair.base, pair.candidate)]
    if facts[0] is None and facts[1] is None:
        return []
    if facts[0] is None or facts[1] is None:
        return [replace(row, reason=f"the {'base' if facts[0] is None else 'candidate'} was not timed")]
    run = pair.base
    try:
        base = read_raw_times(run)
        run = pair.candidate
        candidate = read_raw_times(run)
    except Damaged as error:  # as of a damaged record: worse of the candidate
        reason = f"{run.name}/{locate_raw_times(run).name} is damaged ({error.reason})"
        return [replace(row, verdict="worse" if run is pair.candidate else "not comparable", reason=reason)]
    if base is None or candidate is None:
        return [replace(row, reason="raw times are not kept beside the record")]
    forbidden = _find_obstacle(pair, base, candidate)
    if forbidden:
        return [replace(row, reason=forbidden)]
    over, why = find_common_baseline(base, candidate)
    common = set(base.queries) & set(candidate.queries)
    if common < set(base.queries) | set(candidate.queries):
        why += f"; over the {len(common)} samples that both measured"
    plain = _compare_plain(replace(row, metric="latency, plain model"), base, candidate, over, common, margins)
    rows = [plain]
    for label in base.order:
        if label in candidate.order and label not in (over, base.baseline, candidate.baseline, *AS_IT_IS):
            one, other = (_follow_common(raw, over, label, common) for raw in (base, candidate))
            timed = replace(row, metric=f"latency speed-up{write_over(over)}", point=label)
            rows.append(_judge_ratio(timed, one, other, margins.latency, False))
    return [replace(one, reason=one.reason + why) for one in rows]


def find_common_baseline(base: RawTimes, candidate: RawTimes) -> tuple[str, str]:
    """Return the plain model that both measured, to compare over, and what to say where it is not each one's own.

    Which of two is the fastest of a run is chance where they are nearly as fast. Empty where there is none.
    """
    own = base.baseline, candidate.baseline
    if own[0] == own[1]:
        return own[0], ""
    shared = [label for label in own if label in base.order and label in candidate.order]
    if not shared:
        return "", ""
    return shared[0], f"; over {shared[0]} in both, of which the fastest were {own[0]} and {own[1]}"


_Queries = Collection[tuple[int, ...]]


def _follow_common(raw: RawTimes, over: str, label: str, common: _Queries) -> RatioSeries:
    """Return a speed-up for common queries; each round's plain pass cancels what slows the machine."""
    before, parts = sum_common(raw, over, common)
    return follow_ratio(before, sum_common(raw, label, common)[0], parts)


def sum_common(raw: RawTimes, label: str, common: _Queries) -> tuple[list[float], int]:
    """Return a configuration's nanoseconds for common queries in each round, and in how many parts there are any.

    How queries are dealt to parts is by what a query took in the warm-up, so that two runs of the same ones differ.
    """
    begins = accumulate(raw.part_sizes, initial=0)
    places = [
        [i for i in range(size) if raw.queries[begin + i] in common]
        for begin, size in zip(begins, raw.part_sizes, strict=False)
    ]
    sums = [float(sum(one.times[label][i] for i in places[one.part])) for one in raw.rounds if places[one.part]]
    return sums, sum(map(bool, places))


def _compare_plain(
    row: Row, base: RawTimes, candidate: RawTimes, label: str, common: _Queries, margins: Margins
) -> Row:
    """Judge the plain model's own time, which is comparable where the machine had one speed during either run."""
    for name, raw in (("base", base), ("candidate", candidate)):
        if two := describe_two_speeds(raw):
            return replace(row, reason=f"{name}: {two}")
    before, after = (follow_time(*sum_common(raw, label, common)) for raw in (base, candidate))
    found = _judge_ratio(row, before, after, margins.latency, True)
    if found.verdict != "worse":
        return found
    # the plain model has no early exit to slow down: the machine or everything did
    reason = f"{found.reason}; two processes share no rounds, so this may be the machine: measure both side by side"
    return replace(found, verdict="inconclusive", reason=reason)


def read_raw_times(run: Run) -> RawTimes | None:
    """Read the raw times beside a record; None where they do not travel with it. Raises Damaged for a file that is."""
    path = locate_raw_times(run)
    return read_times(path) if path.is_file() else None


def locate_raw_times(run: Run) -> Path:
    """Return where the raw times of a run are kept; its folder where it has none."""
    latency = run.record.latency
    return run.folder / Path("" if latency is None else latency.file).name


def _find_obstacle(pair: Pair, base: RawTimes, candidate: RawTimes) -> str:
    """Return why two latency measurements must not be compared, or nothing."""
    machines = [run.head.environment.machine_id for run in (pair.base, pair.candidate)]
    if machines[0] != machines[1]:
        return f"other machine: {machines[0]} -> {machines[1]}"
    for name in ("protocol", "device", "dtype", "threads"):
        one, other = getattr(base, name), getattr(candidate, name)
        if one != other:
            return f"other {name}: {one} -> {other}"
    if base.options.executor != candidate.options.executor:
        return f"other executor: {base.options.executor} -> {candidate.options.executor}"
    if not find_common_baseline(base, candidate)[0]:
        return f"other baseline: {base.baseline} -> {candidate.baseline}, neither in both"
    before, after = set(base.queries), set(candidate.queries)
    common = len(before & after)
    if before != after and common < max(FEWEST_COMMON, min(len(before), len(after)) / 2):
        return f"other samples: {common} of {len(before)} and {len(after)} are the same"
    for name, raw in (("base", base), ("candidate", candidate)):
        if raw.problem:
            return f"the {name}'s measurement is INVALID: {raw.problem}"
        if len(raw.rounds) < 2 * len(raw.part_sizes):
            return f"the {name} has one round only"
    return ""


def _judge_ratio(row: Row, base: RatioSeries, candidate: RatioSeries, factor: float, lower_is_better: bool) -> Row:
    """Judge the factor between two runs by its interval, which knows that neighbouring rounds resemble each other."""
    found = compare_ratios(base, candidate)
    ratio, low, high = (one - 1 for one in (found.estimate, found.low, found.high))
    row = replace(row, difference=ratio, low=low, high=high, relative=True, margin=factor)
    row = replace(row, base=float(np.exp(base.log_ratio)), candidate=float(np.exp(candidate.log_ratio)))
    size = f"{100 * ratio:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]"
    bad, good = (high > 0 and low > factor, high < -factor) if lower_is_better else (high < -factor, low > factor)
    if bad or good:
        return replace(row, verdict="worse" if bad else "better", reason=f"{size}: all beyond {100 * factor:g} %")
    if -factor <= low and high <= factor:
        return replace(row, verdict="same", reason=f"{size}: all within {100 * factor:g} %")
    return replace(row, verdict="inconclusive", reason=f"{size}: the interval crosses {100 * factor:g} %")
