"""The simulations run, repeat exactly, and a broken interval would be seen; seeds and samples are kept apart."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.seeds import summarise_seeds, widen_for_seeds
from bench.selfcheck import intervals as s


def test_wilson_covers_and_repeats() -> None:
    truth = s.make_world(0)
    found = s.check_wilson(truth, 1000, 0)
    assert found.ok
    assert found == s.check_wilson(truth, 1000, 0)


def test_mcnemar_is_conservative_and_never_above_its_level() -> None:
    exact, middle = s.check_mcnemar(400, 0)
    assert exact.share <= middle.share
    assert exact.share <= 0.05 + 3 * exact.error


def test_mid_p_by_hand() -> None:
    assert s.compute_midp(0, 0) == 1.0
    assert s.compute_midp(0, 3) == pytest.approx(2 * (0.125 - 0.0625))


def test_certified_cuts_keep_their_risk() -> None:
    found = s.check_risk(s.make_world(0, population=4000), 30, 0, 0.1, 0.9, samples=300)
    for finding in found:
        slack = 3 * finding.error  # 30 experiments only; the command runs 1000
        assert finding.share <= finding.highest + slack, finding.name


def test_an_interval_that_is_too_narrow_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s, "wilson", lambda k, n: s.Interval(k / n, k / n - 0.005, k / n + 0.005))
    assert not s.check_wilson(s.make_world(0), 300, 0).ok


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Mean of 300 samples."""
    return sums[:, 0] / 300


def test_seed_spread_and_sample_interval_are_told_apart() -> None:
    random = np.random.default_rng(0)
    right = (random.random((1, 300)) < 0.8).astype(float)
    same = summarise_seeds(np.repeat(right, 4, axis=0)[:, :, None], accuracy)
    assert same.both is not None
    assert (same.both.low, same.both.high) == pytest.approx((same.samples.low, same.samples.high))
    rates = np.array([0.6, 0.7, 0.8, 0.9])[:, None]
    apart = summarise_seeds((random.random((4, 300)) < rates).astype(float)[:, :, None], accuracy)
    assert apart.both is not None
    assert apart.both.high - apart.both.low > 2 * (apart.samples.high - apart.samples.low)


def test_one_seed_shows_no_spread() -> None:
    found = summarise_seeds(np.ones((1, 300, 1)), accuracy)
    assert found.both is None
    with pytest.raises(ValueError, match="seeds"):
        summarise_seeds(np.ones((0, 3, 1)), accuracy)


def test_few_seeds_widen_more() -> None:
    assert widen_for_seeds(1.0, 3.0, 3) > widen_for_seeds(1.0, 5.0, 5) > widen_for_seeds(1.0, 50.0, 50) > 1
    assert widen_for_seeds(1.0, 0.0, 3) == 1


@pytest.mark.parametrize(
    ("share", "times", "ok"),
    [
        (1.0, 20, True),  # 19 of 20 would be 0.95: with 20 experiments nothing lies in 0.93..0.97 but that
        (0.85, 20, True),
        (0.70, 20, False),
        (1.0, 4000, False),
        (0.91, 4000, False),
        (0.95, 4000, True),
    ],
)
def test_a_share_is_judged_with_its_own_error(share: float, times: int, ok: bool) -> None:
    """Three standard errors at the end of its range: 0.17 with 20 experiments, 0.012 with 4,000."""
    assert s.Experiment("covers", share, times, 0.93, 0.97).ok is ok
