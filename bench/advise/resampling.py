"""Whether a certificate keeps its word on recorded logits: cuts chosen on samples of them, judged on all of them.

The recorded samples are the population, so that the share of answers that a cut changes is known and not estimated.
Samples to choose on are drawn from it with replacement, all criteria are compared on them as `bench advise` does, and
the best of them with its cut is looked at over the whole population.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from bench.advise.candidates import compare_candidates, measure_change
from bench.advise.ceiling import DepthTimes
from bench.advise.goal import Goal, format_share
from bench.advise.heads import RecordedExits
from bench.errors import UsageError
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.scores import score_recorded
from strategies import STRATEGIES

CHANCE = 0.001
"""How often a certificate that holds would be called broken."""


@dataclass(frozen=True)
class Resampled:
    """What became of a certified ``goal`` in each resampling: share changed, layers left out, criterion that was best.

    ``speedups`` are layers of the model over layers run on average; ``samples`` were drawn of ``population``.
    """

    goal: Goal
    criteria: tuple[str, ...]
    samples: int
    population: int
    changes: tuple[float, ...]
    speedups: tuple[float, ...]
    chosen: tuple[str, ...]

    @property
    def broken(self) -> int:
        """In how many resamplings more answers change than were certified."""
        return sum(change > self.goal.value for change in self.changes)

    @property
    def allowed(self) -> int:
        """How many may be, up to chance, where the certificate holds."""
        assert self.goal.confidence is not None
        return int(stats.binom.ppf(1 - CHANCE, len(self.changes), 1 - self.goal.confidence))

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "max_change": self.goal.value,
            "confidence": self.goal.confidence,
            "criteria": list(self.criteria),
            "samples": self.samples,
            "population": self.population,
            "times": len(self.changes),
            "broken": self.broken,
            "allowed": self.allowed,
            "changes": list(self.changes),
            "speedups": list(self.speedups),
            "chosen": dict(Counter(self.chosen)),
        }


def resample_certificate(
    exits: AllExits, criteria: Sequence[str], goal: Goal, samples: int, times: int, seed: int
) -> Resampled:
    """Certify a cut on ``samples`` drawn from ``exits``, ``times`` times over, and look at all of them each time.

    Raises UsageError for too few samples to certify with.
    """
    needed = goal.count_needed(len(criteria))
    if samples < needed:
        raise UsageError(
            f"A certificate that {goal.describe()} needs {needed:,} samples for {len(criteria)} criteria, not "
            f"{samples:,}: give more, or fewer criteria."
        )
    layers, metrics = make_times(exits.logits.shape[1]), ("pearson",) if exits.logits.shape[2] == 1 else ("accuracy",)
    scores = {name: score_recorded(STRATEGIES.load(name).criterion(), exits) for name in criteria}
    changes, speedups, chosen = [], [], []
    for time in range(times):
        rows = np.random.default_rng([seed, time]).integers(0, len(exits.ids), samples)
        drawn = exits.take(rows)
        best = compare_candidates(criteria, RecordedExits(drawn, drawn), layers, goal, metrics, seed)[0]
        known = scores[best.name]
        left = exit_layers(known, float(known.dtype.type(best.cut)), strict=best.criterion.strict)
        changes.append(measure_change(exits, left))
        speedups.append(float(exits.logits.shape[1] / left.mean()))
        chosen.append(best.name)
    return Resampled(goal, tuple(criteria), samples, len(exits.ids), tuple(changes), tuple(speedups), tuple(chosen))


def make_times(exits: int) -> DepthTimes:
    """Return the times of a model whose layers take a millisecond each, and nothing else any: its costs are layers."""
    each = np.arange(1, exits + 1, dtype=np.float64)[:, None] * np.float64(1e-3)
    rounds = np.repeat(each, 2, axis=1)
    return DepthTimes((1.0,), each, each[-1], rounds, rounds[-1])


def describe_resampled(found: Resampled) -> str:
    """Return the sentence that says how often the certificate was kept."""
    times, changes = len(found.changes), found.changes
    goal = found.goal.describe()
    best = ", ".join(f"{name} {count} times" for name, count in Counter(found.chosen).most_common())
    said = (
        f"{goal[0].upper()}{goal[1:]}: kept in {times - found.broken} of {times} resamplings of {found.samples:,} from "
        f"{found.population:,} recorded samples, the best of {len(found.criteria)} criteria each time ({best}). "
        f"Changed are {format_share(float(np.mean(changes)))} on average, {format_share(max(changes))} at most, "
        f"{float(np.mean(found.speedups)):.2f}x fewer layers."
    )
    if found.broken > found.allowed:
        said += f" BROKEN: more than {found.allowed} of {times} are beyond chance."
    return said
