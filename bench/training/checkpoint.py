"""Weights and progress on disk: safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.files import replace_file


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: object) -> None:
    """Write ``tensors`` and a JSON-able ``facts`` as one safetensors file, atomically."""
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_file(path) as temporary:
        save_file(cpu, temporary, metadata={"facts": json.dumps(facts, allow_nan=False)})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], object]:
    """What :func:`save_tensors` wrote."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {}).get("facts", "null"))
        return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 - safe_open has keys() only


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors; parameters are numbered as in ``state_dict``."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, slots in state.items() for name, value in slots.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, slot = rest.partition(".")
            state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
