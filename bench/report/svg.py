"""Charts as small inline SVG for the page, and stacked in a file of their own.

Colours are classes (``c-blue``), so that the style sheet decides what they are in light, dark and print. Every text
passes through :func:`escape_html`. Sizes are in units of the view box, which is narrow so that letters stay legible
when a phone scales it down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from typing import assert_never

from markupsafe import Markup

from bench.report.marks import (
    SMALL,
    Band,
    Bar,
    Chart,
    Line,
    Mark,
    Point,
    Reference,
    SeriesMark,
    Whisker,
    format_tick,
)
from bench.report.style import COLOURS, Look
from bench.text import escape_html

WIDTH = 440
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 14, 46
VERTEX_GAP = 3  # units between vertices: less than a percent of a chart


def write_style_sheet() -> str:
    """Return the style of pages and charts, with the palette's colours."""
    css = (files("bench.report") / "templates" / "style.css").read_text(encoding="utf-8")
    return css + "".join(f".c-{name}{{--c:{code}}}\n" for name, code in COLOURS.items())


def draw_svg(chart: Chart) -> Markup:
    """Draw ``chart`` as an ``svg`` element whose marks the page's script can find, tell and switch."""
    plane = _Plane(chart)
    words = f"{chart.name}. {chart.words}".strip()
    x, y = chart.x, chart.y
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {chart.height}" role="group" aria-label="{escape_html(words)}" '
        f'data-x="{x.low:.8g} {x.high:.8g}" data-y="{y.low:.8g} {y.high:.8g}" '
        f'data-box="{LEFT} {TOP} {WIDTH - RIGHT} {plane.bottom}" '
        f'data-xn="{escape_html(x.label)}" data-yn="{escape_html(y.label)}">{_draw_chart(chart, plane)}</svg>'
    )


def stack_svg(charts: Sequence[Chart]) -> str:
    """Draw charts one below another, each under its title, as an SVG file that needs nothing else."""
    parts, top = [], 0
    for chart in charts:
        inner = _draw_chart(chart, _Plane(chart, titled=True))
        parts.append(f'<g transform="translate(0 {top + 20})"><text x="{LEFT}" y="2">{escape_html(chart.title)}</text>')
        parts.append(f"{inner}</g>")
        top += chart.height + 24
    box = f'viewBox="0 0 {WIDTH} {top}" style="width:{WIDTH}px;font-family:sans-serif"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" {box}><style>{write_style_sheet()}</style>'
        f'<rect width="{WIDTH}" height="{top}" style="fill:var(--bg)"/>{"".join(parts)}</svg>\n'
    )


def _draw_chart(chart: Chart, plane: _Plane) -> str:
    """Draw the frame, then lines and areas, which end at its edge, then what stands on them."""
    width, height = WIDTH - RIGHT - LEFT, plane.bottom - TOP
    box = f'x="{LEFT}" y="{TOP}" width="{width}" height="{height}" viewBox="{LEFT} {TOP} {width} {height}"'
    flat = [mark for mark in chart.marks if isinstance(mark, Line | Band | Whisker)]
    below = "".join(_draw_marks(flat, plane))
    above = _draw_marks([mark for mark in chart.marks if not isinstance(mark, Line | Band | Whisker)], plane)
    return "".join([*_draw_frame(chart, plane), f"<svg {box}>{below}</svg>", *above])


class Swatches:
    """The line and marker of legends' entries, each drawn once, where :meth:`define` stands, and used by number."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[Look, str, bool], int] = {}

    def draw(self, look: Look, marker: str = "", hollow: bool = False) -> Markup:
        """Draw the entry of a look; ``marker`` where it is not the look's own. A star or a hollow one stands alone."""
        number = self._numbers.setdefault((look, marker, hollow), len(self._numbers))
        return Markup(f'<svg class="swatch"><use href="#w{number}"/></svg>')

    def define(self) -> Markup:
        """Return what :meth:`draw` has referred to."""
        drawn = []
        for (look, marker, hollow), number in self._numbers.items():
            line = "" if marker == "*" or hollow else f'<path {_class("ln", look)} d="M1 6L27 6"{_dash(look)}/>'
            kind, shape = "pt invalid" if hollow else "pt", _marker(marker or look.marker, 14, 6, 4)
            point = f'<path {_class(kind, look)} d="{shape}"/>'
            drawn.append(f'<symbol id="w{number}" viewBox="0 0 28 12">{line}{point}</symbol>')
        return Markup(f'<svg width="0" height="0" aria-hidden="true">{"".join(drawn)}</svg>')


class _Plane:
    """Where in the view box data coordinates lie; ``titled``: no script will tell the tips."""

    def __init__(self, chart: Chart, titled: bool = False) -> None:
        self.titled = titled
        self.bottom = chart.height - BOTTOM
        self._x, self._y = chart.x, chart.y

    def x(self, value: float) -> float:
        return LEFT + (value - self._x.low) / self._x.span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return TOP + (self._y.high - value) / self._y.span * (self.bottom - TOP)

    def places(self, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        return [(self.x(a), self.y(b)) for a, b in zip(xs, ys, strict=True)]


def _draw_frame(chart: Chart, plane: _Plane) -> list[str]:
    bottom, end = plane.bottom, WIDTH - RIGHT
    parts = [f'<rect class="plot" x="{LEFT}" y="{TOP}" width="{end - LEFT}" height="{bottom - TOP}"/>']
    across = [(plane.x(value), format_tick(value)) for value in chart.x.numbers()]
    up = [(plane.y(value), format_tick(value)) for value in chart.y.numbers()]
    grid = [f"M{_short(x)} {TOP}V{bottom}" for x, _ in across] + [f"M{LEFT} {_short(y)}H{end}" for y, _ in up]
    parts.append(f'<path class="grid" d="{"".join(grid)}"/><g text-anchor="middle">')
    parts += [f'<text x="{_short(x)}" y="{bottom + 16}">{said}</text>' for x, said in across]
    parts.append('</g><g text-anchor="end">')
    parts += [f'<text x="{LEFT - 6}" y="{_short(y + 4)}">{said}</text>' for y, said in up]
    parts.append("</g>")
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="axis" x="{(LEFT + end) / 2}" y="{chart.height - 8}" text-anchor="middle">'
        f"{escape_html(chart.x.label)}</text>"
        f'<text class="axis" transform="rotate(-90 13 {middle})" x="13" y="{middle}" text-anchor="middle">'
        f"{escape_html(chart.y.label)}</text>"
    )
    return parts


def _draw_marks(marks: Iterable[Mark], plane: _Plane) -> Iterator[str]:
    """Draw marks; neighbours of one series that tell nothing of their own are one element."""

    def name_alike(mark: Mark) -> object:
        match mark:
            case Whisker():
                return mark.series, mark.look, mark.faint
            case Point() if _is_told_by_its_line(mark, plane):
                return mark.series, mark.look
        return id(mark)

    for _, alike in groupby(marks, name_alike):
        first, *rest = alike
        shapes = "".join(_outline(mark, plane) for mark in (first, *rest))
        match first:
            case Whisker():
                kind = "whisker faint" if first.faint else "whisker"
                yield f'<path {_class(kind, first.look)} d="{shapes}" {_of(first)}/>'
            case Point() if shapes:
                yield f'<path {_class("dot", first.look)} d="{shapes}" {_of(first)}/>'
            case _:
                yield _draw_mark(first, plane)


def _is_told_by_its_line(mark: Point, plane: _Plane) -> bool:
    """Whether a marker stands on a line of few vertices, all of which the page's script tells."""
    return not plane.titled and (mark.size == SMALL or not mark.tip)


def _outline(mark: Mark, plane: _Plane) -> str:
    """Return the path of a mark that tells nothing of its own; nothing of others."""
    match mark:
        case Whisker():
            return f"M{_short(plane.x(mark.x))} {_short(plane.y(mark.low))}V{_short(plane.y(mark.high))}"
        case Point() if _is_told_by_its_line(mark, plane):
            return f"M{_short(plane.x(mark.x))} {_short(plane.y(mark.y))}h0"  # the round end of a line without length
    return ""


def _draw_mark(mark: Mark, plane: _Plane) -> str:
    match mark:
        case Line():
            places = plane.places(mark.x, mark.y)
            kept = keep_apart(places)
            more = f' data-told="{escape_html(_join_notes([mark.notes[i] for i in kept]))}"' if mark.notes else ""
            path = f'd="{_path(places[i] for i in kept)}"{_dash(mark.look)}'
            return f"<path {_class('thin' if mark.thin else 'ln', mark.look)} {path} {_of(mark)}{more}/>"
        case Band():
            upper, lower = (
                [edge[i] for i in keep_apart(edge)]
                for edge in (plane.places(mark.x, mark.high), plane.places(mark.x, mark.low))
            )
            path = f'd="{_path([*upper, *reversed(lower)])}z"'
            return f"<path {_class('band faint' if mark.faint else 'band', mark.look)} {path} {_of(mark)}/>"
        case Point():
            shape = _marker(mark.marker or mark.look.marker, plane.x(mark.x), plane.y(mark.y), mark.size)
            kind = _class("pt invalid" if mark.hollow else "pt", mark.look)
            return _draw_told("path", f'{kind} d="{shape}" {_of(mark)} tabindex="0"', mark.tip, plane)
        case Whisker():
            return ""  # drawn with their like
        case Bar():
            left, right = plane.x(mark.x), plane.x(mark.x + mark.width)
            top, bottom = plane.y(mark.high), plane.y(mark.low)
            kind = _class("pt bar light" if mark.light else "pt bar", mark.look)
            size = f'width="{max(0.5, right - left):.1f}" height="{max(0.0, bottom - top):.1f}"'
            bar = _draw_told("rect", f'{kind} x="{left:.1f}" y="{top:.1f}" {size} {_of(mark)}', mark.tip, plane)
            shape = _marker(mark.look.marker, (left + right) / 2, top - 4.5, 2.6)
            return bar + (f'<path {_class("cap", mark.look)} d="{shape}" {_of(mark)}/>' if mark.capped else "")
        case Reference():
            (x1, y1), (x2, y2) = ((plane.x(x), plane.y(y)) for x, y in (mark.start, mark.end))
            side, anchor = (6, "start") if x2 < WIDTH / 2 else (-6, "end")
            down = 16 if y2 < (TOP + plane.bottom) / 2 else -6
            return (
                f'<line class="ref" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/><text class="reft" '
                f'x="{x2 + side:.1f}" y="{y2 + down:.1f}" text-anchor="{anchor}">{escape_html(mark.label)}</text>'
            )
    assert_never(mark)


def _join_notes(notes: Sequence[str]) -> str:
    """Return what the script takes apart: the word with which all notes that are not empty begin, the rest of each."""
    words = {note.partition(" ")[0] for note in notes if note}
    start = f"{words.pop()} " if len(words) == 1 else ""
    return "|".join([start, *(note.removeprefix(start) for note in notes)])


def _of(mark: SeriesMark) -> str:
    return f'data-series="{escape_html(mark.series)}"'


def _draw_told(tag: str, attributes: str, tip: str, plane: _Plane) -> str:
    """Draw a mark with its tip, which the script and screen readers find in its label."""
    element = f'<{tag} {attributes} role="img" aria-label="{escape_html(tip)}"'
    return f"{element}><title>{escape_html(tip)}</title></{tag}>" if plane.titled else f"{element}/>"


def _class(kind: str, look: Look) -> str:
    if look.colour in COLOURS:
        return f'class="{kind} c-{look.colour}"'
    return f'class="{kind}" style="--c:{look.hex}"'


def _dash(look: Look) -> str:
    return f' stroke-dasharray="{look.dash}"' if look.dash else ""


def _short(value: float) -> str:
    """Return a tenth of a unit of the view box, as few letters as say it."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _path(places: Iterable[tuple[float, float]]) -> str:
    """Return a line by its start and steps, which are short; they add up to the places, each to a tenth."""
    (x, y), *rest = ((round(a, 1), round(b, 1)) for a, b in places)
    steps, start = [], f"M{_short(x)} {_short(y)}"
    for a, b in rest:
        steps.append(f"{_short(a - x)} {_short(b - y)}")
        x, y = a, b
    return start + ("l" + " ".join(steps) if steps else "")


def _marker(marker: str, x: float, y: float, r: float) -> str:
    """Return the outline of a marker around (x, y); names as matplotlib's."""
    if marker == "o":
        return f"M{_short(x - r)} {_short(y)}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    if marker in ("P", "X"):  # a plus, and the same turned
        w, (c, s) = r * 0.4, (math.sqrt(0.5), math.sqrt(0.5)) if marker == "X" else (1.0, 0.0)
        cross = [(-w, -r), (w, -r), (w, -w), (r, -w), (r, w), (w, w), (w, r), (-w, r), (-w, w), (-r, w), (-r, -w)]
        points = [(1.15 * (a * c - b * s), 1.15 * (a * s + b * c)) for a, b in [*cross, (-w, -w)]]
    else:
        if marker == "*":
            spokes = [(-90.0 + 36 * i, r * (1.6 if i % 2 == 0 else 0.7)) for i in range(10)]
        else:
            corners, start = {"s": (4, 45), "D": (4, 0), "^": (3, -90), "v": (3, 90)}[marker]
            spokes = [(start + 360 * i / corners, r * 1.25) for i in range(corners)]
        points = [(d * math.cos(math.radians(a)), d * math.sin(math.radians(a))) for a, d in spokes]
    return _path((x + a, y + b) for a, b in points) + "z"


def keep_apart(places: Sequence[tuple[float, float]]) -> list[int]:
    """Return which vertices of a line are worth drawing: both ends, and those three units from the one before them."""
    kept: list[int] = []
    for i, (x, y) in enumerate(places):
        if not kept or max(abs(x - places[kept[-1]][0]), abs(y - places[kept[-1]][1])) >= VERTEX_GAP:
            kept.append(i)
    if kept and kept[-1] != len(places) - 1:
        kept.append(len(places) - 1)
    return kept
