"""How often a simulated measurement of latency is INVALID for drift: with none it must not be, with some it should."""

from __future__ import annotations

import numpy as np

from bench.latency.protocol import find_drift, judge_drift
from bench.measure.rounds import follow_ratio
from bench.selfcheck.coverage import MODELS, Scatter, simulate_times
from bench.selfcheck.intervals import Experiment

CONFIGURATIONS = 4
"""Against the plain model, as in most runs."""

BY_ROUNDS = {"some 155 rounds": MODELS["small"], "28 rounds": MODELS["base"], "12 rounds": 2.0}
"""Seconds that a text takes through everything, by the rounds that there is time for."""

FALSE_ALARMS = {"some 155 rounds": 0.02, "28 rounds": 0.03, "12 rounds": 0.045}
"""The most that neighbours correlated by a half may cost where nothing but the machine's own speed moves."""


STILL: dict[Scatter, str] = {"autocorrelated": "correlated by 0.5", "wandering": "the machine's speed wanders"}
"""Worlds in which no speed-up moves."""


def check_drifts(scale: float = 1.0, seed: int = 0) -> list[Experiment]:
    """Count false alarms and what is found, 1,000 runs times ``scale`` each.

    With much noise, so that the limit hides nothing: rounds that resemble their neighbours, and a machine whose own
    speed wanders. With a noise of 1 %: a speed-up that is 3 or 5 % lower in the second half.
    """
    times = max(20, round(1000 * scale))
    found = []
    for number, (rounds, seconds) in enumerate(BY_ROUNDS.items()):
        for kind, what in STILL.items():
            share = count_invalid(kind, 0.05, 0.0, seconds, times, [seed, 11, number])
            name = f"INVALID for drift, none there: {what}, noise 5 %, {rounds}"
            found.append(Experiment(name, share, times, 0.0, FALSE_ALARMS[rounds]))
        for move in (0.03, 0.05):
            share = count_invalid("independent", 0.01, move, seconds, times, [seed, 12, number])
            name = f"INVALID for drift, a speed-up {move:.0%} lower, noise 1 %, {rounds}"
            lowest, note = (0.99, "") if seconds == MODELS["small"] else (0.0, "few rounds: no promise")
            found.append(Experiment(name, share, times, lowest, 1.0, note))
        share = count_invalid("independent", 0.01, 0.1, seconds, times, [seed, 13, number], since=0.75)
        name = f"INVALID for drift, a speed-up 10% lower in the last quarter, noise 1 %, {rounds}"
        found.append(Experiment(name, share, times, 0.0, 1.0, "not in the middle: no promise"))
    return found


def count_invalid(
    kind: Scatter, noise: float, move: float, seconds: float, times: int, seed: list[int], since: float = 0.5
) -> float:
    """Return the share of runs that are INVALID for drift where one speed-up falls by ``move``, ``since`` a moment.

    Moments of a run are from 0 to 1.
    """
    invalid = 0
    for run in range(times):
        random = np.random.default_rng([*seed, run])
        parts, taken, _ = simulate_times(random, kind, noise, CONFIGURATIONS, seconds)
        taken[1, int(taken.shape[1] * since) :] *= 1 + move
        ratios = {str(label): follow_ratio(taken[0], one, parts) for label, one in enumerate(taken[1:])}
        invalid += bool(judge_drift(find_drift(taken[0], parts), ratios))
    return invalid / times
