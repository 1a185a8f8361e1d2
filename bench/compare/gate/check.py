"""Judge the present code against the baseline: rules and FLOPs exactly, trained models with a tolerance and a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.compare.gate.baseline import Baseline, plain_flops, platform
from bench.compare.gate.cells import GateCell, Observed
from bench.compare.gate.golden import SHAPES, Golden, criterion_scores, decided, moved, probe, redecide
from bench.compare.quality import sample_row, tested_row
from bench.compare.verdict import Row, adjusted
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from strategies import STRATEGIES

TOLERANCE = 0.005
"""Largest difference of a logit that counts as float noise. With SSE instead of AVX-512 most models move by 1e-7. Where
a distilled student has nothing to learn (FastBERT after so few steps) Adam blows rounding up to 0.2: what lies beyond
the tolerance on another platform is therefore no proof of a change."""
MARGIN = 0.02  # quality on 160 samples; the logits' tolerance is the sharper test
ACCEPT = "if intended: bench gate --accept"


def probe_decisions() -> dict[str, dict[str, Any]]:
    """What every registered criterion decides on the probe, by strategy and shape."""
    made: dict[str, dict[str, Any]] = {}
    for name in STRATEGIES.builtin:
        criterion = GateCell(name, "albert-demo").criterion
        shapes = {shape: probe(n, criterion) for shape, n in SHAPES.items() if criterion.refuse(n) is None}
        # the oracles look for the largest logit, which a single output always is
        made[name] = {shape: decided(criterion, exits) for shape, exits in shapes.items()}
    return made


def probe_rows(baseline: Baseline) -> list[Row]:
    """Every criterion on the probe."""
    rows = []
    for name in STRATEGIES.builtin:
        row = Row(name, "rule on the probe", "same", "every exit as in the baseline")
        stored, criterion = baseline.probe.get(name), GateCell(name, "albert-demo").criterion
        if stored is None:
            rows.append(replace(row, verdict="not comparable", reason=f"new strategy, not in the baseline; {ACCEPT}"))
            continue
        problems = [
            f"{shape}: {problem}"
            for shape, kept in stored.items()
            for problem in redecide(criterion, probe(SHAPES[shape], criterion), kept)
        ]
        rows.append(replace(row, verdict="worse", reason=f"{problems[0]}; {ACCEPT}") if problems else row)
    return rows


def rule_rows(baseline: Baseline, cells: Iterable[GateCell]) -> list[Row]:
    """Rules and FLOPs on stored logits: no training, exact on any machine."""
    rows = []
    for cell in cells:
        kept = baseline.cells.get(cell.label)
        if kept is None:
            reason = f"new cell, not in the baseline; {ACCEPT}"
            rows.append(Row(cell.label, "cell", "not comparable", reason))
            continue
        exits = baseline.exits(kept)
        problems = redecide(cell.criterion, exits, {**kept, "cuts": golden(kept)})
        row = Row(cell.label, "exits on stored logits", "same", f"{len(kept['cuts'])} golden cuts, every sample")
        rows.append(replace(row, verdict="worse", reason=f"{problems[0]}; {ACCEPT}") if problems else row)
        rows += flops_rows(cell, kept, exits)
    return rows


def golden(kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A cell's golden cuts without what else is kept of them."""
    return [{name: cut[name] for name in ("cut", "gap", "layers")} for cut in kept["cuts"]]


def flops_rows(cell: GateCell, kept: Mapping[str, Any], exits: AllExits) -> list[Row]:
    """FLOPs of everybody leaving at each exit, and at the golden cuts, by the present cost model."""
    table = cell.flops(exits.lengths)
    row = Row(cell.label, "FLOPs on stored lengths", "same", "equal at every exit and golden cut")
    now = table.sum(axis=0).tolist()
    for layer, (before, after) in enumerate(zip(kept["flops_by_exit"], now, strict=False), start=1):
        if before != after:
            change = f"exit {layer}: {before:,} -> {after:,}; {ACCEPT}"
            verdict = "worse" if after > before else "better"
            return [replace(row, verdict="worse", base=before, candidate=after, reason=f"{verdict}, {change}")]
    for cut in kept["cuts"]:
        layers = Golden(cut["cut"], cut["gap"], cut["layers"]).exits
        spent = int(table[np.arange(len(layers)), layers - 1].sum())
        if spent != cut["flops"]:
            return [
                replace(row, verdict="worse", base=cut["flops"], candidate=spent, reason=f"at a golden cut; {ACCEPT}")
            ]
    return [row]


def training_rows(baseline: Baseline, observed: Mapping[GateCell, Observed]) -> list[Row]:
    """Cells as they run now: samples, costs of the run itself, logits, and quality at every golden cut."""
    elsewhere = differences(baseline.platform)
    rows: list[Row] = []
    for cell, found in observed.items():
        kept = baseline.cells.get(cell.label)
        if kept is None:
            continue  # rule_rows has said so
        rows += cell_rows(cell, kept, baseline.exits(kept), found, elsewhere)
    gone = sorted(set(baseline.cells) - {cell.label for cell in observed})
    rows += [Row(label, "cell", "not comparable", f"in the baseline, but no longer run; {ACCEPT}") for label in gone]
    return adjusted(rows, 0.05)


def differences(before: Mapping[str, Any]) -> str:
    """How this platform differs from the baseline's, as far as float noise depends on it."""
    now = platform()
    return ", ".join(f"{name} {before[name]} -> {now[name]}" for name in ("torch", "transformers", "cpu")
                     if before[name] != now[name])  # fmt: skip


def cell_rows(cell: GateCell, kept: Mapping[str, Any], stored: AllExits, found: Observed, elsewhere: str) -> list[Row]:
    """One retrained cell."""
    start = Row(cell.label, "samples", "same", "")
    rows = [sample_row(start, stored, found.exits)]
    plain = replace(start, metric="FLOPs, plain model", base=kept["plain_flops"], candidate=plain_flops(found.record))
    equal = plain.base == plain.candidate
    rows.append(replace(plain, reason="equal") if equal else replace(plain, verdict="worse", reason=ACCEPT))
    if stored.ids != found.exits.ids or stored.logits.shape != found.exits.logits.shape:
        shapes = f"{list(stored.logits.shape)} -> {list(found.exits.logits.shape)}"
        return [*rows, replace(start, metric="logits", verdict="worse", reason=f"other samples or shape, {shapes}")]
    rows.append(logit_row(replace(start, metric="logits"), stored, found.exits, elsewhere))
    return rows + quality_rows(cell, kept, stored, found.exits)


def logit_row(row: Row, stored: AllExits, now: AllExits, elsewhere: str) -> Row:
    """Whether training and inference still give the model that they gave."""
    apart = np.abs(stored.logits - now.logits)
    most = float(apart.max())
    sample, layer = np.unravel_index(int(apart.argmax()), apart.shape)[:2]
    row = replace(row, difference=most, margin=TOLERANCE)
    if most <= TOLERANCE:
        said = "bit-equal" if most == 0 else f"largest difference {most:.1e}, float noise is up to {TOLERANCE:g}"
        return replace(row, reason=said)
    where = f"logits moved by up to {most:.2g} (sample {stored.ids[sample]}, exit {layer + 1}); noise is {TOLERANCE:g}"
    if elsewhere:
        reason = f"{where}; but the platform is another ({elsewhere}), so the tests of quality decide"
        return replace(row, verdict="inconclusive", reason=reason)
    return replace(row, verdict="worse", reason=f"{where}, versions and processor are the same; {ACCEPT}")


def quality_rows(cell: GateCell, kept: Mapping[str, Any], stored: AllExits, now: AllExits) -> list[Row]:
    """Exact McNemar at the last exit and at every golden cut, and who leaves where at the cuts."""
    rows = np.arange(len(stored.ids))
    start = Row(cell.label, "accuracy", "same", "", point="all layers", margin=MARGIN)
    made = [tested_row(start, "accuracy", stored.predictions[:, -1], now.predictions[:, -1], stored.labels)]
    scores, criterion = criterion_scores(cell.criterion, now), cell.criterion
    for cut in kept["cuts"]:
        before = Golden(cut["cut"], cut["gap"], cut["layers"]).exits
        after = exit_layers(scores, cut["cut"], strict=criterion.strict)
        answers = stored.predictions[rows, before - 1], now.predictions[rows, after - 1]
        row = tested_row(replace(start, point=f"cut {cut['cut']:.4g}"), "accuracy", *answers, stored.labels)
        said = moved(stored.ids, before, after)
        row = replace(row, reason=f"{row.reason}; {said}") if said else row
        made.append(replace(row, family=f"{cell.backbone}"))
    return made
