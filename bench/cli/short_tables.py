"""Many runs on a screen: a line a strategy, the best of its series at the goal, in place of all rows at all points."""

from __future__ import annotations

from rich.table import Table

from bench.compare.ranking import Ranking
from bench.compare.sentences import join_equal, name_goal, name_place, write_quality
from bench.compare.standings import Standing
from bench.measure.metrics import title_metric
from bench.results.series_doubts import describe_doubts
from bench.text import build_table

ROOM_FOR_INTERVALS = 72
"""Columns below which intervals are left out: a line a strategy has no room for them."""
EDGES = 3
"""Letters that a table needs for each column beside its cells, and one more."""


def choose_best_series(found: Ranking) -> list[tuple[str, Standing]]:
    """Return the name and standing of the best series of each strategy that is ranked, the best strategy first."""
    best: dict[str, tuple[str, Standing]] = {}
    for one in found.ranked:
        for name in one.names:
            best.setdefault(name.partition(" (")[0], (name, one))
    return list(best.values())


def build_short_table(found: Ranking, width: int) -> Table:
    """Return a table of ``found`` in which a strategy has one line of at most ``width`` letters."""
    shown = choose_best_series(found)
    first, wide = shown[0][1].series.runs[0], width >= ROOM_FOR_INTERVALS
    unit = "FLOPs" if first.result().full.cost_unit == "flops" else "layers"
    columns = ["strategy", title_metric(first.metric), unit, "all layers"]
    rows = []
    for _, one in shown:
        quality = write_quality(one.quality) if wide else f"{one.quality.value:.3f}"
        rows.append([quality, f"{one.cost_speedup.value:.2f}x", f"{one.all_layers.value:.3f}"])
    taken = sum(max(len(text) for text in texts) for texts in zip(columns[1:], *rows, strict=True))
    room = width - taken - EDGES * len(columns) - 1
    near = sum(one.level for _, one in shown)
    title = f"{found.title}\n{name_goal(found.goal)}{'; below the line: beyond noise' if near < len(shown) else ''}"
    names = [fit_name(name, room - 2) + " !" if one.doubts else fit_name(name, room) for name, one in shown]
    cells = [[name, *row] for name, row in zip(names, rows, strict=True)]
    return build_table(title, columns, cells, right=columns[1:], ends={near})


def describe_short_doubts(found: Ranking) -> list[str]:
    """Return the sentences about the lines of :func:`build_short_table` that end with an exclamation mark."""
    return describe_doubts((name, one.doubts) for name, one in choose_best_series(found))


def fit_name(name: str, room: int) -> str:
    """Return a name in at most ``room`` letters: without what tells series apart, then without its end."""
    bare = name.partition(" (")[0]
    return name if len(name) <= room else bare if len(bare) <= room else f"{bare[: max(1, room - 1)]}…"


def say_shortly(found: Ranking) -> str:
    """Return who is best at the goal of a panel, in a line."""
    best = found.best
    if best is None:
        return f"{name_place(found)}: nobody"
    return f"{name_place(found)}: {join_equal(best.names)}, {best.quality.value:.3f} at {best.cost_speedup.value:.2f}x"
