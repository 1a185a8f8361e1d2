"""Costs: FLOPs and exits exactly, latency by paired ratios and only where machine and protocol are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from bench.compare.pairing import Pair
from bench.compare.quality import Side
from bench.compare.verdict import Margins, Row, exact
from bench.measure.curve import Float
from bench.results.measures import OperatingPoint, Performance, SplitResult
from bench.results.run import Run
from bench.results.times import RawTimes, read_times


def cost_rows(pair: Pair, split: str, sides: tuple[Side, Side] | None, margins: Margins) -> list[Row]:
    """FLOPs of the full model (no margin: nothing about them is random) and, with exits, of every operating point."""
    base, candidate = pair.base.result(split), pair.candidate.result(split)
    start = Row(pair.base.label, "FLOPs", "not comparable", "", point="all layers", split=split)
    if base.full.cost_unit != candidate.full.cost_unit:
        return [replace(start, reason=f"{base.full.cost_unit} -> {candidate.full.cost_unit}")]
    plain = replace(start, metric="FLOPs, plain model")
    rows = [
        _compare_flops(start, base.full.cost_mean, candidate.full.cost_mean, 0.0),
        _compare_flops(plain, _plain_flops(base.full), _plain_flops(candidate.full), 1e-9),
    ]
    for rule in [point.rule for point in base.points]:
        row, point, other = replace(start, point=rule), base.reached.get(rule), candidate.reached.get(rule)
        if other is None and rule not in candidate.unreached:
            rows.append(replace(row, reason="the candidate has no such point"))
        elif point is None or other is None:
            rows.append(_compare_reach(row, base, candidate))
        else:
            rows.append(_compare_flops(row, point.cost_mean, other.cost_mean, margins.cost))
            rows.append(_compare_exits(replace(row, metric="exits"), point, other, sides, pair.notes))
    return rows


def _compare_flops(row: Row, base: float, candidate: float, margin: float) -> Row:
    return exact(row, base, candidate, margin, lower_is_better=True, what="per sample")


def _plain_flops(full: Performance) -> float:
    """Return what speed-ups are against, from the record's own ratio."""
    return full.cost_mean * full.cost_speedup.value


def _compare_reach(row: Row, base: SplitResult, candidate: SplitResult) -> Row:
    """Judge a point that at least one of them does not reach."""
    if row.point in base.reached:
        return replace(row, verdict="worse", reason=f"no longer reached: {candidate.unreached[row.point].reason}")
    if row.point in candidate.reached:
        return replace(row, verdict="better", reason="reached now")
    return replace(row, verdict="same", reason="reached by neither")


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
    one, other = (s.trade_off.exits.logits for s in sides)
    if not np.array_equal(one, other):
        reason = f"{moved}; the logits changed too, so this is another model and not another rule"
        return replace(row, verdict="not comparable", reason=reason)
    if base.cut != candidate.cut:
        reason = f"{moved} on the same logits: another cut was chosen, {base.cut} -> {candidate.cut}"
        return replace(row, verdict="worse", reason=reason)
    return replace(row, verdict="worse", reason=f"{moved} on the same logits with the same cut: the rule has changed")


# --------------------------------------------------------------------------- latency


def latency_rows(pair: Pair, margins: Margins) -> list[Row]:
    """Speed-up of every timed point over the plain model, and the plain model's own time."""
    row = Row(pair.base.label, "latency", "not comparable", "")
    facts = [run.record.latency for run in (pair.base, pair.candidate)]
    if facts[0] is None and facts[1] is None:
        return []
    if facts[0] is None or facts[1] is None:
        return [replace(row, reason=f"the {'base' if facts[0] is None else 'candidate'} was not timed")]
    base, candidate = read_raw_times(pair.base), read_raw_times(pair.candidate)
    if base is None or candidate is None:
        return [replace(row, reason="raw times are not kept beside the record")]
    forbidden = _find_obstacle(pair, base, candidate)
    if forbidden:
        return [replace(row, reason=forbidden)]
    rows = [_compare_plain_time(row, base, candidate, margins)]
    for label in base.order:
        if label in candidate.order and label not in (base.baseline, candidate.baseline, "plain", "stock"):
            rows.append(
                _compare_speedup(replace(row, metric="latency speed-up", point=label), base, candidate, label, margins)
            )
    return rows


def read_raw_times(run: Run) -> RawTimes | None:
    """Read the raw times beside a record; None where they do not travel with it. Raises Damaged for a file that is."""
    latency = run.record.latency
    path = run.folder / Path("" if latency is None else latency.file).name
    return read_times(path) if path.is_file() else None


def _find_obstacle(pair: Pair, base: RawTimes, candidate: RawTimes) -> str:
    """Return why two latency measurements must not be compared, or nothing."""
    machines = [run.head.environment.machine_id for run in (pair.base, pair.candidate)]
    if machines[0] != machines[1]:
        return f"other machine: {machines[0]} -> {machines[1]}"
    for name in ("protocol", "device", "dtype", "threads", "samples", "sizes", "baseline"):
        one, other = getattr(base, name), getattr(candidate, name)
        if one != other:
            return f"other {name}" + ("" if name in ("samples", "sizes") else f": {one} -> {other}")
    if base.options.executor != candidate.options.executor:
        return f"other executor: {base.options.executor} -> {candidate.options.executor}"
    for name, raw in (("base", base), ("candidate", candidate)):
        if raw.reasons:
            return f"the {name}'s measurement is INVALID: {'; '.join(raw.reasons)}"
        if len(raw.rounds) < 2:
            return f"the {name} has one round only"
    return ""


def _log_times(raw: RawTimes, label: str) -> Float:
    """Return the logarithm of each round's total time, [R]."""
    return np.log([float(sum(r.times[label])) for r in raw.rounds])


def _compare_speedup(row: Row, base: RawTimes, candidate: RawTimes, label: str, margins: Margins) -> Row:
    """Ratio of the two speed-ups over the plain model; each round's plain pass cancels what slows the machine."""
    rounds = [_log_times(raw, raw.baseline) - _log_times(raw, label) for raw in (base, candidate)]
    return _judge_ratio(row, rounds[0], rounds[1], margins.latency, lower_is_better=False)


def _compare_plain_time(row: Row, base: RawTimes, candidate: RawTimes, margins: Margins) -> Row:
    """The plain model has no early exit to slow down: where it moved, the machine or everything did."""
    row = replace(row, metric="latency, plain model")
    found = _judge_ratio(
        row, _log_times(base, base.baseline), _log_times(candidate, candidate.baseline), margins.latency, True
    )
    if found.verdict == "worse":
        reason = f"{found.reason}; two processes share no rounds, so this may be the machine: measure both side by side"
        return replace(found, verdict="inconclusive", reason=reason)
    return found


def _judge_ratio(row: Row, base: Float, candidate: Float, factor: float, lower_is_better: bool) -> Row:
    """Judge exp(mean candidate - mean base) by Welch's interval, of logarithms [R] each."""
    moved = float(candidate.mean() - base.mean())
    interval = stats.ttest_ind(candidate, base, equal_var=False).confidence_interval(0.95)
    bounds = (interval.low, interval.high) if base.var() + candidate.var() > 0 else (moved, moved)
    ratio, low, high = (float(np.expm1(x)) for x in (moved, *bounds))
    row = replace(row, difference=ratio, low=low, high=high, relative=True, margin=factor)
    row = replace(row, base=float(np.exp(base.mean())), candidate=float(np.exp(candidate.mean())))
    size = f"{100 * ratio:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]"
    bad, good = (high > 0 and low > factor, high < -factor) if lower_is_better else (high < -factor, low > factor)
    if bad or good:
        return replace(row, verdict="worse" if bad else "better", reason=f"{size}: all beyond {100 * factor:g} %")
    if -factor <= low and high <= factor:
        return replace(row, verdict="same", reason=f"{size}: all within {100 * factor:g} %")
    return replace(row, verdict="inconclusive", reason=f"{size}: the interval crosses {100 * factor:g} %")
