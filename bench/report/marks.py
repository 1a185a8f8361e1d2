"""What a chart shows, as plain data: built once, drawn on the page and in print by two renderers that add nothing.

Every mark but a reference belongs to a series, whose name the legend switches, and has that strategy's :class:`Look`.
Coordinates are those of the data; what is a matter of pixels or points is the renderers' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.style import Look

SMALL, USUAL, LARGE = 3.2, 4.5, 6.0
"""Radii of markers in units of the page: on a line of few points, at an operating point, standing alone."""


@dataclass(frozen=True)
class Axis:
    """One axis: its label, the range that is shown, and the ticks; ``short`` is the label where room is scarce."""

    label: str
    low: float
    high: float
    ticks: Sequence[float] = ()
    short: str = ""

    @property
    def span(self) -> float:
        """The length of the range; 1 where it is empty."""
        return (self.high - self.low) or 1.0

    def numbers(self) -> Sequence[float]:
        """Return the ticks, round numbers where none were given."""
        return self.ticks or round_ticks(self.low, self.high)


@dataclass(frozen=True)
class SeriesMark:
    """What belongs to a series and has its look."""

    series: str
    look: Look


@dataclass(frozen=True)
class Line(SeriesMark):
    """A line through (x, y); ``notes`` say something of each vertex. A ``thin`` one stands beside a main line."""

    x: Sequence[float]
    y: Sequence[float]
    notes: Sequence[str] = ()
    thin: bool = False


@dataclass(frozen=True)
class Band(SeriesMark):
    """The area between two lines over x; ``faint`` where several lie over one another."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    faint: bool = False


@dataclass(frozen=True)
class Point(SeriesMark):
    """A marker whose ``tip`` can be read (lines apart by newlines); ``marker`` where it is not the strategy's own.

    Print has no tips: there the ``label`` is written beside it.
    """

    x: float
    y: float
    tip: str
    marker: str = ""
    size: float = USUAL
    hollow: bool = False
    label: str = ""


@dataclass(frozen=True)
class Whisker(SeriesMark):
    """A thin vertical line from ``low`` to ``high``."""

    x: float
    low: float
    high: float
    faint: bool = False


@dataclass(frozen=True)
class Bar(SeriesMark):
    """A bar from ``x`` to ``x + width``; ``capped`` with its strategy's marker, since strategies share colours."""

    x: float
    width: float
    low: float
    high: float
    tip: str
    light: bool = False
    capped: bool = False


@dataclass(frozen=True)
class Reference:
    """A dashed line between two points with a label beside its second end, towards the middle of the chart."""

    start: tuple[float, float]
    end: tuple[float, float]
    label: str


Mark = Line | Band | Point | Whisker | Bar | Reference


@dataclass(frozen=True)
class Key:
    """A legend's entry: its text, the series that it switches, its look, and whether the series is shown at first.

    In print a line that is named ``inside`` stands beside its end, not in the legend. A ``hollow`` one is of points
    alone, whose middle is empty; it is in every legend.
    """

    name: str
    series: str
    look: Look
    marker: str = ""
    on: bool = True
    inside: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart. ``name`` tells it from all others, ``words`` say what is drawn, ``source`` from which data.

    ``note`` is for where the legend can be switched; ``height`` is in units of the page, where a chart is 440 wide.
    """

    title: str
    name: str
    words: str
    source: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    legend: Sequence[Key] = ()
    note: str = ""
    height: int = 300

    @property
    def caption(self) -> str:
        """Everything that is said below the chart on the page."""
        return " ".join(filter(None, (self.words, self.source, self.note)))

    def shown(self) -> list[Mark]:
        """Return the marks of what is shown at first."""
        off = {key.series for key in self.legend if not key.on}
        return [m for m in self.marks if isinstance(m, Reference) or m.series not in off]


@dataclass(frozen=True)
class Shares:
    """A table of shares in print: a row for each of ``names``, and a column for each tick of ``x``."""

    title: str
    words: str
    source: str
    x: Axis
    names: Sequence[str]
    values: Sequence[Sequence[float]]
    y: Axis = Axis("", 0.0, 1.0)
    legend: Sequence[Key] = ()


def round_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers within [low, high]."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / 5
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= raw * 0.75)
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 10) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def format_tick(value: float) -> str:
    """Return a tick's number without trailing zeros."""
    return f"{value:.10g}".replace("-", "−")


def pad_range(values: Iterable[float], share: float = 0.06, least: float = 0.0) -> tuple[float, float]:
    """Return the range of ``values`` with some room on both sides; (0, 1) for none."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return (0.0, 1.0)
    low, high = min(known), max(known)
    room = max((high - low) * share, least, 1e-3 if high == low else 0.0)
    return (low - room, high + room)


def thin_out(points: Iterable[tuple[float, float]], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Return the points that are more than 2.5 % of the axes from the one kept before them."""
    kept: list[tuple[float, float]] = []
    for a, b in points:
        if not kept or abs(a - kept[-1][0]) / x.span + abs(b - kept[-1][1]) / y.span > 0.025:
            kept.append((a, b))
    return kept
