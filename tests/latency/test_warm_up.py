"""What is not timed: the warm-up, and what fills the caches before the first round."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench.latency.rounds import Configurations
from bench.latency.run import draw_samples, run_protocol
from tests.latency.fake_clock import MS, OPTIONS, STEADY, FakeClock, simulate


def test_the_warm_up_visits_every_depth_and_bucket_before_the_clock_counts() -> None:
    result, _ = simulate(STEADY, OPTIONS, tokens=[5, 16, 17, 40, 64] * 5)
    assert result.warmup.depths == list(range(1, 13))
    assert result.warmup.buckets == [16, 32, 48, 64]
    assert result.warmup.agreed
    assert result.warmup.blocks == 2


def test_what_a_configuration_does_on_first_use_of_a_bucket_is_never_timed() -> None:
    """Recording a graph, compiling: for each configuration and length of its own, even the last of the permutation."""
    tokens = [16] * 39 + [400]
    options = replace(OPTIONS, samples=40, streak=4)
    rare = draw_samples(40, 40, options.seed).index(39)
    assert rare >= 2 * options.streak  # no warm-up block has it
    clock = FakeClock()
    known: set[tuple[str, int]] = set()

    def recording(label: str) -> Callable[[int], float]:
        def run(i: int) -> float:
            clock.now += 5 * MS if (label, tokens[i]) in known else 3000 * MS
            known.add((label, tokens[i]))
            return 12.0

        return run

    labels = ("plain", "early", "other")
    configurations = Configurations(
        {label: recording(label) for label in labels}, ["plain"], tokens, [1] * 40, range(1, 13),
        lambda i, depth: recording("forced")(i),
    )  # fmt: skip
    result = run_protocol(
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock, probe=clock.probe
    )
    assert {int(result.table(label).max()) for label in labels} == {5 * MS}


def test_every_batch_is_visited_before_the_clock_counts() -> None:
    clock, forced = FakeClock(), list[int]()

    def force(i: int, depth: int) -> float:
        forced.append(i)
        return float(depth)

    query = clock.query("plain", lambda now: MS)
    configurations = Configurations({"plain": query}, ["plain"], [16] * 9, [2] * 9, range(1, 3), force)
    result = run_protocol(
        configurations, replace(OPTIONS, streak=1), device="cpu", dtype="float32", threads=1, clock=clock,
        probe=clock.probe,
    )  # fmt: skip
    assert sorted(i for _, i in clock.log[:9]) == list(range(9))
    assert result.warmup.passes == len(clock.log) + len(forced) - 9 * len(result.rounds) - 1  # one refills the caches


def test_nobody_pays_for_the_collection_of_garbage() -> None:
    """The answers that find the caches empty are in no round."""
    cold = {"plain": 3, "early": 3}

    def answer(label: str) -> int:
        if gc.isenabled():
            return MS
        cold[label] -= 1
        return 2 * MS if cold[label] >= 0 else MS

    result, _ = simulate({label: partial(lambda label, now: answer(label), label) for label in cold}, OPTIONS)
    assert max(cold.values()) < 0
    assert {time for one in result.rounds for times in one.times.values() for time in times} == {MS}


def test_more_buckets_than_depths_are_all_visited() -> None:
    tokens = [16 * k for k in range(1, 21)]
    result, _ = simulate(STEADY, replace(OPTIONS, samples=20), tokens=tokens)
    assert result.warmup.buckets == tokens


def test_the_warm_up_goes_on_until_two_blocks_agree() -> None:
    # the first second of the simulated machine is slow
    warming = {"plain": lambda now: (30 if now < 1e9 else 10) * MS, "early": lambda now: 4 * MS}
    result, _ = simulate(warming, OPTIONS)
    assert result.warmup.agreed
    assert result.warmup.blocks > 2
    assert result.table("plain").max() == 10 * MS


def test_a_machine_that_never_settles_is_said_so() -> None:
    unstable = {"plain": lambda now: int(10 * MS * (1.5 + math.sin(now / 1e8))), "early": lambda now: 4 * MS}
    result, _ = simulate(unstable, replace(OPTIONS, seconds=2.0))
    assert not result.warmup.agreed
    assert "no two warm-up blocks agreed" in result.notes[0]
