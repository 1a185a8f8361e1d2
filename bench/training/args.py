"""How a checkpoint is fitted: the settings of the trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError

SAVE_EVERY = 60.0  # seconds between progress checkpoints


@dataclass(frozen=True)
class TrainArgs:
    """How a checkpoint is fitted. AdamW, linear warm-up and decay to zero, gradient clipping.

    ``warmup`` is a fraction of the steps, or with ``warmup_steps`` a number of them; ``steps`` replaces ``epochs``
    where a paper states steps. ``precision`` bf16 means autocast; auto is bf16 on CUDA and fp32 on CPU.
    """

    epochs: float = 3.0
    steps: int | None = None
    lr: float = 2e-5
    batch_size: int = 32
    accumulate: int = 1
    warmup: float = 0.1
    warmup_steps: int | None = None
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __post_init__(self) -> None:
        for name in ("lr", "clip"):
            if not getattr(self, name) > 0:
                raise UsageError(f"train.{name} must be positive, not {getattr(self, name)}.")
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UsageError(f"train.{name} must be at least 1, not {getattr(self, name)}.")
        if not (self.epochs > 0 and (self.steps is None or self.steps > 0)):
            raise UsageError("train.epochs and train.steps must be positive.")
        if not (0 <= self.warmup < 1 and self.weight_decay >= 0):
            raise UsageError("train.warmup must be in [0, 1) and train.weight_decay not negative.")
