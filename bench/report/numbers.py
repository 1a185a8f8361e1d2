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
    """``0.912 [0.890, 0.930]``."""
    if value is None:
        return MISSING
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"


def times(value: Mapping[str, Any] | None) -> str:
    """``2.13× [2.05, 2.21]``."""
    if value is None:
        return MISSING
    return f"{value['value']:.2f}× [{value['low']:.2f}, {value['high']:.2f}]"


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as ``12.3 %``."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def threshold(value: float | None) -> str:
    """Four significant digits."""
    return MISSING if value is None else f"{value:.4g}".replace("-", "−")


def rule(name: str) -> str:
    """An operating point's name for readers."""
    return RULES.get(name, name.replace("x", "×") if name[:1].isdigit() else name)
