"""Weights and progress on disk: safetensors and JSON, written whole or not at all, with a checksum inside."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.errors import Damaged
from bench.files import replace_file


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write ``tensors`` and ``facts``, plain JSON values, as one safetensors file, atomically."""
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts, allow_nan=False)
    with replace_file(path) as temporary:
        save_file(cpu, temporary, metadata={"facts": text, "sha256": hash_checkpoint(cpu, text)})


@contextmanager
def fill_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], facts: Mapping[str, object]
) -> Iterator[dict[str, Tensor]]:
    """Yield float32 tensors of ``shapes`` to be filled in place; the file is then what :func:`save_tensors` writes.

    They are mapped into memory, so that they may be larger than that. Raises DiskFull where there is no room.
    """
    ends = np.cumsum([4 * math.prod(shape) for shape in shapes.values()]).tolist()
    places = dict(zip(shapes, zip([0, *ends[:-1]], ends, strict=True), strict=True))
    text = json.dumps(facts, allow_nan=False)

    def write_header(sha256: str) -> bytes:
        entries: dict[str, object] = {"__metadata__": {"facts": text, "sha256": sha256}}
        entries |= {n: {"dtype": "F32", "shape": shapes[n], "data_offsets": places[n]} for n in shapes}
        plain = json.dumps(entries).encode()
        plain += b" " * (-len(plain) % 8)  # the format's: what follows is aligned
        return len(plain).to_bytes(8, "little") + plain

    begin = len(write_header("0" * 64))
    with replace_file(path) as temporary:
        with temporary.open("wb") as file:
            file.truncate(begin + ends[-1])
            if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and would be a signal later
                os.posix_fallocate(file.fileno(), 0, begin + ends[-1])
        tensors, maps = {}, []
        for name, shape in shapes.items():
            maps.append(np.memmap(temporary, np.float32, "r+", begin + places[name][0], shape))
            tensors[name] = torch.from_numpy(maps[-1])
        yield tensors
        for mapped in maps:
            mapped.flush()
        with temporary.open("r+b") as whole:
            whole.write(write_header(hash_checkpoint(tensors, text)))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what :func:`save_tensors` wrote: tensors and facts. Raises Damaged for anything else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it has keys() only
    except SafetensorError as error:
        raise Damaged(path, str(error)) from error
    if set(metadata) - {"facts", "sha256"}:
        raise Damaged(path, "its header has unknown entries")
    text = metadata.get("facts", "{}")
    # files of before there were checksums have none
    if "sha256" in metadata and metadata["sha256"] != hash_checkpoint(tensors, text):
        raise Damaged(path, "its checksum differs")
    return tensors, json.loads(text)


def hash_checkpoint(tensors: Mapping[str, Tensor], facts: str = "") -> str:
    """Return the SHA-256, hex, of names, types, shapes and values of tensors, and of the facts' text."""
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def list_optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as flat tensors; parameters are numbered as in ``state_dict``."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, slots in state.items() for name, value in slots.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`list_optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, slot = rest.partition(".")
            state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
