"""The rules of the latency protocols, apart from any clock: order, warm-up, stopping, drift.

Everything here is a pure function of numbers, so that the rules are tested exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.latency.result import PERCENTILE_FLOORS, LatencyOptions
from bench.measure.stats import paired_ratio

DRIFT_LIMIT = 0.05
"""The plain model's mean may move by 5 % between the halves of a run; more, if it is significant, is drift."""

OTHERS_LIMIT = 0.10
"""Other processes may use this part of the machine's cores during a round; more disturbs what is measured."""

AGREEMENT = 0.05
"""Two warm-up blocks agree when no configuration's mean differs by more."""

NOISE_FLOOR_ROUNDS = 12
"""From here on it is asked whether more rounds still help."""


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
        "others_limit": OTHERS_LIMIT,
        "warmup_agreement": AGREEMENT,
        "noise_floor_rounds": NOISE_FLOOR_ROUNDS,
    }


def compute_bucket(tokens: int, width: int) -> int:
    """Return the length bucket of a sample: its tokens rounded up to a multiple of ``width``."""
    return -(-tokens // width) * width


def is_same_speed(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Return whether two warm-up blocks took the same time: no mean moved by more than 5 %."""
    return all(abs(math.log(second[label] / first[label])) <= math.log1p(AGREEMENT) + 1e-12 for label in first)


def compute_half_width(plain: ArrayLike, candidate: ArrayLike) -> float:
    """Return half the relative width of the paired speed-up's 95 % interval over rounds; infinite before two rounds."""
    if len(np.asarray(plain)) < 2:
        return math.inf
    found = paired_ratio(plain, candidate)
    return math.log(found.high / found.low) / 2


def find_stop_reason(
    rounds: Mapping[str, Sequence[float]],
    baseline: str,
    elapsed: float,
    options: LatencyOptions,
) -> str | None:
    """Return why to stop after these rounds, or None to go on.

    ``rounds`` maps each configuration to its time in each round; ``elapsed`` is in seconds. Precision is reached when
    every configuration's speed-up against ``baseline`` is known to what the ``options`` ask for; the noise floor, when
    doubling the rounds has not brought the widest interval near the 1/√2 that independent noise would.
    """
    plain = rounds[baseline]
    count = len(plain)
    others = [times for label, times in rounds.items() if label != baseline]
    if count >= options.min_rounds:
        widest = max((compute_half_width(plain, times) for times in others), default=0.0)
        if widest <= options.precision:
            return f"interval within {options.precision:.0%}"
        if count >= NOISE_FLOOR_ROUNDS:
            half = count // 2
            before = max(compute_half_width(plain[:half], times[:half]) for times in others)
            if widest >= 0.9 * before:
                return "noise floor"
        if elapsed >= options.seconds:
            return "time limit"
        if count >= options.max_rounds:
            return "round limit"
    elif elapsed >= options.seconds and count >= 2:
        return "time limit"
    return None


def find_drift(plain: Sequence[float]) -> str | None:
    """Return by how much the plain model's time per round moved between the halves of a run; None where it did not.

    Both large (> 5 %) and significant (Welch's t at 1 %): noise alone is not drift.
    """
    logs = np.log(np.asarray(plain, dtype=np.float64))
    half = len(logs) // 2
    if half < 2:
        return None
    first, second = logs[:half], logs[-half:]
    moved = float(second.mean() - first.mean())
    if abs(moved) <= math.log1p(DRIFT_LIMIT):
        return None
    if first.std() + second.std() > 0 and stats.ttest_ind(first, second, equal_var=False).pvalue > 0.01:
        return None
    return f"drift: the plain model's time moved by {math.expm1(moved):+.1%} during the run"
