"""Energy per sample on NVIDIA GPUs, from the driver's total-energy counter, in a pass of its own.

What cannot be measured is said, never reported as zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.latency.machine import load_nvml, read_gpu
from bench.latency.run import Clock, Query

NO_GPU = "not measured: no NVIDIA GPU"
NO_NVML = "not measured: the package pynvml (extra 'energy') or its driver is missing"
NO_COUNTER = "not measured: this GPU has no energy counter"


@dataclass(frozen=True)
class EnergyUse:
    """Joules per sample, the GPU's idle power included; None with the reason in ``note`` where it was not measured."""

    joules: float | None
    samples: int
    seconds: float
    note: str = ""


def measure_energy(
    query: Query,
    samples: Sequence[int],
    device: str,
    *,
    sizes: Sequence[int] | None = None,
    seconds: float = 10.0,
    clock: Clock = time.perf_counter_ns,
    counter: Callable[[], int | None] | None = None,
) -> EnergyUse:
    """Run the queries over and over for ``seconds`` and divide what the counter gained by the samples answered.

    ``device`` is torch's name of the model's device; ``counter`` reads millijoules (default: NVML's counter of that
    GPU). The counter moves every 20 to 100 ms, so a pass of ten seconds is known to about 1 %.
    """
    if counter is None:
        kind, _, index = device.partition(":")
        if kind != "cuda":
            return EnergyUse(None, 0, 0.0, NO_GPU)
        if load_nvml() is None:
            return EnergyUse(None, 0, 0.0, NO_NVML)
        counter = _counter(int(index or 0))
    before = counter()
    if before is None:
        return EnergyUse(None, 0, 0.0, NO_COUNTER)
    begun, done = clock(), 0
    while clock() - begun < seconds * 1e9:
        for i in samples:
            query(i)
            done += 1 if sizes is None else sizes[i]
    spent, after = (clock() - begun) / 1e9, counter()
    if after is None or done == 0:
        return EnergyUse(None, done, spent, NO_COUNTER)
    return EnergyUse((after - before) / 1e3 / done, done, spent)


def _counter(index: int) -> Callable[[], int | None]:
    def read() -> int | None:
        state = read_gpu(index)
        return None if state is None else state.energy_mj

    return read
