"""The rules of the latency protocols, apart from any clock: order, warm-up, how many rounds, drift, repetition.

Everything here is a pure function of numbers, so that the rules are tested exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from bench.latency.machine import MachineState, compute_share_of_others
from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions
from bench.measure.rounds import RatioSeries, follow_time

DRIFT_LIMIT = 0.05
"""The plain model's mean may move by 5 % between the halves of a run; more, if it is significant, is said beside
milliseconds, and in the first rounds it is warm-up."""

MACHINE_LIMIT = 0.25
"""A machine whose speed moved by more is another one: clocks wander by up to a fifth, a core that is shared or held
down loses more, and what early exit gains there is another number."""

RATIO_LIMIT, RATIO_LEVEL = 0.02, 0.01
"""A speed-up that moved by more between the halves, and significantly so among all of the run, is that of neither."""

OTHERS_LIMIT = 0.10
"""Other processes may use this part of the machine's cores during a round; more disturbs what is measured."""

AGREEMENT = 0.05
"""Two warm-up blocks agree when no configuration's mean differs by more."""

FEWEST_ROUNDS, FEWEST_CYCLES = 10, 4
"""Rounds, and times that each sample is measured, however long it takes."""

FEWEST_SAMPLES = 8
"""Samples that are measured however long it takes, where there are so many."""

SHORTEST_STREAK = 4
"""Samples that a configuration answers in a row where a round is cut, as far as there are enough of them."""

OVERTIME = 1.5
"""Times the limit that rounds may take: half again for those that are repeated, or where the machine got slower."""

WINDOW = 0.5
"""Seconds over which other processes are watched: Linux counts in hundredths, so that less is mostly rounding."""

SETTLING = 8
"""The first eighth of the rounds must not drift; where it does it was still warm-up."""

REFILL = 0.02
"""Seconds after which the processor's caches are as every answer leaves them, whatever emptied them."""


@dataclass(frozen=True)
class RoundPlan:
    """What is measured, fixed before the first round: all ``samples`` in ``cycles``, each of ``parts`` rounds."""

    samples: int
    parts: int
    cycles: int

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return self.parts * self.cycles

    @property
    def settling(self) -> int:
        """The number of rounds after which the machine must have settled: two cycles at least."""
        return self.parts * max(2, -(-self.cycles // SETTLING))


def plan_rounds(seconds: float, samples: int, options: LatencyOptions) -> RoundPlan:
    """Plan so many rounds as the time limit allows, from the ``seconds`` that one sample takes through everything.

    Nothing else is looked at: a number of rounds that depends on how they scatter makes their interval too narrow, both
    where rounds go on until it is narrow and where it is planned from a pilot's variance. Where all ``samples`` in each
    of the rounds asked for would take too long, they are dealt to parts that take turns, so that rounds are shorter
    and not fewer; where even so each would be measured less than four times, there are fewer samples.
    """
    most = max(1.0, options.seconds / seconds)  # how often one sample can be measured
    least = min(FEWEST_CYCLES, options.rounds)
    used = min(samples, max(FEWEST_SAMPLES, int(most) // least))
    cycles = max(least, min(options.rounds, int(most) // used))
    parts = min(-(-options.rounds // cycles), max(1, used // min(SHORTEST_STREAK, options.streak)))
    fewest = min(FEWEST_ROUNDS, options.rounds)
    if parts * cycles < fewest:
        parts = min(used, -(-fewest // cycles))
        cycles = max(cycles, -(-fewest // parts))
    return RoundPlan(used, parts, cycles)


def deal_strata(samples: Sequence[int], tokens: Sequence[int], plan: RoundPlan) -> list[list[int]]:
    """Deal samples to the plan's parts, so that each part has short and long ones alike; ``tokens`` by sample.

    Samples that are left out are left out evenly over the lengths, too. Within a part they keep their order.
    """
    place = {sample: number for number, sample in enumerate(samples)}
    by_length = sorted(samples, key=lambda i: (tokens[i], place[i]))
    kept = [by_length[(2 * k + 1) * len(samples) // (2 * plan.samples)] for k in range(plan.samples)]
    parts: list[list[int]] = [[] for _ in range(plan.parts)]
    for start in range(0, plan.samples, plan.parts):
        dealt = kept[start : start + plan.parts]
        turn = (
            parts if (start // plan.parts) % 2 == 0 else parts[::-1]
        )  # there and back: nobody has all the longer ones
        for part, sample in zip(turn, dealt, strict=False):
            part.append(sample)
    return [sorted(part, key=place.__getitem__) for part in parts]


def alternate_order(labels: Sequence[str], turn: int) -> list[str]:
    """Return the order of the configurations in block ``turn`` (from 0): forwards, backwards, forwards, ...

    Over each pair of blocks every configuration has the same mean position, so a linear drift of the machine
    cancels from all ratios.
    """
    return list(labels) if turn % 2 == 0 else list(reversed(labels))


def split_into_streaks(samples: Sequence[int], size: int) -> list[list[int]]:
    """Split a round's samples into streaks: each configuration runs one streak, then the next configuration does."""
    return [list(samples[i : i + size]) for i in range(0, len(samples), size)]


def describe_rules() -> dict[str, object]:
    """Return the limits above by name, for the record: what a version of the protocol decides by."""
    return {
        "percentile_floors": {f"p{q}": floor for q, floor in PERCENTILE_FLOORS.items()},
        "drift_limit": DRIFT_LIMIT,
        "machine_limit": MACHINE_LIMIT,
        "ratio_drift": {"limit": RATIO_LIMIT, "level": RATIO_LEVEL},
        "others_limit": OTHERS_LIMIT,
        "warmup_agreement": AGREEMENT,
        "fewest": {"rounds": FEWEST_ROUNDS, "cycles": FEWEST_CYCLES, "samples": FEWEST_SAMPLES},
        "shortest_streak": SHORTEST_STREAK,
        "overtime": OVERTIME,
        "window": WINDOW,
        "settling": SETTLING,
        "refill": REFILL,
    }


def compute_bucket(tokens: int, width: int) -> int:
    """Return the length bucket of a sample: its tokens rounded up to a multiple of ``width``."""
    return -(-tokens // width) * width


def is_same_speed(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Return whether two warm-up blocks took the same time: no mean moved by more than 5 %."""
    return all(abs(math.log(second[label] / first[label])) <= math.log1p(AGREEMENT) + 1e-12 for label in first)


def is_disturbed(before: MachineState, after: MachineState) -> bool:
    """Return whether other processes used more than the limit between two states; False where nobody knows."""
    share = compute_share_of_others(before, after)
    return share is not None and share > OTHERS_LIMIT


def find_drift(plain: Sequence[float], parts: int = 1) -> float | None:
    """Return by what part the plain model's time per round moved between the halves of a run; None where it did not.

    Both large (> 5 %) and significant (Welch's t at 1 %): a few noisy rounds are not drift. That a machine's speed
    wanders is no noise here: it is what is asked. Of rounds whose ``parts`` take turns, each is compared with its own
    part's mean.
    """
    if len(plain) < max(4, 2 * parts):
        return None
    logs = follow_time(plain, parts).moves
    half = len(logs) // 2
    first, second = logs[:half], logs[-half:]
    moved = float(second.mean() - first.mean())
    if abs(moved) <= math.log1p(DRIFT_LIMIT):
        return None
    if first.std() + second.std() > 0 and stats.ttest_ind(first, second, equal_var=False).pvalue > 0.01:
        return None
    return math.expm1(moved)


def find_moved_ratios(ratios: Mapping[str, RatioSeries]) -> dict[str, float]:
    """Return the ratios that moved between the halves of a run and by what part, those that moved most first.

    Both large (> 2 %) and significant at 1 % over all of them (Bonferroni), with a spread that knows that neighbouring
    rounds resemble each other.
    """
    found = {label: ratio.compare_halves() for label, ratio in ratios.items()}
    moved = {
        label: math.expm1(log)
        for label, (log, chance) in found.items()
        if abs(log) > math.log1p(RATIO_LIMIT) and chance * len(found) < RATIO_LEVEL
    }
    return dict(sorted(moved.items(), key=lambda one: -abs(one[1])))


def judge_drift(moved: float | None, ratios: Mapping[str, RatioSeries]) -> list[str]:
    """Return why a run is INVALID for drift, of ``moved`` (:func:`find_drift`) and every ratio that is reported."""
    reasons = []
    if moved is not None and abs(math.log1p(moved)) > math.log1p(MACHINE_LIMIT):
        reasons.append(f"drift: the plain model's time moved by {moved:+.1%} during the run, as of another machine")
    if found := find_moved_ratios(ratios):
        named = [f"{label} ({by:+.1%})" for label, by in list(found.items())[:3]]
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        many = "s" if len(found) > 1 else ""
        reasons.append(f"drift: the speed-up{many} of {', '.join(named)}{more} moved during the run")
    return reasons
