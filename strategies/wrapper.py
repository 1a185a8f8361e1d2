"""Criteria around other criteria: the inner one by its strategy's name, its numbers on the held-out split."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from strategies import STRATEGIES
from strategies.base import Criterion, Evidence, Start, State, Strategy, StrategyError, step_through


class Wrapper(Criterion):
    """A criterion around another strategy's: whatever it does not change is the inner one's.

    ``of`` is the name of the strategy whose criterion it takes ("module:Name" will do), the other arguments are that
    criterion's. Head and recipe are the wrapper's own: put it on any checkpoint with ``--head`` and ``--recipe``.
    Raises StrategyError for names that do not exist and for criteria that cannot run live.
    """

    fits = True
    follows: ClassVar[tuple[str, ...]] = ("strict", "regression", "classification", "loosest", "probe")
    """The attributes that are the inner criterion's."""

    def __init__(self, *, of: str, **inner: object) -> None:
        self.inner = self.find_criterion(of)(**inner)
        self.copy_attributes()

    @staticmethod
    def find_strategy(of: str) -> type[Strategy]:
        """Return the strategy that ``of`` names: its version is a part of every result's identity."""
        return STRATEGIES.load(of)

    @classmethod
    def find_criterion(cls, of: str) -> type[Criterion]:
        """Return the criterion class of the strategy ``of``: the other arguments are checked against it."""
        kind = cls.find_strategy(of).criterion
        if not kind.causal or kind.needs_labels or not kind.uses_early_exits:
            raise StrategyError(f"'{of}' cannot be wrapped: it decides nothing that could run live.")
        return kind

    def copy_attributes(self) -> None:
        """Take over the inner criterion's attributes, at first and again when fitting has changed them."""
        for name in self.follows:
            setattr(self, name, getattr(self.inner, name))

    def refuse(self, num_outputs: int) -> str | None:
        return self.inner.refuse(num_outputs)

    def warnings(self, num_layers: int) -> list[str]:
        return self.inner.warnings(num_layers)

    def follow_depth(self, num_layers: int) -> dict[str, object]:
        return self.inner.follow_depth(num_layers)

    def fit(self, evidence: Evidence) -> dict[str, list[float]]:
        return self.inner.fit(evidence) if self.inner.fits else {}

    def cut(self, threshold: float) -> float:
        return self.inner.cut(threshold)

    def threshold(self, cut: float) -> float:
        return self.inner.threshold(cut)

    def start(self, start: Start) -> State:
        return self.inner.start(start)

    def macs(self, num_outputs: int, layer: int) -> int:
        return self.inner.macs(num_outputs, layer)


@torch.inference_mode()
def score_evidence(criterion: Criterion, evidence: Evidence) -> Tensor:
    """Return the scores [N, L] of ``criterion`` on the held-out split."""
    steps = step_through(criterion, evidence.logits, observed=evidence.observed)
    return torch.stack([score for _, score in steps], dim=1)
