"""What long work says of the time that is left, on simulated clocks."""

from __future__ import annotations

import io

import pytest

from bench.progress import Progress, _Lines


def say_times(seconds: list[float], resumed: int = 0) -> list[str]:
    """Return the lines of a work of 100 steps that take so many seconds each, ``resumed`` of them done before."""
    now, stream = [0.0], io.StringIO()
    work = _Lines(Progress(stream), "Training", 100, lambda: now[0])
    work.advance(resumed)
    for one in seconds:
        now[0] += one
        work.advance(1, "loss 0.5")
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "resumed", "first"),
    [
        ([9.0, 0.5, 0.5, 0.5], 0, "Training: 3/100, about 48 s left. loss 0.5"),  # not 323 s, by the slow first step
        ([0.5] * 21, 0, "Training: 20/100, about 40 s left. loss 0.5"),
        ([0.5] * 21, 50, "Training: 70/100, about 15 s left. loss 0.5"),  # what was done before took no time here
        ([11.0], 0, "Training: 1/100. loss 0.5"),  # nothing to go by
    ],
    ids=["slow first step", "even", "resumed", "one step"],
)
def test_the_first_estimate_goes_by_the_pace_of_later_steps(seconds: list[float], resumed: int, first: str) -> None:
    assert say_times(seconds, resumed)[0] == first


def test_an_estimate_every_ten_seconds() -> None:
    assert len(say_times([1.0] * 45)) == 4
