"""Small inline SVG charts for the page: axes, lines with bands, markers that tell their numbers.

Colours are classes (``c-blue``), so that the page's style sheet decides what they are in light, dark and print. Every
text passes through :func:`esc`. Sizes are in units of the view box, which is narrow so that letters stay legible when a
phone scales it down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bench.report.style import Look
from bench.text import escape_html as esc

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 46


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], about so many."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / about
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 2.5, 5, 10) if m * base >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(step * (first + i), 10) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def short(value: float) -> str:
    """A tick's number without trailing zeros."""
    return f"{value:.10g}".replace("-", "−")


def marker_path(marker: str, x: float, y: float, r: float) -> str:
    """The outline of a marker around (x, y); names as matplotlib's."""
    if marker == "o":
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    turn = {"s": (4, 45, 1.25), "D": (4, 0, 1.25), "^": (3, -90, 1.25), "v": (3, 90, 1.25)}
    if marker in turn:
        corners, start, scale = turn[marker]
        angles = [math.radians(start + 360 * i / corners) for i in range(corners)]
        points = [(x + r * scale * math.cos(a), y + r * scale * math.sin(a)) for a in angles]
    elif marker == "*":
        spokes = [(math.radians(-90 + 36 * i), r * (1.6 if i % 2 == 0 else 0.7)) for i in range(10)]
        points = [(x + d * math.cos(a), y + d * math.sin(a)) for a, d in spokes]
    else:  # P a plus, X the same turned
        w = r * 0.4
        cross = [(-w, -r), (w, -r), (w, -w), (r, -w), (r, w), (w, w), (w, r), (-w, r), (-w, w), (-r, w), (-r, -w)]
        cross.append((-w, -w))
        c = math.sqrt(0.5) if marker == "X" else 1.0
        s = math.sqrt(0.5) if marker == "X" else 0.0
        points = [(x + 1.15 * (a * c - b * s), y + 1.15 * (a * s + b * c)) for a, b in cross]
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) + "z"


def apart(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which vertices of a line are worth drawing: the first, the last, and those a pixel from the one before them."""
    kept: list[int] = []
    for i, (x, y) in enumerate(points):
        if not kept or max(abs(x - points[kept[-1]][0]), abs(y - points[kept[-1]][1])) >= 1:
            kept.append(i)
    if kept and kept[-1] != len(points) - 1:
        kept.append(len(points) - 1)
    return kept


@dataclass
class Plot:
    """One chart under construction. ``x`` and ``y`` are the shown ranges; ``name`` what a screen reader says first."""

    name: str
    x_label: str
    y_label: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Sequence[float] | None = None
    y_ticks: Sequence[float] | None = None
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    def px(self, value: float) -> float:
        """Data x to view box."""
        low, high = self.x
        return LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Data y to view box."""
        low, high = self.y
        return TOP + (high - value) / ((high - low) or 1.0) * (self.height - TOP - BOTTOM)

    def line(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        look: Look,
        name: str,
        told: Sequence[str] = (),
        thin: bool = False,
    ) -> None:
        """A line; hovering near it tells ``told`` of the nearest vertex beside x and y. ``thin`` ones tell nothing."""
        points = [(self.px(a), self.py(b)) for a, b in zip(xs, ys, strict=True)]
        kept = apart(points)
        path = "M" + "L".join(f"{points[i][0]:.1f} {points[i][1]:.1f}" for i in kept)
        told = [told[i] for i in kept] if told else told
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        data = f' data-told="{esc("|".join(told))}"' if told else ""
        kind = "thin" if thin else "ln"
        self.parts.append(f'<path class="{kind} c-{look.colour}" d="{path}"{dash} data-series="{esc(name)}"{data}/>')

    def band(
        self,
        xs: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
        look: Look,
        name: str,
        faint: bool = False,
    ) -> None:
        """The area between two lines."""
        edges = [[(self.px(a), self.py(b)) for a, b in zip(xs, edge, strict=True)] for edge in (high, low)]
        upper, lower = ([edge[i] for i in apart(edge)] for edge in edges)
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*upper, *reversed(lower)]) + "z"
        kind = "band faint" if faint else "band"
        self.parts.append(f'<path class="{kind} c-{look.colour}" d="{path}" data-series="{esc(name)}"/>')

    def mark(
        self,
        x: float,
        y: float,
        look: Look,
        name: str,
        tip: str,
        *,
        marker: str = "",
        size: float = 4.5,
        extra: str = "",
    ) -> None:
        """A marker that can be hovered and focused; ``tip`` has lines separated by newlines."""
        shape = marker_path(marker or look.marker, self.px(x), self.py(y), size)
        self.parts.append(
            f'<path class="pt c-{look.colour} {extra}" d="{shape}" data-series="{esc(name)}" data-tip="{esc(tip)}" '
            f'tabindex="0" role="img" aria-label="{esc(tip.replace(chr(10), ", "))}"/>'
        )

    def dot(self, x: float, y: float, look: Look, name: str) -> None:
        """A small mark of a Pareto point."""
        self.parts.append(
            f'<circle class="pareto c-{look.colour}" cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" r="1.9" '
            f'data-series="{esc(name)}"/>'
        )

    def whisker(self, x: float, low: float, high: float, look: Look, name: str, horizontal: bool = False,
                *, faint: bool = False) -> None:  # fmt: skip
        """An interval as a thin line through a point; ``x`` is the other coordinate."""
        if horizontal:
            place = f'x1="{self.px(low):.1f}" x2="{self.px(high):.1f}" y1="{self.py(x):.1f}" y2="{self.py(x):.1f}"'
        else:
            place = f'x1="{self.px(x):.1f}" x2="{self.px(x):.1f}" y1="{self.py(low):.1f}" y2="{self.py(high):.1f}"'
        kind = "whisker faint" if faint else "whisker"
        self.parts.append(f'<line class="{kind} c-{look.colour}" {place} data-series="{esc(name)}"/>')

    def bar(
        self, x: float, width: float, low: float, high: float, look: Look, name: str, tip: str, light: bool = False
    ) -> None:
        """A bar of data width from ``low`` to ``high``."""
        top, bottom = self.py(max(low, high)), self.py(min(low, high))
        self.parts.append(
            f'<rect class="pt bar c-{look.colour}{" light" if light else ""}" x="{self.px(x):.1f}" y="{top:.1f}" '
            f'width="{max(0.5, self.px(x + width) - self.px(x)):.1f}" height="{max(0.0, bottom - top):.1f}" '
            f'data-series="{esc(name)}" data-tip="{esc(tip)}" role="img" '
            f'aria-label="{esc(tip.replace(chr(10), ", "))}"/>'
        )

    def cap(self, x: float, y: float, look: Look, name: str) -> None:
        """A strategy's marker on top of its bar, since strategies share colours."""
        shape = marker_path(look.marker, self.px(x), self.py(y) - 4.5, 2.6)
        self.parts.append(f'<path class="cap c-{look.colour}" d="{shape}" data-series="{esc(name)}"/>')

    def rule(self, y: float, label: str) -> None:
        """A horizontal reference line with its name."""
        self.parts.append(
            f'<line class="ref" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.py(y):.1f}" y2="{self.py(y):.1f}"/>'
            f'<text class="reft" x="{WIDTH - RIGHT - 2}" y="{self.py(y) - 4:.1f}" text-anchor="end">{esc(label)}</text>'
        )

    def diagonal(self, label: str) -> None:
        """The line y = x."""
        low, high = max(self.x[0], self.y[0]), min(self.x[1], self.y[1])
        x, y = self.px(high), self.py(high)
        self.parts.append(
            f'<line class="ref" x1="{self.px(low):.1f}" y1="{self.py(low):.1f}" x2="{x:.1f}" y2="{y:.1f}"/>'
            f'<text class="reft" x="{x - 6:.1f}" y="{y + 16:.1f}" text-anchor="end">{esc(label)}</text>'
        )

    def render(self, description: str) -> Markup:
        """The chart as an ``svg`` element. ``description`` is read out after the name."""
        h = self.height
        frame = [
            f'<rect class="plot" x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{h - TOP - BOTTOM}"/>'
        ]
        for value in self.x_ticks if self.x_ticks is not None else ticks(*self.x):
            x = f"{self.px(value):.1f}"
            frame.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{h - BOTTOM}"/>')
            frame.append(f'<text x="{x}" y="{h - BOTTOM + 16}" text-anchor="middle">{short(value)}</text>')
        for value in self.y_ticks if self.y_ticks is not None else ticks(*self.y):
            y = self.py(value)
            frame.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            frame.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
        middle = (TOP + h - BOTTOM) / 2
        frame.append(
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{h - 8}" text-anchor="middle">'
            f"{esc(self.x_label)}</text>"
            f'<text class="axis" transform="rotate(-90 13 {middle})" x="13" y="{middle}" text-anchor="middle">'
            f"{esc(self.y_label)}</text>"
        )
        scale = f'data-x="{self.x[0]:.8g} {self.x[1]:.8g}" data-y="{self.y[0]:.8g} {self.y[1]:.8g}"'
        box = f'data-box="{LEFT} {TOP} {WIDTH - RIGHT} {h - BOTTOM}"'
        return Markup(
            f'<svg class="chart" viewBox="0 0 {WIDTH} {h}" role="group" '
            f'aria-label="{esc(self.name)}. {esc(description)}" '
            f'{scale} {box} data-xn="{esc(self.x_label)}" data-yn="{esc(self.y_label)}">'
            + "".join(frame + self.parts)
            + "</svg>"
        )


def swatch(look: Look, marker: str = "", light: bool = False) -> Markup:
    """A line and marker for a legend."""
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    return Markup(
        f'<svg class="swatch{" light" if light else ""}" viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
        f'<path class="ln c-{look.colour}" d="M1 6L27 6"{dash}/>'
        f'<path class="pt c-{look.colour}" d="{marker_path(marker or look.marker, 14, 6, 4)}"/></svg>'
    )


def padded(values: Sequence[float], share: float = 0.06, least: float = 0.0) -> tuple[float, float]:
    """The range of ``values`` with some room; (0, 1) for none."""
    known = [v for v in values if math.isfinite(v)]
    if not known:
        return (0.0, 1.0)
    low, high = min(known), max(known)
    room = max((high - low) * share, least, 1e-3 if high == low else 0.0)
    return (low - room, high + room)
