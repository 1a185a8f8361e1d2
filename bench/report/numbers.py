"""Numbers as text: the same digits in the page, the tables and the captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISSING = "–"
RULES = {"no-loss": "no loss", "-0.5": "−0.5 points", "-1": "−1 point"}


def number(value: float | None, digits: int = 3) -> str:
    """A fixed number of digits, with a real minus sign."""
    return MISSING if value is None else f"{value:.{digits}f}".replace("-", "−")


def quality(value: Mapping[str, Any] | None) -> str:
    """``0.912 [0.890, 0.930]``; of several seeds ``0.912 [0.890, 0.930] ± 0.004, both [0.886, 0.934]``."""
    if value is None:
        return MISSING
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]{seeds(value)}"


def seeds(value: Mapping[str, Any]) -> str:
    """What seeds add to a number: `` ± 0.004, both [0.886, 0.934]``; nothing for a single one."""
    both = f", both [{number(value['both'][0])}, {number(value['both'][1])}]" if "both" in value else ""
    return f" ± {number(value['std'])}{both}" if "std" in value else ""


def times(value: Mapping[str, Any] | None) -> str:
    """``2.13× [2.05, 2.21]``; of several seeds with `` ± 0.04``."""
    if value is None:
        return MISSING
    spread = f" ± {value['std']:.2f}" if "std" in value else ""
    return f"{value['value']:.2f}× [{value['low']:.2f}, {value['high']:.2f}]{spread}"


def bounds(value: Mapping[str, Any]) -> str:
    """The ends of an interval alone: ``2.01 to 2.25``."""
    return f"{value['low']:.2f} to {value['high']:.2f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as ``12.3 %``."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def threshold(value: float | None) -> str:
    """Four significant digits."""
    return MISSING if value is None else f"{value:.4g}".replace("-", "−")


def rule(name: str) -> str:
    """An operating point's name for readers."""
    return RULES.get(name, name.replace("x", "×") if name[:1].isdigit() else name)
