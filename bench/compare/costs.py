"""Costs: FLOPs and exits exactly, latency by paired ratios and only where machine and protocol are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.compare.pairing import Pair
from bench.compare.quality import Side
from bench.compare.sources import Found
from bench.compare.verdict import Margins, Row, exact
from bench.files import read_object

Float = NDArray[np.float64]


def cost_rows(pair: Pair, split: str, sides: tuple[Side, Side] | None, margins: Margins) -> list[Row]:
    """FLOPs of the full model (no margin: nothing about them is random) and, with exits, of every operating point."""
    base, candidate = (cell.record["evaluation"][split] for cell in (pair.base, pair.candidate))
    start = Row(pair.base.label, "FLOPs", "not comparable", "", point="all layers", split=split)
    if base["full"]["cost_unit"] != candidate["full"]["cost_unit"]:
        return [replace(start, reason=f"{base['full']['cost_unit']} -> {candidate['full']['cost_unit']}")]
    rows = [
        _flops(start, base["full"], candidate["full"], 0.0),
        _flops(replace(start, metric="FLOPs, plain model"), _plain(base["full"]), _plain(candidate["full"]), 1e-9),
    ]
    others = {p["rule"]: p for p in candidate["points"]}
    for point in base["points"]:
        other = others.get(point["rule"])
        row = replace(start, point=point["rule"])
        if other is None:
            rows.append(replace(row, reason="the candidate has no such point"))
        elif "cost_mean" not in point or "cost_mean" not in other:
            rows.append(_reach(row, point, other))
        else:
            rows.append(_flops(row, point, other, margins.cost))
            rows.append(_exits(replace(row, metric="exits"), point, other, sides, pair.notes))
    return rows


def _flops(row: Row, base: dict[str, Any], candidate: dict[str, Any], margin: float) -> Row:
    return exact(row, base["cost_mean"], candidate["cost_mean"], margin, lower_is_better=True, what="per sample")


def _plain(full: dict[str, Any]) -> dict[str, Any]:
    """What speed-ups are against, from the record's own ratio."""
    return {"cost_mean": full["cost_mean"] * full["cost_speedup"]["value"]}


def _reach(row: Row, base: dict[str, Any], candidate: dict[str, Any]) -> Row:
    """A point that at least one of them does not reach."""
    if "cost_mean" in base:
        return replace(row, verdict="worse", reason=f"no longer reached: {candidate.get('reason', 'unknown')}")
    if "cost_mean" in candidate:
        return replace(row, verdict="better", reason="reached now")
    return replace(row, verdict="same", reason="reached by neither")


def _exits(
    row: Row, base: dict[str, Any], candidate: dict[str, Any], sides: tuple[Side, Side] | None, notes: list[str]
) -> Row:
    """Exit histograms: equal, or moved with the same logits and cut (a changed rule), or of another model."""
    row = replace(row, base=base["mean_layer"], candidate=candidate["mean_layer"])
    if base["exit_counts"] == candidate["exit_counts"]:
        return replace(row, verdict="same", reason=f"exit histogram {base['exit_counts']}")
    moved = f"exit histogram {base['exit_counts']} -> {candidate['exit_counts']}"
    versions = [note for note in notes if " version " in note]
    if versions:
        return replace(row, verdict="not comparable", reason=f"{moved}, as announced: {'; '.join(versions)}")
    if sides is None:
        return replace(row, verdict="inconclusive", reason=f"{moved}; no logits beside the record to say why")
    one, other = (s.tradeoff.exits.logits for s in sides)
    if not np.array_equal(one, other):
        reason = f"{moved}; the logits changed too, so this is another model and not another rule"
        return replace(row, verdict="not comparable", reason=reason)
    if base["cut"] != candidate["cut"]:
        reason = f"{moved} on the same logits: another cut was chosen, {base['cut']} -> {candidate['cut']}"
        return replace(row, verdict="worse", reason=reason)
    return replace(row, verdict="worse", reason=f"{moved} on the same logits with the same cut: the rule has changed")


# --------------------------------------------------------------------------- latency


def latency_rows(pair: Pair, margins: Margins) -> list[Row]:
    """Speed-up of every timed point over the plain model, and the plain model's own time."""
    row = Row(pair.base.label, "latency", "not comparable", "")
    facts = [cell.record.get("latency") for cell in (pair.base, pair.candidate)]
    if facts[0] is None and facts[1] is None:
        return []
    if facts[0] is None or facts[1] is None:
        return [replace(row, reason=f"the {'base' if facts[0] is None else 'candidate'} was not timed")]
    base, candidate = raw_times(pair.base), raw_times(pair.candidate)
    if base is None or candidate is None:
        return [replace(row, reason="raw times are not kept beside the record")]
    forbidden = _conditions(pair, base, candidate)
    if forbidden:
        return [replace(row, reason=forbidden)]
    rows = [_plain_time(row, base, candidate, margins)]
    for label in base["order"]:
        if label in candidate["order"] and label not in (base["baseline"], candidate["baseline"], "plain", "stock"):
            rows.append(_speedup(replace(row, metric="latency speed-up", point=label), base, candidate, label, margins))
    return rows


def raw_times(cell: Found) -> dict[str, Any] | None:
    """The raw times that the record points to. Raises Damaged for a file that is."""
    facts = cell.record["latency"]
    path = cell.folder / str(facts.get("file", "latency.json"))
    return read_object(path) if path.exists() else None


def _conditions(pair: Pair, base: dict[str, Any], candidate: dict[str, Any]) -> str:
    """Why two latency measurements must not be compared, or nothing."""
    machines = [cell.record.get("environment", {}).get("machine_id") for cell in (pair.base, pair.candidate)]
    if machines[0] is None or machines[0] != machines[1]:
        return f"other machine: {machines[0]} -> {machines[1]}"
    for name in ("protocol", "device", "dtype", "threads", "samples", "sizes", "baseline"):
        if base.get(name) != candidate.get(name):
            values = "" if name in ("samples", "sizes") else f": {base.get(name)} -> {candidate.get(name)}"
            return f"other {name}{values}"
    one, other = (raw.get("options", {}).get("executor") for raw in (base, candidate))
    if one != other:
        return f"other executor: {one} -> {other}"
    for name, raw in (("base", base), ("candidate", candidate)):
        if raw.get("reasons"):
            return f"the {name}'s measurement is INVALID: {'; '.join(raw['reasons'])}"
        if len(raw["rounds"]) < 2:
            return f"the {name} has one round only"
    return ""


def _logs(raw: dict[str, Any], label: str) -> Float:
    """Logarithm of each round's total time, [R]."""
    return np.log([float(sum(r["times"][label])) for r in raw["rounds"]])


def _speedup(row: Row, base: dict[str, Any], candidate: dict[str, Any], label: str, margins: Margins) -> Row:
    """Ratio of the two speed-ups over the plain model; each round's plain pass cancels what slows the machine."""
    rounds = [_logs(raw, raw["baseline"]) - _logs(raw, label) for raw in (base, candidate)]
    return _ratio(row, rounds[0], rounds[1], margins.latency, lower_is_better=False)


def _plain_time(row: Row, base: dict[str, Any], candidate: dict[str, Any], margins: Margins) -> Row:
    """The plain model has no early exit to slow down: where it moved, the machine or everything did."""
    row = replace(row, metric="latency, plain model")
    found = _ratio(row, _logs(base, base["baseline"]), _logs(candidate, candidate["baseline"]), margins.latency, True)
    if found.verdict == "worse":
        reason = f"{found.reason}; two processes share no rounds, so this may be the machine: measure both side by side"
        return replace(found, verdict="inconclusive", reason=reason)
    return found


def _ratio(row: Row, base: Float, candidate: Float, factor: float, lower_is_better: bool) -> Row:
    """Verdict on exp(mean candidate - mean base) with Welch's interval, of logarithms [R] each."""
    moved = float(candidate.mean() - base.mean())
    variance = [float(x.var(ddof=1)) / len(x) for x in (base, candidate)]
    total = sum(variance)
    if total > 0:
        freedom = total**2 / sum(v**2 / (len(x) - 1) for v, x in zip(variance, (base, candidate), strict=True))
        half = float(stats.t.ppf(0.975, freedom)) * total**0.5
    else:
        half = 0.0
    ratio, low, high = (float(np.expm1(x)) for x in (moved, moved - half, moved + half))
    row = replace(row, difference=ratio, low=low, high=high, relative=True, margin=factor)
    row = replace(row, base=float(np.exp(base.mean())), candidate=float(np.exp(candidate.mean())))
    size = f"{100 * ratio:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]"
    bad, good = (high > 0 and low > factor, high < -factor) if lower_is_better else (high < -factor, low > factor)
    if bad or good:
        return replace(row, verdict="worse" if bad else "better", reason=f"{size}: all beyond {100 * factor:g} %")
    if -factor <= low and high <= factor:
        return replace(row, verdict="same", reason=f"{size}: all within {100 * factor:g} %")
    return replace(row, verdict="inconclusive", reason=f"{size}: the interval crosses {100 * factor:g} %")
