"""Checks that the error bars keep their word, in simulated worlds in which the truth is known, seeded.

A world is a large population of samples with scores and correctness at every exit; an experiment draws samples from
it. Counted is how often an interval covers the population's value, how often a test of equal models cries wolf, and how
often a certified threshold breaks its promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

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
        *check_f1(truth, times(1000), seed),
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
    return (np.random.default_rng([seed, purpose, i]) for i in range(times))


def _draw_seed(random: np.random.Generator) -> int:
    return int(random.integers(2**31))


def count_covered(
    name: str, draw: Callable[[np.random.Generator], Interval], truth: float, generators: Iterator[np.random.Generator]
) -> Experiment:
    """Count how often the 95 % interval that ``draw`` makes of new data covers ``truth``."""
    covered = [(found := draw(random)).low <= truth <= found.high for random in generators]
    return Experiment(name, float(np.mean(covered)), len(covered), 0.93, 0.97)


def check_wilson(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often Wilson's interval covers the accuracy of the last exit."""
    right = truth.answers[:, -1] == truth.labels

    def draw(random: np.random.Generator) -> Interval:
        return wilson(int(right[random.integers(0, len(right), samples)].sum()), samples)

    name = f"Wilson, accuracy, n = {samples}"
    return count_covered(name, draw, float(right.mean()), _make_generators(seed, times, 1))


_compute_f1 = partial(m.from_statistics, "f1")


def check_f1(truth: World, times: int, seed: int, samples: int = 400) -> list[Experiment]:
    """Count how often the bootstrap covers an early exit's F1, and the paired one its distance to a later exit's."""
    early, late = (m.statistics("f1", truth.answers[:, [k]], truth.labels)[:, 0] for k in (2, 4))
    early_f1, late_f1 = (float(_compute_f1(table.sum(axis=0, keepdims=True))[0]) for table in (early, late))

    def draw(random: np.random.Generator) -> Interval:
        rows = random.integers(0, len(early), samples)
        return bootstrap(early[rows], _compute_f1, replicates=500, seed=_draw_seed(random))

    def draw_pairs(random: np.random.Generator) -> Interval:
        rows = random.integers(0, len(early), samples)
        return paired_bootstrap(late[rows], early[rows], _compute_f1, replicates=500, seed=_draw_seed(random))

    name = f"bootstrap, F1, n = {samples}", f"paired bootstrap, F1 difference, n = {samples}"
    return [
        count_covered(name[0], draw, early_f1, _make_generators(seed, times, 2)),
        count_covered(name[1], draw_pairs, late_f1 - early_f1, _make_generators(seed, times, 3)),
    ]


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

    def draw(random: np.random.Generator) -> Interval:
        curve = _make_curve(truth.draw(random, samples))
        areas = [_compute_areas(curve, w) for w in draw_counts(samples, 256, _draw_seed(random))]
        low, high = np.quantile(np.concatenate(areas), [0.025, 0.975])
        return Interval(value, float(low), float(high))

    return count_covered(f"bootstrap, curve area, n = {samples}", draw, value, _make_generators(seed, times, 4))


def check_seeds(times: int, seed: int, seeds: int = 5, samples: int = 400) -> Experiment:
    """Count how often the two-level bootstrap covers the accuracy over seeds and samples."""

    def draw(random: np.random.Generator) -> Interval:
        easy = random.normal(size=samples)  # what makes a sample easy, for every seed alike
        offset = random.normal(scale=0.12, size=(seeds, 1))  # what makes a training run good
        right = (1.0 + easy + offset + random.normal(size=(seeds, samples)) > 0).astype(np.float64)
        found = summarise_seeds(right[:, :, None], lambda s: s[:, 0] / samples, replicates=400, seed=_draw_seed(random))
        assert found.both is not None
        return found.both

    value = float(stats.norm.cdf(1.0 / np.sqrt(2 + 0.12**2)))
    name = f"two-level bootstrap, accuracy, {seeds} seeds, n = {samples}"
    return count_covered(name, draw, value, _make_generators(seed, times, 5))


# --------------------------------------------------------------------------- false alarms


def compute_midp(only_a: int, only_b: int) -> float:
    """Return mid-p (Fagerland, Lydersen & Laake 2013): the exact p less half the probability of what was seen."""
    fair = stats.binom(only_a + only_b, 0.5)
    return min(1.0, 2 * float(fair.cdf(min(only_a, only_b)) - 0.5 * fair.pmf(only_a))) if only_a + only_b else 1.0


def _test_equal_models(seed: int, times: int, purpose: int, samples: int, share: float) -> list[tuple[float, float]]:
    """Return McNemar's p of two equally good models, exact and mid-p, in each repetition; ``share`` answers differ."""
    found = []
    for random in _make_generators(seed, times, purpose):
        a, b, _ = random.multinomial(samples, [share / 2, share / 2, 1 - share])
        found.append((mcnemar(np.repeat([1, 0], [a, b]), np.repeat([0, 1], [a, b])), compute_midp(int(a), int(b))))
    return found


def check_mcnemar(times: int, seed: int, samples: int = 3000, share: float = 0.2) -> list[Experiment]:
    """Count how often McNemar's test of equal models cries wolf at 5 %: exact, and mid-p."""
    exact, middle = (np.array(_test_equal_models(seed, times, 6, samples, share)) < 0.05).mean(axis=0).tolist()
    where = f"n = {samples}, {100 * share:g} % answers differ"
    note = "discrete, hence conservative: below 5 % always, and the less differs the further below"
    return [
        Experiment(f"exact McNemar, false alarms, {where}", exact, times, 0.03, 0.07, note),
        Experiment(f"mid-p McNemar, false alarms, {where}", middle, times, 0.03, 0.07, "not used: no bound"),
    ]


def check_bootstrap_test(truth: World, times: int, seed: int, samples: int = 400) -> Experiment:
    """Count how often `bench compare`'s paired bootstrap test of F1 cries wolf on two models equal by construction."""
    from bench.compare.quality import run_paired_test

    alarms = []
    for random in _make_generators(seed, times, 7):
        sample = truth.draw(random, samples)
        swapped = random.random(samples) < 0.5  # which of two exits is called base: exchangeable, hence equal
        one, other = sample.answers[:, 3], sample.answers[:, 4]
        base, candidate = np.where(swapped, one, other), np.where(swapped, other, one)
        alarms.append(run_paired_test("f1", base, candidate, sample.labels, seed=_draw_seed(random))[1] < 0.05)
    name = f"paired bootstrap test, F1, false alarms, n = {samples}"
    return Experiment(name, float(np.mean(alarms)), times, 0.03, 0.07)


def check_holm(times: int, seed: int, tasks: int = 8) -> Experiment:
    """Count how often there is any false alarm at all over eight tasks, after Holm's adjustment."""
    p = [exact for exact, _ in _test_equal_models(seed, times * tasks, 8, 1000, 0.2)]
    alarms = [bool((holm(p[i : i + tasks]) < 0.05).any()) for i in range(0, len(p), tasks)]
    share, spread = float(np.mean(alarms)), float(np.std(alarms))
    return Experiment(f"Holm over {tasks} tasks, any false alarm", share, times, 0.0, 0.05, "a bound", spread)


# --------------------------------------------------------------------------- risk


def check_risk(
    truth: World, times: int, seed: int, level: float, confidence: float, samples: int = 500
) -> list[Experiment]:
    """Count how often a cut that is certified on random samples has a risk above its level in their population.

    Learn-then-Test may exceed it in 1 - confidence of the splits; conformal risk control promises the mean only.
    """
    found = []
    for kind in ("risk", "gap"):
        losses = tabulate_losses(kind, truth.answers, truth.labels)
        risks = []
        for random in _make_generators(seed, times, 9):
            rows = random.integers(0, len(losses), samples)
            held_out = truth.scores[rows], losses[rows]
            cuts = learn_then_test(*held_out, level, confidence), control_conformally(*held_out, level)
            layers = [exit_layers(truth.scores, float(np.nan_to_num(cut, nan=-np.inf))) for cut in cuts]
            risks.append([losses[np.arange(len(losses)), layer - 1].mean() for layer in layers])
        tested, controlled = np.array(risks).T
        over = tested > level
        where, most = f"{kind} {level:g}, n = {samples}", round(1 - confidence, 12)
        name, note = f"Learn-then-Test, {where}: above in", f"at most {100 * most:g} % of splits"
        found.append(Experiment(name, float(over.mean()), times, 0.0, most, note, float(over.std())))
        mean, spread = float(np.mean(controlled)), float(np.std(controlled))
        note = f"at most {level:g} on average"
        found.append(Experiment(f"control_conformally, {where}: mean risk", mean, times, 0.0, level, note, spread))
    return found
