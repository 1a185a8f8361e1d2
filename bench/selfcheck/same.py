"""The clock against itself: the plain model as two configurations, whose ratio is 1 whatever the machine does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.latency.machine import compute_share_of_others, read_machine
from bench.latency.queries import make_plain_query, make_stepped_call, measure_interleaved
from bench.latency.result import LatencyOptions, LatencyResult
from bench.measure.stats import Interval
from bench.selfcheck.engine import build_sized_model
from bench.selfcheck.tiny import make_random_batch

RUNS, MOST_EXCLUDED = 200, 0.06
"""Of 200 intervals of 95 % ten exclude 1 on average; more than twelve would be a broken promise, or bad luck (one in
five times)."""

BRIEF = LatencyOptions(samples=16, seconds=0.5, streak=4, threads=1)
"""Half a second of rounds each: what is asked is how often, not how near."""


@dataclass(frozen=True)
class SameTwice:
    """Runs of the protocol in which both configurations are the plain model.

    ``intervals`` are of their ratio, ``robust`` of its median; ``valid`` says which runs nothing disturbed, ``others``
    the part of the machine that other processes used.
    """

    protocol: str
    intervals: tuple[Interval, ...]
    robust: tuple[Interval, ...]
    valid: tuple[bool, ...]
    rounds: tuple[int, ...]
    repeated: tuple[int, ...]
    others: float | None
    seconds: float

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values, the sentence among them."""
        return {"said": describe_same(self), "excluded": count_excluding(self.intervals), **asdict(self)}


def check_same(say: Callable[[str], None]) -> SameTwice:
    """Measure a tiny plain model against itself, again and again; ``say`` is told how far it is."""
    model = build_sized_model("tiny")
    batches = [make_random_batch([tokens], tokens) for tokens in range(8, 8 + 3 * BRIEF.samples, 3)]
    call, again = make_stepped_call(model), make_plain_query(model, make_stepped_call(model), batches)
    found: list[LatencyResult] = []
    before, begun, said = read_machine(), time.monotonic(), time.monotonic()
    for run in range(RUNS):
        made = measure_interleaved(model, {}, batches, BRIEF, baselines={"plain": call}, extra={"again": again})
        found.append(made)
        if time.monotonic() - said > 10:
            said = time.monotonic()
            say(f"{run + 1} of {RUNS} runs")
    summaries = [one.summary("again") for one in found]
    return SameTwice(
        protocol=BRIEF.protocol,
        intervals=tuple(one.timer for one in summaries if one.timer is not None),
        robust=tuple(one.robust for one in summaries if one.robust is not None),
        valid=tuple(one.valid for one in found),
        rounds=tuple(len(one.rounds) for one in found),
        repeated=tuple(len(one.repeated) for one in found),
        others=compute_share_of_others(before, read_machine()),
        seconds=time.monotonic() - begun,
    )


def count_excluding(intervals: tuple[Interval, ...]) -> int:
    """Return how many intervals do not have 1 in them."""
    return sum(not one.low <= 1 <= one.high for one in intervals)


def describe_same(found: SameTwice) -> str:
    """Return what was found, in two sentences."""
    excluded, runs = count_excluding(found.intervals), len(found.intervals)
    outside, medians = count_excluding(found.robust), len(found.robust)
    middle = float(np.median([one.estimate for one in found.intervals]))
    width = float(np.median([(one.high - one.low) / 2 for one in found.intervals]))
    busy = "" if found.others is None else f", other processes used {found.others:.0%} of the machine"
    logs = np.log([one.estimate for one in found.intervals])
    average, error = float(np.exp(logs.mean())), float(logs.std() / np.sqrt(runs))
    kept = "kept" if excluded <= MOST_EXCLUDED * runs else "NOT kept"
    return (
        f"The plain model against itself, {found.protocol}: {excluded} of {runs} intervals of 95 % exclude 1 "
        f"({excluded / runs:.1%}; at most {MOST_EXCLUDED:.0%}: {kept}), of the medians {outside} "
        f"of {medians} ({outside / max(1, medians):.1%}). Ratio {middle:.4f} ± {width:.4f} (medians over runs), "
        f"on average {average:.4f} (standard error {error:.4f}), "
        f"{sum(found.valid)} runs valid, "
        f"{sum(found.repeated)} rounds repeated of {sum(found.rounds)} needed{busy}, {found.seconds:.0f} s."
    )
