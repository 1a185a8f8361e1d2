"""The cross view of a panel's systems: how many samples one gets right and another wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.cross import Answers, answer_split, cross_answers
from bench.errors import UserError
from bench.report.overview.lines import Overview
from bench.results.run import Run


@dataclass(frozen=True)
class CrossTable:
    """Counts [M][M] at an operating point: samples that the row gets right and the column wrong."""

    point: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    note: str
    command: str


def cross_systems(one: Overview) -> CrossTable | None:
    """Return the cross view of a panel's systems and its full model; None where fewer than two can be had.

    Each is its run of the lowest seed. Left out are those whose logits are not stored or whose criterion gives other
    exits by now than were recorded.
    """
    rule, found = one.first_rule, dict[str, Answers]()
    for line in one.lines:
        at = None if line.plain else rule
        if line.plain and line.series.first.layers != one.panel.layers:
            continue
        if at is None or line.series.first.point(at, one.panel.split):
            answers = _answer(line.series.first, at, one.panel.split)
            if answers is not None:
                found[line.name] = answers
    names = list(found)
    if len(names) < 2 or not any(answers.rule for answers in found.values()):
        return None
    counts = [[0] * len(names) for _ in names]
    apart = False
    for i, row in enumerate(names):
        for j in range(i):
            try:
                both = cross_answers(found[row], found[names[j]])
            except UserError:
                return None  # a panel has one set of samples; what has other labels is said by bench explain
            counts[i][j], counts[j][i] = both.counts[:2]
            apart = apart or not both.same
    seeds = sorted({answers.run.seed for answers in found.values()})
    note = f"On the same samples, of seed {', '.join(map(str, seeds))}; the full model with all its layers."
    note += " Some systems lack samples of others: these pairs are counted on what both have." if apart else ""
    first, second = (found[name].run.name for name in names[:2])
    return CrossTable(rule, names, counts, note, f"bench explain {first} --against {second} --point {rule}")


def _answer(run: Run, rule: str | None, split: str) -> Answers | None:
    try:
        if not run.has_exits(split) or (rule is not None and rule in run.find_moved(split)):
            return None
        return answer_split(run, rule, split)
    except UserError:
        return None
