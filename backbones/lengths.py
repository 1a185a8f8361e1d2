"""Tensors that depend on the number of tokens alone, kept for all layers and passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


class ByLength:
    """Tables made for n tokens, n the next power of two, which callers cut to the tokens they have.

    A stock model makes such tables once a pass, and layers that are stepped would each make theirs again. None is ever
    dropped: recorded CUDA graphs go on reading from the same memory. Powers of two keep all of them together below
    twice the largest.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, torch.device, torch.dtype], object] = {}

    def get(self, name: str, hidden: Tensor, make: Callable[[int, Tensor], Made]) -> Made:
        """The table ``name`` for hidden states [B, T, H] of this device and floating-point format.

        Where there is none, ``make(n, like)`` makes it for n >= T tokens; ``like`` is an empty tensor of the device
        and format.
        """
        size = 1 << (hidden.shape[1] - 1).bit_length()
        key = (name, size, hidden.device, hidden.dtype)
        if key not in self._made:
            # ordinary tensors even where the first pass is inference: a later one may be training
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = make(size, torch.empty(0, device=hidden.device, dtype=hidden.dtype))
        return self._made[key]  # type: ignore[return-value]
