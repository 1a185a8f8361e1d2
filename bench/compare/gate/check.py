"""Judge the present code against the baseline: rules and FLOPs exactly, trained models with a tolerance and a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.compare.counts import compare_counts
from bench.compare.gate.baseline import Baseline, describe_platform, sum_plain_flops
from bench.compare.gate.cells import GateCell
from bench.compare.gate.golden import (
    SHAPES,
    describe_moves,
    find_departures,
    fit_and_score,
    make_probe,
    read_layers,
    record_decisions,
)
from bench.compare.quality import compare_answers, compare_samples
from bench.compare.verdict import Row, Verdict, adjust_tests
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.results.measures import Counts
from bench.results.run import Run
from strategies import STRATEGIES

TOLERANCE = 2e-5
"""Largest difference of a logit that counts as float noise. Of 79 cells, AMD instead of Intel moves 76 by at most 6e-7
after 25 steps, and SSE instead of AVX-512 by at most 1.1e-6; a loss, a product or an optimiser written otherwise does
not more. The smallest regression among the tests, weight decay for biases too, moves them by 7e-5. The other three are
FastBERT's, whose students have nothing to learn after so few steps, so that Adam blows rounding up to 0.3: see
:attr:`GateCell.has_unstable_students`."""
MARGIN = 0.02  # quality on 160 samples; the logits' tolerance is the sharper test
ACCEPT = "if intended: bench gate --accept"


def decide_on_probe(strategies: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return what the strategies' criteria (by default all of our own) decide on the probe, by strategy and shape."""
    made: dict[str, dict[str, Any]] = {}
    for name in strategies or STRATEGIES.builtin:
        criterion = GateCell(name, "albert-demo").criterion
        shapes = {shape: make_probe(n, criterion) for shape, n in SHAPES.items() if criterion.refuse(n) is None}
        # the oracles look for the largest logit, which a single output always is
        made[name] = {shape: record_decisions(criterion, exits) for shape, exits in shapes.items()}
    return made


def compare_probe(baseline: Baseline, strategies: Sequence[str] = ()) -> list[Row]:
    """Return a row for the criterion of each strategy (by default of all of our own) on the probe."""
    rows = []
    for name in strategies or STRATEGIES.builtin:
        row = Row(name, "rule on the probe", "same", "every exit as in the baseline")
        stored, criterion = baseline.probe.get(name), GateCell(name, "albert-demo").criterion
        if stored is None:
            rows.append(replace(row, verdict="not comparable", reason=f"new strategy, not in the baseline; {ACCEPT}"))
            continue
        problems = [
            f"{shape}: {problem}"
            for shape, kept in stored.items()
            for problem in find_departures(criterion, make_probe(SHAPES[shape], criterion), kept)
        ]
        rows.append(replace(row, verdict="worse", reason=f"{problems[0]}; {ACCEPT}") if problems else row)
    return rows


def compare_rules(baseline: Baseline, cells: Iterable[GateCell]) -> list[Row]:
    """Return rows for rules and FLOPs on stored logits and for what is counted: no training, exact on any machine."""
    rows, libraries = [], find_move(baseline.platform, describe_platform()).versions
    for cell in cells:
        kept = baseline.cells.get(cell.label)
        if kept is None:
            rows.append(Row(cell.label, "cell", "not comparable", f"new cell, not in the baseline; {ACCEPT}"))
            continue
        exits = baseline.exits(kept)
        problems = find_departures(cell.criterion, exits, kept)
        row = Row(cell.label, "exits on stored logits", "same", f"{len(kept['cuts'])} golden cuts, every sample")
        rows.append(replace(row, verdict="worse", reason=f"{problems[0]}; {ACCEPT}") if problems else row)
        rows.append(compare_flops(cell, kept, exits))
        rows += compare_work(cell, kept, exits, libraries)
    return rows


def compare_work(cell: GateCell, kept: Mapping[str, Any], exits: AllExits, libraries: str) -> list[Row]:
    """Return the rows for what the present engine does, counted: exactly, as long as the libraries are the same."""
    start = Row(cell.label, "counts", "inconclusive", f"the baseline is from before anything was counted; {ACCEPT}")
    now = cell.count(exits)
    if "counts" not in kept:
        return [] if now is None else [start]
    found = []
    for row in compare_counts(start, Counts.from_plain(kept["counts"]), now, libraries):
        moved = row.verdict not in ("same", "inconclusive")
        verdict: Verdict = "worse" if row.verdict == "better" else row.verdict
        found.append(replace(row, verdict=verdict, reason=f"{row.reason}; {ACCEPT}") if moved else row)
    return found


def compare_flops(cell: GateCell, kept: Mapping[str, Any], exits: AllExits) -> Row:
    """Return the row for FLOPs of everybody leaving at each exit, and at the golden cuts, by the present cost model."""
    table = cell.flops(exits.lengths)
    row = Row(cell.label, "FLOPs on stored lengths", "same", "equal at every exit and golden cut")
    now = table.sum(axis=0).tolist()
    for layer, (before, after) in enumerate(zip(kept["flops_by_exit"], now, strict=False), start=1):
        if before != after:
            reason = f"{'worse' if after > before else 'better'}, exit {layer}: {before:,} -> {after:,}; {ACCEPT}"
            return replace(row, verdict="worse", base=before, candidate=after, reason=reason)
    for cut in kept["cuts"]:
        layers = read_layers(cut["layers"])
        spent = int(table[np.arange(len(layers)), layers - 1].sum())
        if spent != cut["flops"]:
            reason = f"at a golden cut; {ACCEPT}"
            return replace(row, verdict="worse", base=cut["flops"], candidate=spent, reason=reason)
    return row


def compare_trained(baseline: Baseline, runs: Mapping[GateCell, Run]) -> list[Row]:
    """Return rows for cells as they run now: samples, costs, logits, and quality at every golden cut."""
    moved = find_move(baseline.platform, describe_platform())
    rows: list[Row] = []
    for cell, run in runs.items():
        if cell.label in baseline.cells:  # else compare_rules has said so
            rows += compare_cell(cell, baseline.cells[cell.label], baseline, run, moved)
    gone = sorted(set(baseline.cells) - {cell.label for cell in runs})
    rows += [Row(label, "cell", "not comparable", f"in the baseline, but no longer run; {ACCEPT}") for label in gone]
    return adjust_tests(rows, 0.05)


@dataclass(frozen=True)
class Move:
    """How the present platform differs from the one that made the baseline, in words; empty where it does not."""

    versions: str
    processor: str


def find_move(before: Mapping[str, Any], now: Mapping[str, Any]) -> Move:
    """Return how the present platform differs from the one that made the baseline."""

    def differ(*names: str) -> str:
        changed = [(name, before.get(name, "unknown"), now[name]) for name in names if before.get(name) != now[name]]
        return ", ".join(f"{name} {old} -> {new}" for name, old, new in changed)

    return Move(differ("torch", "transformers"), differ("cpu", "instructions"))


def compare_cell(cell: GateCell, kept: Mapping[str, Any], baseline: Baseline, run: Run, moved: Move) -> list[Row]:
    """Return the rows of one retrained cell."""
    stored, exits = baseline.exits(kept), run.exits()
    start = Row(cell.label, "samples", "same", "")
    rows = [compare_samples(start, stored, exits)]
    plain = replace(start, metric="FLOPs, plain model", base=kept["plain_flops"], candidate=sum_plain_flops(run))
    equal = plain.base == plain.candidate
    rows.append(replace(plain, reason="equal") if equal else replace(plain, verdict="worse", reason=ACCEPT))
    if stored.ids != exits.ids or stored.logits.shape != exits.logits.shape:
        shapes = f"{list(stored.logits.shape)} -> {list(exits.logits.shape)}"
        return [*rows, replace(start, metric="logits", verdict="worse", reason=f"other samples or shape, {shapes}")]
    rows.append(compare_logits(replace(start, metric="logits"), stored, exits, moved, cell.has_unstable_students))
    return rows + compare_golden_cuts(cell, kept, stored, exits)


def compare_logits(row: Row, stored: AllExits, now: AllExits, moved: Move, unstable: bool) -> Row:
    """Return whether training and inference still give the model that they gave.

    On another processor too: only the early exits of a model whose students are ``unstable`` may differ there.
    """
    apart = np.abs(stored.logits - now.logits)
    most = float(apart.max())
    sample, layer = np.unravel_index(int(apart.argmax()), apart.shape)[:2]
    row = replace(row, difference=most, margin=TOLERANCE)
    if most <= TOLERANCE:
        said = "bit-equal" if most == 0 else f"largest difference {most:.1e}, float noise is up to {TOLERANCE:g}"
        return replace(row, reason=said)
    where = f"logits moved by up to {most:.2g} (sample {stored.ids[sample]}, exit {layer + 1}); noise is {TOLERANCE:g}"
    if moved.versions:
        reason = f"{where}; whether the code moved them or {moved.versions} cannot be told; {ACCEPT}"
        return replace(row, verdict="not comparable", reason=reason)
    if moved.processor and unstable and float(apart[:, -1].max()) <= TOLERANCE:
        reason = (
            f"{where}; but its students learn from rounding, the last exit is the same, and the processor is "
            f"another ({moved.processor}), so the tests of quality decide"
        )
        return replace(row, verdict="inconclusive", reason=reason)
    why = (
        f"more than another processor explains ({moved.processor})" if moved.processor else "the processor is the same"
    )
    return replace(row, verdict="worse", reason=f"{where}: {why}; {ACCEPT}")


def compare_golden_cuts(cell: GateCell, kept: Mapping[str, Any], stored: AllExits, now: AllExits) -> list[Row]:
    """Return rows for McNemar's test at the last exit and at every golden cut, and who leaves where at the cuts."""
    rows = np.arange(len(stored.ids))
    start = Row(cell.label, "accuracy", "same", "", point="all layers", margin=MARGIN)
    made = [compare_answers(start, "accuracy", stored.predictions[:, -1], now.predictions[:, -1], stored.labels)]
    scores, criterion = fit_and_score(cell.criterion, now), cell.criterion
    for cut in kept["cuts"]:
        before = read_layers(cut["layers"])
        after = exit_layers(scores, cut["cut"], strict=criterion.strict)
        answers = stored.predictions[rows, before - 1], now.predictions[rows, after - 1]
        row = compare_answers(replace(start, point=f"cut {cut['cut']:.4g}"), "accuracy", *answers, stored.labels)
        said = describe_moves(stored.ids, before, after)
        row = replace(row, reason=f"{row.reason}; {said}") if said else row
        made.append(replace(row, family=cell.backbone))
    return made
