"""Which devices, number formats and executors go together. Said once, for every command; nothing here imports torch."""

from __future__ import annotations

from typing import Literal, get_args

from backbones.names import make_unknown_error
from bench.errors import UsageError

Dtype = Literal["fp32", "bf16", "fp16", "fp64"]

EXECUTORS = ("eager", "graph", "compile", "conditional")
ON_GPU = ("graph", "conditional")
"""The executors that record CUDA graphs."""


def find_device(device: str) -> str:
    """Return torch's name of the device; ``auto`` is the GPU where there is one.

    Raises UsageError for a device that is not there.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise UsageError(f"Unknown device '{device}'. Known: auto, cpu, cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU here. `bench doctor` says more; --device cpu runs without.")
    return device


def check_placement(device: str, dtype: str = "fp32", executor: str = "eager") -> None:
    """Raise UsageError where a model cannot run on ``device`` in this number format or under this executor."""
    if executor not in EXECUTORS:
        raise make_unknown_error("executor", executor, EXECUTORS)
    if dtype not in get_args(Dtype):
        raise UsageError(f"--dtype must be one of {', '.join(get_args(Dtype))}, not '{dtype}'.")
    if device.partition(":")[0] == "cuda":
        return
    if dtype == "fp16":
        raise UsageError("--dtype fp16 needs a GPU; on a CPU take fp32 or bf16.")
    if executor in ON_GPU:
        raise UsageError(
            f"The {executor} executor records CUDA graphs and needs an NVIDIA GPU, and the model is on '{device}': "
            "take eager or compile."
        )
