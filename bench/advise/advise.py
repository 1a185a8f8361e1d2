"""Does early exit pay for somebody's model? :func:`give_advice` asks it in the order of what an answer costs.

First what leaving early can save at all, then exits on the model as it is, criteria and their cuts, and last the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.advise.candidates import Candidate, choose_depth, compare_candidates
from bench.advise.ceiling import CEILING, WORTH, DepthTimes, describe_ceiling, find_oracle, measure_ceiling
from bench.advise.goal import Goal
from bench.advise.groups import ClassBalance, GroupResult, balance_classes, slice_groups
from bench.advise.heads import FittedExits, OwnModel, fit_exits_once, load_own_model
from bench.advise.question import Question, explain_few_criteria, prepare_question
from bench.advise.rivals import EarlyCall, answer_samples, make_rivals
from bench.advise.timing import BATCHES, EARLY, SAMPLES, Timings, time_against_rivals
from bench.advise.verdict import Finding, Way, give_early_verdict, give_verdict
from bench.cell.latency import throttle_messages
from bench.cell.request import Context
from bench.cell.run import prepare_cell, run_cell
from bench.latency.baselines import Rival
from bench.latency.run import draw_samples
from bench.measure.exits import AllExits
from bench.measure.stats import Interval, bootstrap_mean, wilson
from bench.measure.trade_off import estimate_metric
from bench.results.run import Run
from bench.tasks.file import FileTask

OWN = "the model itself"

MOST_ANSWERED = 1000
"""Reported samples that a rival answers: enough for a share of changes, and minutes are dear."""


@dataclass(frozen=True)
class Oracles:
    """How many times faster nobody can be: by who knows the labels, by who knows the model's own answers."""

    label: float
    answer: float


@dataclass(frozen=True)
class Advice:
    """The verdict, and all that it rests on; what was not reached is empty.

    ``samples`` are those that exits were fitted on, cuts chosen on, results reported of.
    """

    verdict: Finding
    question: Question
    times: DepthTimes
    samples: tuple[int, int, int]
    metric: str
    notes: tuple[str, ...]
    oracles: Oracles | None = None
    per_exit: tuple[float, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    ways: tuple[Way, ...] = ()
    balance: ClassBalance | None = None
    groups: tuple[GroupResult, ...] = ()
    timings: tuple[Timings, ...] = ()
    run: Run | None = None


def give_advice(question: Question, context: Context) -> Advice:
    """Find out whether early exit pays. Raises UserError, one line, for what cannot be advised on, before long work."""
    say = context.progress.say
    prepared = prepare_question(question, context)
    own = load_own_model(prepared)
    cell, goal = prepared.cell, question.goal
    criterion = cell.parts.criterion(cell.spec)
    say("Timing forced exits at every layer.")
    times = measure_ceiling(own.unfitted, criterion, own.draw_batches(CEILING.samples))
    say(describe_ceiling(times))
    fixed = Fixed(question, times, own)
    if (obstacle := find_obstacle(times, goal)) is not None:
        return fixed.conclude(give_early_verdict(obstacle))
    fitted = fit_exits_once(own)
    oracles = Oracles(*find_oracle(times, fitted.choose))
    say(f"An oracle that knows the labels would reach {oracles.label:.1f}x.")
    names, metrics = prepared.criteria, cell.data.metrics
    candidates = tuple(compare_candidates(names, fitted, times, goal, metrics, question.seed))
    best = candidates[0]
    run = record_candidate(question, best, times, context, len(names))
    known = {
        "oracles": oracles,
        "per_exit": tuple(measure_each_exit(fitted.report, metrics[0])),
        "candidates": candidates,
        "run": run,
    }
    if not best.is_useful():
        return fixed.conclude(give_early_verdict(explain_useless(best, goal, oracles)), **known)
    assert best.chosen is not None
    depth = choose_depth(fitted, times, goal, metrics, best.chosen.mean_exit)
    say("Timing early exit against the model itself and what else makes it faster.")
    rivals, timings = time_candidate(own, fitted, best, depth, throttle_messages(context.progress))
    ways = describe_ways(own, fitted, best, rivals, timings, metrics[0])
    verdict = give_verdict(goal, metrics[0], describe_rule(best), ways, skilled=not lacks_skill(run))
    task = cell.parts.task
    groups: tuple[GroupResult, ...] = ()
    if question.slice_column is not None and isinstance(task, FileTask):
        groups = slice_groups(task, question.slice_column, fitted.report, best.layers)
    balance = balance_classes(fitted.report, best.layers, cell.data.label_names)
    return fixed.conclude(verdict, **known, ways=tuple(ways), timings=timings, groups=groups, balance=balance)


@dataclass(frozen=True)
class Fixed:
    """What every advice says, however far it came."""

    question: Question
    times: DepthTimes
    own: OwnModel

    def conclude(self, verdict: Finding, **known: object) -> Advice:
        """Return the advice with what else is known."""
        data = self.own.prepared.cell.data
        sizes = len(data.train), len(data.select), len(self.own.reported)
        notes = list(dict.fromkeys(self.own.warnings))
        few = explain_few_criteria(self.question, data, self.own.prepared.criteria)
        if few is not None and "candidates" in known:
            notes.append(few)
        where = "of the file" if data.source.startswith("file ") else "held out of train"
        notes.append(
            f"cuts are chosen on texts {where}: if the model was fine-tuned on them, which cannot be seen here, it is "
            "surer of them than of new ones, and a certificate holds for them alone"
        )
        known_notes = tuple(notes)
        return Advice(verdict, self.question, self.times, sizes, data.metrics[0], known_notes, **known)  # type: ignore[arg-type]


def find_obstacle(times: DepthTimes, goal: Goal) -> str | None:
    """Return why nothing can pay here, whatever exits say; None where it may."""
    first = times.speedups[0]
    wanted = max(WORTH, goal.value if goal.kind == "speedup" else 0.0)
    if first.high < wanted:
        return f"even if every text left at exit 1, {first.estimate:.2f}x is the most, and {wanted:g}x is wanted"
    if goal.kind == "target_ms" and times.plain_ms <= goal.value:
        return f"the model itself takes {times.plain_ms:.1f} ms a text, and {goal.value:g} ms are allowed"
    fastest = times.plain_ms / first.estimate
    if goal.kind == "target_ms" and fastest > goal.value:
        return f"even if every text left at exit 1, it would take {fastest:.1f} ms, and {goal.value:g} ms are wanted"
    return None


def explain_useless(best: Candidate, goal: Goal, oracles: Oracles) -> str:
    """Return why no cut is worth timing."""
    bound = f"an oracle that knows the labels would reach {oracles.label:.1f}x"
    if best.chosen is None:
        return f"no cut is such that {goal.describe()} ({best.reason.rstrip('.')}); {bound}"
    return (
        f"where {goal.describe()}, the best criterion ({best.name}) promises {best.chosen.speedup:.2f}x on the texts "
        f"it is chosen on; {bound}"
    )


def record_candidate(question: Question, best: Candidate, times: DepthTimes, context: Context, criteria: int) -> Run:
    """Record the cell of the best criterion, with its cut, as any other run."""
    rule = question.goal.make_rule(times.plain_ms, criteria)
    select = rule.format() if rule.kind in ("risk", "max_loss") else ""
    thresholds = (best.threshold,) if best.chosen is not None and np.isfinite(best.cut) else None
    return run_cell(prepare_cell(question.make_request(best.name, thresholds, select), context))


def lacks_skill(run: Run) -> bool:
    """Return whether the recorded model is not shown to be better than one answer for all samples."""
    return any(doubt.kind == "no-skill" for doubt in run.find_doubts())


def measure_each_exit(exits: AllExits, metric: str) -> list[float]:
    """Return the metric of every exit alone."""
    return [estimate_metric(metric, answers, exits.labels).estimate for answers in exits.predictions.T]


def time_candidate(
    own: OwnModel, fitted: FittedExits, best: Candidate, depth: Candidate, say: Callable[[str], None]
) -> tuple[list[Rival], tuple[Timings, ...]]:
    """Time early exit, the model itself and its rivals, at batch 1 and in batches."""
    size = own.prepared.question.batch_size
    singles = own.draw_batches(SAMPLES)
    longest = int(own.reported.lengths.max())
    rivals = make_rivals(fitted.model, best.criterion, best.cut, singles[0], longest, int(depth.layers[0]))
    found = [time_against_rivals(fitted.model, best.criterion, best.cut, singles, rivals, say)]
    if size > 1:
        batches = own.draw_batches(BATCHES, size)
        found.append(time_against_rivals(fitted.model, best.criterion, best.cut, batches, rivals, say))
    return rivals, tuple(found)


def describe_ways(
    own: OwnModel,
    fitted: FittedExits,
    best: Candidate,
    rivals: Sequence[Rival],
    timings: Sequence[Timings],
    metric: str,
) -> list[Way]:
    """Return the model itself, early exit, and its rivals: times and answers."""
    exits, last = fitted.report, fitted.report.predictions[:, -1]
    rows = np.array(sorted(draw_samples(len(exits.ids), MOST_ANSWERED, 0)))
    early = exits.predictions[np.arange(len(best.layers)), best.layers - 1]
    depth = fitted.model.num_layers
    ways = [
        make_way(OWN, timings, exits, last, metric, float(depth), lambda t: t.baseline),
        make_way(EARLY, timings, exits, early, metric, float(best.layers.mean())),
    ]
    for rival in rivals:
        if rival.call is None:
            ways.append(Way(rival.name, why=rival.why))
            continue
        some, answers, mean_exit = exits, last, float(rival.layers)
        if isinstance(rival.call, EarlyCall):
            rival.call.left.clear()  # what it was timed on
        if not rival.keeps_answers:
            some, answers = exits.take(rows), answer_samples(rival.call, own.reported, rows)
        if isinstance(rival.call, EarlyCall):
            mean_exit = float(np.mean(rival.call.left))
        way = make_way(rival.name, timings, some, answers, metric, mean_exit)
        ways.append(way if some is exits else carry_over(way, ways[0], some, metric))
    return ways


def carry_over(way: Way, own: Way, some: AllExits, metric: str) -> Way:
    """Return a way that answered ``some`` of the reported samples with the quality that it would have on all.

    That is the model's own on all, and what differs from it on these: of their own they may be easier or harder.
    """
    assert way.quality is not None
    assert own.quality is not None
    shift = own.quality.estimate - estimate_metric(metric, some.predictions[:, -1], some.labels).estimate
    moved = {name: min(1.0, getattr(way.quality, name) + shift) for name in ("estimate", "low", "high")}
    return replace(way, quality=replace(way.quality, **moved))


def make_way(
    name: str,
    timings: Sequence[Timings],
    exits: AllExits,
    answers: NDArray[Any],
    metric: str,
    mean_exit: float,
    find: Callable[[Timings], str] | None = None,
) -> Way:
    """Return one way to answer; ``find`` its name in the timings where that is another one."""
    timed = {t.batch_size: t.rows[name if find is None else find(t)] for t in timings}
    return Way(
        name=name,
        ms={size: row.ms for size, row in timed.items()},
        speedup={size: row.speedup for size, row in timed.items() if row.speedup is not None},
        changed=estimate_change(exits, answers),
        quality=estimate_metric(metric, answers, exits.labels),
        mean_exit=mean_exit,
    )


def estimate_change(exits: AllExits, answers: NDArray[Any]) -> Interval:
    """Return how many of ``answers`` differ from the last exit's, a share with Wilson's 95 % interval.

    Of a regression by how much they differ, at most 1 each, with its bootstrap interval.
    """
    last = exits.predictions[:, -1]
    if last.dtype.kind == "f":
        return bootstrap_mean(np.minimum(np.abs(answers.astype(np.float64) - last), 1.0))
    return wilson(int((answers != last).sum()), len(last))


def describe_rule(best: Candidate) -> str:
    """Return ``entropy < 0.21`` or ``patience with patience 3``."""
    threshold = f"{best.threshold:.4g}"
    if best.name == "entropy":
        return f"entropy < {threshold}"
    return f"{best.name} with {best.criterion.threshold_name} {threshold}"
