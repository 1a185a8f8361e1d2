"""What this machine does in a training step."""

from __future__ import annotations

import time
from functools import cache

import torch


@cache
def measure_layer_speed(hidden: int, device: str, rows: int = 16, tokens: int = 64, seconds: float = 0.5) -> float:
    """Return FLOP/s of this machine in forward and backward passes of one transformer layer of width ``hidden``."""
    layer = torch.nn.TransformerEncoderLayer(hidden, max(1, hidden // 64), 4 * hidden, 0.0, batch_first=True).to(device)
    states = torch.randn(rows, tokens, hidden, device=device)
    flops = 3 * 2 * rows * tokens * (12 * hidden * hidden + 2 * tokens * hidden)
    layer(states).sum().backward()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        layer(states).sum().backward()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        done += 1
    return flops * done / (time.perf_counter() - begun)
