"""Words inside a chart in print: beside lines' ends, at stars and at reference lines, where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.measure.curve import Array
from bench.report.marks import Bar, Chart, Key, Line, Point, Reference, Whisker
from bench.report.style import darken_colour
from bench.text import show_hidden

AT_EDGE = 0.9  # a line that ends further right than this share of the axes is named beside them
SMALL_PRINT = 6.5  # points
DIRECT = 18  # letters of the longest name that still leaves room for the axes
NAME_LENGTH = 46  # letters of a name in a figure
BESIDE, WITHIN_REACH = (4, 9), (4, 9, 16, 24)  # points between words and their place
AROUND = [(0, 1), (1, 1), (-1, 1), (0, -1), (1, -1), (-1, -1), (1, 0), (-1, 0)]
"""Directions in which words may stand beside their place, the best first."""


def shorten_name(name: str, most: int = NAME_LENGTH) -> str:
    """Return a name that fits into a figure."""
    shown = " ".join(show_hidden(name).split())
    if len(shown) <= most:
        return shown
    return shown[: most // 2 - 1] + "…" + shown[-most // 2 :]  # names often differ at their end


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places at least ``gap`` apart and near those ``wanted``, in [low, high] where there is room, in order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[float]] = []  # [sum of wanted minus offset, members]: merged until they do not overlap
    for rank, i in enumerate(order):
        blocks.append([wanted[i] - rank * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    found = [total / count for total, count in blocks for _ in range(int(count))]
    top = high - (len(order) - 1) * gap
    made = [0.0] * len(order)
    for rank, i in enumerate(order):
        made[i] = max(low, min(found[rank], top)) + rank * gap
    return made


def name_lines(ax: Any, chart: Chart, keys: Sequence[Key]) -> list[Key]:
    """Name lines that end at the right edge beside the axes, a thin line to each; return the keys of the others.

    The layout is settled, by :func:`settle_layout`.
    """
    ends = {key: end for key in keys if (end := _find_end(chart, key))}
    beside = [key for key, (x, _) in ends.items() if (x - chart.x.low) / chart.x.span >= AT_EDGE]
    height = ax.get_window_extent().height / ax.figure.dpi * 72
    share = [(ends[key][1] - chart.y.low) / chart.y.span for key in beside]
    places = spread_apart(share, 1.25 * _get_size() / height, 0.02, 0.98)
    for key, at in zip(beside, places, strict=True):
        ax.annotate(
            shorten_name(key.name), ends[key], (1.045, at), textcoords="axes fraction", va="center",
            color=darken_colour(key.look.hex), fontsize=_get_size(), annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": key.look.hex, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 0,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
    return [key for key in keys if key not in beside]


def write_inside(ax: Any, chart: Chart, keys: Sequence[Key]) -> None:
    """Write words of references and points, and names of lines that end in the middle, where they cover least.

    The layout is settled, and stays what it is.
    """
    words: list[tuple[str, list[tuple[float, float]], str]] = []
    for key in keys:
        if end := _find_end(chart, key):
            words.append((shorten_name(key.name), [end], darken_colour(key.look.hex)))
    for mark in chart.shown():
        if isinstance(mark, Reference) and mark.label:
            (x1, y1), (x2, y2) = mark.start, mark.end
            spots = [(x2 + (x1 - x2) * s, y2 + (y1 - y2) * s) for s in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)]
            words.append((shorten_name(mark.label), spots, "#555555"))
        elif isinstance(mark, Point) and mark.label:
            words.append((shorten_name(mark.label), [(mark.x, mark.y)], "#555555"))
    taken = _sample_marks(ax, chart)
    for text, spots, colour in words:
        taken = np.concatenate([taken, _write_word(ax, text, spots, colour, taken)])


def _write_word(ax: Any, text: str, spots: Sequence[tuple[float, float]], colour: str, taken: Array) -> Array:
    """Write one word at the best of its places; return points on it, which the next ones keep away from.

    A word that belongs to one spot may stand further away where that is crowded, with a thin line to it.
    """
    from matplotlib.text import Text

    reach = WITHIN_REACH if len(spots) == 1 else BESIDE
    inside, renderer = ax.get_window_extent(), ax.figure.canvas.get_renderer()
    best: tuple[float, Any] | None = None
    for rank, (spot, (right, up), far) in enumerate((s, way, far) for far in reach for s in spots for way in AROUND):
        made = ax.annotate(
            text, spot, (right * far, up * far), textcoords="offset points", fontsize=SMALL_PRINT, color=colour,
            ha={1: "left", 0: "center", -1: "right"}[right], va={1: "bottom", 0: "center", -1: "top"}[up], zorder=5,
            arrowprops=None if far in BESIDE else {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0},
        )  # fmt: skip
        made.set_in_layout(False)
        made.update_positions(renderer)
        box: Any = Text.get_window_extent(made, renderer)  # without the line
        covered = ((taken >= box.min - 1) & (taken <= box.max + 1)).all(axis=1).sum()
        outside = max(0.0, inside.x0 - box.x0, box.x1 - inside.x1, inside.y0 - box.y0, box.y1 - inside.y1)
        cost = 4.0 * covered + 50.0 * outside + 0.1 * rank
        if best is None or cost < best[0]:
            if best is not None:
                best[1].remove()
            best = (cost, made)
        else:
            made.remove()
    assert best is not None
    box = Text.get_window_extent(best[1], renderer)
    xs, ys = np.meshgrid(np.linspace(box.x0, box.x1, 24), np.linspace(box.y0, box.y1, 6))
    return np.column_stack([xs.ravel(), ys.ravel()])


def _sample_marks(ax: Any, chart: Chart) -> Array:
    """Return points [N, 2], in pixels, that what is drawn covers."""
    paths: list[tuple[Sequence[float], Sequence[float]]] = []
    for mark in chart.shown():
        match mark:
            case Line():
                paths.append((mark.x, mark.y))
            case Whisker():
                paths.append(((mark.x, mark.x), (mark.low, mark.high)))
            case Reference():
                paths.append(((mark.start[0], mark.end[0]), (mark.start[1], mark.end[1])))
            case Bar():
                paths.append(((mark.x, mark.x + mark.width), (mark.high, mark.high)))
            case Point():
                paths.append(((mark.x,) * 8, (mark.y,) * 8))  # a marker is large
    found = [np.empty((0, 2))]
    for xs, ys in paths:
        pixels = ax.transData.transform(np.column_stack([xs, ys]))
        steps = np.concatenate([[0.0], np.hypot(*np.diff(pixels, axis=0).T).cumsum()])
        dense = np.linspace(0, steps[-1], max(len(xs), int(steps[-1] / 3) + 1))
        found.append(np.column_stack([np.interp(dense, steps, pixels[:, k]) for k in (0, 1)]))
    return np.concatenate(found)


def _find_end(chart: Chart, key: Key) -> tuple[float, float] | None:
    """Return the right end of a series' line, or its rightmost point."""
    lines = [m for m in chart.marks if isinstance(m, Line) and m.series == key.series and not m.thin and len(m.x)]
    ends = [max(zip(m.x, m.y, strict=True)) for m in lines]
    ends = ends or [(m.x, m.y) for m in chart.marks if isinstance(m, Point) and m.series == key.series]
    return max(ends, default=None)


def _get_size() -> float:
    from matplotlib import rcParams

    return float(rcParams["legend.fontsize"])


def settle_layout(fig: Any) -> None:
    """Let the layout find where the axes of a matplotlib figure, or of the one that it is a part of, are."""
    root = fig.get_figure(root=True)
    engine = root.get_layout_engine()
    if engine is None:
        root.draw_without_rendering()
    else:
        engine.execute(root)  # the half of drawing that moves anything
