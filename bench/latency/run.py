"""The protocol itself: wait, warm up, plan the rounds, measure them, say what disturbed them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from bench.latency import describe_move
from bench.latency.machine import (
    MachineState,
    compute_share_of_others,
    find_disturbances,
    read_machine,
    wait_until_quiet,
)
from bench.latency.protocol import (
    OTHERS_LIMIT,
    alternate_order,
    compute_bucket,
    deal_strata,
    describe_rules,
    find_drift,
    is_same_speed,
    judge_drift,
    plan_rounds,
)
from bench.latency.result import LatencyOptions, LatencyResult, WarmUp, find_disagreement
from bench.latency.rounds import (
    Clock,
    Configurations,
    CudaTimer,
    find_baseline,
    measure_rounds,
    pause_garbage_collection,
    refill_caches,
    sum_rounds,
)


def run_protocol(
    configurations: Configurations,
    options: LatencyOptions,
    *,
    device: str,
    dtype: str,
    threads: int,
    clock: Clock = time.perf_counter_ns,
    probe: Callable[[], MachineState] = read_machine,
    timer: CudaTimer | None = None,
    progress: Callable[[str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> LatencyResult:
    """Measure every configuration on the same samples, interleaved, over a number of rounds fixed before the first.

    ``clock``, ``probe`` and ``sleep`` are parameters so that the whole protocol runs on simulated time in tests.
    ``progress`` is called between rounds only. Raises ValueError where there is nothing to measure.
    """
    if not configurations.tokens or not configurations.plain:
        raise ValueError("Nothing to measure: at least one sample and one plain configuration are needed.")
    say = progress or (lambda message: None)
    waited = wait_until_quiet(options.wait_quiet, OTHERS_LIMIT, probe, sleep, say)
    drawn = draw_samples(len(configurations.tokens), options.samples, options.seed)
    say("warming up")
    warmup = warm_up(configurations, drawn, options, clock)
    plan = plan_rounds(warmup.sample_seconds, len(drawn), options)
    parts = deal_strata(drawn, configurations.tokens, plan)
    with pause_garbage_collection():
        refill_caches(configurations, parts[0][: options.streak], clock)
        found = measure_rounds(configurations, parts, plan, options, warmup.seconds, clock, probe, timer, say)
    samples = [i for part in parts for i in part]
    result = LatencyResult(
        protocol=options.protocol,
        options=options,
        device=device,
        dtype=dtype,
        threads=threads,
        samples=samples,
        tokens=[configurations.tokens[i] for i in samples],
        sizes=[configurations.sizes[i] for i in samples],
        parts=[len(part) for part in parts],
        order=list(configurations.queries),
        baseline=find_baseline(configurations.plain, found.rounds),
        rounds=found.rounds,
        repeated=found.repeated,
        settling=found.settling,
        waited=waited,
        layers={label: [one for part in found.layers for one in part[label]] for label in configurations.queries},
        warmup=warmup,
        stop=found.stop,
        clock=getattr(clock, "__name__", "simulated"),
        rules=describe_rules(),
        moved=find_drift(sum_rounds(found.rounds, find_baseline(configurations.plain, found.rounds)), plan.parts),
        reasons=find_disturbances([(r.before, r.after) for r in found.rounds], OTHERS_LIMIT),
    )
    result = replace(result, reasons=[*result.reasons, *judge_drift(result.moved, result.ratios)])
    return replace(result, notes=list(_write_notes(result)))


def _write_notes(result: LatencyResult) -> Iterator[str]:
    if result.moved is not None and result.valid:
        yield describe_move(result.moved)
    if not result.warmup.agreed:
        yield "no two warm-up blocks agreed within 5 % before the warm-up's time was over"
    if result.waited is None and result.options.wait_quiet:
        known = compute_share_of_others(result.rounds[0].before, result.rounds[-1].after) is not None
        late = f"the machine was not quiet within {result.options.wait_quiet:.0f} s"
        yield late if known else "this machine does not say what other processes use: nothing waited for them"
    if result.settling:
        yield f"the machine was still changing in the first {len(result.settling)} rounds, which count as warm-up"
    if result.repeated:
        many = f"{len(result.repeated)} round{'s were' if len(result.repeated) > 1 else ' was'}"
        yield f"{many} repeated, as other processes used more than {OTHERS_LIMIT:.0%} of the cores"
    if result.device.startswith("cuda") and any(r.before.gpu is None or r.after.gpu is None for r in result.rounds):
        yield "the GPU's clocks and throttling are unknown: NVML (extra 'energy') says nothing of it"
    for label in result.order:
        found = result.summary(label)
        if said := find_disagreement(found.timer, found.robust):
            yield f"{label}: {said}"


def draw_samples(count: int, most: int, seed: int) -> list[int]:
    """Draw at most ``most`` of ``count`` positions in random order, the same for everything that is measured."""
    return np.random.default_rng(seed).permutation(count)[:most].tolist()


def warm_up(configurations: Configurations, samples: Sequence[int], options: LatencyOptions, clock: Clock) -> WarmUp:
    """Visit every exit depth and length bucket, then run blocks until two in a row took the same time.

    Every configuration visits every bucket itself: executors record or compile for each criterion and shape on first
    use, which takes seconds. Which shapes a batch shrinks to is its own affair, so that of batches all are visited.
    """
    begun = clock()
    by_bucket = {compute_bucket(configurations.tokens[i], options.bucket): i for i in samples}
    # one pass per depth, going round the buckets; then the buckets that are left, at full depth
    passes = list(zip(configurations.depths, cycle(by_bucket.values()), strict=False))
    passes += [(max(configurations.depths), i) for i in islice(by_bucket.values(), len(configurations.depths), None)]
    for depth, i in passes:
        configurations.force(i, depth)
    visited = samples if max(configurations.sizes) > 1 else list(by_bucket.values())
    for query in configurations.queries.values():
        for i in visited:
            query(i)
    count, done, agreed = len(passes) + len(visited) * len(configurations.queries), 0, False
    previous: dict[str, float] | None = None
    current: dict[str, float] = {}
    # the first streaks of the permutation, again and again: two means are comparable only on the same samples
    block = samples[: 2 * options.streak]
    while not agreed and (done < 2 or (clock() - begun) / 1e9 < options.seconds):
        current = {}
        for label in alternate_order(list(configurations.queries), done):
            start = clock()
            for i in block:
                configurations.queries[label](i)
            current[label] = float(clock() - start) / len(block)
        count += len(block) * len(configurations.queries)
        done += 1
        agreed = previous is not None and is_same_speed(previous, current)
        previous = current
    return WarmUp(
        passes=count,
        depths=sorted({depth for depth, _ in passes}),
        buckets=sorted(by_bucket),
        blocks=done,
        agreed=agreed,
        seconds=(clock() - begun) / 1e9,
        sample_seconds=sum(current.values()) / 1e9,
    )
