"""Files of tensors: names, types and shapes are as much a part of their checksum as the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.errors import Damaged
from bench.training.checkpoint import hash_checkpoint, load_tensors, save_tensors

FOUR = torch.arange(4, dtype=torch.float32)
OTHERS: dict[str, tuple[dict[str, Tensor], str]] = {
    "another name": ({"b": FOUR}, "{}"),
    "another shape": ({"a": FOUR.reshape(2, 2)}, "{}"),
    "another type of the same bytes": ({"a": FOUR.view(torch.int32)}, "{}"),
    "another number": ({"a": FOUR + 1}, "{}"),
    "other facts": ({"a": FOUR}, '{"step": 1}'),
    "one more": ({"a": FOUR, "b": torch.empty(0)}, "{}"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_differs_has_another_checksum(name: str) -> None:
    assert hash_checkpoint(*OTHERS[name]) != hash_checkpoint({"a": FOUR}, "{}")


def test_the_order_of_names_does_not_matter() -> None:
    assert hash_checkpoint({"a": FOUR, "b": FOUR + 1}, "{}") == hash_checkpoint({"b": FOUR + 1, "a": FOUR}, "{}")


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    tensors = {"a": FOUR.reshape(2, 2).t(), "b": torch.tensor(3, dtype=torch.int64), "c": torch.zeros(0, 2)}
    facts = {"step": 3, "log": {"losses": [0.5]}}
    save_tensors(tmp_path / "file", tensors, facts)
    found, said = load_tensors(tmp_path / "file")
    assert said == facts
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) and found[name].dtype == tensors[name].dtype for name in found)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    save_tensors(path, {"a": FOUR}, {"step": 3})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match="its checksum differs"):
        load_tensors(path)
