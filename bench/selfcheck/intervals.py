"""Checks that the error bars keep their word, in simulated worlds in which the truth is known, seeded.

A world is a large population of samples with scores and correctness at every exit; an experiment draws samples from
it. Counted is how often an interval covers the population's value, how often a test of equal models cries wolf, and how
often a certified threshold breaks its promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.measure import metrics as m
from bench.measure.curve import Array, Curve, Float, exact_curve, exit_layers
from bench.measure.risk import control_conformally, learn_then_test, tabulate_losses
from bench.measure.seeds import summarise_seeds
from bench.measure.stats import Interval, bootstrap, draw_counts, holm, mcnemar, paired_bootstrap, wilson


@dataclass(frozen=True)
class Experiment:
    """How often something happened in ``times`` repetitions, and the range in which it should."""

    name: str
    share: float
    times: int
    lowest: float
    highest: float
    note: str = ""
    spread: float | None = None
    """Standard deviation between experiments, for a mean or a bound that ``share`` meets up to chance."""

    @property
    def ok(self) -> bool:
        """Whether chance can have taken the share out of its range: three standard errors, with ``spread`` two."""
        slack = (3 if self.spread is None else 2) * self.error + 1e-9
        return self.lowest - slack <= self.share <= self.highest + slack

    @property
    def error(self) -> float:
        """Standard error of the share, from the number of experiments; outside its range, of the end it is beyond."""
        nearest = min(max(self.share, self.lowest), self.highest)
        spread = np.sqrt(nearest * (1 - nearest)) if self.spread is None else self.spread
        return float(spread / np.sqrt(self.times))


@dataclass(frozen=True)
class World:
    """A population: ``scores`` and ``answers`` [N, L], ``labels`` [N] of two classes."""

    scores: Float
    answers: Array
    labels: Array

    def draw(self, random: np.random.Generator, samples: int) -> World:
        """Draw an independent sample."""
        rows = random.integers(0, len(self.labels), samples)
        return World(self.scores[rows], self.answers[rows], self.labels[rows])


def make_world(seed: int, population: int = 20_000, exits: int = 6) -> World:
    """Make samples of graded difficulty: deeper exits are righter, and surer where they are right."""
    random = np.random.default_rng(seed)
    labels = (random.random(population) < 0.35).astype(np.int64)
    difficulty = random.normal(size=population)
    depth = np.linspace(0.1, 1.5, exits)
    lasting = random.normal(size=(population, exits)).cumsum(axis=1) / np.sqrt(np.arange(1, exits + 1))
    fleeting = random.normal(size=(population, exits))
    margin = depth - 0.8 * difficulty[:, None] + 0.6 * lasting + 0.5 * fleeting  # positive: right
    answers = np.where(margin > 0, labels[:, None], 1 - labels[:, None])
    scores = np.exp(-np.abs(margin)) * random.uniform(0.7, 1.3, size=margin.shape)
    return World(scores, answers, labels)


def run_experiments(scale: float = 1.0, seed: int = 0) -> list[Experiment]:
    """Run every experiment; ``scale`` multiplies the numbers of repetitions (1 takes about a minute)."""
    times = lambda n: max(20, round(n * scale))  # noqa: E731 - a name for one multiplication
    truth = make_world(seed)
    found = [
        check_wilson(truth, times(4000), seed),
        check_f1(truth, times(1000), seed),
        check_difference(truth, times(1000), seed),
        check_area(truth, times(500), seed),
        check_seeds(times(1000), seed),
        *check_mcnemar(times(4000), seed),
        check_bootstrap_test(truth, times(500), seed),
        check_holm(times(1000), seed),
    ]
    for level, confidence in ((0.05, 0.9), (0.1, 0.95)):
        found += check_risk(truth, times(1000), seed, level, confidence)
    return found


# --------------------------------------------------------------------------- coverage


def _make_generators(seed: int, times: int, purpose: int) -> Iterator[np.random.Generator]:
    """Yield an independent generator for each repetition of one experiment, which ``purpose`` numbers."""
    for i in range(times):
        yield np.random.default_rng([seed, purpose, i])


def _share_covered(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


def check_wilson(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often Wilson's interval covers the accuracy of the last exit."""
    right = truth.answers[:, -1] == truth.labels
    draws = (random.integers(0, len(right), samples) for random in _make_generators(seed, times, 1))
    intervals = [wilson(int(right[rows].sum()), samples) for rows in draws]
    share = _share_covered(intervals, float(right.mean()))
    return Experiment(f"Wilson, accuracy, n = {samples}", share, times, 0.93, 0.97)


def _compute_f1(sums: Float) -> Float:
    return m.from_statistics("f1", sums)


def check_f1(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often the percentile bootstrap covers the F1 of an early exit."""
    table = m.statistics("f1", truth.answers[:, 2:3], truth.labels)[:, 0]
    intervals = []
    for random in _make_generators(seed, times, 2):
        rows = random.integers(0, len(table), samples)
        intervals.append(bootstrap(table[rows], _compute_f1, replicates=500, seed=int(random.integers(2**31))))
    value = float(_compute_f1(table.sum(axis=0, keepdims=True))[0])
    return Experiment(f"bootstrap, F1, n = {samples}", _share_covered(intervals, value), times, 0.93, 0.97)


def check_difference(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often the paired bootstrap covers the difference of two exits' F1 on the same samples."""
    one, other = (m.statistics("f1", truth.answers[:, k : k + 1], truth.labels)[:, 0] for k in (4, 2))
    intervals = []
    for random in _make_generators(seed, times, 3):
        rows = random.integers(0, len(one), samples)
        draw = int(random.integers(2**31))
        intervals.append(paired_bootstrap(one[rows], other[rows], _compute_f1, replicates=500, seed=draw))
    value = float(_compute_f1(one.sum(0, keepdims=True))[0] - _compute_f1(other.sum(0, keepdims=True))[0])
    return Experiment(
        f"paired bootstrap, F1 difference, n = {samples}", _share_covered(intervals, value), times, 0.93, 0.97
    )


BUDGETS = np.linspace(1.5, 5.5, 17)


def _make_curve(sample: World) -> Curve:
    right = sample.answers == sample.labels[:, None]
    layers = np.broadcast_to(np.arange(1, right.shape[1] + 1), right.shape)
    return exact_curve(sample.scores, [right, layers])


def _compute_areas(curve: Curve, weights: Float) -> Float:
    rows = np.unique(np.linspace(0, len(curve) - 1, 300).astype(np.int64))
    total = weights.sum(axis=1, keepdims=True)
    quality, layers = (curve.reweight(weights, k, rows)[:, :, 0] / total for k in (0, 1))
    return np.array([np.interp(BUDGETS, x[::-1], q[::-1]).mean() for q, x in zip(quality, layers, strict=True)])


def check_area(truth: World, times: int, seed: int, samples: int = 300) -> Experiment:
    """Count how often the bootstrap of the whole curve covers the mean accuracy over layer budgets."""
    value = float(_compute_areas(_make_curve(truth), np.ones((1, len(truth.labels))))[0])
    intervals = []
    for random in _make_generators(seed, times, 4):
        curve = _make_curve(truth.draw(random, samples))
        draws = draw_counts(samples, 256, int(random.integers(2**31)))
        low, high = np.quantile(np.concatenate([_compute_areas(curve, w) for w in draws]), [0.025, 0.975])
        intervals.append(Interval(value, float(low), float(high)))
    return Experiment(f"bootstrap, curve area, n = {samples}", _share_covered(intervals, value), times, 0.93, 0.97)


def check_seeds(times: int, seed: int, seeds: int = 5, samples: int = 400) -> Experiment:
    """Count how often the two-level bootstrap covers the accuracy over seeds and samples."""
    intervals = []
    for random in _make_generators(seed, times, 5):
        easy = random.normal(size=samples)  # what makes a sample easy, for every seed alike
        offset = random.normal(scale=0.12, size=(seeds, 1))  # what makes a training run good
        right = (1.0 + easy + offset + random.normal(size=(seeds, samples)) > 0).astype(np.float64)
        draw = int(random.integers(2**31))
        both = summarise_seeds(right[:, :, None], lambda s: s[:, 0] / samples, replicates=400, seed=draw).both
        assert both is not None
        intervals.append(both)
    value = float(stats.norm.cdf(1.0 / np.sqrt(2 + 0.12**2)))
    name = f"two-level bootstrap, accuracy, {seeds} seeds, n = {samples}"
    return Experiment(name, _share_covered(intervals, value), times, 0.93, 0.97)


# --------------------------------------------------------------------------- false alarms


def compute_midp(only_a: int, only_b: int) -> float:
    """Return mid-p (Fagerland, Lydersen & Laake 2013): the exact p less half the probability of what was seen."""
    total = only_a + only_b
    if total == 0:
        return 1.0
    return min(
        1.0, 2 * float(stats.binom.cdf(min(only_a, only_b), total, 0.5) - 0.5 * stats.binom.pmf(only_a, total, 0.5))
    )


def _draw_discordant(seed: int, times: int, purpose: int, samples: int, share: float) -> Iterator[tuple[int, int]]:
    """Yield how many samples only the first and only the second of two equally good models gets right."""
    for random in _make_generators(seed, times, purpose):
        a, b, _ = random.multinomial(samples, [share / 2, share / 2, 1 - share])
        yield int(a), int(b)


def check_mcnemar(times: int, seed: int, samples: int = 3000, share: float = 0.2) -> list[Experiment]:
    """Count how often McNemar's test of equal models cries wolf at 5 %: exact, and mid-p."""
    exact, middle = [], []
    for a, b in _draw_discordant(seed, times, 6, samples, share):
        exact.append(mcnemar(np.repeat([1, 0], [a, b]), np.repeat([0, 1], [a, b])) < 0.05)
        middle.append(compute_midp(a, b) < 0.05)
    where = f"n = {samples}, {100 * share:g} % answers differ"
    note = "discrete, hence conservative: below 5 % always, and the less differs the further below"
    return [
        Experiment(f"exact McNemar, false alarms, {where}", float(np.mean(exact)), times, 0.03, 0.07, note),
        Experiment(
            f"mid-p McNemar, false alarms, {where}", float(np.mean(middle)), times, 0.03, 0.07, "not used: no bound"
        ),
    ]


def check_bootstrap_test(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often `bench compare`'s paired bootstrap test of F1 cries wolf on two models equal by construction."""
    from bench.compare.quality import paired_test

    alarms = []
    for random in _make_generators(seed, times, 7):
        sample = truth.draw(random, samples)
        swapped = random.random(samples) < 0.5  # which of two exits is called base: exchangeable, hence equal
        one, other = sample.answers[:, 3], sample.answers[:, 4]
        base, candidate = np.where(swapped, one, other), np.where(swapped, other, one)
        alarms.append(paired_test("f1", base, candidate, sample.labels, seed=int(random.integers(2**31)))[1] < 0.05)
    return Experiment(
        f"paired bootstrap test, F1, false alarms, n = {samples}", float(np.mean(alarms)), times, 0.03, 0.07
    )


def check_holm(times: int, seed: int, tasks: int = 8) -> Experiment:
    """Count how often there is any false alarm at all over eight tasks, after Holm's adjustment."""
    drawn = list(_draw_discordant(seed, times * tasks, 8, 1000, 0.2))
    p = [mcnemar(np.repeat([1, 0], [a, b]), np.repeat([0, 1], [a, b])) for a, b in drawn]
    alarms = [bool((holm(p[i : i + tasks]) < 0.05).any()) for i in range(0, len(p), tasks)]
    share = float(np.mean(alarms))
    spread = float(np.std(alarms))
    return Experiment(f"Holm over {tasks} tasks, any false alarm", share, times, 0.0, 0.05, "a bound", spread)


# --------------------------------------------------------------------------- risk


def check_risk(
    truth: World, times: int, seed: int, level: float, confidence: float, samples: int = 500
) -> list[Experiment]:
    """Choose on random samples, look at the population they come from: how often is the risk above the level?

    Learn-then-Test may exceed it in 1 - confidence of the splits; conformal risk control promises the mean only.
    """
    found = []
    for kind in ("risk", "gap"):
        losses = tabulate_losses(kind, truth.answers, truth.labels)
        chosen: dict[str, list[float]] = {"ltt": [], "crc": []}
        for random in _make_generators(seed, times, 9):
            rows = random.integers(0, len(losses), samples)
            scores, seen = truth.scores[rows], losses[rows]
            for name, choose in _list_choices(level, confidence).items():
                layers = exit_layers(truth.scores, choose(scores, seen))
                chosen[name].append(float(losses[np.arange(len(losses)), layers - 1].mean()))
        over = np.array(chosen["ltt"]) > level
        where, most = f"{kind} {level:g}, n = {samples}", round(1 - confidence, 12)
        name, note = f"Learn-then-Test, {where}: above in", f"at most {100 * most:g} % of splits"
        found.append(Experiment(name, float(over.mean()), times, 0.0, most, note, float(over.std())))
        mean, spread = float(np.mean(chosen["crc"])), float(np.std(chosen["crc"]))
        note = f"at most {level:g} on average"
        found.append(Experiment(f"control_conformally, {where}: mean risk", mean, times, 0.0, level, note, spread))
    return found


def _list_choices(level: float, confidence: float) -> dict[str, Callable[[Float, Float], float]]:
    return {
        "ltt": lambda scores, losses: float(
            np.nan_to_num(learn_then_test(scores, losses, level, confidence), nan=-np.inf)
        ),
        "crc": lambda scores, losses: float(np.nan_to_num(control_conformally(scores, losses, level), nan=-np.inf)),
    }
