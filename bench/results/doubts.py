"""What could make a run's numbers void, said in one place for every output.

    no-skill      the full model is not shown to be better than one answer for all samples
    one-answer    exits at which samples leave answer the same for every sample
    few-held-out  operating points were chosen on fewer samples than they speak of
    few-samples   the same of points that are chosen on the very samples that are reported
    unchecked     the logits that would tell are damaged
    another-rule  the criterion as it is now gives other exits than were recorded, where it is asked again

To say it is not to refuse: the numbers stay where they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from bench.errors import UsageError
from bench.measure.exits import AllExits
from bench.measure.rules import Rule
from bench.results.measures import SkillCheck, SplitResult
from bench.results.part import Estimate
from bench.results.record import RunRecord

DoubtKind = Literal["no-skill", "one-answer", "few-held-out", "few-samples", "unchecked", "another-rule"]
DOUBT_TITLES: dict[DoubtKind, str] = {
    "no-skill": "No skill",
    "one-answer": "One answer",
    "few-held-out": "Few held out",
    "few-samples": "Few samples",
    "unchecked": "Not checked",
    "another-rule": "Another rule",
}

FEW_HELD_OUT, TOO_FEW_HELD_OUT = 100, 30
"""Held-out samples below which points are doubted, and are void: of 100 one sample is a point of accuracy; the interval
of a share of 30 is 20 to 40 points wide, so that what they choose is chance."""

NO_SKILL = "the full model is not shown to be better than one answer for all samples, so the speed-ups mean nothing"
ONE_ANSWER = "samples that leave there are not told apart"
ROUGH = "a threshold from so few samples is a rough one"
VOID = "a threshold from so few samples says nothing of others"
OUTGROWN = "the strategy has changed since: what is made of its logits here is not what was recorded; run it again"
UNCHECKED = "whether the model has learned anything is not known"


@dataclass(frozen=True)
class Doubt:
    """One reason not to believe numbers of a run.

    ``mark`` is the short of it, for a row; ``found`` what was found, ``why`` what follows. ``rules`` are the operating
    points that it is about, all numbers where there are none. A ``void`` one leaves nothing of them.
    """

    kind: DoubtKind
    mark: str
    found: str
    why: str
    void: bool
    rules: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The whole doubt: what it is, what was found and what follows; without a full stop."""
        return f"{DOUBT_TITLES[self.kind]}: {self.found}; {self.why}"

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": self.kind, "void": self.void, "points": list(self.rules), "said": self.said}


def check_skill(exits: AllExits) -> SkillCheck:
    """Return what is recorded of the full model's answers over a split against one answer for all samples."""
    from bench.measure.skill import measure_skill

    found = measure_skill(exits)
    return SkillCheck(
        measure=found.measure,
        model=found.model,
        baseline=found.baseline,
        answer=found.answer,
        gain=Estimate.of(found.gain),
        constant_exits=found.constant,
    )


def find_doubts(record: RunRecord, split: str, skill: SkillCheck | None) -> tuple[Doubt, ...]:
    """Return what could make a finished run's numbers on ``split`` void, the gravest first; ``skill`` where known."""
    result, metric = record.evaluation[split], record.task.metrics[0]
    few = _doubt_choice("few-held-out", result, _count_held_out(record), metric)
    return (*(_doubt_skill(result, record.task.labels, skill) if skill else ()), *few)


def find_replay_doubts(exits: AllExits, result: SplitResult, metric: str) -> tuple[Doubt, ...]:
    """Return what could make numbers of anybody's logits void, whose points are chosen on the samples reported."""
    labels = [str(number) for number in range(exits.logits.shape[2])]
    few = _doubt_choice("few-samples", result, len(exits.labels), metric)
    return (*_doubt_skill(result, labels, check_skill(exits)), *few)


def find_constant_doubts(predictions: NDArray[Any], counts: Mapping[str, Sequence[int]]) -> tuple[Doubt, ...]:
    """Return what can be doubted of answers [N, L] without labels; ``counts``: who leaves at each exit, by rule."""
    from bench.measure.skill import find_constant_exits

    return tuple(_doubt_constant(find_constant_exits(predictions), predictions.shape[1], counts))


def doubt_damaged(what: str) -> Doubt:
    """Return the doubt about a run whose logits cannot be believed: ``what`` says where they are and why."""
    return Doubt("unchecked", "not checked", what, UNCHECKED, False)


def doubt_outgrown(rules: Sequence[str]) -> Doubt:
    """Return the doubt about a run that is judged again by a criterion that leaves elsewhere at points ``rules``."""
    found = f"the criterion as it is now gives other exits than were recorded at {', '.join(rules)}"
    return Doubt("another-rule", "another rule", found, OUTGROWN, False, tuple(rules))


def _doubt_skill(result: SplitResult, labels: Sequence[str], found: SkillCheck) -> Iterator[Doubt]:
    if found.gain.low <= 0:
        yield Doubt("no-skill", "no skill", _describe_gain(found, labels), NO_SKILL, True)
    counts = {rule: point.exit_counts for rule, point in result.reached.items()}
    yield from _doubt_constant(found.constant_exits, len(result.full.exit_counts), counts)


def _doubt_constant(constant: Sequence[int], layers: int, counts: Mapping[str, Sequence[int]]) -> Iterator[Doubt]:
    if len(constant) == layers:
        yield Doubt("one-answer", "one answer", "every exit answers the same for every sample", ONE_ANSWER, True)
        return
    used: dict[int, list[str]] = defaultdict(list)
    for rule, left in counts.items():
        for exit_, count in enumerate(left[:-1], start=1):
            if count and exit_ in constant:
                used[exit_].append(rule)
    if used:
        rules = tuple(dict.fromkeys(rule for found in used.values() for rule in found))
        exits = f"{'exit' if len(used) == 1 else 'exits'} {', '.join(map(str, sorted(used)))}"
        answers = f"{exits} of {layers} {'answers' if len(used) == 1 else 'answer'} the same for every sample"
        yield Doubt("one-answer", f"one answer at {exits}", answers, ONE_ANSWER, False, rules)


def _describe_gain(found: SkillCheck, labels: Sequence[str]) -> str:
    digits = ".3f" if found.measure == "accuracy" else ".3g"
    of = "the labels' mean"
    if found.measure == "accuracy":
        of = "the commonest class" + "".join(f" ({label})" for label in labels[int(found.answer) :][:1])
    gain, low, high = (format(value, f"+{digits}") for value in (found.gain.value, found.gain.low, found.gain.high))
    against = f"{found.measure} {found.model:{digits}} against {found.baseline:{digits}} of {of}"
    return f"{against}, gain {gain} [{low}, {high}]"


def _doubt_choice(
    kind: Literal["few-held-out", "few-samples"], result: SplitResult, samples: int, metric: str
) -> Iterator[Doubt]:
    chosen = [point.rule for point in result.reached.values() if point.chosen_on == "select"]
    rules = tuple(rule for rule in chosen if samples and _is_doubtful(rule, samples, metric))
    if rules:
        mark, of = ("held out", "held-out samples") if kind == "few-held-out" else ("samples", "samples")
        found = f"{', '.join(rules)} chosen on {samples} {of}"
        found += f", of which one is {100 / samples:.1f} points" if metric == "accuracy" else ""
        void = samples < TOO_FEW_HELD_OUT
        yield Doubt(kind, f"{samples} {mark}", found, VOID if void else ROUGH, void, rules)


def _count_held_out(record: RunRecord) -> int:
    """Return how many held-out samples points were chosen on; 0 where that is not known."""
    shared = record.criterion.held_out if record.criterion else None
    rows = record.task.rows.get(record.task.select)
    return shared.chosen_on if shared else rows.used if rows else 0


def _is_doubtful(name: str, samples: int, metric: str) -> bool:
    """Whether ``samples`` are too few for the rule ``name``: fewer than 100, or one is more than the loss it allows.

    A certified point knows how many there were. Of a rule that is not known here only the number counts.
    """
    try:
        rule = Rule.parse(name)
    except UsageError:
        return samples < FEW_HELD_OUT
    if rule.is_certified:
        return False
    below_one = rule.kind == "max_loss" and metric == "accuracy" and 0 < rule.value * samples < 1
    return samples < FEW_HELD_OUT or below_one
