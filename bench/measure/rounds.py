"""Ratios of times over interleaved rounds, with intervals that hold although neighbouring rounds resemble each other.

A machine that is slow for a second is slow for several rounds, so rounds are fewer independent measurements than there
are of them, and Student's interval is too narrow. The spread of their mean is therefore taken from their slowest waves
alone: the projections of the rounds on the first cosines, which for independent normal noise are exactly as
good as so many independent measurements. Lazarus, Lewis, Stock & Watson (2018), "HAR inference: recommendations for
practice", J. Business & Economic Statistics 36 (equal-weighted cosines, Student's t with as many degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bench.measure.curve import Float
from bench.measure.stats import Interval

MOST_WAVES, FEWEST_WAVES, ROUNDS_A_WAVE = 8, 4, 12
"""Waves that the spread is taken from: one for every twelve rounds, from four to eight.

More are sharper and less safe. Of the numbers tried by simulation, eight of 128 rounds are the most that cover 95 %
within a point where neighbours are correlated by a half.
"""

FEWEST_FOR_MEDIAN = 20
"""Rounds below which the interval of the middle one covers too seldom (0.93 of ten)."""


@dataclass(frozen=True, eq=False)
class RatioSeries:
    """A logarithm of a ratio of times, and how each round moves it: ``moves`` [R], of mean zero in each part.

    Samples may be dealt to ``parts`` that take turns, so that round r measures part r mod ``parts``; each has its own
    ratio, of which only the rounds' departures are noise.
    """

    log_ratio: float
    moves: Float
    parts: int = 1

    @cached_property
    def error(self) -> tuple[float, int]:
        """The standard error of ``log_ratio`` and its degrees of freedom; infinite and 0 where it cannot be told."""
        return compute_error(self.moves, self.parts)

    def estimate_mean(self, level: float = 0.95) -> Interval:
        """Return the ratio with its interval."""
        half = compute_half_width(self.error, level)
        low, high = np.exp([self.log_ratio - half, self.log_ratio + half])
        return Interval(float(np.exp(self.log_ratio)), float(low), float(high), level)

    def compare_halves(self) -> tuple[float, float]:
        """Return by how much the logarithm moved between the halves of the rounds, and the chance of as much by noise.

        A contrast of the halves against the spread of as many waves as :attr:`error` is taken from, with Student's t.
        What moves is in none of them: they are orthogonal to the step in the middle and to half a cosine. Chance is 1
        where rounds are too few to tell.
        """
        step, waves = make_contrast(len(self.moves), self.parts)
        size = float(np.linalg.norm(step))
        if not len(waves) or size == 0:
            return 0.0, 1.0
        along = float(step @ self.moves) / size
        spread = float(np.sqrt(np.mean((waves @ self.moves) ** 2)))
        chance = 2 * float(stats.t.sf(abs(along) / max(spread, np.finfo(float).tiny), len(waves)))
        return 2 * along / size, chance

    def estimate_median(self, level: float = 0.95) -> Interval | None:
        """Return the ratio in the middle round, which outlying rounds do not pull; None where rounds are too few.

        Fewer than twenty are. The interval's ends are the quantiles 1/2 ± h, h the half-width of the share of rounds
        below the median: no density is needed (Woodruff 1952, JASA 47).
        """
        if len(self.moves) < FEWEST_FOR_MEDIAN:
            return None
        turns = self.moves.reshape(-1, self.parts)
        middles = stats.trim_mean(turns, 0.25, axis=0)  # each part's own ratio, as the middle half of its rounds has it
        around = (turns - middles).ravel()
        median = float(np.median(around))
        half = compute_half_width(compute_error((1 + np.sign(around - median)) / 2, self.parts), level)
        if half > 0.5:
            return None
        ends = np.quantile(around, [0.5 - half, 0.5 + half])
        centre = self.log_ratio + float(middles.mean())
        low, estimate, high = (float(np.exp(centre + move)) for move in (ends[0], median, ends[1]))
        return Interval(estimate, low, high, level)


def follow_ratio(baseline: ArrayLike, candidate: ArrayLike, parts: int = 1) -> RatioSeries:
    """Return how many times faster a candidate is: total over total, and how each round moves that.

    Both [R] positive times, round r of both measured back to back, so that drift of the machine cancels. A
    configuration's time of a part is the geometric mean over its rounds, so with one part the ratio is the geometric
    mean of the rounds' ratios. Raises ValueError for fewer than two rounds of a part, rounds that do not fit or times
    that are not positive.
    """
    before, after = np.asarray(baseline, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if before.shape != after.shape or before.ndim != 1 or len(before) < 2 * parts or len(before) % parts:
        of = f" of {parts} parts" if parts > 1 else ""
        raise ValueError(f"Paired rounds needed, at least two{of}: got {list(before.shape)} and {list(after.shape)}.")
    if not ((before > 0) & (after > 0)).all():
        raise ValueError("Times must be positive.")
    (total, moved), (other, other_moved) = _sum_parts(before, parts), _sum_parts(after, parts)
    return RatioSeries(float(total - other), moved - other_moved, parts)


def follow_time(times: ArrayLike, parts: int = 1) -> RatioSeries:
    """Return the logarithm of a configuration's total time, and how each of its rounds [R] moves that."""
    return RatioSeries(*_sum_parts(np.asarray(times, dtype=np.float64), parts), parts)


def paired_ratio(baseline: ArrayLike, candidate: ArrayLike, level: float = 0.95, parts: int = 1) -> Interval:
    """Return how many times faster a candidate is, with its interval over rounds; errors as :func:`follow_ratio`."""
    return follow_ratio(baseline, candidate, parts).estimate_mean(level)


def compare_ratios(base: RatioSeries, candidate: RatioSeries, level: float = 0.95) -> Interval:
    """Return by which factor a ratio of one run differs from that of another run, which shares no rounds with it.

    Degrees of freedom by Welch (1947), Biometrika 34.
    """
    moved = candidate.log_ratio - base.log_ratio
    squares = [(error**2, degrees) for error, degrees in (base.error, candidate.error)]
    total = sum(square for square, _ in squares)
    degrees = total**2 / sum(square**2 / degrees for square, degrees in squares) if total > 0 else 1.0
    half = float(stats.t.ppf(0.5 + level / 2, degrees) * np.sqrt(total))
    low, middle, high = (float(np.exp(x)) for x in (moved - half, moved, moved + half))
    return Interval(middle, low, high, level)


def compute_error(values: Float, parts: int = 1) -> tuple[float, int]:
    """Return the standard error of the mean of values [R] over rounds, and its degrees of freedom.

    Each part has a mean of its own, from which its rounds depart.
    """
    waves = make_waves(len(values), parts)
    return float(np.sqrt(np.mean((waves @ values) ** 2) / len(values))), len(waves)


def compute_half_width(error: tuple[float, int], level: float) -> float:
    """Return half the width of Student's interval from a standard error and its degrees of freedom."""
    return _find_quantile(0.5 + level / 2, error[1]) * error[0]


@lru_cache(maxsize=64)
def _find_quantile(share: float, degrees: float) -> float:
    return float(stats.t.ppf(share, degrees))


@lru_cache(maxsize=64)
def make_waves(rounds: int, parts: int = 1) -> Float:
    """Return the slowest waves over rounds, [W, R] with W ≤ 8: orthonormal, and without what parts' means could be.

    Over too few rounds for a choice they are all there are, and the spread is the ordinary one.
    """
    return _make_orthonormal(_draw_cosines(rounds, _count_waves(rounds, parts)), parts)


@lru_cache(maxsize=64)
def make_contrast(rounds: int, parts: int = 1) -> tuple[Float, Float]:
    """Return the step [R] of -1 and 1 between the halves, without the parts' means, and waves [W, R] of noise alone.

    The waves are orthonormal, and orthogonal to the step and to the slowest cosine; none where rounds are too few.
    """
    step = np.zeros(rounds)
    step[: rounds // 2], step[rounds - rounds // 2 :] = -1, 1
    turns = step.reshape(-1, parts)
    most = min(_count_waves(rounds, parts) + 1, rounds - parts - 1, 2 * (rounds // parts) - 1)
    waves = np.column_stack([step, _draw_cosines(rounds, max(0, most))])
    return (turns - turns.mean(axis=0)).ravel(), _make_orthonormal(waves, parts)[2:]


def _count_waves(rounds: int, parts: int) -> int:
    most = min(rounds - parts, 2 * (rounds // parts) - 1)
    return min(MOST_WAVES, max(FEWEST_WAVES, rounds // ROUNDS_A_WAVE), most)


def _draw_cosines(rounds: int, count: int) -> Float:
    """Return the slowest cosines over rounds, [R, count]: half a wave, a whole one, and so on."""
    at = (np.arange(rounds) + 0.5) / rounds
    drawn: Float = np.cos(np.pi * np.outer(at, np.arange(1, count + 1)))
    return drawn


def _make_orthonormal(columns: Float, parts: int) -> Float:
    """Return the columns [R, W] as orthonormal rows [W, R], without what the parts' means could be."""
    turns = columns.reshape(-1, parts, columns.shape[1])
    made: Float = np.linalg.qr((turns - turns.mean(axis=0)).reshape(columns.shape))[0].T
    return made


def _sum_parts(times: Float, parts: int) -> tuple[float, Float]:
    """Return the logarithm of the parts' times together and how each round moves it, [R]."""
    logs = np.log(times).reshape(-1, parts)
    means = logs.mean(axis=0)
    shares = np.exp(means - means.max())
    total = float(np.log(shares.sum()) + means.max())
    return total, ((logs - means) * (parts * shares / shares.sum())).ravel()
