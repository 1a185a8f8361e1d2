"""Energy per sample on NVIDIA GPUs, from the driver's total-energy counter, in a pass of its own.

What cannot be measured is said, never reported as zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.latency.machine import load_nvml, read_gpu, read_power
from bench.latency.rounds import Clock, Query

NO_GPU = "not measured: no NVIDIA GPU"
NO_NVML = "not measured: the package pynvml (extra 'energy') or its driver is missing"
NO_COUNTER = "not measured: this GPU has no energy counter"

METERS_AGREE = 0.05
"""Counter and summed power may differ by this much."""

Meters = tuple[Callable[[], int | None], Callable[[], float | None]]
"""Reads the energy counter, in millijoules, and the power, in watts."""


def measure_energy(
    query: Query,
    samples: Sequence[int],
    device: str,
    *,
    seconds: float = 10.0,
    meters: Meters | None = None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Any]:
    """Run queries of one sample over and over for ``seconds``; divide what the counter gained by the samples answered.

    ``device`` is torch's name of the model's device; ``meters`` default to NVML's of that GPU. The counter moves every
    20 to 100 ms, so a pass of ten seconds is known to about 1 %. Plain data: ``joules`` per sample, idle power
    included, None with the reason in ``note`` where it was not measured.
    """
    nothing = {"joules": None, "samples": 0, "seconds": 0.0, "note": NO_COUNTER}
    found = meters or find_meters(device)
    if isinstance(found, str):
        return {**nothing, "note": found}
    counter, _ = found
    before = counter()
    if before is None:
        return nothing
    begun, done = clock(), 0
    while clock() - begun < seconds * 1e9:
        for i in samples:
            query(i)
        done += len(samples)
    spent, after = (clock() - begun) / 1e9, counter()
    if after is None or done == 0:
        return {**nothing, "samples": done, "seconds": spent}
    return {"joules": (after - before) / 1e3 / done, "samples": done, "seconds": spent, "note": ""}


def compare_energy(
    query: Query,
    samples: Sequence[int],
    device: str,
    *,
    seconds: float = 5.0,
    meters: Meters | None = None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Any]:
    """Run the queries for ``seconds``, after two seconds of lead-in, and read both of the GPU's meters meanwhile.

    Power is read between queries, every 10 ms at most, and summed by the trapezoid rule. Plain data: joules of the pass
    by the ``counter`` and by the ``integrated`` power, and their ``difference``; ``valid`` where they agree within
    :data:`METERS_AGREE`. None with the reason in ``note`` where one is missing.
    """
    figures: dict[str, Any] = dict.fromkeys(("counter", "integrated", "difference"))
    nothing = {**figures, "readings": 0, "seconds": 0.0, "valid": False, "note": NO_COUNTER}
    found = meters or find_meters(device)
    if isinstance(found, str):
        return {**nothing, "note": found}
    counter, power = found
    lead_in = clock()
    while clock() - lead_in < min(2.0, seconds) * 1e9:  # an average over the last second is read, on newer GPUs
        for i in samples:
            query(i)
    before, begun = counter(), clock()
    readings = [(begun, power())]
    while clock() - begun < seconds * 1e9:
        for i in samples:
            query(i)
            if clock() - readings[-1][0] >= 10_000_000:
                readings.append((clock(), power()))
    readings.append((clock(), power()))
    after, spent = counter(), (readings[-1][0] - begun) / 1e9
    watts = [watt for _, watt in readings if watt is not None]
    if before is None or after is None or len(watts) < len(readings):
        return {**nothing, "readings": len(readings), "seconds": spent}
    integrated = float(np.trapezoid(watts, [moment / 1e9 for moment, _ in readings]))
    counted = (after - before) / 1e3
    difference = integrated / counted - 1 if counted else math.inf
    figures = {"counter": counted, "integrated": integrated, "difference": difference, "readings": len(readings)}
    return {**figures, "seconds": spent, "valid": abs(difference) <= METERS_AGREE, "note": ""}


def find_meters(device: str) -> Meters | str:
    """Return what reads the meters of torch's ``device``, or why its energy cannot be measured."""
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return NO_GPU
    if load_nvml() is None:
        return NO_NVML

    def read_counter() -> int | None:
        state = read_gpu(int(index or 0))
        return None if state is None else state.energy_mj

    return read_counter, lambda: read_power(int(index or 0))
