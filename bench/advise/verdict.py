"""The verdict: what was found, as one sentence that a person can repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.advise.ceiling import WORTH
from bench.advise.goal import Goal, format_level, format_share
from bench.measure.metrics import title_metric
from bench.measure.stats import Interval

VALUE_METRICS = ("pearson", "spearman")
"""The metrics of values instead of classes."""

BOTH = "early exit, bf16"
"""The way that is early exit and less precision together."""

UNSKILLED = "the model itself is not shown to be better on these texts than one answer for all"


@dataclass(frozen=True)
class Way:
    """One way to answer the reported samples: what it takes and what it answers; ``why`` it has no numbers, if so.

    ``ms`` a text and ``speedup`` against the model itself are by batch size; ``changed`` is the share of samples that
    are answered otherwise than by the model itself, ``quality`` the primary metric.
    """

    name: str
    ms: Mapping[int, float] = field(default_factory=dict)
    speedup: Mapping[int, Interval] = field(default_factory=dict)
    changed: Interval | None = None
    quality: Interval | None = None
    mean_exit: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Finding:
    """Whether early exit pays, and the sentence that says so."""

    pays: bool
    sentence: str


def give_verdict(goal: Goal, metric: str, rule: str, ways: Sequence[Way], skilled: bool = True) -> Finding:
    """Return the verdict on a cut that was measured: ``rule`` is ``entropy < 0.21``.

    ``ways`` are the model itself, early exit, and its rivals, among them perhaps :data:`BOTH`.

    It pays where early exit is faster beyond doubt at batch 1, where what was asked holds on the reported samples,
    and where no rival is faster beyond doubt with answers that are as good; or where early exit together with less
    precision is faster beyond doubt than that rival. Nothing pays on a model that is not ``skilled``.
    """
    own, early, *others = ways
    rivals = [way for way in others if way.name != BOTH]
    both = next((way for way in others if way.name == BOTH), None)
    fast = early.speedup[1]
    said = [f"{rule} is {format_gain(fast)} {'faster' if fast.estimate >= 1 else 'as fast'} at batch 1 on this machine"]
    said += [describe_change(goal, early, metric), describe_quality(metric, early, own)]
    if not skilled:
        return Finding(False, f"Does not pay: {', '.join(said)}; {UNSKILLED}.")
    reasons = list_objections(goal, own, early)
    better = find_better_rival(goal, own, early, rivals)
    if better is not None and better.speedup[1].low > fast.high:
        if both is not None and adds_to_rival(goal, own, early, both, better):
            return Finding(True, describe_both(goal, metric, rule, [own, both, better]))
        reasons = [f"{better.name} alone gives {better.speedup[1].estimate:.1f}x", *reasons]
    if reasons:
        return Finding(False, f"Does not pay: {', '.join(said)}; {'; '.join(reasons)}.")
    if better is not None:
        said[-1] += f"; {better.name} alone gives {format_gain(better.speedup[1])}, no certain difference"
    return Finding(True, f"Pays: {', '.join(said)}.")


def give_early_verdict(reason: str) -> Finding:
    """Return the verdict where something is in the way before anything is timed."""
    return Finding(False, f"Does not pay: {reason}.")


def list_objections(goal: Goal, own: Way, early: Way) -> list[str]:
    """Return why a cut does not pay, whatever else there is."""
    found, fast = [], early.speedup[1]
    if fast.low <= 1:
        found.append("that is no certain gain")
    elif fast.estimate < WORTH:
        found.append(f"less than {WORTH:g}x is not worth an exit")
    if goal.kind == "speedup" and fast.estimate < goal.value:
        found.append(f"{goal.value:g}x is wanted")
    if goal.kind == "target_ms" and early.ms[1] > goal.value:
        found.append(f"it takes {early.ms[1]:.1f} ms a text, {goal.value:g} ms are wanted")
    if goal.kind == "max_loss" and compute_quality_loss(own, early) > goal.value:
        found.append(f"on texts that the cut was not chosen on it loses {compute_quality_loss(own, early):.3f}")
    if goal.is_certified and is_contradicted(goal, early):
        found.append("the reported texts contradict the certificate: they are not like those it was made with")
    return found


def adds_to_rival(goal: Goal, own: Way, early: Way, both: Way, better: Way) -> bool:
    """Return whether early exit with less precision does what is asked, and is faster beyond doubt than ``better``."""
    if not is_true_enough(goal, own, early, both) or list_objections(goal, own, both):
        return False
    return both.speedup[1].low > better.speedup[1].high


def compute_quality_loss(own: Way, other: Way) -> float:
    """Return by how much the primary metric is below the model's own."""
    assert own.quality is not None
    assert other.quality is not None
    return own.quality.estimate - other.quality.estimate


def is_contradicted(goal: Goal, early: Way) -> bool:
    """Return whether the share of changes on the reported samples is beyond what the certificate could bear."""
    return early.changed is not None and early.changed.low > goal.value


def find_better_rival(goal: Goal, own: Way, early: Way, rivals: Sequence[Way]) -> Way | None:
    """Return the fastest rival that is faster than early exit, if not beyond doubt, and as true as was asked for.

    True are answers that change no more than the goal allows, or cost no more quality than it allows; where the goal
    is a time, no more than those of early exit.
    """
    able = [way for way in rivals if is_true_enough(goal, own, early, way)]
    faster = [way for way in able if way.speedup[1].estimate > early.speedup[1].estimate]
    return max(faster, key=lambda way: way.speedup[1].estimate, default=None)


def is_true_enough(goal: Goal, own: Way, early: Way, way: Way) -> bool:
    """Return whether ``way`` was timed at batch 1 and answers as truly as the goal asks for."""
    assert early.changed is not None
    if way.changed is None or 1 not in way.speedup:
        return False
    if goal.kind == "max_loss":
        return compute_quality_loss(own, way) <= goal.value
    return way.changed.estimate <= (goal.value if goal.is_certified else early.changed.estimate)


def describe_both(goal: Goal, metric: str, rule: str, ways: Sequence[Way]) -> str:
    """Return the sentence for early exit that pays on top of what else makes the model faster.

    ``ways`` are the model itself, both together, and what else there is.
    """
    own, both, better = ways
    gains = f"{format_gain(both.speedup[1])} faster at batch 1 on this machine, {better.name} alone"
    moved = describe_moved_answers(both, metric)
    if goal.is_certified:
        moved += " (measured, a certificate is for float32)"
    quality = describe_quality(metric, both, own)
    return f"Pays: {rule} in bf16 is {gains} {format_gain(better.speedup[1])}, {moved}, {quality}."


def describe_change(goal: Goal, early: Way, metric: str) -> str:
    """Return ``0.6 % of answers change (certified below 1 % with 95 % confidence)``.

    Of a regression how far answers move, each by 1 at most.
    """
    said = describe_moved_answers(early, metric)
    if not goal.is_certified:
        return said
    level = f"{goal.value:g}" if metric in VALUE_METRICS else format_share(goal.value)
    certified = f"certified below {level} with {format_level(goal.confidence)}"
    assert early.changed is not None
    if early.changed.estimate > goal.value >= early.changed.low:  # a reader who sees only two numbers stumbles
        certified += ", which more than that on these few texts does not contradict"
    return f"{said} ({certified})"


def describe_moved_answers(way: Way, metric: str) -> str:
    """Return ``0.6 % of answers change``, or by how much those of a regression move."""
    assert way.changed is not None
    if metric in VALUE_METRICS:
        return f"answers move by {way.changed.estimate:.3g} on average"
    return f"{format_share(way.changed.estimate)} of answers change"


def describe_quality(metric: str, early: Way, own: Way) -> str:
    """Return ``accuracy 0.912 against 0.914``."""
    assert early.quality is not None
    assert own.quality is not None
    return f"{title_metric(metric)} {early.quality.estimate:.3f} against {own.quality.estimate:.3f}"


def format_gain(found: Interval) -> str:
    """Return ``1.48x [1.44, 1.52]``."""
    return f"{found.estimate:.2f}x [{found.low:.2f}, {found.high:.2f}]"
