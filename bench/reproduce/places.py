"""Where a claim is put to the test: a task of a block, with the evidence of every strategy there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.compare.evidence import Evidence, NotRun


@dataclass(frozen=True)
class Place:
    """A task of a block: the runs of every strategy there, by name, and why others have none."""

    block: str
    task: str
    runs: Mapping[str, Sequence[Evidence]]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For tables."""
        return f"{self.task}, {self.block}"

    def plans(self, strategy: str) -> bool:
        """Whether ``strategy`` was to run here, whatever came of it."""
        return strategy in self.runs or strategy in self.missing

    def of(self, strategy: str) -> Sequence[Evidence]:
        """The runs of ``strategy``, one a seed. Raises NotRun where there are none."""
        if strategy in self.runs:
            return self.runs[strategy]
        raise NotRun(self.missing.get(strategy, f"the plan has no {strategy} here"))

    def pairs(self, strategy: str, other: str) -> list[tuple[Evidence, Evidence]]:
        """The runs of two strategies seed by seed. Raises NotRun where one lacks or they answered other samples."""
        both = list(zip(self.of(strategy), self.of(other), strict=False))
        if any(a.trade_off.exits.ids != b.trade_off.exits.ids for a, b in both):
            raise NotRun(f"{strategy} and {other} answered different samples")
        return both
