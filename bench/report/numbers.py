"""Numbers as text: the same digits in the page, the tables and the captions."""

from __future__ import annotations

from bench.measure.rules import shorten_rule
from bench.results.groups import OverSeeds

MISSING = "–"
RULES = {"no-loss": "no loss", "-0.5": "−0.5 points", "-1": "−1 point"}


def format_number(value: float | None) -> str:
    """Return three digits after the point, with a real minus sign."""
    return MISSING if value is None else f"{value:.3f}".replace("-", "−")


def format_quality(value: OverSeeds) -> str:
    """Return ``0.912 [0.890, 0.930]``; of several seeds ``0.912 [0.890, 0.930] ± 0.004, both [0.886, 0.934]``."""
    text = f"{format_number(value.value)} {format_interval(value.low, value.high)}"
    text += "" if value.std is None else f" ± {format_number(value.std)}"
    return text + (f", both {format_interval(*value.both)}" if value.both else "")


def format_short_quality(value: OverSeeds) -> str:
    """Return ``0.912 [0.886, 0.934]``: the interval over samples, of several seeds that over both."""
    return f"{format_number(value.value)} {format_interval(*(value.both or (value.low, value.high)))}"


def format_interval(low: float, high: float) -> str:
    """Return ``[0.890, 0.930]``."""
    return f"[{format_number(low)}, {format_number(high)}]"


def format_times(value: OverSeeds) -> str:
    """Return ``2.13× [2.05, 2.21]``; of several seeds with `` ± 0.04``."""
    spread = "" if value.std is None else f" ± {value.std:.2f}"
    return f"{value.value:.2f}× [{value.low:.2f}, {value.high:.2f}]{spread}"


def format_factor(value: float | None) -> str:
    """Return a speed-up without interval: ``2.13×``."""
    return MISSING if value is None else f"{value:.2f}×"


def format_percent(value: float | None) -> str:
    """Return a fraction as ``12.3 %``."""
    return MISSING if value is None else f"{100 * value:.1f} %".replace("-", "−")


def format_threshold(value: float | None) -> str:
    """Return four significant digits."""
    return MISSING if value is None else f"{value:.4g}".replace("-", "−")


def format_rule(name: str) -> str:
    """Return an operating point's name for readers."""
    return RULES.get(name, name.replace("x", "×") if name[:1].isdigit() else shorten_rule(name))
