"""How heads are fitted where the backbone is frozen and its pooled states are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backbones.errors import UserError

Targets = Literal["labels", "model"]


@dataclass(frozen=True)
class StateFit:
    """How heads are fitted on kept states.

    ``targets``: the labels, or the answers of the model's own last exit. At most ``samples`` of the training split
    are used. ``l2`` is what linear exits pay for half the square of their weights on features of variance 1, None for
    the best of a few on samples held out. ``epochs`` (at most), ``lr``, which falls to nothing over these, and
    ``batch_size`` (at most an eighth of the samples) are those of other heads.
    """

    targets: Targets = "labels"
    samples: int = 20_000
    l2: float | None = None
    epochs: int = 6
    lr: float = 1e-3
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("samples", "epochs", "lr", "batch_size"):
            if not getattr(self, name) > 0:
                raise UserError(f"recipe.{name} must be positive, not {getattr(self, name)}.")
        if self.l2 is not None and not self.l2 >= 0:
            raise UserError(f"recipe.l2 must not be negative, not {self.l2}.")
