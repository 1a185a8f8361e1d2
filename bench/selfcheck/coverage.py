"""How often the clock's intervals cover the truth: simulated rounds of the latency protocol, planned as it plans them.

Texts of a data set are answered by a plain model and by others that leave early, in worlds that scatter as machines do.
Only the rounds' times are made up; how many there are, of which texts, and what is made of them is the protocol's own.
What looks at the machine or at the plain model's time is left out: the stop at half again of the time limit, rounds
that are repeated, and those that were warm-up. None of it looks at a ratio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.latency.protocol import deal_strata, plan_rounds
from bench.latency.result import LatencyOptions
from bench.measure.curve import Float
from bench.measure.rounds import follow_ratio

LOWEST, HIGHEST = 0.94, 0.96
"""What an interval of 95 % should cover."""

NOISES = (0.003, 0.01, 0.02, 0.05)
"""Standard deviations of the logarithm of a round's time, of each configuration."""

Scatter = Literal["independent", "autocorrelated", "drifting", "outlying", "slowing", "stepping", "wandering"]
SCATTERS: dict[Scatter, str] = {
    "independent": "independent",
    "autocorrelated": "correlated by 0.5 with the round before",
    "drifting": "independent, the machine 4 % slower in the second half",
    "outlying": "independent, 2 % of rounds 25 % longer",
}

WANDERS: dict[Scatter, str] = {
    "slowing": "independent, the machine 20 % slower in the second half",
    "stepping": "independent, the machine 15 % slower from some moment on",
    "wandering": "independent, the machine's speed a random walk of 15 % over the run",
}
"""A machine whose speed is another during the run: what is reported is a ratio within rounds."""

SCATTERS_SAID = (
    "Rounds are independent, autocorrelated (by 0.5 with the one before), drifting (the machine is 4 % slower in the "
    "second half) or outlying (2 % of them 25 % longer); or the machine's speed is slowing (linearly, 20 % between the "
    "halves), stepping (15 % at some moment) or wandering (a random walk, 15 % over the run). One or four "
    "configurations against the plain model."
)

MODELS = {"small": 0.015, "base": 0.25, "large": 2.5}
"""Seconds that a text takes through everything on two cores: of a small model all 64 texts are measured some thirty
times in the default time, of a base-sized one half as many four times, of a large one eight in twelve rounds."""

SLOW_NOISE = 0.01
"""The noise at which the base-sized model stands in the table."""

RUNS_A_WORLD = 8000
"""Runs of a world at a scale of 1: at 2 chance leaves two tenths of a per cent open."""

ROBUST_EVERY = 16
"""Of so many runs one is looked at for its median, which takes longer than all else."""


@dataclass(frozen=True)
class Coverage:
    """How often an interval covered the truth in ``times`` runs; ``statistic`` is what it is of."""

    kind: Scatter
    noise: float
    configurations: int
    model: str
    statistic: Literal["mean", "median"]
    share: float
    times: int

    @property
    def error(self) -> float:
        """Standard error of the share."""
        return float(np.sqrt(self.share * (1 - self.share) / self.times))

    @property
    def ok(self) -> bool:
        """Whether chance, three standard errors, can have taken the share out of its range; a median promises less.

        So does a model that is slow: its few rounds are all that there is time for.
        """
        slack = 3 * self.error + 1e-9
        promised = self.statistic == "mean" and self.model == "small"
        return not promised or LOWEST - slack <= self.share <= HIGHEST + slack

    @property
    def is_inside(self) -> bool:
        """Whether the share is where it should be, with no allowance for chance."""
        return LOWEST <= self.share <= HIGHEST

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        rounds = (SCATTERS | WANDERS)[self.kind]
        return {
            "name": f"interval of the {self.statistic} over rounds, {rounds}", "noise": self.noise,
            "configurations": self.configurations, "model": self.model, "share": self.share, "error": self.error,
            "times": self.times, "lowest": LOWEST, "highest": HIGHEST, "inside": self.is_inside, "ok": self.ok,
        }  # fmt: skip


def check_coverage(scale: float = 1.0, seed: int = 0) -> list[Coverage]:
    """Count how often the intervals of simulated runs cover the truth, 8,000 runs times ``scale`` in each world."""
    return [one for number in range(len(list_worlds())) for one in check_world(number, scale, seed)]


def list_worlds() -> list[tuple[Scatter, float, int, str]]:
    """Return how rounds scatter, by how much, how many configurations there are and of which model, for each world.

    A world's number seeds it, so that later ones are added at the end.
    """
    worlds: list[tuple[Scatter, float, int, str]] = [
        (kind, noise, count, "small") for kind, noise, count in product(SCATTERS, NOISES, (1, 4))
    ]
    worlds += [(kind, SLOW_NOISE, 1, "base") for kind in SCATTERS]
    worlds += [(kind, SLOW_NOISE, count, "small") for kind, count in product(WANDERS, (1, 4))]
    worlds += [(kind, SLOW_NOISE, 1, "base") for kind in WANDERS]
    worlds += [(kind, SLOW_NOISE, 1, "large") for kind in SCATTERS]
    return worlds


def check_world(number: int, scale: float, seed: int) -> list[Coverage]:
    """Count how often the intervals of mean and median cover the truth in one world."""
    kind, noise, count, model = list_worlds()[number]
    mean: list[bool] = []
    median: list[bool] = []
    for run in range(max(20, round(RUNS_A_WORLD * scale))):
        random = np.random.default_rng([seed, 10, number, run])
        for one, other in simulate_run(random, kind, noise, count, MODELS[model], robust=run % ROBUST_EVERY == 0):
            mean.append(one)
            if other is not None:
                median.append(other)
    found: dict[Literal["mean", "median"], list[bool]] = {"mean": mean, "median": median}
    return [
        Coverage(kind, noise, count, model, statistic, float(np.mean(covered)), len(covered) // count)
        for statistic, covered in found.items()
        if covered  # few rounds have no median
    ]


def simulate_run(
    random: np.random.Generator, kind: Scatter, noise: float, configurations: int, seconds: float, *, robust: bool
) -> Iterator[tuple[bool, bool | None]]:
    """Simulate one run; yield of each configuration whether the mean's interval covers its speed-up, and the median's.

    The rest is :func:`simulate_times`'s.
    """
    parts, times, truth = simulate_times(random, kind, noise, configurations, seconds)
    for candidate, speedup in zip(times[1:], truth, strict=True):
        ratio = follow_ratio(times[0], candidate, parts)
        mean, median = ratio.estimate_mean(), ratio.estimate_median() if robust else None
        yield mean.low <= speedup <= mean.high, None if median is None else median.low <= speedup <= median.high


def simulate_times(
    random: np.random.Generator, kind: Scatter, noise: float, configurations: int, seconds: float
) -> tuple[int, Float, Float]:
    """Simulate one run; return its parts, every round's times [configurations + 1, R], plain first, and true speed-ups.

    ``seconds`` is what a text takes through everything; the pilot that rounds are planned by knows it within a tenth.
    """
    options = LatencyOptions()
    tokens = random.integers(4, 64, options.samples).tolist()
    plan = plan_rounds(seconds * float(np.exp(random.normal(0, 0.1))), options.samples, options)
    parts = deal_strata(range(options.samples), tokens, plan)
    # what a text takes is by its length, and of those who leave early by how far it has to go
    costs = np.repeat(np.array(tokens, dtype=np.float64)[None] + 20, configurations + 1, axis=0)
    costs[1:] *= random.uniform(0.1, 1.0, (configurations, options.samples))
    totals = np.array([costs[:, part].sum(axis=1) for part in parts]).T  # [configurations + 1, parts]
    times = np.tile(totals, plan.cycles) * np.exp(draw_noise(random, kind, noise, configurations + 1, plan.rounds))
    turn = np.arange(plan.rounds) % plan.parts + np.arange(plan.rounds) // plan.parts
    times *= np.exp(draw_speed(random, kind, _find_moments(configurations + 1, turn)))
    return plan.parts, times, totals[0].sum() / totals[1:].sum(axis=1)


def draw_speed(random: np.random.Generator, kind: Scatter, moments: Float) -> Float:
    """Draw the logarithm of how much longer the machine takes for everything, at moments of a run from 0 to 1."""
    if kind == "drifting":
        return 0.08 * moments
    if kind == "slowing":
        return 2 * np.log(1.2) * moments
    if kind == "stepping":
        return np.where(moments >= random.random(), np.log(1.15), 0.0)
    if kind == "wandering":
        order = np.argsort(moments, axis=None)
        steps = random.normal(0, np.log(1.15) / np.sqrt(moments.size), moments.size)
        walked = np.empty(moments.size)
        walked[order] = steps.cumsum()
        return walked.reshape(moments.shape)
    return np.zeros_like(moments)


def draw_noise(random: np.random.Generator, kind: Scatter, noise: float, configurations: int, rounds: int) -> Float:
    """Draw the logarithms by which rounds' times depart from their means, [configurations, rounds]."""
    drawn = random.normal(0, noise, (configurations, rounds))
    if kind == "autocorrelated":
        for r in range(1, rounds):
            drawn[:, r] = 0.5 * drawn[:, r - 1] + np.sqrt(0.75) * drawn[:, r]
    if kind == "outlying":
        drawn += np.log(1.25) * (random.random(drawn.shape) < 0.02)
    return drawn


def _find_moments(configurations: int, turn: NDArray[np.int64]) -> Float:
    """Return when each configuration runs in each round, of a run from 0 to 1: forwards and backwards in turn."""
    place = np.arange(configurations)[:, None]
    place = np.where(turn[None] % 2 == 0, place, configurations - 1 - place)
    rounds = place.shape[1]
    return (np.arange(rounds) + (place + 0.5) / configurations) / rounds
