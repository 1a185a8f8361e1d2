"""What early exit is to reach on somebody's model, and the rule that chooses a cut for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.measure.rules import Rule

GoalKind = Literal["max_change", "max_loss", "target_ms", "speedup"]

DEFAULT_CHANGE = "0.01@0.95"
"""One answer in a hundred may differ from the model's own, with 95 % confidence."""


@dataclass(frozen=True)
class Goal:
    """What is wanted.

    ``max_change``: at most the share ``value`` of answers differs from the model's own, certified with ``confidence``.
    ``max_loss``: the primary metric falls by at most ``value``. ``target_ms``: a text takes at most so many
    milliseconds on average. ``speedup``: at least so many times faster than the model itself.
    """

    kind: GoalKind
    value: float
    confidence: float | None = None

    @property
    def is_certified(self) -> bool:
        """Whether the goal comes with a guarantee."""
        return self.kind == "max_change"

    def describe(self) -> str:
        """Return the goal in words."""
        if self.kind == "max_change":
            return f"at most {format_share(self.value)} of answers change, with {format_level(self.confidence)}"
        if self.kind == "max_loss":
            return f"at most {self.value:g} is lost"
        if self.kind == "target_ms":
            return f"a text takes at most {self.value:g} ms"
        return f"it is at least {self.value:g}x faster"

    def make_rule(self, plain_ms: float, criteria: int = 1) -> Rule:
        """Return the rule that chooses a cut by times, where the model itself takes ``plain_ms`` a text.

        One of so many ``criteria`` is taken by the same samples, so that each has to be certified with a share of what
        may go wrong (Bonferroni).
        """
        if self.kind == "max_change":
            assert self.confidence is not None
            return Rule("risk", self.value, 1 - (1 - self.confidence) / criteria)
        if self.kind == "max_loss":
            return Rule("max_loss", self.value)
        if self.kind == "speedup":
            return Rule("speedup", self.value)
        return Rule("budget", self.value / plain_ms)

    def count_needed(self, criteria: int = 1) -> int:
        """Return how many samples a certificate needs at least, where not one answer changes; 1 without one."""
        if self.confidence is None:
            return 1
        return math.ceil(math.log((1 - self.confidence) / criteria) / math.log1p(-self.value) - 1e-9)


def parse_goal(max_change: str | None, max_loss: float | None, target_ms: float | None, speedup: float | None) -> Goal:
    """Return the one goal that is given, else the default; raises UsageError for two, and for what is none."""
    given = {"--max-change": max_change, "--max-loss": max_loss, "--target-ms": target_ms, "--speedup": speedup}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} are goals of their own: give one of them.")
    if max_loss is not None:
        if not 0 <= max_loss < 1:
            raise UsageError(f"--max-loss must be at least 0 and below 1, not {max_loss:g}.")
        return Goal("max_loss", max_loss)
    if target_ms is not None:
        if target_ms <= 0:
            raise UsageError(f"--target-ms must be positive, not {target_ms:g}.")
        return Goal("target_ms", target_ms)
    if speedup is not None:
        if speedup <= 1:
            raise UsageError(f"--speedup must be above 1, not {speedup:g}.")
        return Goal("speedup", speedup)
    return _parse_change(max_change or DEFAULT_CHANGE)


def _parse_change(text: str) -> Goal:
    level, at, confidence = text.partition("@")
    try:
        found = Goal("max_change", float(level), float(confidence) if at else 0.95)
    except ValueError:
        found = Goal("max_change", math.nan, math.nan)
    if not (0 < found.value < 1 and 0 < (found.confidence or 0) < 1):
        raise UsageError(f"--max-change takes a share and a confidence, {DEFAULT_CHANGE}, not '{text}'.")
    return found


def format_share(share: float) -> str:
    """Return ``0.63 %``, ``1 %`` or ``12 %``: two digits that tell something."""
    return f"{write_percent(share)} %"


def write_percent(share: float) -> str:
    """Return a share as a bare number of percent: ``0.63``."""
    return f"{100 * share:.2g}" if share < 0.095 else f"{100 * share:.0f}"


def format_level(confidence: float | None) -> str:
    """Return ``95 % confidence``."""
    return f"{100 * (confidence or 0):.4g} % confidence"
