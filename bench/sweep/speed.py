"""What this machine does in a training step."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch


@cache
def measure_layer_speed(hidden: int, device: str, rows: int = 16, tokens: int = 64, seconds: float = 0.5) -> float:
    """Return FLOP/s of this machine in forward and backward passes of one transformer layer of width ``hidden``.

    On a processor that others use, too, threads that wait for each other stand still most of the time; so one thread by
    its processor time, in which no waiting is, counts where it is the faster one.
    """
    layer = torch.nn.TransformerEncoderLayer(hidden, max(1, hidden // 64), 4 * hidden, 0.0, batch_first=True).to(device)
    states = torch.randn(rows, tokens, hidden, device=device)
    flops = 3 * 2 * rows * tokens * (12 * hidden * hidden + 2 * tokens * hidden)

    def step() -> None:
        layer(states).sum().backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    if device.startswith("cuda"):
        return flops * _count_per_second(step, time.perf_counter, seconds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = flops * _count_per_second(step, time.thread_time, seconds / 2)
    finally:
        torch.set_num_threads(threads)
    return alone if threads == 1 else max(alone, flops * _count_per_second(step, time.perf_counter, seconds / 2))


def _count_per_second(step: Callable[[], None], clock: Callable[[], float], seconds: float) -> float:
    step()
    begun, done = clock(), 0
    while clock() - begun < seconds:
        step()
        done += 1
    return done / (clock() - begun)
